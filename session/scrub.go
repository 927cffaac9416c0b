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
)

// A scrub is how far identifiers were released.
type scrub struct {
	// Valid for the session.
	base    uint64 // sequence numbers from base to below done are covered
	done    uint64
	saved   uint64 // the Save that says so
	strikes int    // Network Connections in a row that ended over it
	refused bool

	// Valid for one Network Connection.
	to    uint64 // the chunk under way is from done to below to; 0: none
	open  int    // PUBRELs of it that are unanswered
	seen  uint64 // a bit for each that was answered
	since time.Time
}

func (c *scrub) complete() bool { return c.done-c.base >= publishIDs }

// scrubs tells whether identifiers are released before use. A clean session begins with
// a Server that knows nothing.
func (s *Session) scrubs() bool {
	return !s.cfg.NoScrub && !s.cfg.CleanSession && !s.send.scrub.complete()
}

// unscrubbed tells whether the message has to wait for its identifier. One that may have
// left has it already: releasing it now could make a second message of it.
func (s *Session) unscrubbed(seq uint64, d *outgoing) bool {
	return d.pub.QoS == packets.ExactlyOnce && d.stage == queued && seq >= s.send.scrub.done && s.scrubs()
}

// scrub begins the next chunk if one is due: the message at the cursor waits for it, or
// soon will. What comes behind that message waits too, because messages that pass each other
// could not be sent again in the order of their first sending [MQTT-4.6.0-1].
func (s *Session) scrub(now time.Time, waits bool) {
	c, next := &s.send.scrub, s.send.cursor
	if c.to != 0 || c.refused || !s.scrubs() || !waits && next+scrubAhead < c.done {
		return
	}
	if c.strikes >= scrubStrikes-1 && !s.proved(now) {
		return // the last strike is to be over the chunk and nothing else
	}
	from := c.done
	if next > from { // QoS 1 went far ahead
		from = next
		c.base = from
	}
	c.done, c.to, c.open, c.seen, c.since = from, from+scrubChunk, scrubChunk, 0, now
	for seq := c.done; seq < c.to; seq++ {
		s.transmit(packets.PUBREL, nil, packetID(seq), 0)
	}
}

// scrubbed handles a PUBCOMP of the chunk, and tells whether it was one.
func (s *Session) scrubbed(id uint16) bool {
	c := &s.send.scrub
	offset := (int(id) - int(packetID(c.done)) + publishIDs) % publishIDs
	if c.to == 0 || id == 0 || id > publishIDs || offset >= scrubChunk || c.seen>>offset&1 != 0 {
		return false
	}
	c.seen |= 1 << offset
	c.open--
	c.strikes = 0
	if c.open == 0 {
		c.done, c.to = c.to, 0
		c.saved = s.save(Record{Kind: RecordScrubbed, Seq: c.done, Order: c.base})
	}
	return true
}

// scrubLost settles the end of the Network Connection. A Server that cannot take a PUBREL
// it does not know closes over each chunk: then QoS 2 cannot be had from it safely.
func (s *Session) scrubLost(over bool) {
	c := &s.send.scrub
	if over && c.untouched() {
		c.strikes++
	}
	c.to, c.open = 0, 0
	if c.strikes < scrubStrikes || c.refused {
		return
	}
	c.refused = true
	s.notify(Event{Kind: EventScrubRefused, Count: c.strikes, Err: ErrScrubRefused})
	x := &s.send
	for seq := x.first; seq < x.end(); seq = x.after(seq + 1) {
		if d := x.at(seq); s.unscrubbed(seq, d) {
			s.end(seq, d, ErrScrubRefused)
		}
	}
}

// untouched tells whether a chunk is under way and nothing of it was answered: a close may
// be over that.
func (c *scrub) untouched() bool { return c.to != 0 && c.open == scrubChunk }

// stuckAt returns when the Server will have been silent about a chunk for too long.
func (c *scrub) stuckAt() time.Time {
	if c.to == 0 {
		return time.Time{}
	}
	return c.since.Add(stuckAfter)
}
