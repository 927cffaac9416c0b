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
	writePiece  = 64 << 10    // bytes per write; each has its own WriteTimeout
	keepBuffer  = 1 << 20     // bytes; a larger buffer is not kept for the next write
	enoughQueue = 256 << 10   // bytes that wait to be written before a QoS 0 Publish waits too
	lingerTime  = time.Second // for the rest of what the Server sends, when nothing more is written

	// mostAnswers is how many bytes of acknowledgements may wait to be written before reading
	// stops: two packets for each Packet Identifier. A Server that reads its acknowledgements
	// cannot cause so many.
	mostAnswers = 2 * 65536 * 4

	// leastProgress is how many bytes of an incomplete packet count as a sign of life from the
	// Server.
	leastProgress = 1 << 10
)

// A link is one Network Connection, with what is to be written to it and how it ended. Client.mu
// guards all fields except those of the reader, atomics and conn.
type link struct {
	conn   net.Conn
	opened time.Time

	// Used only by the goroutine that reads.
	reader  *packets.Reader
	readErr error // the error of conn that ended reading
	swamped bool  // more than mostAnswers wait to be written
	quiet   bool  // the last packet was CONNACK or PINGRESP: nothing may arrive for a long time

	bad *IncomingError // set if the current message is skipped

	// Its state.
	acceptBy time.Time // when it is given up unless accepted by the Server; zero: never
	up       bool      // the Server accepted it
	bye      bool      // close when out, which ends in DISCONNECT, is written
	left     bool      // DISCONNECT was written
	closed   bool      // our direction is closed
	park     bool      // bye is set because the client parks
	shedding bool      // messages were shed, but the link is kept until our requests are answered
	overlong uint64    // overlong lengths already counted in Client.stats

	// Output to be written.
	out     []byte // encoded and not yet taken by the writer
	marks   []mark // the Sends in out
	held    []byte // encoded, but waits for records to be durable
	holds   []mark // the Sends in held
	spare   []byte // buffer of the last write, for reuse
	spares  []mark
	answers int // bytes of acknowledgements in all of these and in the current write
	writing bool
	now     time.Time     // when the last write started or ended
	roomy   chan struct{} // capacity 1; signals that fewer answers wait; nil unless the reader waits for that

	// How it ended: the first reason stands.
	err     error           // nil while the link is up
	by      session.EndedBy // who ended it
	closing bool            // conn is being closed, or is
	gone    chan struct{}   // closed when the link has ended; nil unless a goroutine waits for that
	linger  *time.Timer     // closes conn after lingerTime; nil unless lingering
	helpers sync.WaitGroup  // the writer and the goroutine that closes

	attempted atomic.Uint64 // bytes of Sends up to this number may have been written
	passed    atomic.Uint64 // the last Send that overtook waiting ones; 0: none
	received  atomic.Uint64 // bytes
	lastRead  atomic.Int64  // time of the last byte since opened, plus 1; 0: none since the last check
	credited  uint64        // bytes received when they last counted as a sign of life
}

// A mark is a Send whose bytes are in a buffer.
type mark struct {
	n      uint64
	after  uint64  // the record that it waits for
	trace  *Packet // for Config.Trace, when it is written; or nil
	size   uint32  // bytes: no packet has more than 28 bits of them
	typ    packets.Type
	passes bool // it overtakes earlier ones, which wait
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

// Read records when bytes arrive, for keep alive: a large packet may take long. It also keeps the
// error of the connection, to distinguish it from errors of packets.
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

// heard returns when the last bytes arrived, and whether enough have arrived since it last returned
// true. A packet that trickles in byte by byte is not a sign of life; a large, slow one is.
func (l *link) heard() (time.Time, bool) {
	received := l.received.Load()
	if received-l.credited < leastProgress {
		return time.Time{}, false
	}
	l.credited = received
	d := l.lastRead.Swap(0)
	return l.opened.Add(time.Duration(d - 1)), d != 0
}

// deadline returns the time by which the Server must have accepted the connection, or zero if there
// is none.
func (l *link) deadline() time.Time {
	if l == nil || l.up || l.err != nil {
		return time.Time{}
	}
	return l.acceptBy
}

// encode adds the packet of a Send to the output, or to what is held until records are durable. It
// does nothing if the link has ended. PINGREQ and QoS 0 overtake what is held, so that a slow disk
// does not delay them. DISCONNECT is the last packet; what is held then is dropped. If traced is
// set, the packet is reported to Config.Trace when it is written.
func (l *link) encode(o *session.Output, durable uint64, traced bool) {
	if l == nil || l.err != nil || l.bye {
		return
	}
	m := mark{n: o.N, after: o.After, typ: o.Type, passes: len(l.holds) > 0 && passes(o)}
	if o.Type == packets.DISCONNECT {
		l.held, l.holds = nil, nil // answers among them stay counted, but nothing is read any more
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
		// The session has validated it, so no external input leads here.
		panic("client: " + err.Error())
	}
	m.size = uint32(len(out) - len(*buf))
	if answers(m.typ) {
		l.answers += int(m.size)
	}
	*buf = out
	*marks = append(*marks, m)
}

// answers reports whether a packet of type t answers a packet of the Server, which can cause any
// number of them.
func answers(t packets.Type) bool { return packets.PUBACK <= t && t <= packets.PUBCOMP }

func passes(o *session.Output) bool {
	p, ok := o.Packet.(*packets.Publish)
	return o.Type == packets.PINGREQ || o.Type == packets.DISCONNECT || ok && p.QoS == packets.AtMostOnce
}

// release moves packets whose records are now durable to the output.
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

// leave ends the link as the session requests: at once if err is not nil, and otherwise after
// DISCONNECT was written.
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

// closeFor ends the link at once, by our own decision.
func (l *link) closeFor(reason error) { l.end(reason, session.ByUs) }

// end ends the link at once.
func (l *link) end(err error, by session.EndedBy) {
	if l.err != nil {
		l.closeNow() // it may be lingering
		return
	}
	l.over(err, by)
	l.closeNow()
}

// over records how the link ended.
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

// writeFailed ends the link after an error of its writer. If the Server has closed the connection,
// answers that it sent before may still be unread; without them a request could be blamed for the
// close. So the reader continues until it reaches the end itself, for at most lingerTime.
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

// settleEnd closes the link, whose reader has stopped with err, and returns who ended it and why.
func (l *link) settleEnd(err error) (session.EndedBy, error) {
	var format *packets.FormatError
	var large *packets.TooLargeError
	by := session.ByUs
	var telling interface{ Hint() string } // as transport.DialError
	switch {
	case l.linger != nil && errors.As(l.readErr, &telling):
		err, by = l.readErr, l.by // why the Server closed, such as an alert of TLS: the failed write is a consequence
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

// write writes the output, and what is added meanwhile, until nothing is left. The longer a write
// takes, the more is combined in the next one.
func (c *Client) write(l *link) {
	defer l.helpers.Done()
	runtime.Gosched() // so that other goroutines can add to the first write
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

// nowLocked returns the current time, or during a write the time when it started: reading the clock
// is most of the cost of adding a small message to a write.
func (c *Client) nowLocked() time.Time {
	if c.link != nil && c.link.writing {
		return c.link.now
	}
	return time.Now()
}

// writeAll writes buf in pieces, each with its own deadline, and records before each which Sends
// may have been written.
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

// halfClose closes only our direction; the reader then sees the end of the Server's. Closing a
// socket with unread bytes would reset the connection, and the reset might overtake DISCONNECT, so
// that the Server publishes the Will.
func (l *link) halfClose() {
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		l.conn.Close()
		return
	}
	l.conn.SetReadDeadline(time.Now().Add(lingerTime))
}
