package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Server has no way to refuse a PUBLISH but to close the Network Connection [MQTT-3.3.5-2], and on
// the next one the same PUBLISH comes first again. Some close over a filter, or over a PUBREL that
// they do not know. So closes are counted against what they follow:
//
//   - only the Server's own, see [Loss]: a broken link says nothing, and neither do we;
//   - against one suspect: the oldest packet that it had not answered and that may have left;
//   - not when it answered anything that was sent after the suspect.
//
// A suspect goes alone until it is answered, so that what only stood beside it pays with one close at
// the most. The last count before a verdict is taken only on a connection that has proved itself.
// Every suspicion lapses.
const (
	poisonStrikes  = 3
	probation      = 2 * time.Second  // that a connection holds before it can prove itself
	acquittedAfter = 30 * time.Second // that a connection holds although a suspect is out
	suspicionLasts = 10 * time.Minute // between closes that count together
)

// suspicions are what the Server's closes count against. A Session has none before the first.
type suspicions struct {
	// A message.
	seq     uint64
	strikes int

	// A filter; see subscriptions.go.
	filterCloses int       // Network Connections in a row that ended over a SUBSCRIBE
	filterClosed time.Time // when the newest of them did
	aside        wishList  // filters that are not asked for now, in the order of time

	// Another client with our ClientID; see connection.go.
	quick int // connections in a row that were closed right after CONNACK

	// Releasing Packet Identifiers; see scrub.go.
	scrubStrikes int       // Network Connections in a row that ended over it
	scrubStruck  time.Time // when the newest of them did
	scrubRefused time.Time // when QoS 2 was given up; zero: it is not

	// Packet Identifiers that the Server may hold again; see sweep.go.
	sweep sweep
}

// suspect returns the suspicions to be written to.
func (s *Session) suspect() *suspicions {
	if s.suspected == nil {
		s.suspected = &suspicions{aside: wishList{which: inAside}}
	}
	return s.suspected
}

// careful reports whether messages go one at a time, because one of them is suspected.
func (s *Session) careful() bool { return s.suspected != nil && s.suspected.strikes > 0 }

// lapse lets go of what counts against a message, on a connection that has held for long.
func (s *Session) lapse(now time.Time) {
	if at := s.lapseAt(); !at.IsZero() && !now.Before(at) {
		s.suspected.strikes = 0
	}
}

// lapseAt returns when that is; the zero time if nothing counts.
func (s *Session) lapseAt() time.Time {
	if !s.careful() {
		return time.Time{}
	}
	return s.conn.upSince.Add(acquittedAfter)
}

// room reports whether the windows have room for one more message.
func (s *Session) room(qos packets.QoS) bool {
	x := &s.send
	if s.careful() {
		return x.inflight == 0
	}
	return x.inflight < s.cfg.MaxInflight && (qos == packets.AtLeastOnce || x.inflight2 < s.window2())
}

// onProbation reports whether one more close would be the last for the message, and the connection
// has not yet proved itself.
func (s *Session) onProbation(now time.Time, seq uint64) bool {
	sus := s.suspected
	return sus != nil && sus.strikes >= poisonStrikes-1 && sus.seq == seq && !s.proved(now)
}

// proved reports whether the connection is as good as can be known: it has lasted for a while, and
// then answered a PINGREQ. So the Server has survived whatever was sent before.
func (s *Session) proved(now time.Time) bool {
	c := &s.conn
	c.held = now.Sub(c.upSince) < probation
	if !c.held && c.probe == 0 && !c.proved {
		s.ping()
		c.probe = c.unponged
	}
	return c.proved
}

// pong takes a PINGRESP [MQTT-3.12.4-1].
func (c *connection) pong() {
	c.unponged = max(c.unponged, 1) - 1
	if c.probe > 0 {
		c.probe--
		c.proved = c.probe == 0
	}
}

// probationEnds returns when the connection will have lasted for long enough, if something waits for
// that.
func (c *connection) probationEnds() time.Time {
	if !c.held {
		return time.Time{}
	}
	return c.upSince.Add(probation)
}

// blame finds what the Server has closed over, if anything, and reports whether that counts. It is
// called before the end of the connection changes anything.
func (s *Session) blame(now time.Time, loss Loss) bool {
	if loss.By != ByPeer || s.conn.upSince.IsZero() {
		return false
	}
	x, oldest := &s.send, loss.Position+1
	d := x.oldestSent()
	if d != nil {
		oldest = min(oldest, d.sent)
	}
	var r *request
	if len(s.subs.requests) > 0 {
		r = s.subs.requests[0]
		oldest = min(oldest, r.sent)
	}
	if x.scrub.untouched() {
		oldest = min(oldest, x.scrub.sent)
	}
	swept := s.suspected != nil && s.suspected.sweep.untouched()
	if swept {
		oldest = min(oldest, s.suspected.sweep.sent)
	}
	switch {
	case oldest > loss.Position:
		return false
	case d != nil && d.sent == oldest:
		if d.stage != published || d.answers != x.answers {
			return false
		}
		s.strike(d)
	case r != nil && r.sent == oldest:
		if r.kind != packets.SUBSCRIBE {
			return false
		}
		s.filterSuspected(now, r)
	case swept && s.suspected.sweep.sent == oldest:
		s.sweepSuspected(now)
	default:
		return s.scrubSuspected(now)
	}
	return true
}

// oldestSent returns the message whose Send on this Network Connection is the oldest without an
// answer; nil if there is none.
func (x *sender) oldestSent() (oldest *outgoing) {
	if x.inflight == 0 {
		return nil
	}
	for i := range x.n {
		d := x.entry(i)
		if d.sent != 0 && (oldest == nil || d.sent < oldest.sent) {
			oldest = d
		}
	}
	return oldest
}

// strike counts a close against a message.
func (s *Session) strike(d *outgoing) {
	x := s.suspect()
	if x.seq != d.seq {
		x.seq, x.strikes = d.seq, 0
	}
	x.strikes++
	s.notify(Event{Kind: EventPoisonSuspected, Count: x.strikes, Topic: d.pub.Topic, PacketID: d.pub.PacketID})
	if x.strikes < poisonStrikes {
		return
	}
	x.strikes = 0
	s.notify(Event{Kind: EventPoison, Topic: d.pub.Topic, PacketID: d.pub.PacketID, Err: ErrPoison})
	if d.pub.QoS == packets.AtLeastOnce || s.cfg.CleanSession {
		s.end(d.seq, d, ErrPoison)
		return
	}
	// The Server may hold the identifier: PUBREL and PUBCOMP free it before another message uses it.
	s.send.answered(d)
	s.release(d.seq, d)
	s.done(tokenPublish|Token(d.seq), d.caller, ErrPoison, d.saved)
	d.silent = true
}

// acquit clears a message of what counted against it, because the Server answered it or it has ended.
func (s *Session) acquit(seq uint64) {
	if x := s.suspected; x != nil && x.seq == seq {
		x.strikes = 0
	}
}
