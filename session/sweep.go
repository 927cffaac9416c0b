package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Server that was restored from an older copy of its state holds Packet Identifiers of QoS 2 that
// were already released. We do not use them any more, so they count against its quota forever: it
// closes the connection when a PUBLISH exceeds the quota, or does not answer it. Later it would
// take a new message under such an identifier for the old one.
//
// So the identifiers that were used last are released again, as [scrub] does before their first
// use, if the Server has closed twice in a row while messages of QoS 2 were in flight, or if QoS 2
// is stuck or slower than before in a resumed session. Identifiers are released from the newest to
// the oldest, and messages wait meanwhile. Releasing an identifier that the Server does not hold
// has no effect.
//
// The Server may also hold identifiers that we do not know of, if our own state is an older copy or
// was lost: a later process had used them. So if no message of QoS 2 is completed after a sweep, or
// if the next close would condemn one, the next sweep goes on to all other identifiers that no
// message has: 131 KB of PUBRELs.
//
// The window of QoS 2 shrinks with each such close and grows with completed messages.
const (
	sweepSize     = 512                      // identifiers; four bytes each
	sweepReach    = publishIDs - maxDistance // identifiers before the newest, none of which a message in the window can have
	sweepBefore   = 1024                     // identifiers of earlier processes
	sweepCloses   = 2                        // in a row
	sweepBroken   = 5                        // sweeps in a row that a close ended
	sweepInARow   = suspicionLasts           // between closes that count together
	sweepPatience = 10 * time.Second         // how long to wait for the answer to a chunk
	standsAfter   = 5 * time.Second          // QoS 2 is stuck when the oldest message is unanswered for this long
)

// A sweep is the progress of releasing identifiers again.
type sweep struct {
	closes int       // closes by the Server, in a row, with messages of QoS 2 in flight
	closed time.Time // the newest of them
	window int       // messages of QoS 2 that may be in flight; 0: as configured
	grown  int       // messages completed since the window last grew
	usual  int       // usual number of answers that overtake a PUBLISH: see overtaken

	due      bool
	top      uint64    // sequence number after the last one sent
	begun    bool      // to and from are set
	to       uint64    // sequence number after the next one to release
	from     uint64    // sequence number of the last one to release
	answered bool      // the Server has answered a chunk
	ended    uint64    // number of the last Send when the last sweep ended
	vain     time.Time // when it ended, if no message of QoS 2 was completed since
	strikes  int       // closes because of a chunk, none of which was answered
	broken   int       // closes in the middle of a sweep since one was finished
	refused  time.Time

	// Valid for one Network Connection: the chunk in progress, [low, to).
	low     uint64
	waiting int                    // PUBRELs without an answer
	pending [sweepSize / 64]uint64 // a bit for each of them
	sent    uint64                 // number of the Send of the first
	since   time.Time
}

// closedOverQoS2 counts a close by the Server while messages of QoS 2 were in flight.
func (s *Session) closedOverQoS2(now time.Time) {
	n := s.send.inflight2
	if n == 0 && !s.send.scrub.busy && !s.sweepBusy() {
		return
	}
	w := &s.suspect().sweep
	if s.sweepBusy() && w.answered {
		if w.broken++; w.broken >= sweepBroken { // perhaps they are too many for it at once
			w.refuse(now)
		}
	}
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

// window2 returns how many messages of QoS 2 may be in flight.
func (s *Session) window2() int {
	if s.suspected == nil || s.suspected.sweep.window == 0 {
		return s.cfg.MaxInflightQoS2
	}
	return s.suspected.sweep.window
}

// widen notes that a message of QoS 2 was completed, and increases the window when as many were as
// it holds.
func (s *Session) widen() {
	if s.suspected == nil {
		return
	}
	w := &s.suspected.sweep
	w.vain = time.Time{}
	if w.window == 0 {
		return
	}
	if w.grown++; w.grown < w.window {
		return
	}
	w.window, w.grown = w.window+1, 0
	if w.window >= s.cfg.MaxInflightQoS2 {
		w.window = 0
	}
}

// demand makes a sweep due. An unfinished one starts again, because the Server may have been
// restored again.
func (w *sweep) demand() { w.due, w.begun = true, false }

// sweepBusy reports whether a chunk is in progress.
func (s *Session) sweepBusy() bool { return s.suspected != nil && s.suspected.sweep.waiting > 0 }

// sweep releases the next chunk if a sweep is due, and reports whether messages must wait for it. A
// sweep is always due before the last close that would condemn a message of QoS 2.
func (s *Session) sweep(now time.Time) bool {
	x := s.suspected
	if x == nil {
		return false
	}
	w := &x.sweep
	if !w.due && !s.conn.swept && s.lastQoS2() {
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
		if !w.vain.IsZero() || s.lastQoS2() {
			s.conn.sweptAll = true
			w.to, w.from = w.top+publishIDs, w.top
		}
	}
	for w.waiting == 0 && w.to > w.from {
		s.sweepChunk(now, w)
	}
	if w.due = w.waiting > 0; !w.due {
		w.ended, w.vain, w.broken = s.conn.sends, now, 0
	}
	return w.due
}

// lastQoS2 reports whether the next close would condemn a message of QoS 2.
func (s *Session) lastQoS2() bool {
	x := s.suspected
	return x.strikes >= poisonStrikes-1 && s.send.at(x.seq).pub.QoS == packets.ExactlyOnce
}

// sweepChunk releases the identifiers of the next chunk, except those of messages that the Server may have.
func (s *Session) sweepChunk(now time.Time, w *sweep) {
	w.low = max(w.from, w.to-min(w.to, sweepSize))
	w.sent, w.since = s.conn.sends+1, now
	for seq := w.to; seq > w.low; {
		seq--
		id := packetID(seq)
		if _, d := s.send.under(id); d == nil || d.stage == queued && !d.left {
			s.transmit(packets.PUBREL, nil, id, s.logged)
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

// stop abandons the chunk in progress; the next connection starts it again.
func (w *sweep) stop() {
	w.waiting = 0
	clear(w.pending[:])
}

// untouched reports whether a chunk is in progress and the Server has never answered one, so that
// it may be the cause of a close.
func (w *sweep) untouched() bool { return w.waiting > 0 && !w.answered }

// sweepSuspected counts a close against the chunk in progress. If the Server does not accept
// PUBRELs for unknown identifiers, no more are sent for a while; everything else goes on.
func (s *Session) sweepSuspected(now time.Time) {
	w := &s.suspected.sweep
	if w.strikes++; w.strikes >= sweepCloses {
		w.refuse(now)
	}
}

// refuse gives up releasing identifiers for a while.
func (w *sweep) refuse(now time.Time) {
	w.refused, w.vain, w.strikes, w.broken, w.due = now, time.Time{}, 0, 0, false
}

// overtaken examines a PUBLISH of QoS 2 whose PUBREC has arrived: how many packets sent after it
// were answered before it. With a Server that answers in order there are none. A Server that does
// not answer what exceeds its quota lets more packets overtake the more of the quota is used up by
// forgotten identifiers. The usual number is measured when there can be none: on the first Network
// Connection, in a new session, and after a sweep. At other times a sweep is due if clearly more
// packets overtake.
func (s *Session) overtaken(d *outgoing) {
	n := int(s.send.answers-d.answers) - int(d.ahead)
	if n <= 0 {
		return
	}
	w := &s.suspect().sweep
	switch sound := s.conn.swept || s.conn.number == 1 || !s.send.resumed; {
	case w.due || d.sent <= w.ended: // it was delayed by the sweep
	case sound:
		w.usual = max(w.usual, n)
	case n > w.usual+2:
		w.demand()
	}
}

// sweepTick starts a sweep when QoS 2 is stuck, and ends one that is not answered.
func (s *Session) sweepTick(now time.Time) {
	if at := s.sweepAt(); at.IsZero() || now.Before(at) {
		return
	}
	w := &s.suspect().sweep
	s.conn.swept, s.conn.sweptAll = true, s.conn.swept // even if the Server refuses it
	if w.waiting == 0 {
		w.demand()
		return
	}
	w.stop()
	w.refuse(now)
}

// sweepAt returns when sweepTick is due.
func (s *Session) sweepAt() time.Time {
	x := &s.send
	if s.sweepBusy() {
		return s.suspected.sweep.since.Add(sweepPatience)
	}
	if x.inflight2 == 0 || !x.resumed || s.conn.sweptAll || s.conn.swept && s.suspected.sweep.vain.IsZero() {
		return time.Time{}
	}
	d := x.at(x.first)
	if d.sent == 0 || d.stage != published || d.pub.QoS != packets.ExactlyOnce {
		return time.Time{}
	}
	since := d.sentAt
	if s.conn.swept && s.suspected.sweep.vain.After(since) {
		since = s.suspected.sweep.vain
	}
	return since.Add(standsAfter)
}
