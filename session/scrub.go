package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Server that still holds a Packet Identifier of QoS 2 takes a new message under it for
// the old one: it acknowledges it and drops it, which is what [MQTT-4.3.3-2] asks of it.
// Between two ends with the same history that cannot happen. It does when our history was
// not kept, or was lost, while the Server has kept its own, whatever Session Present says.
// So before an identifier is first used at QoS 2 it is released once: PUBREL, which every
// Server answers with PUBCOMP. That goes in chunks ahead of use, once around the range.
const (
	scrubChunk   = 64 // identifiers; four bytes each
	scrubAhead   = scrubChunk / 2
	scrubStrikes = 3
	scrubRetry   = 10 * time.Minute // after a refusal
)

// A scrub is how far identifiers were released.
type scrub struct {
	// Valid for the session.
	base     uint64 // sequence numbers from base to below done are covered
	done     uint64
	saved    uint64 // the Save that says so
	began    uint32 // sequence number of this process's first message, modulo 1<<32; see sweep.go
	answered bool   // the Server answers PUBRELs that it does not know: they are not what it closes over

	// Valid for one Network Connection.
	busy  bool   // a chunk is under way, from done on
	sent  uint64 // the Send of its first PUBREL
	seen  uint64 // a bit for each PUBREL of it that was answered
	since time.Time
}

func (c *scrub) complete() bool { return c.done-c.base >= publishIDs }

// anew makes the row go once around from top on, behind the messages that may have left: on the next
// Network Connection the Server may be one that came back from an older copy of its state, and hold
// identifiers of messages before top. Their turn comes when the row has gone around, and no sooner.
func (c *scrub) anew(top uint64) {
	if c.complete() {
		c.done = max(c.done, top)
	}
	c.base = max(c.base, min(top, c.done))
}

// scrubs reports whether identifiers are released before use. A clean session begins with
// a Server that knows nothing.
func (s *Session) scrubs() bool {
	return !s.cfg.NoScrub && !s.cfg.CleanSession && !s.send.scrub.complete()
}

// unscrubbed reports whether the message has to wait for its identifier. One that may have
// left has it already: releasing it now could make a second message of it.
func (s *Session) unscrubbed(seq uint64, d *outgoing) bool {
	return d.pub.QoS == packets.ExactlyOnce && d.stage == queued && seq >= s.send.scrub.done && s.scrubs()
}

// scrub begins the next chunk if one is due: the message at the cursor waits for it, or
// soon will. What comes behind that message waits too, because messages that pass each other
// could not be sent again in the order of their first sending [MQTT-4.6.0-1].
func (s *Session) scrub(now time.Time, waits bool) {
	c, next := &s.send.scrub, s.send.cursor
	if c.busy || s.scrubGivenUp() || s.send.yields || !s.scrubs() || !waits && next+scrubAhead < c.done {
		return
	}
	if x := s.suspected; x != nil && x.scrubStrikes >= scrubStrikes-1 && !s.proved(now) {
		return // the last strike is to be over the chunk and nothing else
	}
	from := c.done
	if next > from { // QoS 1 went far ahead
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
		c.saved = s.save(Record{Kind: RecordScrubbed, Seq: c.done, Base: c.base})
	}
	return true
}

// scrubSuspected counts a close, or a minute of silence, against the chunk under way, and reports
// whether it does: not once the Server has answered one. A Server that cannot take a PUBREL it does
// not know closes over each chunk: then QoS 2 cannot be had from it safely, until it is tried again.
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

// scrubGivenUp reports whether the Server closes over the release of identifiers.
func (s *Session) scrubGivenUp() bool {
	return s.suspected != nil && !s.suspected.scrubRefused.IsZero()
}

// refusesQoS2 reports whether QoS 2 is given up because of that. After a while it is tried again, with
// the last strike left.
func (s *Session) refusesQoS2(now time.Time) bool {
	if x := s.suspected; s.scrubGivenUp() && now.Sub(x.scrubRefused) >= scrubRetry {
		x.scrubRefused, x.scrubStrikes, x.scrubStruck = time.Time{}, scrubStrikes-1, now
	}
	return s.scrubGivenUp() && s.scrubs()
}

// untouched reports whether a chunk is under way and nothing of it was answered: a close may
// be over that.
func (c *scrub) untouched() bool { return c.busy && c.seen == 0 }

// stuckAt returns when the Server will have been silent about a chunk for too long.
func (c *scrub) stuckAt() time.Time {
	if !c.busy {
		return time.Time{}
	}
	return c.since.Add(stuckAfter)
}
