package transport

import (
	"bytes"
	"errors"
	"net"
)

// The errors for a server that answers in another protocol than MQTT. The first Read of a
// connection returns a [*DialError] that wraps one of them.
var (
	ErrSpeaksTLS  = errors.New("the server answered with a TLS alert, so it expects TLS")
	ErrSpeaksHTTP = errors.New("the server answered in HTTP, so it expects WebSocket or is no MQTT server")
)

// plainConn is a connection without TLS. It recognises the answers of servers that expect TLS or
// HTTP. Neither can be the start of an MQTT packet, since 0x15 would be a CONNECT and 0x48 a PUBACK
// with invalid flags [MQTT-2.2.2-2].
type plainConn struct {
	net.Conn
	addr  string
	heard bool // the first bytes were checked; used only by the reader
}

func (c *plainConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.heard || n == 0 {
		return n, err
	}
	c.heard = true
	switch first := b[:n]; {
	case bytes.HasPrefix(first, []byte{0x15, 0x03}):
		return 0, &DialError{Step: StepTCP, Addr: c.addr, Err: ErrSpeaksTLS}
	case bytes.HasPrefix(first, []byte("HTTP")):
		return 0, &DialError{Step: StepTCP, Addr: c.addr, Err: ErrSpeaksHTTP}
	}
	return n, err
}

func (c *plainConn) CloseWrite() error { return closeWrite(c.Conn) }

// closeWrite half-closes conn if its type supports that.
func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
