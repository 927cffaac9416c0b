package session

import (
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// sent0 is a QoS 0 message until it is written.
type sent0 struct {
	token  Token
	caller any
	n      uint64
}

// Publish accepts a message and returns the token of the Done that will complete it. A message of
// QoS 1 or 2 is queued while no Network Connection is up or MaxInflight is reached; its payload
// must not be modified until Done. After Publish, [Session.Tail] returns the number of the Save
// that makes it durable.
//
// The error is a [*packets.EncodeError] for a message that no packet can carry, ErrNotConnected at
// QoS 0 without a connection, or ErrQueueFull. The message was not accepted then.
func (s *Session) Publish(now time.Time, m Message) (Token, error) {
	return s.PublishFor(now, m, nil)
}

// PublishFor is like Publish, and sets Output.For of the Done to caller, so that the driver needs
// no map from tokens to callers.
func (s *Session) PublishFor(now time.Time, m Message, caller any) (Token, error) {
	x, p := &s.send, &s.publishing
	p.PacketID, p.Dup, p.QoS, p.Retain = 0, false, m.QoS, m.Retain
	p.Topic, p.Payload = m.Topic, m.Payload
	if m.QoS == packets.AtMostOnce {
		return s.publish0(p, caller)
	}
	p.PacketID = packetID(x.end())
	if err := p.Check(); err != nil {
		return 0, err
	}
	size := len(m.Topic) + len(m.Payload)
	full := s.cfg.QueueMessages > 0 && x.waiting >= s.cfg.QueueMessages ||
		s.cfg.QueueBytes > 0 && x.live > 0 && x.bytes+size > s.cfg.QueueBytes
	if full {
		return 0, ErrQueueFull
	}
	seq := x.end()
	if m.QoS == packets.ExactlyOnce && seq >= x.scrub.done && s.refusesQoS2(now) {
		return 0, ErrScrubRefused
	}
	s.reserve(seq)
	d := x.push(queued)
	d.pub.PacketID, d.pub.QoS, d.pub.Retain = p.PacketID, m.QoS, m.Retain
	d.pub.Topic, d.pub.Payload = m.Topic, m.Payload
	d.caller = caller
	x.live++
	x.waiting++
	x.bytes += size
	d.saved = s.save(Record{Kind: RecordPublish, Seq: seq, PacketID: p.PacketID, Publish: &d.pub})
	s.pump(now)
	return tokenPublish | Token(seq), nil
}

// reserve records sequence numbers as used, 32 at a time, before they are used.
func (s *Session) reserve(seq uint64) {
	if seq >= s.send.reserved {
		s.send.reserved = seq + reserveAhead
		s.save(Record{Kind: RecordSequence, Seq: s.send.reserved})
	}
}

// publish0 sends a QoS 0 message: once, with DUP 0, and never again [MQTT-4.3.1-1].
func (s *Session) publish0(p *packets.Publish, caller any) (Token, error) {
	if err := p.Check(); err != nil {
		return 0, err
	}
	if s.conn.phase != up {
		return 0, ErrNotConnected
	}
	x := &s.send
	n := s.transmit(packets.PUBLISH, p, 0, 0)
	t := tokenQoS0 | Token(n)
	x.qos0.push(sent0{t, caller, n})
	return t, nil
}

func (x *sender) wrote0(s *Session, n uint64) {
	for !x.qos0.empty() && x.qos0.front().n <= n {
		m := x.qos0.pop()
		s.done(m.token, m.caller, nil, 0)
	}
}

// pump sends what the windows allow: on a new Network Connection first the PUBRELs in the order of
// their PUBRECs [MQTT-4.6.0-4], then the PUBLISHes in the order in which they were first sent
// [MQTT-4.6.0-1], then new ones. A message whose window is full holds back later ones, so that none
// overtakes another.
func (s *Session) pump(now time.Time) {
	if s.conn.phase != up {
		return
	}
	x := &s.send
	if s.suspected != nil {
		s.lapse(now)
	}
	x.yields = !x.hold && s.request(now)
	for x.relCursor < len(x.released) {
		if !s.room(packets.ExactlyOnce) {
			return
		}
		seq := x.released[x.relCursor]
		x.relCursor++
		s.transmitRelease(now, seq)
	}
	if s.sweep(now) || x.hold || x.yields {
		return
	}
	for x.cursor < x.end() && x.cursor-x.first < maxDistance {
		d := x.at(x.cursor)
		switch {
		case d.stage != queued && d.stage != published:
		case !s.room(d.pub.QoS):
			return
		case s.onProbation(now, x.cursor):
			return
		case s.unscrubbed(x.cursor, d):
			s.scrub(now, true)
			return
		default:
			s.transmitPublish(now, d)
		}
		x.cursor++
	}
	if x.scrub.done > x.scrub.base { // QoS 2 is used
		s.scrub(now, false)
	}
}

func (s *Session) transmitPublish(now time.Time, d *outgoing) {
	x := &s.send
	if d.stage == queued {
		x.waiting--
	}
	if d.left {
		s.counters.Resent++
	}
	d.pub.Dup = d.left // [MQTT-3.3.1-1], and 0 on a first copy [MQTT-4.3.2-1] [MQTT-4.3.3-1]
	d.stage = published
	after := d.saved
	if d.pub.QoS == packets.ExactlyOnce {
		after = max(after, x.before2)
	}
	d.sent = s.transmit(packets.PUBLISH, &d.pub, d.pub.PacketID, after)
	d.sentAt = now
	d.answers, d.ahead = x.answers, uint16(x.inflight)
	x.unanswered(d)
}

// transmitRelease sends a PUBREL, in answer to PUBREC or again on a new Network Connection
// [MQTT-4.4.0-1].
func (s *Session) transmitRelease(now time.Time, seq uint64) {
	d := s.send.at(seq)
	if d.left {
		s.counters.Resent++
	}
	d.sent = s.transmit(packets.PUBREL, nil, d.pub.PacketID, d.saved) // [MQTT-2.3.1-6]
	d.sentAt = now
	s.send.unanswered(d)
}

// puback completes a QoS 1 delivery. In answer to a QoS 2 PUBLISH it means that the Server has
// accepted the message at QoS 1 only, as RabbitMQ does.
func (s *Session) puback(id uint16) {
	seq, d := s.send.find(id)
	switch {
	case d == nil || d.stage != published:
		s.counters.UnexpectedAcks++
	case d.pub.QoS == packets.AtLeastOnce:
		s.finish(seq, d, nil)
	default:
		s.counters.Downgraded++
		s.finish(seq, d, ErrDowngraded)
	}
}

// pubrec moves a message to the stage released, which is saved before PUBREL is sent: "MUST NOT
// re-send the PUBLISH once it has sent the corresponding PUBREL packet" [MQTT-4.3.3-1]. An
// unexpected PUBREC is answered with PUBREL too, so that the Server can complete a delivery that we
// do not know.
func (s *Session) pubrec(id uint16) {
	x := &s.send
	seq, d := x.find(id)
	switch {
	case d != nil && d.stage == published && d.pub.QoS == packets.ExactlyOnce:
		s.overtaken(d)
		x.answered(d)
		s.release(seq, d) // pump sends its PUBREL, after earlier ones
		s.acknowledged(seq)
	case d != nil && d.stage == released && d.sent != 0:
		d.sent = s.transmit(packets.PUBREL, nil, id, d.saved)
	case s.ours(id):
		// Its PUBLISH or PUBREL will be sent in its turn.
		s.counters.UnexpectedAcks++
	default:
		s.counters.UnexpectedAcks++
		s.transmit(packets.PUBREL, nil, id, s.logged)
	}
}

// release records that the Server has the message.
func (s *Session) release(seq uint64, d *outgoing) {
	x := &s.send
	d.stage = released
	if !s.cfg.RepublishQoS2 {
		x.bytes -= len(d.pub.Payload)
		d.pub.Payload = nil // never needed again
	}
	x.recs++
	d.saved = s.save(Record{Kind: RecordReleased, Seq: seq, PacketID: d.pub.PacketID, Order: x.recs})
	x.released = append(x.released, seq)
}

// ours reports whether an outgoing QoS 2 message has the identifier, so that an unexpected PUBREL
// would precede its PUBLISH.
func (s *Session) ours(id uint16) bool {
	_, d := s.send.under(id)
	return d != nil && d.pub.QoS == packets.ExactlyOnce
}

// pubcomp completes a QoS 2 delivery; only now is the identifier free [MQTT-2.3.1-3].
func (s *Session) pubcomp(id uint16) {
	seq, d := s.send.find(id)
	if d == nil || d.stage != released {
		if !s.scrubbed(id) && !s.swept(id) {
			s.counters.UnexpectedAcks++
		}
		return
	}
	s.finish(seq, d, nil)
	s.widen()
}

// acknowledged records that the Server has answered a message.
func (s *Session) acknowledged(seq uint64) {
	s.send.answers++
	s.acquit(seq)
}

func (s *Session) finish(seq uint64, d *outgoing, err error) {
	s.acknowledged(seq)
	s.end(seq, d, err)
}

// end removes a message from the session and puts out its Done.
func (s *Session) end(seq uint64, d *outgoing, err error) {
	after := s.forget(Record{Kind: RecordPublish, Seq: seq, PacketID: d.pub.PacketID})
	if d.stage == queued && d.pub.QoS == packets.ExactlyOnce {
		// If this process dies before that is durable, the next one sends the message, before later ones. With a window
		// of one it would wait for ever if the Server's quota were full of one of those.
		s.send.before2 = after
	}
	if d.stage == released {
		s.forget(Record{Kind: RecordReleased, Seq: seq, PacketID: d.pub.PacketID})
	}
	if err == nil {
		after = 0 // the Server has the message, whatever happens to our disk
	}
	if !d.silent {
		s.done(tokenPublish|Token(seq), d.caller, err, after)
	}
	s.send.remove(seq, d)
	s.acquit(seq)
}

// Withdraw removes a message that was never sent from the queue, because its caller no longer
// waits, and reports whether it did: Done with ErrNotSent then follows. If the message may have
// been sent, Withdraw changes nothing.
func (s *Session) Withdraw(t Token) bool {
	if t&tokenKind != tokenPublish {
		return false
	}
	x := &s.send
	seq := uint64(t &^ tokenKind)
	if seq < x.first || seq >= x.end() {
		return false
	}
	d := x.at(seq)
	if d.stage != queued || d.left || d.before {
		return false
	}
	s.end(seq, d, ErrNotSent)
	return true
}

// DropOldest drops the oldest message that was never sent, with ErrQueueFull, to make room for
// another. It reports whether there was one.
func (s *Session) DropOldest() bool {
	x := &s.send
	for seq := x.after(x.cursor); seq < x.end(); seq = x.after(seq + 1) {
		if d := x.at(seq); d.stage == queued && !d.left && !d.before {
			s.end(seq, d, ErrQueueFull)
			return true
		}
	}
	return false
}

// stuckAfter is how long the oldest message may be unanswered while others are answered, or wait
// because of maxDistance or Hold.
const stuckAfter = time.Minute

// stuckAt returns when the oldest message will have been unanswered for too long.
func (x *sender) stuckAt() time.Time {
	at := x.scrub.stuckAt()
	if x.n == 0 {
		return at
	}
	d := x.at(x.first)
	blocked := x.cursor-x.first >= maxDistance && x.cursor < x.end()
	if d.sent == 0 || x.holes == 0 && !blocked && !x.hold && !x.yields {
		return at
	}
	return earliest(at, d.sentAt.Add(stuckAfter))
}

// Keep makes the Session copy the payload of an unfinished message, so that the caller can reuse
// its memory.
func (s *Session) Keep(t Token) {
	x := &s.send
	seq := uint64(t &^ tokenKind)
	if t&tokenKind != tokenPublish || seq < x.first || seq >= x.end() {
		return
	}
	d := x.at(seq)
	d.pub.Payload = slices.Clone(d.pub.Payload)
}
