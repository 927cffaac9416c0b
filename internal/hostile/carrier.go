package hostile

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Ask reads an HTTP request from the client.
func (c *Conn) Ask() (*http.Request, error) {
	r := bufio.NewReader(oneByOne{c.Conn}) // bytes after the request must stay in the connection
	return http.ReadRequest(r)
}

// A oneByOne reads one byte at a time, so as not to read too far.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(b []byte) (int, error) { return o.r.Read(b[:min(1, len(b))]) }

// key returns the Sec-WebSocket-Accept for a request.
func key(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Switch answers a WebSocket handshake with 101, the given Sec-WebSocket-Accept, and further header
// lines.
func (c *Conn) Switch(accept string, lines string) error {
	_, err := fmt.Fprintf(c.Conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n%s\r\n", accept, lines)
	return err
}

// Upgrade performs the WebSocket handshake.
func (c *Conn) Upgrade() error {
	r, err := c.Ask()
	if err != nil {
		return err
	}
	if err := c.Switch(key(r), "Sec-WebSocket-Protocol: mqtt\r\n"); err != nil {
		return err
	}
	c.Conn = &framed{Conn: c.Conn}
	return nil
}

// frame returns the start of a WebSocket frame: its first byte, the mask bit or zero, and the length.
func frame(first, mask byte, size uint64) []byte {
	switch {
	case size < 126:
		return []byte{first, mask | byte(size)}
	case size < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{first, mask | 126}, uint16(size))
	}
	return binary.BigEndian.AppendUint64([]byte{first, mask | 127}, size)
}

// The first bytes of unfragmented frames.
const (
	text   = 0x81
	binry  = 0x82
	closes = 0x88
	ping   = 0x89
	pong   = 0x8a
)

// A framed is the server's end of a WebSocket connection.
type framed struct {
	net.Conn
	left uint64 // bytes left in the current frame
	mask [4]byte
	at   int
}

func (f *framed) Write(b []byte) (int, error) {
	if _, err := f.Conn.Write(append(frame(binry, 0, uint64(len(b))), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *framed) Read(b []byte) (int, error) {
	for f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.Conn.Read(b[:min(uint64(len(b)), f.left)])
	for i := range b[:n] {
		b[i] ^= f.mask[f.at&3]
		f.at++
	}
	f.left -= uint64(n)
	return n, err
}

// next reads the head of the next data frame.
func (f *framed) next() error {
	var head [14]byte
	if _, err := io.ReadFull(f.Conn, head[:2]); err != nil {
		return err
	}
	size, rest := uint64(head[1]&0x7f), head[2:6]
	switch size {
	case 126:
		rest = head[2:8]
	case 127:
		rest = head[2:14]
	}
	if _, err := io.ReadFull(f.Conn, rest); err != nil {
		return err
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(rest))
	case 127:
		size = binary.BigEndian.Uint64(rest)
	}
	f.mask, f.at = [4]byte(rest[len(rest)-4:]), 0
	if head[0]&0x0f <= 2 {
		f.left = size
		return nil
	}
	_, err := io.CopyN(io.Discard, f.Conn, int64(size))
	if head[0]&0x0f == 8 && err == nil {
		err = io.EOF
	}
	return err
}

// Socks performs the proxy's part of SOCKS5, RFC 1928. The server then continues on the same
// connection.
func (c *Conn) Socks() error {
	if err := c.greeted(); err != nil {
		return err
	}
	_, err := c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 1})
	return err
}

// greeted performs SOCKS5 up to the client's request.
func (c *Conn) greeted() error {
	var b [2]byte
	if _, err := io.ReadFull(c.Conn, b[:]); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, c.Conn, int64(b[1])); err != nil {
		return err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return err
	}
	var head [5]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return err
	}
	rest := int64(head[4]) + 2
	switch head[3] {
	case 1:
		rest = 3 + 2
	case 4:
		rest = 15 + 2
	case 3:
	default:
		return errors.New("hostile: another type of address")
	}
	_, err := io.CopyN(io.Discard, c.Conn, rest)
	return err
}

// Tunnel performs the proxy's part of CONNECT. The server then continues on the same connection.
func (c *Conn) Tunnel() error {
	if _, err := c.Ask(); err != nil {
		return err
	}
	_, err := io.WriteString(c.Conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	return err
}
