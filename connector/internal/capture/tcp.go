package capture

import (
	"container/list"
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"
)

// A Direction is one of the two directions of a connection.
type Direction int

// The directions. The opener is the side that sent the first SYN, or the first segment if there is
// no SYN.
const (
	FromOpener Direction = iota
	FromOther
)

// A Flow is a TCP connection, as far as it was captured.
type Flow struct {
	Number        int // from 1, in the order of appearance
	Opener, Other netip.AddrPort
	Start         time.Time
	Opened        bool // its SYN was captured
	Tag           any  // for use by the Handler

	halves [2]half
	place  *list.Element
	key    key
}

// A Handler receives the data of flows.
type Handler interface {
	// Data is called with bytes in the order in which they were sent, each of them once, one segment at a
	// time. b is valid until Data returns.
	Data(f *Flow, d Direction, at time.Time, b []byte)

	// Gap is called where n bytes were sent but not captured.
	Gap(f *Flow, d Direction, at time.Time, n int64)

	// Close is called once for each flow that had Data or Gap, when the flow or the capture has ended.
	Close(f *Flow, how Ending)
}

// An Ending is how a flow ended.
type Ending int

// The ways in which a flow can end.
const (
	NotEnded   Ending = iota // the capture ended first
	Finished                 // both sides sent FIN
	Reset                    // a side sent RST
	GivenUp                  // too many flows were open at once
	PortReused               // a new connection between the same ports
)

// Skipped counts the frames and segments that were not used.
type Skipped struct {
	Large      int // frames above a mebibyte
	Links      int // frames of an unknown link layer
	Fragments  int // IP fragments, which are not reassembled
	Short      int // frames cut within their headers
	Other      int // frames of other protocols
	Flows      int // connections given up because too many were open at once
	Repeated   int // segments that were sent or captured twice
	Unreadable error
}

// Limits for the number of connections, and for the out-of-order segments of one direction and of
// all.
const (
	mostFlows   = 4096
	mostEnded   = 4096
	mostSegs    = 1024
	mostWaiting = 1 << 20
	mostHeld    = 32 << 20
)

// patience is how many further segments a connection may have before a segment that its receiver has acknowledged
// counts as not captured: the frames of the two directions may be captured in the wrong order.
const patience = 32

// Read reads a capture file and reassembles its TCP connections. A file in another format is [ErrFormat]. Damage further
// on ends the capture and is counted in Skipped.Unreadable.
func Read(r io.Reader, h Handler) (Skipped, error) {
	f, err := open(r)
	if err != nil {
		return Skipped{}, err
	}
	a := assembler{h: h, flows: make(map[key]*Flow), over: make(map[key]bool)}
	for {
		frame, err := f.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				a.skipped.Unreadable = err
			}
			break
		}
		s, why := dissect(frame.Link, frame.Bytes)
		switch why {
		case isSegment:
			a.segment(s, frame.At)
		case isLink:
			a.skipped.Links++
		case isFragment:
			a.skipped.Fragments++
		case isShort:
			a.skipped.Short++
		default:
			a.skipped.Other++
		}
	}
	for a.recent.Len() > 0 {
		a.close(a.recent.Back().Value.(*Flow), NotEnded)
	}
	a.skipped.Large = f.large
	return a.skipped, nil
}

// A key identifies a connection regardless of direction.
type key struct{ low, high netip.AddrPort }

func keyOf(s segment) key {
	if s.from.Compare(s.to) <= 0 {
		return key{s.from, s.to}
	}
	return key{s.to, s.from}
}

// An assembler reassembles connections.
type assembler struct {
	h       Handler
	flows   map[key]*Flow
	over    map[key]bool // ended connections, so that a repeated segment does not open a new one
	ended   []key        // the keys of over in order, at most mostEnded
	recent  list.List    // of *Flow, the least recent one at the back
	count   int
	held    int
	skipped Skipped
}

// A half is one direction of a connection.
type half struct {
	started bool
	next    uint32 // sequence number of the next byte
	acked   uint32 // the other side has acknowledged everything before this
	hasAck  bool
	fin     bool   // FIN was sent
	finAt   uint32 // its sequence number
	done    bool   // everything before FIN has been received
	used    bool   // the Handler has been called for it
	waiting []piece
	bytes   int
	since   int // segments of the connection since the first waiting one arrived
	at      time.Time
}

// A piece is a segment that arrived before an earlier one.
type piece struct {
	seq     uint32
	payload []byte
	size    int
	at      time.Time
}

// before compares sequence numbers, which wrap.
func before(a, b uint32) bool { return int32(a-b) < 0 }

func (a *assembler) segment(s segment, at time.Time) {
	k := keyOf(s)
	f := a.flows[k]
	if syn := s.flags&(flagSyn|flagAck) == flagSyn; f != nil && syn && !f.sameSyn(s) {
		a.close(f, PortReused)
		f = nil
	}
	if f == nil && a.over[k] && s.flags&flagSyn == 0 {
		if s.size > 0 { // a retransmission after the end of its connection
			a.skipped.Repeated++
		}
		return
	}
	if f == nil {
		if s.flags&flagRst != 0 || s.flags&flagSyn == 0 && s.size == 0 {
			return // a reset, or a segment without data
		}
		f = a.open(k, s, at)
	}
	a.recent.MoveToFront(f.place)
	d := FromOther
	if s.from == f.Opener {
		d = FromOpener
	}
	h, back := &f.halves[d], &f.halves[1-d]
	if s.flags&flagAck != 0 && (!back.hasAck || before(back.acked, s.ack)) {
		back.acked, back.hasAck = s.ack, true
	}
	if s.flags&flagSyn != 0 {
		s.seq++
	}
	if !h.started {
		h.started, h.next = true, s.seq
	}
	if s.flags&flagFin != 0 && !h.fin {
		h.fin, h.finAt = true, s.seq+uint32(s.size)
	}
	if s.size > 0 {
		a.put(f, d, piece{s.seq, s.payload, s.size, at})
	}
	for d := range f.halves {
		a.overdue(f, Direction(d), at)
	}
	for i := range f.halves {
		h := &f.halves[i]
		h.done = h.done || h.fin && !before(h.next, h.finAt)
	}
	switch {
	case s.flags&flagRst != 0:
		a.close(f, Reset)
	case f.halves[0].done && f.halves[1].done:
		a.close(f, Finished)
	}
}

// sameSyn reports whether a SYN is a repetition of the one that opened the connection.
func (f *Flow) sameSyn(s segment) bool {
	h := &f.halves[FromOpener]
	return f.Opened && s.from == f.Opener && h.started && h.next == s.seq+1
}

func (a *assembler) open(k key, s segment, at time.Time) *Flow {
	if len(a.flows) >= mostFlows {
		a.skipped.Flows++
		a.close(a.recent.Back().Value.(*Flow), GivenUp)
	}
	a.count++
	f := &Flow{Number: a.count, Opener: s.from, Other: s.to, Start: at, Opened: s.flags&flagSyn != 0, key: k}
	if s.flags&(flagSyn|flagAck) == flagSyn|flagAck {
		f.Opener, f.Other = s.to, s.from
	}
	f.place = a.recent.PushFront(f)
	a.flows[k] = f
	delete(a.over, k)
	return f
}

// put handles a segment: it passes on the next bytes, drops old ones, and keeps early ones.
func (a *assembler) put(f *Flow, d Direction, p piece) {
	h := &f.halves[d]
	if before(h.next, p.seq) {
		i, there := slices.BinarySearchFunc(h.waiting, p.seq, func(w piece, seq uint32) int { return int(int32(w.seq - seq)) })
		if there && h.waiting[i].size >= p.size {
			a.skipped.Repeated++
			return
		}
		if len(h.waiting) == 0 {
			h.since = 0
		}
		p.payload = slices.Clone(p.payload)
		h.waiting = slices.Insert(h.waiting, i, p)
		h.bytes += len(p.payload)
		a.held += len(p.payload)
		for len(h.waiting) > mostSegs || h.bytes > mostWaiting || len(h.waiting) > 0 && a.held > mostHeld {
			a.jump(f, d)
		}
		return
	}
	a.give(f, d, p)
	a.drain(f, d)
}

// give passes on the new bytes of a segment that is not early.
func (a *assembler) give(f *Flow, d Direction, p piece) {
	h := &f.halves[d]
	old := int(h.next - p.seq)
	if old >= p.size {
		a.skipped.Repeated++
		return
	}
	fresh := behind(p.payload, old)
	missing := p.size - old - len(fresh)
	h.next = p.seq + uint32(p.size)
	h.used, h.at = true, p.at
	if len(fresh) > 0 {
		a.h.Data(f, d, p.at, fresh)
	}
	if missing > 0 { // the capture has only the beginning of the frame
		a.h.Gap(f, d, p.at, int64(missing))
	}
}

// drain passes on the waiting segments that are now in order.
func (a *assembler) drain(f *Flow, d Direction) {
	h := &f.halves[d]
	for len(h.waiting) > 0 && !before(h.next, h.waiting[0].seq) {
		p := a.first(h)
		a.give(f, d, p)
	}
}

// first removes and returns the first waiting segment.
func (a *assembler) first(h *half) piece {
	p := h.waiting[0]
	h.waiting[0] = piece{}
	h.waiting = h.waiting[1:]
	if len(h.waiting) == 0 {
		h.waiting = nil
	}
	h.bytes -= len(p.payload)
	a.held -= len(p.payload)
	return p
}

// jump skips the bytes missing before the first waiting segment.
func (a *assembler) jump(f *Flow, d Direction) {
	h := &f.halves[d]
	p := h.waiting[0]
	h.used = true
	a.h.Gap(f, d, p.at, int64(p.seq-h.next))
	h.next, h.since = p.seq, 0
	a.drain(f, d)
}

// overdue skips missing bytes that the receiver has acknowledged, once they have had enough time to be
// captured.
func (a *assembler) overdue(f *Flow, d Direction, at time.Time) {
	h := &f.halves[d]
	if len(h.waiting) == 0 {
		return
	}
	if h.since++; h.since > patience && h.hasAck && !before(h.acked, h.waiting[0].seq) {
		a.jump(f, d)
	}
}

// close ends a flow. It reports gaps before segments that still wait, and for bytes that were acknowledged but
// never captured.
func (a *assembler) close(f *Flow, how Ending) {
	a.recent.Remove(f.place)
	delete(a.flows, f.key)
	if how == Finished || how == Reset {
		a.bury(f.key)
	}
	used := false
	for i := range f.halves {
		h, d := &f.halves[i], Direction(i)
		for len(h.waiting) > 0 {
			a.jump(f, d)
		}
		end := h.acked
		if h.fin && before(h.finAt, end) {
			end = h.finAt
		}
		if h.started && h.hasAck && before(h.next, end) {
			h.used = true
			a.h.Gap(f, d, h.at, int64(end-h.next))
		}
		used = used || h.used
	}
	if used {
		a.h.Close(f, how)
	}
}

// bury remembers that a connection has ended.
func (a *assembler) bury(k key) {
	if len(a.ended) == mostEnded {
		delete(a.over, a.ended[0])
		a.ended = append(a.ended[:0], a.ended[1:]...)
	}
	a.ended = append(a.ended, k)
	a.over[k] = true
}
