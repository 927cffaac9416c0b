package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/stretchr/testify/require"
)

// Rows of docs/hazards.md that other packages prove in depth, as a client sees them.

// Hazard 27: from a damaged log, a client starts with a prefix of the messages that it was given,
// in order, or reports that the log is damaged. Package wal tries every byte and every bit.
func TestHazard27DamagedStore(t *testing.T) {
	dir := t.TempDir()
	options := func(dir string) wal.Options { return wal.Options{Dir: dir, Server: "mq", ClientID: "c"} }
	store, err := wal.Open(options(dir))
	require.NoError(t, err)
	c, err := client.New(client.Config{ClientID: "c", Store: store, Dial: clienttest.NewServer().Dial})
	require.NoError(t, err)
	for i := range 5 {
		r, err := c.PublishAsync(t.Context(), message(fmt.Sprint(i), 1, "x"))
		require.NoError(t, err)
		<-r.Accepted()
	}
	c.Abort()
	require.NoError(t, store.Close())
	files, err := filepath.Glob(wal.Folder(dir, "mq", "c") + "/*")
	require.NoError(t, err)
	log := ""
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Size() > 0 && strings.HasSuffix(f, ".log") {
			log = f
		}
	}
	require.NotEmpty(t, log, "%v", files)
	whole, err := os.ReadFile(log)
	require.NoError(t, err)

	begun, complete := 0, 0
	end := len(bytes.TrimRight(whole, "\x00"))
	for cut := 0; cut < end+7; cut += 7 {
		require.NoError(t, os.WriteFile(log, whole[:cut], 0o600))
		store, err := wal.Open(options(dir))
		if err != nil {
			require.ErrorIs(t, err, wal.ErrCorrupt)
			continue
		}
		c, err := client.New(client.Config{ClientID: "c", Store: store, Dial: clienttest.NewServer().Dial})
		require.NoError(t, err)
		n := c.Stats().Unfinished
		require.GreaterOrEqual(t, n, begun, "a longer log never holds less")
		begun = n
		if n == 5 {
			complete++
		}
		c.Abort()
		require.NoError(t, store.Close())
	}
	require.NotZero(t, complete)
}

// Hazard 37: any function that opens a connection can be the transport: a unix socket, or TLS with
// a configuration per attempt over another dialer, with the name verified.
func TestHazard37AnyDial(t *testing.T) {
	serve := func(l net.Listener) {
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				clienttest.NewConn(conn).Handshake(false)
				conn.Close()
			}
		}()
	}
	connect := func(dial func(context.Context) (net.Conn, error)) error {
		c, err := client.New(client.Config{ClientID: "c", Dial: dial})
		require.NoError(t, err)
		defer c.Abort()
		return c.Connect(t.Context())
	}
	socket := filepath.Join(t.TempDir(), "mqtt.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	serve(l)
	require.NoError(t, connect(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}))

	ca := testcert.Authority(t)
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, testcert.Names("broker.test")).TLS()}})
	require.NoError(t, err)
	serve(secure)
	over := func(name string) func(context.Context) (net.Conn, error) {
		return func(ctx context.Context) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", secure.Addr().String())
			if err != nil {
				return nil, err
			}
			s := tls.Client(conn, &tls.Config{ServerName: name, RootCAs: ca.Pool()})
			if err := s.HandshakeContext(ctx); err != nil {
				conn.Close()
				return nil, err
			}
			return s, nil
		}
	}
	require.NoError(t, connect(over("broker.test")))
	var wrong *tls.CertificateVerificationError
	require.ErrorAs(t, connect(over("other.test")), &wrong)
}

// Hazard 38: over WebSocket, packets may span frames in any way, and a refused handshake gives its
// reason.
func TestHazard38WebSocket(t *testing.T) {
	upgrade := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/closed" {
			http.Error(w, "tell your administrator", http.StatusForbidden)
			return
		}
		conn, err := upgrade.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		var answers []byte
		for {
			kind, frame, err := conn.ReadMessage()
			if err != nil || kind != websocket.BinaryMessage || len(frame) == 0 {
				return
			}
			switch packets.Type(frame[0] >> 4) {
			case packets.CONNECT:
				answers = []byte{0x20, 2, 0, 0}
			case packets.PUBLISH:
				answers = []byte{0x40, 2, 0, 1}
			}
			for i := range answers { // a byte in each frame
				conn.WriteMessage(websocket.BinaryMessage, answers[i:i+1])
			}
		}
	}))
	defer server.Close()
	url := strings.Replace(server.URL, "http", "ws", 1)
	dial, err := ws.Dialer(url+"/open", nil)
	require.NoError(t, err)
	c, err := client.New(client.Config{ClientID: "c", Dial: dial})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	require.NoError(t, c.Publish(t.Context(), message("t", 1, "x")))
	c.Abort()

	dial, err = ws.Dialer(url+"/closed", nil)
	require.NoError(t, err)
	c, err = client.New(client.Config{ClientID: "c", Dial: dial})
	require.NoError(t, err)
	err = c.Connect(t.Context())
	require.ErrorContains(t, err, "403")
	require.ErrorContains(t, err, "tell your administrator")
}

// Hazard 44: a program can be tested without a server: packet by packet, and on a network that goes
// silent or cuts connections.
func TestHazard44TestKit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := clienttest.NewServer()
		network := clienttest.NewNetwork(server.Dial)
		c, err := client.New(client.Config{ClientID: "c", Dial: network.Dial, KeepAlive: 30 * time.Second, PingTimeout: 10 * time.Second})
		require.NoError(t, err)
		d := &dialogue{T: t, ctx: t.Context(), server: server, client: c}
		up := d.start(func() error { return c.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())

		network.Stall()
		start := time.Now()
		for c.State() == client.Connected {
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, time.Since(start), 41*time.Second, "a dead network is found in time")
		network.Resume()
		d.accept(true)

		network.CutAfter(clienttest.ToServer, 3)
		done := d.start(func() error { return c.Publish(d.ctx, message("t", 1, "x")) })
		_, err = d.conn.Receive()
		require.Error(t, err, "three bytes of it came")
		d.accept(true)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=1 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		c.Abort()
		network.Cut()
		d.conn.Close()
		time.Sleep(time.Second)
	})
}

// Hazard 46: a packet that no conforming server sends ends the connection, and the error names the
// statement that it violates. A message that no packet can carry is refused by the call, never
// truncated.
func TestHazard46StrictDecoder(t *testing.T) {
	for statement, packet := range map[string]string{
		"MQTT-2.2.2-2": "\x41\x02\x00\x01",              // PUBACK with a flag
		"MQTT-3.3.1-4": "\x36\x05\x00\x01a\x00\x01",     // QoS 3
		"MQTT-3.3.1-2": "\x38\x03\x00\x01a",             // DUP at QoS 0
		"MQTT-2.3.1-1": "\x32\x05\x00\x01a\x00\x00",     // identifier 0
		"MQTT-1.5.3-2": "\x30\x04\x00\x02a\x00",         // U+0000
		"MQTT-3.3.2-2": "\x30\x03\x00\x01#",             // a wildcard
		"MQTT-3.9.3-2": "\x90\x03\x80\x00\x03",          // a reserved code
		"trailing":     "\x40\x03\x00\x01\x00",          // PUBACK of three bytes
		"table 2.1":    "\x82\x06\x00\x01\x00\x01a\x00", // SUBSCRIBE from a server
		"UTF-8":        "\x30\x04\x00\x02\xc0\x80",
	} {
		connected(t, client.Config{}, func(d *dialogue) {
			d.conn.Write([]byte(packet))
			d.expectEnd()
			synctest.Wait()
			lost := d.events[len(d.events)-1]
			for _, e := range d.events {
				if e.Kind == client.ConnectionLost {
					lost = e
				}
			}
			var format *packets.FormatError
			if !errors.As(lost.Err, &format) {
				require.ErrorContains(t, lost.Err, "table 2.1", statement)
				return
			}
			if strings.HasPrefix(statement, "MQTT") {
				require.ErrorContains(t, lost.Err, statement)
			}
		})
	}
	connected(t, client.Config{}, func(d *dialogue) {
		var wrong *packets.EncodeError
		require.ErrorAs(t, d.client.Publish(d.ctx, message(strings.Repeat("t", 65536), 1, "x")), &wrong)
		require.ErrorAs(t, d.client.Publish(d.ctx, message("a\x00b", 1, "x")), &wrong)
		_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: strings.Repeat("t", 65536)})
		require.ErrorAs(t, err, &wrong)
		_, err = client.New(client.Config{Dial: d.server.Dial, ClientID: strings.Repeat("c", 65536)})
		require.ErrorAs(t, err, &wrong)
		d.expectNothing(time.Second)
	})
}
