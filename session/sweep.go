package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Server that comes back from an older copy of its state holds Packet Identifiers of QoS 2 whose
// PUBREL it had seen before. We have done with them, so they count against its quota for good: then it
// closes over a PUBLISH that is above the quota, or leaves it without an answer. If both ends go on,
// it takes a later message under such an identifier for the old one.
//
// So the identifiers that were used last are released again, as [scrub] does before the first use:
// when the Server has closed twice in a row while messages of QoS 2 were on their way, or when QoS 2
// stands still or is slower than before, in a session that it has kept. That goes from the newest to the oldest, and
// messages wait for it. Releasing an identifier that the Server does not hold changes nothing.
//
// The window of QoS 2 shrinks with such closes and grows with what is completed.
const (
	sweepSize     = 512                      // identifiers; four bytes each
	sweepReach    = publishIDs - maxDistance // identifiers before the newest: no message in the window has one of them
	sweepBefore   = 1024                     // identifiers of earlier processes
	sweepCloses   = 2                        // in a row
	sweepInARow   = suspicionLasts           // between closes that count together
	sweepPatience = 10 * time.Second         // with a Server that does not answer a chunk
	standsAfter   = 5 * time.Second          // that the oldest message is unanswered
)

// A sweep is how far identifiers were released again.
type sweep struct {
	closes int       // by the Server, in a row, with messages of QoS 2 on their way
	closed time.Time // the newest of them
	window int       // messages of QoS 2 that may be on their way; 0: as configured
	grown  int       // of them completed since the window grew
	usual  int       // answers by which a PUBLISH is overtaken, see overtaken

	due      bool
	top      uint64 // the sequence number behind the newest that was sent
	begun    bool   // to and from are set
	to       uint64 // behind the next one to release
	from     uint64 // of the last one
	answered bool   // the Server answers
	ended    uint64 // the newest Send when the newest sweep had ended
	strikes  int    // closes over a chunk
	refused  time.Time

	// Valid for one Network Connection: the chunk under way, from low to below to.
	low     uint64
	waiting int                    // PUBRELs without an answer
	pending [sweepSize / 64]uint64 // a bit for each of them
	sent    uint64                 // the Send of the first
	since   time.Time
}

// closedOverQoS2 counts a close of the Server while QoS 2 was under way.
func (s *Session) closedOverQoS2(now time.Time) {
	n := s.send.inflight2
	if n == 0 && !s.send.scrub.busy && !s.sweepBusy() {
		return
	}
	w := &s.suspect().sweep
	if now.Sub(w.closed) > sweepInARow {
		w.closes = 0
	}
	w.closes, w.closed = w.closes+1, now
	w.top = max(w.top, s.send.cursor)
	if w.closes < sweepCloses {
		return
	}
	w.demand()
	if n > 0 {
		w.window, w.grown = max(1, n/2), 0
	}
}

// window2 returns how many messages of QoS 2 may be on their way.
func (s *Session) window2() int {
	if s.suspected == nil || s.suspected.sweep.window == 0 {
		return s.cfg.MaxInflightQoS2
	}
	return s.suspected.sweep.window
}

// widen lets the window grow when as many messages were completed as it holds.
func (s *Session) widen() {
	if s.suspected == nil || s.suspected.sweep.window == 0 {
		return
	}
	w := &s.suspected.sweep
	if w.grown++; w.grown < w.window {
		return
	}
	w.window, w.grown = w.window+1, 0
	if w.window >= s.cfg.MaxInflightQoS2 {
		w.window = 0
	}
}

// demand makes a sweep due. One that was not finished begins anew: the Server may have come back
// again.
func (w *sweep) demand() { w.due, w.begun = true, false }

// sweepBusy reports whether a chunk is under way.
func (s *Session) sweepBusy() bool { return s.suspected != nil && s.suspected.sweep.waiting > 0 }

// sweep releases the next chunk if a sweep is due, and reports whether messages have to wait for it.
// Before the last close that counts against a message of QoS 2, one always is.
func (s *Session) sweep(now time.Time) bool {
	x := s.suspected
	if x == nil {
		return false
	}
	w := &x.sweep
	if !w.due && !s.conn.swept && x.strikes >= poisonStrikes-1 {
		w.demand()
	}
	if !w.due || w.waiting > 0 {
		return w.due
	}
	refuses := !w.refused.IsZero() && now.Sub(w.refused) < suspicionLasts
	if !s.send.resumed || refuses || s.cfg.NoScrub || s.cfg.CleanSession { // a new session holds nothing
		w.due = false
		return false
	}
	if !w.begun {
		w.begun, s.conn.swept = true, true
		w.top = max(w.top, s.send.cursor)
		used := sweepBefore + uint64(max(0, int32(uint32(w.top)-s.send.scrub.began)))
		w.to, w.from = w.top, w.top-min(w.top, used, sweepReach)
	}
	for w.waiting == 0 && w.to > w.from {
		s.sweepChunk(now, w)
	}
	if w.due = w.waiting > 0; !w.due {
		w.ended = s.conn.sends
	}
	return w.due
}

// sweepChunk releases the identifiers of the next chunk, but for those that messages have.
func (s *Session) sweepChunk(now time.Time, w *sweep) {
	w.low = max(w.from, w.to-min(w.to, sweepSize))
	w.sent, w.since = s.conn.sends+1, now
	for seq := w.to; seq > w.low; {
		seq--
		if seq < s.send.first || s.send.at(seq).stage == over {
			s.transmit(packets.PUBREL, nil, packetID(seq), s.logged)
			w.pending[(seq-w.low)/64] |= 1 << ((seq - w.low) % 64)
			w.waiting++
		}
	}
	if w.waiting == 0 {
		w.to = w.low
	}
}

// swept handles a PUBCOMP of the chunk, and reports whether it was one.
func (s *Session) swept(id uint16) bool {
	if !s.sweepBusy() || id == 0 || id > publishIDs {
		return false
	}
	w := &s.suspected.sweep
	offset := (int(id) - int(packetID(w.low)) + publishIDs) % publishIDs
	if offset >= sweepSize || w.pending[offset/64]>>(offset%64)&1 == 0 {
		return false
	}
	w.pending[offset/64] &^= 1 << (offset % 64)
	w.answered, w.strikes = true, 0
	if w.waiting--; w.waiting == 0 {
		w.to = w.low // pump goes on
	}
	return true
}

// stop ends the chunk under way, which the next connection begins anew.
func (w *sweep) stop() {
	w.waiting = 0
	clear(w.pending[:])
}

// untouched reports whether a chunk is under way and the Server has never answered one: a close may be
// over that.
func (w *sweep) untouched() bool { return w.waiting > 0 && !w.answered }

// sweepSuspected counts a close against the chunk under way. The Server cannot take a PUBREL that it
// does not know: it gets no more of them for a while, and everything else goes on.
func (s *Session) sweepSuspected(now time.Time) {
	w := &s.suspected.sweep
	if w.strikes++; w.strikes >= sweepCloses {
		w.refused, w.strikes, w.due = now, 0, false
	}
}

// overtaken looks at a PUBLISH of QoS 2 whose PUBREC came: how many packets that were sent after it were
// answered before it. A Server that answers in order lets none overtake. One that leaves what is
// above its quota without an answer lets more of them overtake the more of the quota is taken by
// identifiers that nobody uses. What is usual shows when it can have taken no such identifier: on the first
// Network Connection, in a new session, and after a sweep. On others a sweep is due when
// clearly more overtake.
func (s *Session) overtaken(d *outgoing) {
	n := int(s.send.answers-d.answers) - int(d.ahead)
	if n <= 0 {
		return
	}
	w := &s.suspect().sweep
	switch sound := s.conn.swept || s.conn.number == 1 || !s.send.resumed; {
	case w.due || d.sent <= w.ended: // it has waited for the sweep
	case sound:
		w.usual = max(w.usual, n)
	case n > w.usual+2:
		w.demand()
	}
}

// sweepTick begins a sweep when QoS 2 stands still, and ends one that is not answered.
func (s *Session) sweepTick(now time.Time) {
	if at := s.sweepAt(); at.IsZero() || now.Before(at) {
		return
	}
	s.conn.swept = true // or not, if the Server refuses
	w := &s.suspect().sweep
	if w.waiting == 0 {
		w.demand()
		return
	}
	w.stop()
	w.refused, w.due = now, false
}

// sweepAt returns when sweepTick has something to do.
func (s *Session) sweepAt() time.Time {
	x := &s.send
	if s.sweepBusy() {
		return s.suspected.sweep.since.Add(sweepPatience)
	}
	if x.inflight2 == 0 || !x.resumed || s.conn.swept {
		return time.Time{}
	}
	d := x.at(x.first)
	if d.sent == 0 || d.stage != published || d.pub.QoS != packets.ExactlyOnce {
		return time.Time{}
	}
	return d.sentAt.Add(standsAfter)
}
