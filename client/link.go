package client

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/session"
)

const (
	writePiece  = 64 << 10  // bytes of a write that have one WriteTimeout
	keepBuffer  = 1 << 20   // a larger buffer is not kept for the next write
	enoughQueue = 256 << 10 // bytes that wait to be written before a QoS 0 Publish waits too
	lingerTime  = time.Second
)

// A link is one Network Connection and what is to be written to it. Client.mu guards
// it, but for what is atomic and for conn itself.
type link struct {
	conn    net.Conn
	opened  time.Time
	up      bool        // the Server accepted it
	accept  func() bool // stops the connect timeout
	out     []byte      // encoded and not yet taken by the writer
	marks   []mark      // where the Sends in out end
	spare   []byte
	spares  []mark
	writing bool
	bye     bool  // close when out is written: DISCONNECT is in it, or nothing is
	closed  bool  // our direction is
	park    bool  // the bye is a parking
	err     error // why it was given up; nil while it lives
	gone    chan struct{}
	helpers sync.WaitGroup // the writer and the one that closes

	attempted atomic.Uint64 // bytes of Sends up to it may have left
	lastRead  atomic.Int64  // 1 + since opened, of the newest byte; 0: none since it was looked at
}

// A mark is where the bytes of a Send end in a buffer.
type mark struct {
	end int
	n   uint64
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, opened: time.Now(), gone: make(chan struct{})}
}

// Read notes that bytes came, for keep alive: a large packet may take long to be
// complete.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.conn.Read(b)
	if n > 0 {
		l.lastRead.Store(int64(time.Since(l.opened)) + 1)
	}
	return n, err
}

// heard returns when bytes came last, if any did since it was asked before.
func (l *link) heard() (time.Time, bool) {
	d := l.lastRead.Swap(0)
	return l.opened.Add(time.Duration(d - 1)), d != 0
}

// encode adds the packet of a Send to what is to be written.
func (l *link) encode(o *session.Output) {
	if l == nil || l.err != nil || l.bye {
		return
	}
	out, err := o.AppendPacket(l.out)
	if err != nil {
		// The session validated it: nothing that came from outside leads here.
		panic("client: " + err.Error())
	}
	l.out = out
	l.marks = append(l.marks, mark{len(out), o.N})
}

// leave ends the link as the session asks: at once for a reason, after what is
// queued for a goodbye.
func (l *link) leave(err error) {
	if l == nil {
		return
	}
	if err == nil {
		l.bye = true
		return
	}
	l.giveUp(err)
}

// giveUp closes the link without another byte. The first reason stands.
func (l *link) giveUp(err error) {
	if l.err != nil {
		return
	}
	l.err = err
	close(l.gone)
	l.helpers.Add(1)
	go func() {
		defer l.helpers.Done()
		l.conn.Close()
	}()
}

// write sends what has gathered, and what gathers meanwhile, until nothing is left:
// the longer a write takes, the more goes into the next one.
func (c *Client) write(l *link) {
	defer l.helpers.Done()
	c.mu.Lock()
	for l.err == nil && len(l.out) > 0 {
		buf, marks := l.out, l.marks
		l.out, l.marks = l.spare[:0], l.spares[:0]
		c.mu.Unlock()
		err := l.writeAll(buf, marks, c.cfg.WriteTimeout)
		c.mu.Lock()
		if cap(buf) > keepBuffer {
			buf = nil
		}
		l.spare, l.spares = buf[:0], marks[:0]
		c.stats.Writes++
		if err != nil {
			l.giveUp(err)
			break
		}
		if c.link == l {
			c.sess.Written(time.Now(), marks[len(marks)-1].n)
			c.drive()
		}
		c.wakeSpace()
	}
	l.writing = false
	bye := l.bye && !l.closed && l.err == nil
	l.closed = l.closed || bye
	c.mu.Unlock()
	if bye {
		l.halfClose()
	}
}

// writeAll writes buf in pieces, each with its own deadline, and notes before each
// how far bytes may have left.
func (l *link) writeAll(buf []byte, marks []mark, timeout time.Duration) error {
	start := 0
	for start < len(buf) {
		end := min(start+writePiece, len(buf))
		for len(marks) > 0 && (marks[0].end <= end || start < marks[0].end) {
			l.attempted.Store(marks[0].n)
			if marks[0].end > end {
				break // its end is in a later piece
			}
			marks = marks[1:]
		}
		if timeout > 0 {
			if err := l.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
				return err
			}
		}
		if _, err := l.conn.Write(buf[start:end]); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// halfClose ends our direction only, and leaves it to the reader to see the end of
// the Server's: closing a socket with unread bytes resets the connection, and the
// reset may overtake the DISCONNECT and so fire the will.
func (l *link) halfClose() {
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		l.conn.Close()
		return
	}
	l.conn.SetReadDeadline(time.Now().Add(lingerTime))
}

// byPeer tells whether a read or write error means that the peer closed, rather than
// that the way to it broke.
func byPeer(err error) bool {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return true
	case errors.Is(err, net.ErrClosed), errors.As(err, &timeout) && timeout.Timeout():
		return false
	}
	var broken syscall.Errno
	return !errors.As(err, &broken) // an end that a transport reports in words, such as a close frame
}
