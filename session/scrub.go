package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// If a Server still holds a Packet Identifier of QoS 2, it takes a new message under it for the old
// one: it acknowledges the message and drops it, as [MQTT-4.3.3-2] requires. That happens if our
// state was not kept or was lost, while the Server has kept its own, whatever Session Present says.
// So before an identifier is first used at QoS 2, it is released once by PUBREL, which every Server
// answers with PUBCOMP. This is done in chunks ahead of use, once for each identifier.
const (
	scrubChunk   = 64 // identifiers; four bytes each
	scrubAhead   = scrubChunk / 2
	scrubStrikes = 3
	scrubRetry   = 10 * time.Minute // after a refusal
)

// A scrub is the progress of releasing identifiers.
type scrub struct {
	// Valid for the session.
	base     uint64 // identifiers of sequence numbers in [base, done) were released
	done     uint64
	began    uint32 // sequence number of this process's first message, modulo 1<<32; see sweep.go
	answered bool   // the Server answers PUBRELs for unknown identifiers, so it does not close because of them

	// Valid for one Network Connection.
	busy  bool   // a chunk, starting at done, is in progress
	sent  uint64 // number of the Send of its first PUBREL
	seen  uint64 // a bit for each of its PUBRELs that was answered
	since time.Time
}

func (c *scrub) complete() bool { return c.done-c.base >= publishIDs }

// anew restarts scrubbing at top, after the messages that may have been sent: on the next Network
// Connection the Server may have been restored from an older copy of its state, and hold
// identifiers of messages before top. These are released last, before the numbers wrap around to
// them.
func (c *scrub) anew(top uint64) {
	if c.complete() {
		c.done = max(c.done, top)
	}
	c.base = max(c.base, min(top, c.done))
}

// scrubs reports whether identifiers are released before use. With a clean session the Server holds
// none.
func (s *Session) scrubs() bool {
	return !s.cfg.NoScrub && !s.cfg.CleanSession && !s.send.scrub.complete()
}

// unscrubbed reports whether the message must wait until its identifier is released. A message that
// may have been sent need not: releasing its identifier now could deliver it twice.
func (s *Session) unscrubbed(seq uint64, d *outgoing) bool {
	return d.pub.QoS == packets.ExactlyOnce && d.stage == queued && seq >= s.send.scrub.done && s.scrubs()
}

// scrub starts the next chunk if the message at the cursor waits for it, or soon will. Later
// messages wait too, because messages that overtake each other could not be sent again in the order
// in which they were first sent [MQTT-4.6.0-1].
func (s *Session) scrub(now time.Time, waits bool) {
	c, next := &s.send.scrub, s.send.cursor
	if c.busy || s.scrubGivenUp() || s.send.yields || !s.scrubs() || !waits && next+scrubAhead < c.done {
		return
	}
	if x := s.suspected; x != nil && x.scrubStrikes >= scrubStrikes-1 && !s.proved(now) {
		return // the last strike must be because of the chunk and nothing else
	}
	from := c.done
	if next > from { // QoS 1 messages have used later numbers
		from = next
		c.base = from
	}
	c.done, c.busy, c.seen, c.since = from, true, 0, now
	c.sent = s.conn.sends + 1
	for seq := c.done; seq < c.done+scrubChunk; seq++ {
		s.transmit(packets.PUBREL, nil, packetID(seq), 0)
	}
}

// scrubbed handles a PUBCOMP of the chunk, and reports whether it was one.
func (s *Session) scrubbed(id uint16) bool {
	c := &s.send.scrub
	offset := (int(id) - int(packetID(c.done)) + publishIDs) % publishIDs
	if !c.busy || id == 0 || id > publishIDs || offset >= scrubChunk || c.seen>>offset&1 != 0 {
		return false
	}
	c.seen |= 1 << offset
	c.answered = true
	if x := s.suspected; x != nil {
		x.scrubStrikes, x.scrubRefused = 0, time.Time{}
	}
	if c.seen == 1<<scrubChunk-1 {
		c.done, c.busy = c.done+scrubChunk, false
		s.send.before2 = s.save(Record{Kind: RecordScrubbed, Seq: c.done, Base: c.base})
	}
	return true
}

// scrubSuspected counts a close, or a minute of silence, against the chunk in progress, unless the
// Server has answered a chunk before, and reports whether it did. A Server that does not accept
// PUBRELs for unknown identifiers closes because of each chunk; QoS 2 is then not safe with it and
// is given up until the next try.
func (s *Session) scrubSuspected(now time.Time) bool {
	if s.send.scrub.answered {
		return false
	}
	x := s.suspect()
	if now.Sub(x.scrubStruck) >= suspicionLasts {
		x.scrubStrikes = 0
	}
	x.scrubStruck = now
	if x.scrubStrikes++; x.scrubStrikes < scrubStrikes {
		return true
	}
	x.scrubRefused = now
	s.notify(Event{Kind: EventScrubRefused, Count: x.scrubStrikes, Err: ErrScrubRefused})
	send := &s.send
	for seq := send.first; seq < send.end(); seq = send.after(seq + 1) {
		if d := send.at(seq); s.unscrubbed(seq, d) {
			s.end(seq, d, ErrScrubRefused)
		}
	}
	return true
}

// scrubGivenUp reports whether scrubbing was given up because the Server closes the connection.
func (s *Session) scrubGivenUp() bool {
	return s.suspected != nil && !s.suspected.scrubRefused.IsZero()
}

// refusesQoS2 reports whether QoS 2 messages are refused because of that. After a while scrubbing
// is tried again, with one strike left.
func (s *Session) refusesQoS2(now time.Time) bool {
	if x := s.suspected; s.scrubGivenUp() && now.Sub(x.scrubRefused) >= scrubRetry {
		x.scrubRefused, x.scrubStrikes, x.scrubStruck = time.Time{}, scrubStrikes-1, now
	}
	return s.scrubGivenUp() && s.scrubs()
}

// untouched reports whether a chunk is in progress of which nothing was answered, so that it may be
// the cause of a close.
func (c *scrub) untouched() bool { return c.busy && c.seen == 0 }

// stuckAt returns when the Server will have failed to answer a chunk for too long.
func (c *scrub) stuckAt() time.Time {
	if !c.busy {
		return time.Time{}
	}
	return c.since.Add(stuckAfter)
}
