package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Server can refuse a PUBLISH only by closing the Network Connection [MQTT-3.3.5-2], and on the
// next one the same PUBLISH is sent first again. Some Servers close because of a filter, or a
// PUBREL for an unknown identifier. So closes are counted against what may have caused them:
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
	probation      = 2 * time.Second  // how long a connection must last before it can be proven
	acquittedAfter = 30 * time.Second // how long a connection must last with a suspect unanswered
	suspicionLasts = 10 * time.Minute // maximum time between closes that count together
)

// suspicions counts closes by the Server. A Session has none before the first close.
type suspicions struct {
	// A message.
	seq     uint64
	strikes int

	// A filter; see subscriptions.go.
	filterCloses int       // Network Connections in a row that ended because of a SUBSCRIBE
	filterClosed time.Time // when the newest of them did
	aside        wishList  // filters that are not requested now, in the order of their time

	// Another client with our ClientID; see connection.go.
	quick int // connections in a row that were closed right after CONNACK

	// Releasing Packet Identifiers; see scrub.go.
	scrubStrikes int       // Network Connections in a row that ended because of it
	scrubStruck  time.Time // when the newest of them did
	scrubRefused time.Time // when QoS 2 was given up; zero if it was not

	// Packet Identifiers that the Server may hold again; see sweep.go.
	sweep sweep
}

// suspect returns the suspicions for modification.
func (s *Session) suspect() *suspicions {
	if s.suspected == nil {
		s.suspected = &suspicions{aside: wishList{which: inAside}}
	}
	return s.suspected
}

// careful reports whether messages are sent one at a time because one of them is suspected.
func (s *Session) careful() bool { return s.suspected != nil && s.suspected.strikes > 0 }

// lapse clears the suspicion against a message on a connection that has lasted long enough.
func (s *Session) lapse(now time.Time) {
	if at := s.lapseAt(); !at.IsZero() && !now.Before(at) {
		s.suspected.strikes = 0
	}
}

// lapseAt returns when lapse is due, or the zero time if nothing is suspected.
func (s *Session) lapseAt() time.Time {
	if !s.careful() {
		return time.Time{}
	}
	return s.conn.upSince.Add(acquittedAfter)
}

// room reports whether the windows have room for another message.
func (s *Session) room(qos packets.QoS) bool {
	x := &s.send
	if s.careful() {
		return x.inflight == 0
	}
	return x.inflight < s.cfg.MaxInflight && (qos == packets.AtLeastOnce || x.inflight2 < s.window2())
}

// onProbation reports whether the message would be given up after one more close, and the
// connection is not yet proven.
func (s *Session) onProbation(now time.Time, seq uint64) bool {
	sus := s.suspected
	return sus != nil && sus.strikes >= poisonStrikes-1 && sus.seq == seq && !s.proved(now)
}

// proved reports whether the connection is proven: it has lasted for a while and then answered a
// PINGREQ. So the Server has accepted everything sent before.
func (s *Session) proved(now time.Time) bool {
	c := &s.conn
	c.held = now.Sub(c.upSince) < probation
	if !c.held && c.probe == 0 && !c.proved {
		s.ping()
		c.probe = c.unponged
	}
	return c.proved
}

// pong handles a PINGRESP [MQTT-3.12.4-1].
func (c *connection) pong() {
	c.unponged = max(c.unponged, 1) - 1
	if c.probe > 0 {
		c.probe--
		c.proved = c.probe == 0
	}
}

// probationEnds returns when the connection will have lasted long enough, if something waits for
// that.
func (c *connection) probationEnds() time.Time {
	if !c.held {
		return time.Time{}
	}
	return c.upSince.Add(probation)
}

// blame finds what may have caused the Server to close, and reports whether there is a suspect. It
// must be called before the end of the connection changes any state.
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

// oldestSent returns the message with the oldest unanswered Send on this Network Connection, or
// nil.
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

// acquit clears the suspicion against a message because the Server has answered it or it has ended.
func (s *Session) acquit(seq uint64) {
	if x := s.suspected; x != nil && x.seq == seq {
		x.strikes = 0
	}
}
