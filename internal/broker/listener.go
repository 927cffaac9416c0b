package broker

import (
	"net"
	"sync"
)

// A listener knows which connections the server has not begun to read. The server's Close must not be
// called while the server takes in a connection: it would wait for its connections and count one at
// the same time.
type listener struct {
	net.Listener
	closed func(net.Conn)

	mu      sync.Mutex // guards the following fields
	none    sync.Cond  // signals that fresh is 0
	fresh   int        // connections from which nothing was read yet
	stopped bool
}

func newListener(l net.Listener, closed func(net.Conn)) *listener {
	own := &listener{Listener: l, closed: closed}
	own.none.L = &own.mu
	return own
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		c.Close()
		return nil, net.ErrClosed
	}
	l.fresh++
	return &conn{Conn: c, known: sync.OnceFunc(l.known), closed: l.closed}, nil
}

func (l *listener) known() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fresh--; l.fresh == 0 {
		l.none.Broadcast()
	}
}

// stop accepts no further connections, and waits until the server has begun to read all that were
// accepted.
func (l *listener) stop() {
	l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	for l.fresh > 0 {
		l.none.Wait()
	}
}

type conn struct {
	net.Conn
	known  func()
	closed func(net.Conn)
}

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	c.known()
	return c.Conn.Read(b)
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.known()
	defer c.closed(c)
	return c.Conn.Close()
}
