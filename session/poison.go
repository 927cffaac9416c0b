package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Server has no way to refuse a PUBLISH but to close the Network Connection
// [MQTT-3.3.5-2], and on the next one the same PUBLISH comes first again. So closes
// are counted against the message they follow; a message is given up only when it
// was alone on a connection that had proved itself.
const (
	poisonStrikes = 3
	probation     = 2 * time.Second
)

// A suspect is the message after which the Server closed.
type suspect struct {
	seq     uint64
	strikes int
}

// window is how many messages may be unanswered now.
func (s *Session) window() int {
	if s.send.suspect.strikes > 0 {
		return 1
	}
	return s.cfg.MaxInflight
}

// onProbation tells whether one more close would be the last for the message, and the
// connection has not yet lasted for a while and answered a PINGREQ.
func (s *Session) onProbation(now time.Time, seq uint64) bool {
	x := &s.send.suspect
	if x.strikes < poisonStrikes-1 || x.seq != seq {
		return false
	}
	return !s.proved(now)
}

// proved tells whether the connection is as good as can be known: it has lasted for a while
// and answered a PINGREQ.
func (s *Session) proved(now time.Time) bool {
	s.conn.held = now.Sub(s.conn.upSince) < probation
	return !s.conn.held && s.conn.ponged
}

// probationEnds returns when the connection will have lasted for long enough, if something
// waits for that.
func (c *connection) probationEnds() time.Time {
	if !c.held {
		return time.Time{}
	}
	return c.upSince.Add(probation)
}

// suspectPoison counts a close by the peer against the oldest PUBLISH whose bytes
// were out, if nothing was acknowledged since they left.
func (s *Session) suspectPoison(loss Loss) {
	x := &s.send
	if loss.By != ByPeer || x.scrub.untouched() {
		return
	}
	for seq := x.first; seq < x.cursor; seq++ {
		d := x.at(seq)
		if d.stage != published || d.sent == 0 || d.sent > loss.Position {
			continue
		}
		if d.answers == x.answers {
			s.strike(seq, d)
		}
		return
	}
}

func (s *Session) strike(seq uint64, d *outgoing) {
	x := &s.send.suspect
	if x.strikes == 0 || x.seq != seq {
		*x = suspect{seq: seq}
	}
	x.strikes++
	s.notify(Event{Kind: EventPoisonSuspected, Count: x.strikes, Topic: d.pub.Topic, PacketID: d.pub.PacketID})
	if x.strikes < poisonStrikes {
		return
	}
	*x = suspect{}
	s.notify(Event{Kind: EventPoison, Topic: d.pub.Topic, PacketID: d.pub.PacketID, Err: ErrPoison})
	if d.pub.QoS == packets.AtLeastOnce || s.cfg.CleanSession {
		s.end(seq, d, ErrPoison)
		return
	}
	// The Server may hold the identifier: PUBREL and PUBCOMP free it before
	// another message uses it.
	if d.sent != 0 {
		s.send.inflight--
		d.sent = 0
	}
	s.release(seq, d)
	s.done(tokenPublish|Token(seq), d.caller, ErrPoison, d.saved)
	d.silent = true
}
