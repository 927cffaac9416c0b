// Package crowd limits the number of connections that a server holds.
package crowd

import (
	"container/list"
	"errors"
	"net"
	"sync"
	"syscall"
)

// Limit returns a listener with a limit on open connections. For a connection above the limit it
// closes the oldest, as it does when the process has no file descriptor left. So clients that
// connect and stay cannot keep others out, as they could if new connections had to wait.
func Limit(l net.Listener, most int) net.Listener {
	return &listener{Listener: l, most: most, open: list.New()}
}

type listener struct {
	net.Listener
	most int

	mu   sync.Mutex
	open *list.List // of *conn, oldest first
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		// net/http waits a moment before it accepts again, so one at a time is enough.
		if noDescriptor(err) {
			l.closeOldest(0)
		}
		return nil, err
	}
	l.closeOldest(l.most - 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	one := &conn{Conn: c, in: l}
	one.place = l.open.PushBack(one)
	return one, nil
}

// closeOldest closes the oldest connection if more than the given number are open.
func (l *listener) closeOldest(than int) {
	l.mu.Lock()
	var oldest *conn
	if l.open.Len() > than {
		oldest = l.open.Front().Value.(*conn)
	}
	l.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
}

// A conn is in the list of its listener until it is closed.
type conn struct {
	net.Conn
	in    *listener
	place *list.Element
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.in.mu.Lock()
	c.in.open.Remove(c.place) // no effect if it was removed before
	c.in.mu.Unlock()
	return c.Conn.Close()
}

// noDescriptor reports whether the process, or the system, has as many open files as it may have.
func noDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
