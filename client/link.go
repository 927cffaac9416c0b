package client

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

const (
	writePiece  = 64 << 10    // bytes of a write that have one WriteTimeout
	keepBuffer  = 1 << 20     // bytes; a larger buffer is not kept for the next write
	enoughQueue = 256 << 10   // bytes that wait to be written before a QoS 0 Publish waits too
	lingerTime  = time.Second // for the rest of what the Server sends, when nothing more is written

	// mostAnswers is how many bytes of acknowledgements may wait to be written before reading stops:
	// two for each Packet Identifier. A Server that reads what it asks for cannot make as many wait.
	mostAnswers = 2 * 65536 * 4

	// leastProgress is how many bytes of a packet that is not complete count as a sign of life, within
	// the time that the Server has for one.
	leastProgress = 1 << 10
)

// A link is one Network Connection: what is to be written to it, and how it ended. Client.mu guards
// what is neither the reader's nor atomic; conn may be used at any time.
type link struct {
	conn   net.Conn
	opened time.Time

	// These belong to the goroutine that reads.
	reader  *packets.Reader
	readErr error // of conn, when it ended the reading
	swamped bool  // more than mostAnswers wait to be written
	quiet   bool  // the newest packet was CONNACK or PINGRESP, after which nothing may come for long

	bad *IncomingError // the message that is handled is skipped; nil: it is not

	// How far it has come.
	acceptBy time.Time // when it is given up unless the Server has accepted it; zero: never
	up       bool      // the Server accepted it
	bye      bool      // close when out is written: DISCONNECT is in it, or nothing is
	left     bool      // DISCONNECT was written
	closed   bool      // our direction is
	park     bool      // the bye is a parking
	shedding bool      // it is kept for an own request though messages were left to the Server
	overlong uint64    // lengths that are in Client.stats

	// What is to be written.
	out     []byte // encoded and not yet taken by the writer
	marks   []mark // the Sends in out
	held    []byte // encoded, and behind a Send that waits for its record
	holds   []mark // the Sends in held
	spare   []byte // of the newest write, to be used again
	spares  []mark
	answers int // bytes of acknowledgements in all of these, and in the write that runs
	writing bool
	now     time.Time     // when the newest write began or ended
	roomy   chan struct{} // has one place: fewer answers wait; nil: the reader does not wait for that

	// How it ended: the first reason stands.
	err     error           // nil while it lives
	by      session.EndedBy // who decided that
	closing bool            // conn is being closed, or is
	gone    chan struct{}   // closed when it ended; nil: nobody waits for that
	linger  *time.Timer     // closes conn; nil: nothing is read any more that was sent before the end
	helpers sync.WaitGroup  // the writer and the goroutine that closes

	attempted atomic.Uint64 // bytes of Sends up to it may have left
	passed    atomic.Uint64 // and of one that passed some that waited; 0: none did
	received  atomic.Uint64 // bytes
	lastRead  atomic.Int64  // 1 + since opened, of the newest byte; 0: none since it was looked at
	credited  uint64        // bytes received when they last counted as a sign of life
}

// A mark is a Send whose bytes are in a buffer.
type mark struct {
	n      uint64
	after  uint64  // the record that it waits for
	trace  *Packet // to be told when it leaves; nil: nobody is
	size   uint32  // bytes: no packet has more than 28 bits of them
	typ    packets.Type
	passes bool // it left before earlier ones, which wait
}

func newLink(conn net.Conn, cfg *Config) *link {
	l := &link{conn: conn, opened: time.Now()}
	opts := packets.ReaderOptions{
		Max:           cfg.MaxPacketSize,
		PassMalformed: true,
		Tolerate:      packets.TolerateSubackCodes | packets.TolerateOverlongLength,
	}
	if cfg.SkipOversize {
		opts.StreamAbove, opts.MaxStream = opts.Max, packets.MaxRemainingLength+5
	}
	l.reader = packets.NewReader(l, opts)
	return l
}

// Read notes that bytes came, for keep alive: a large packet may take long to be complete. It also
// keeps the error of the connection, so that it is not taken for one of a packet.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.conn.Read(b)
	if err != nil {
		l.readErr = err
	}
	if n > 0 {
		l.received.Add(uint64(n))
		l.lastRead.Store(int64(time.Since(l.opened)) + 1)
	}
	return n, err
}

// heard returns when bytes came last, if enough did since it was true before. A packet that comes byte
// by byte for ever is no sign of life; one that is large and slow is.
func (l *link) heard() (time.Time, bool) {
	received := l.received.Load()
	if received-l.credited < leastProgress {
		return time.Time{}, false
	}
	l.credited = received
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

// encode adds the packet of a Send to what is to be written, or to what is held until records are
// durable. A link that has ended takes nothing. PINGREQ and QoS 0 pass what is held: a slow disk
// delays neither. DISCONNECT goes last, and what is held then is dropped. If traced, Config.Trace is
// told about the packet when it leaves.
func (l *link) encode(o *session.Output, durable uint64, traced bool) {
	if l == nil || l.err != nil || l.bye {
		return
	}
	m := mark{n: o.N, after: o.After, typ: o.Type, passes: len(l.holds) > 0 && passes(o)}
	if o.Type == packets.DISCONNECT {
		l.held, l.holds = nil, nil // answers among them are counted on: nothing is read any more
	}
	if traced {
		m.trace = &Packet{Sent: true, Text: o.String()}
	}
	buf, marks := &l.out, &l.marks
	if o.After > durable || len(l.holds) > 0 && !m.passes {
		buf, marks = &l.held, &l.holds
	}
	out, err := o.AppendPacket(*buf)
	if err != nil {
		// The session validated it: nothing that came from outside leads here.
		panic("client: " + err.Error())
	}
	m.size = uint32(len(out) - len(*buf))
	if answers(m.typ) {
		l.answers += int(m.size)
	}
	*buf = out
	*marks = append(*marks, m)
}

// answers reports whether a packet of the type answers one of the Server's, which can ask for as many
// as it likes.
func answers(t packets.Type) bool { return packets.PUBACK <= t && t <= packets.PUBCOMP }

func passes(o *session.Output) bool {
	p, ok := o.Packet.(*packets.Publish)
	return o.Type == packets.PINGREQ || o.Type == packets.DISCONNECT || ok && p.QoS == packets.AtMostOnce
}

// release moves what waited for records that are durable now to what is to be written.
func (l *link) release(durable uint64) {
	n, bytes := 0, 0
	for n < len(l.holds) && l.holds[n].after <= durable {
		bytes += int(l.holds[n].size)
		n++
	}
	if n == 0 {
		return
	}
	l.out = append(l.out, l.held[:bytes]...)
	l.marks = append(l.marks, l.holds[:n]...)
	l.held = l.held[:copy(l.held, l.held[bytes:])]
	l.holds = l.holds[:copy(l.holds, l.holds[n:])]
}

// leave ends the link as the session asks: at once for a reason, and after what is queued for a
// DISCONNECT.
func (l *link) leave(err error) {
	switch {
	case l == nil:
	case err == nil:
		l.bye = true
	case errors.Is(err, session.ErrServerDisconnect):
		l.end(err, session.ByPeer)
	default:
		l.closeFor(err)
	}
}

// closeFor ends the link without another byte, for a reason of our own.
func (l *link) closeFor(reason error) { l.end(reason, session.ByUs) }

// end ends the link without another byte.
func (l *link) end(err error, by session.EndedBy) {
	if l.err != nil {
		l.closeNow() // it may be lingering
		return
	}
	l.over(err, by)
	l.closeNow()
}

// over notes how the link ended.
func (l *link) over(err error, by session.EndedBy) {
	l.err, l.by = err, by
	if l.gone != nil {
		close(l.gone)
	}
}

func (l *link) closeNow() {
	if l.closing {
		return
	}
	l.closing = true
	l.helpers.Add(1)
	go func() {
		defer l.helpers.Done()
		l.conn.Close()
	}()
}

// writeFailed ends the link after an error of its writer. When the Server has closed, what it sent
// before may still be unread, and may answer what would count against us otherwise: the reader goes
// on until it meets the end itself, for lingerTime at most.
func (l *link) writeFailed(err error) {
	if l.err != nil {
		return
	}
	by := whoEnded(err)
	if by != session.ByPeer {
		l.end(err, by)
		return
	}
	l.over(err, by)
	l.linger = time.AfterFunc(lingerTime, func() { l.conn.Close() })
}

// settleEnd returns by whom and why the link ended, whose reader has stopped with err, and closes it
// for good.
func (l *link) settleEnd(err error) (session.EndedBy, error) {
	var format *packets.FormatError
	var large *packets.TooLargeError
	by := session.ByUs
	switch {
	case l.err != nil:
		err, by = l.err, l.by // the reader only saw the consequence
	case errors.As(err, &format), errors.As(err, &large): // we close over it [MQTT-4.8.0-1]
	case l.readErr != nil:
		by = whoEnded(l.readErr)
	}
	if l.linger != nil {
		l.linger.Stop()
	}
	l.end(err, by)
	return by, err
}

// errLeft ends a link after DISCONNECT.
var errLeft = errors.New("client: disconnected")

// write sends what has gathered, and what gathers meanwhile, until nothing is left: the longer a
// write takes, the more goes into the next one.
func (c *Client) write(l *link) {
	defer l.helpers.Done()
	runtime.Gosched() // what others are about to add goes into the first write, too
	c.mu.Lock()
	for l.err == nil && len(l.out) > 0 {
		buf, marks, now := l.out, l.marks, l.now
		l.out, l.marks = l.spare[:0], l.spares[:0]
		c.mu.Unlock()
		err := l.writeAll(now, buf, marks, c.cfg.WriteTimeout, c.traces)
		c.mu.Lock()
		l.now = time.Now()
		c.stats.Writes++
		if err == nil {
			c.stats.BytesSent += uint64(len(buf))
			c.writtenLocked(l, marks)
		} else {
			l.writeFailed(err)
		}
		if cap(buf) > keepBuffer {
			buf = nil
		}
		l.spare, l.spares = buf[:0], marks[:0]
	}
	l.writing = false
	bye := l.bye && !l.closed && l.err == nil
	l.closed = l.closed || bye
	c.mu.Unlock()
	if bye {
		l.halfClose()
	}
}

// writtenLocked tells the session what was written.
func (c *Client) writtenLocked(l *link, marks []mark) {
	var last, passed uint64
	for i := range marks {
		m := &marks[i]
		c.stats.PacketsSent[m.typ&15]++
		l.left = l.left || m.typ == packets.DISCONNECT
		if answers(m.typ) {
			l.answers -= int(m.size)
		}
		if m.passes {
			passed = m.n
		} else {
			last = m.n
		}
	}
	if l.answers <= mostAnswers/2 {
		poke(l.roomy)
	}
	if c.link != l {
		return
	}
	if last > 0 {
		c.sess.Written(l.now, last)
	}
	if passed > 0 {
		c.sess.Passed(l.now, passed)
	}
	c.driveLocked()
	c.admitLocked()
	c.armLocked()
}

// nowLocked returns the time, or what it was when the write that runs began: reading the clock is
// most of the cost of a small message that is added to it.
func (c *Client) nowLocked() time.Time {
	if c.link != nil && c.link.writing {
		return c.link.now
	}
	return time.Now()
}

// writeAll writes buf in pieces, each with its own deadline, and notes before each how far bytes may
// have left.
func (l *link) writeAll(now time.Time, buf []byte, marks []mark, timeout time.Duration, traces *notifier[Packet]) error {
	start, noted := 0, 0 // noted: where the Send of marks[0] begins
	for start < len(buf) {
		end := min(start+writePiece, len(buf))
		for len(marks) > 0 && noted < end {
			m := &marks[0]
			if m.passes {
				l.passed.Store(m.n)
			} else {
				l.attempted.Store(m.n)
			}
			if m.trace != nil {
				m.trace.Time = time.Now()
				traces.put(*m.trace)
				m.trace = nil
			}
			if noted+int(m.size) > end {
				break // its end is in a later piece
			}
			noted += int(m.size)
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

// halfClose ends our direction only, and leaves it to the reader to see the end of the Server's:
// closing a socket with unread bytes resets the connection, and the reset may overtake the
// DISCONNECT, so that the Server publishes the Will.
func (l *link) halfClose() {
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		l.conn.Close()
		return
	}
	l.conn.SetReadDeadline(time.Now().Add(lingerTime))
}
