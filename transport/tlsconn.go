package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// closeTimeout is how long Close may try to send close_notify.
const closeTimeout = 250 * time.Millisecond

// handshake performs the TLS handshake on conn, which it closes on failure.
func (o Options) handshake(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	start := time.Now()
	c, failed := o.shake(ctx, conn, addr)
	if failed != nil {
		conn.Close()
		o.ended(StepTLS, addr, start, failed)
		return nil, failed
	}
	o.ended(StepTLS, addr, start, nil)
	return &tlsConn{Conn: c, addr: addr}, nil
}

func (o Options) shake(ctx context.Context, conn net.Conn, addr string) (*tls.Conn, *DialError) {
	config, err := o.TLS.Config(addr, o.Logger)
	if err != nil {
		return nil, &DialError{Step: StepTLS, Addr: addr, Err: err}
	}
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, Failed(ctx, StepTLS, addr, err)
	}
	return c, nil
}

// TLSState returns the TLS state, with the server's certificates, of a connection of this package
// or of transport/ws, and whether it uses TLS.
func TLSState(conn net.Conn) (tls.ConnectionState, bool) {
	for conn != nil {
		if c, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
			return c.ConnectionState(), true
		}
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = below.NetConn()
	}
	return tls.ConnectionState{}, false
}

// tlsConn is a connection over TLS. Its CloseWrite is that of tls.Conn, which
// sends close_notify.
type tlsConn struct {
	*tls.Conn
	addr  string
	heard bool // something was read; used only by the reader
}

// Read returns a [*DialError] for an alert before any data: in TLS 1.3 a server refuses the
// client's certificate only after the handshake of the client has finished.
func (c *tlsConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard = true
	}
	var op *net.OpError
	if err != nil && !c.heard && errors.As(err, &op) && op.Op == "remote error" {
		err = &DialError{Step: StepTLS, Addr: c.addr, Err: err}
	}
	return n, err
}

// Close sends close_notify, the last record of TLS, with a time limit. A tls.Conn would wait five
// seconds for a peer that does not read.
func (c *tlsConn) Close() error {
	cut := time.AfterFunc(closeTimeout, func() { c.Conn.NetConn().Close() })
	defer cut.Stop()
	return c.Conn.Close()
}
