package client

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/packets"
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
	conn     net.Conn
	reader   *packets.Reader // of run
	skip     bool            // the packet that is handled was too large to be kept; run's own
	quiet    bool            // what came last comes when nothing else does; run's own
	opened   time.Time
	acceptBy time.Time // when it is given up if the Server has not accepted it; zero: never
	up       bool      // the Server accepted it
	out      []byte    // encoded and not yet taken by the writer
	marks    []mark    // where the Sends in out end
	held     []byte    // encoded, and behind a Send that waits for its record
	holds    []mark    // where the Sends in held end
	spare    []byte
	spares   []mark
	writing  bool
	now      time.Time      // when the newest write began or ended
	bye      bool           // close when out is written: DISCONNECT is in it, or nothing is
	closed   bool           // our direction is
	park     bool           // the bye is a parking
	shedding bool           // an own request made it read on though messages were left to the Server
	overlong uint64         // lengths that are in Client.stats
	err      error          // why it was given up; nil while it lives
	gone     chan struct{}  // closed when it is given up; nil: nobody waits for that
	helpers  sync.WaitGroup // the writer and the one that closes

	attempted atomic.Uint64 // bytes of Sends up to it may have left
	passed    atomic.Uint64 // and of one that passed some that waited; 0: none did
	received  atomic.Uint64 // bytes
	lastRead  atomic.Int64  // 1 + since opened, of the newest byte; 0: none since it was looked at
}

// A mark is where the bytes of a Send end in a buffer.
type mark struct {
	end    int
	n      uint64
	after  uint64 // the record that it waits for
	passes bool   // it left before earlier ones, which wait
}

func newLink(conn net.Conn, cfg *Config) *link {
	l := &link{conn: conn, opened: time.Now()}
	opts := packets.ReaderOptions{
		Max:      cfg.MaxPacketSize,
		Tolerate: packets.TolerateSubackCodes | packets.TolerateOverlongLength,
	}
	if cfg.SkipOversize {
		opts.StreamAbove, opts.MaxStream = opts.Max, packets.MaxRemainingLength+5
	}
	l.reader = packets.NewReader(l, opts)
	return l
}

// Read notes that bytes came, for keep alive: a large packet may take long to be
// complete.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.conn.Read(b)
	if n > 0 {
		l.received.Add(uint64(n))
		l.lastRead.Store(int64(time.Since(l.opened)) + 1)
	}
	return n, err
}

// heard returns when bytes came last, if any did since it was asked before.
func (l *link) heard() (time.Time, bool) {
	d := l.lastRead.Swap(0)
	return l.opened.Add(time.Duration(d - 1)), d != 0
}

// deadline returns when the Server has to have accepted; the zero time if that does not matter.
func (l *link) deadline() time.Time {
	if l == nil || l.up || l.err != nil {
		return time.Time{}
	}
	return l.acceptBy
}

// encode adds the packet of a Send to what is to be written, or to what is held until
// records are durable. PINGREQ and QoS 0 pass what is held: a slow disk delays neither.
// DISCONNECT goes last, and what is held then is dropped.
func (l *link) encode(o *session.Output, durable uint64) {
	if l == nil || l.err != nil || l.bye {
		return
	}
	if o.Type == packets.DISCONNECT {
		l.held, l.holds = nil, nil
	}
	m := mark{n: o.N, after: o.After, passes: len(l.holds) > 0 && passes(o)}
	buf, marks := &l.out, &l.marks
	if o.After > durable || len(l.holds) > 0 && !m.passes {
		buf, marks = &l.held, &l.holds
	}
	out, err := o.AppendPacket(*buf)
	if err != nil {
		// The session validated it: nothing that came from outside leads here.
		panic("client: " + err.Error())
	}
	*buf = out
	m.end = len(out)
	*marks = append(*marks, m)
}

func passes(o *session.Output) bool {
	p, ok := o.Packet.(*packets.Publish)
	return o.Type == packets.PINGREQ || ok && p.QoS == packets.AtMostOnce
}

// release moves what waited for records that are durable now to what is to be written.
func (l *link) release(durable uint64) {
	n, start := 0, 0
	for n < len(l.holds) && l.holds[n].after <= durable {
		m := l.holds[n]
		l.out = append(l.out, l.held[start:m.end]...)
		start, m.end = m.end, len(l.out)
		l.marks = append(l.marks, m)
		n++
	}
	if n == 0 {
		return
	}
	l.held = l.held[:copy(l.held, l.held[start:])]
	l.holds = l.holds[:copy(l.holds, l.holds[n:])]
	for i := range l.holds {
		l.holds[i].end -= start
	}
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
	if l.gone != nil {
		close(l.gone)
	}
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
	runtime.Gosched() // what others are about to add goes into the first write, too
	c.mu.Lock()
	for l.err == nil && len(l.out) > 0 {
		buf, marks, now := l.out, l.marks, l.now
		l.out, l.marks = l.spare[:0], l.spares[:0]
		c.mu.Unlock()
		err := l.writeAll(now, buf, marks, c.cfg.WriteTimeout)
		c.mu.Lock()
		l.now = time.Now()
		if err == nil {
			c.stats.BytesSent += uint64(len(buf))
		}
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
			c.written(marks)
			c.drive()
			c.arm()
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

// written tells the session what was written. The caller holds mu.
func (c *Client) written(marks []mark) {
	var last, passed uint64
	for i := range marks {
		if marks[i].passes {
			passed = marks[i].n
		} else {
			last = marks[i].n
		}
	}
	if last > 0 {
		c.sess.Written(c.link.now, last)
	}
	if passed > 0 {
		c.sess.Passed(c.link.now, passed)
	}
}

// now returns the time, or what it was when the write that runs began: the clock is what costs
// most of a small message that is added to it. The caller holds mu.
func (c *Client) now() time.Time {
	if c.link != nil && c.link.writing {
		return c.link.now
	}
	return time.Now()
}

// writeAll writes buf in pieces, each with its own deadline, and notes before each
// how far bytes may have left.
func (l *link) writeAll(now time.Time, buf []byte, marks []mark, timeout time.Duration) error {
	start, noted := 0, 0 // noted: where the Send of marks[0] starts
	for start < len(buf) {
		end := min(start+writePiece, len(buf))
		for len(marks) > 0 && noted < end {
			if marks[0].passes {
				l.passed.Store(marks[0].n)
			} else {
				l.attempted.Store(marks[0].n)
			}
			if marks[0].end > end {
				break // its end is in a later piece
			}
			noted = marks[0].end
			marks = marks[1:]
		}
		if timeout > 0 {
			if start > 0 {
				now = time.Now()
			}
			if err := l.conn.SetWriteDeadline(now.Add(timeout)); err != nil {
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
