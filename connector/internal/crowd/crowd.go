// Package crowd bounds how many connections a server holds.
package crowd

import (
	"container/list"
	"errors"
	"net"
	"sync"
	"syscall"
)

// Limit returns a listener that holds most connections open at once: when there is another one the
// oldest is closed, and also when the process has no file descriptor left for another one. Who
// connects and stays can therefore not keep others out, as it could if new connections waited.
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

// closeOldest closes a connection if there are more than so many.
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
