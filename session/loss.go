package session

import (
	"slices"
	"strconv"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// Loss says how a Network Connection ended.
type Loss struct {
	// Position is the number of the last Send of which a byte may have been written. No later Send
	// was written, except as Passed says.
	Position uint64

	// Passed is the number of the last Send of which a byte may have been written ahead of Sends
	// that waited for their records; zero if there is none. See [Session.Passed].
	Passed uint64

	// By says who ended it. Only if the Server itself closed the connection can something that was
	// sent be to blame.
	By EndedBy
}

// EndedBy is the party that ended a Network Connection.
type EndedBy byte

// The values of EndedBy.
const (
	ByUs      EndedBy = iota // the client: timeout, malformed packet, Abort
	ByNetwork                // the path to the Server failed
	ByPeer                   // the Server: end of stream, reset, TLS alert, close frame, DISCONNECT
)

var endedByNames = [...]string{"us", "network", "peer"}

// String returns the name of the party.
func (b EndedBy) String() string {
	if int(b) < len(endedByNames) {
		return endedByNames[b]
	}
	return "party " + strconv.Itoa(int(b))
}

// Lost reports that the Network Connection has ended. Without a Network Connection it does nothing.
// The result blamed is true if something that was sent may have caused the end. The next connection
// tests that suspicion, so the driver should not wait longer before it than before the last one.
func (s *Session) Lost(now time.Time, loss Loss) (blamed bool) {
	switch s.conn.phase {
	case offline:
		return false
	case closing:
		loss.By = s.conn.closedBy // we decided first
	}
	wasUp := !s.conn.upSince.IsZero() // if not, CONNECT itself was refused [MQTT-3.1.4-1]
	unanswered := s.send.inflight > 0 || s.send.scrub.busy
	blamed = s.blame(now, loss)
	if loss.By == ByPeer && wasUp {
		s.closedOverQoS2(now)
	}
	if s.suspected != nil {
		s.suspected.sweep.stop()
	}
	s.subs.lost(s, loss, wasUp)
	s.send.lost(s, loss)
	s.recv.lost(s, loss)
	s.conn.phase = offline
	s.countQuick(now, loss, wasUp, unanswered || blamed)
	return blamed
}

// countQuick detects two clients with the same ClientID that keep disconnecting each other
// [MQTT-3.1.4-2].
func (s *Session) countQuick(now time.Time, loss Loss, wasUp, unanswered bool) {
	switch {
	case !wasUp:
	case loss.By == ByPeer && !unanswered && now.Sub(s.conn.upSince) < quickClose:
		x := s.suspect()
		x.quick++
		if x.quick%quickCloses == 0 {
			s.notify(Event{Kind: EventTakeover, Count: x.quick})
		}
	case s.suspected != nil:
		s.suspected.quick = 0
	}
}

// uncertain handles messages between PUBREC and PUBCOMP when the Server has lost its session, and
// returns their number. The Server had received them; whether it delivered them is unknown. They
// are completed, or published again if Config.RepublishQoS2 is set.
func (x *sender) uncertain(s *Session) int {
	n := len(x.released)
	if s.cfg.RepublishQoS2 {
		for _, seq := range slices.Clone(x.released) {
			if d := x.at(seq); !d.silent {
				s.requeue(seq, d)
			}
		}
	}
	return n
}

// requeue makes a message a new one, with DUP 0 and at its old place, for a Server that has lost
// it. If it has a RecordReleased, it waits until that is removed.
func (s *Session) requeue(seq uint64, d *outgoing) {
	x := &s.send
	if d.stage == released {
		d.saved = s.forget(Record{Kind: RecordReleased, Seq: seq, PacketID: d.pub.PacketID})
		x.unrelease(seq)
	}
	d.stage, d.left, d.before = queued, false, true
	x.waiting++
}

// lost updates all messages after the end of the Network Connection.
func (x *sender) lost(s *Session, loss Loss) {
	for !x.qos0.empty() {
		m := x.qos0.pop()
		if m.n <= max(loss.Position, loss.Passed) {
			s.done(m.token, m.caller, ErrUnknown, 0)
		} else {
			s.done(m.token, m.caller, ErrNotSent, 0)
		}
	}
	top := x.cursor
	for i := range x.n { // all of them, since PUBRELs may have been sent beyond the cursor
		d := x.entry(i)
		if d.stage == over {
			continue
		}
		if d.sent != 0 && d.sent <= loss.Position {
			d.left = true
		}
		if d.left {
			top = max(top, d.seq+1)
		}
		if d.stage == published && !d.left {
			d.stage = queued
			x.waiting++
		}
		d.sent = 0
	}
	x.cursor, x.relCursor, x.inflight, x.inflight2, x.hold, x.yields = x.first, 0, 0, 0, false, false
	if s.cfg.CleanSession {
		x.cleanLost(s)
	}
	x.scrub.busy = false
	x.scrub.anew(top)
}

// cleanLost ends what a clean session leaves unfinished. The Server has discarded the session
// [MQTT-3.1.2-6], so nothing is sent again; a message that is published again is a new one, with
// DUP 0 and an identifier that the new session has not seen.
func (x *sender) cleanLost(s *Session) {
	for seq := x.first; seq < x.end(); seq = x.after(seq + 1) {
		d := x.at(seq)
		if d.stage != published && d.stage != released {
			continue
		}
		anew := s.cfg.RepublishQoS2
		if d.pub.QoS == packets.AtLeastOnce {
			anew = !s.cfg.FailQoS1
		}
		if anew {
			s.requeue(seq, d)
		} else {
			s.end(seq, d, ErrUnknown)
		}
	}
}
