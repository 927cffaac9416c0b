package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/gorilla/websocket"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
)

// serve is the job of a server. It prints its address and serves until its standard input ends.
func serve(j job) error {
	if j.Who == "publisher" {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		fmt.Println()
		return publishSteadily(ctx, j.Addr)
	}
	if j.Who == "mochi" {
		b, err := broker.Start()
		if err != nil {
			return err
		}
		defer b.Close()
		fmt.Println(b.Addr)
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(l.Addr())
		go j.accept(l)
	}
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// accept serves every connection with the null server, over the job's transport.
func (j job) accept(l net.Listener) {
	switch j.Via {
	case "ws":
		up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
		http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ws, err := up.Upgrade(w, r, nil); err == nil {
				j.serveConn(&wsConn{Conn: ws.NetConn(), ws: ws})
			}
		}))
	case "tls":
		// The certificate that the standard library has for tests.
		s := httptest.NewTLSServer(nil)
		l = tls.NewListener(l, &tls.Config{Certificates: s.TLS.Certificates})
		s.Close()
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go j.serveConn(c)
	}
}

// A wsConn is the stream in the messages of a WebSocket.
type wsConn struct {
	net.Conn
	ws   *websocket.Conn
	rest io.Reader
}

func (c *wsConn) Read(b []byte) (n int, err error) {
	for {
		if c.rest == nil {
			if _, c.rest, err = c.ws.NextReader(); err != nil {
				return 0, err
			}
		}
		if n, err = c.rest.Read(b); err != io.EOF {
			return n, err
		}
		c.rest = nil
		if n > 0 {
			return n, nil
		}
	}
}

func (c *wsConn) Write(b []byte) (int, error) {
	return len(b), c.ws.WriteMessage(websocket.BinaryMessage, b)
}

// serveConn is the null server: it sends the answers that the specification requires and keeps
// nothing. A subscriber is flooded with messages at the QoS of its subscription: without end at QoS
// 0, otherwise with a window of them, and one more for each that is completed.
func (j job) serveConn(c net.Conn) {
	defer c.Close()
	size := 256 << 10
	if j.Window == 0 {
		size = 512 // nothing but connecting and pinging
	}
	buf, w := make([]byte, size), 0
	var out []byte
	for {
		n, err := c.Read(buf[w:])
		if err != nil {
			return
		}
		w += n
		r := 0
		for {
			body, k := cut(buf[r:w])
			if k == 0 {
				break
			}
			out = j.reply(c, out, buf[r], body)
			r += k
		}
		w = copy(buf, buf[r:w])
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

func (j job) reply(c net.Conn, out []byte, header byte, body []byte) []byte {
	switch packets.Type(header >> 4) {
	case packets.PUBREC:
		return append(out, byte(packets.PUBREL)<<4|2, 2, body[0], body[1])
	case packets.PUBACK:
		return appendPublish(out, 1, body)
	case packets.PUBCOMP:
		return appendPublish(out, 2, body)
	case packets.SUBSCRIBE:
		qos := body[len(body)-1]
		out = append(out, byte(packets.SUBACK)<<4, 3, body[0], body[1], qos)
		if qos == 0 {
			go flood(c, j.Window)
			return out
		}
		// Small numbers cost no memory where Go makes an interface of them, and identifiers are seldom small.
		for id := firstID; id < firstID+j.Window; id++ {
			out = appendPublish(out, qos, []byte{byte(id >> 8), byte(id)})
		}
		return out
	}
	return answer(out, header, body)
}

// firstID is the first identifier, as from a server that has been in use for a while.
const firstID = 1000

// appendPublish appends a message, with an identifier that is free again.
func appendPublish(out []byte, qos byte, id []byte) []byte {
	p := packets.Publish{Topic: topic, Payload: payload256, QoS: packets.QoS(qos)}
	if qos > 0 {
		p.PacketID = uint16(id[0])<<8 | uint16(id[1])
	}
	out, err := p.AppendBinary(out)
	must(err)
	return out
}

// flood writes QoS 0 messages until the connection ends.
func flood(c net.Conn, window int) {
	batch := bytes.Repeat(appendPublish(nil, 0, nil), window)
	for {
		if _, err := c.Write(batch); err != nil {
			return
		}
	}
}
