package session

import (
	"slices"
	"sort"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// stage is how far an outgoing message of QoS 1 or 2 has come.
type stage byte

const (
	queued    stage = iota // its PUBLISH was never put out in this session of the Server
	published              // its PUBLISH may have left; PUBACK or PUBREC is awaited
	released               // PUBREC came: only PUBREL is sent from here on [MQTT-4.3.3-1]
	over                   // done
)

// An outgoing is the delivery of one message of QoS 1 or 2.
type outgoing struct {
	seq     uint64 // its number
	pub     packets.Publish
	caller  any
	stage   stage
	silent  bool   // its Done was put out already; only the identifier is to be freed
	left    bool   // bytes may have left on an earlier Network Connection
	before  bool   // bytes may have left in a session that the Server has lost
	passed  bool   // over, and counted in sender.holes
	sent    uint64 // the newest Send of it on this Network Connection; 0: none
	sentAt  time.Time
	saved   uint64 // its newest Save
	answers uint64 // sender.answers when it was sent
}

// sender is the Sender column of figures 4.2 and 4.3, and the queue before it. A
// message keeps its sequence number, and so its Packet Identifier, from acceptance
// to its end, across Network Connections and crashes [MQTT-2.3.1-3]. The identifier
// is a function of that number, and unique because the numbers in flight lie close
// together [MQTT-2.3.1-2]: there is no allocator whose state could be lost.
type sender struct {
	// Valid for the session.
	ring     []outgoing // by sequence number; its length is a power of two
	head     int        // index of the oldest message that is not over
	n        int        // messages in the ring; some that are over have left it, see squeeze
	first    uint64     // sequence number at head; next if the ring is empty
	next     uint64     // sequence number of the next message
	live     int        // messages that are not over
	spent    int        // messages in the ring that are over and not counted in holes
	waiting  int        // of those, queued
	bytes    int        // topics and payloads of what is live
	holes    int        // messages that ended after first and before cursor
	released []uint64   // sequence numbers in the order of their PUBRECs [MQTT-4.6.0-4]
	recs     uint64     // counts PUBRECs, for Record.Order
	scrub    scrub
	reserved uint64 // sequence numbers below are on record as used

	// Valid for one Network Connection.
	resumed   bool   // the Server has the session
	hold      bool   // nothing new is sent, see Session.Hold
	yields    bool   // nor until nothing is unanswered, see Session.request
	cursor    uint64 // next message to send; those before it were looked at
	relCursor int    // next of released to send again
	inflight  int    // sent on this connection and unanswered
	inflight2 int    // of those, at QoS 2
	answers   uint64 // acknowledgements that completed something
	qos0      queue[sent0]
}

// sent0 is a QoS 0 message until it is written.
type sent0 struct {
	token  Token
	caller any
	n      uint64
}

const (
	publishIDs   = 32767 // 1 to 32,767 belong to PUBLISH
	reserveAhead = 32
)

func packetID(seq uint64) uint16 { return uint16(1 + seq%publishIDs) } // [MQTT-2.3.1-1]

func (x *sender) end() uint64 { return x.next }

// entry returns the message at a place in the ring.
func (x *sender) entry(i int) *outgoing { return &x.ring[(x.head+i)&(len(x.ring)-1)] }

// at returns a message from first on; one that has left the ring is over.
func (x *sender) at(seq uint64) *outgoing {
	if i := seq - x.first; i < uint64(x.n) {
		if d := x.entry(int(i)); d.seq == seq { // as always while nothing has left before it
			return d
		}
	}
	if i := x.search(seq); i < x.n && x.entry(i).seq == seq {
		return x.entry(i)
	}
	return &outgoing{stage: over}
}

// search returns the place of the first message that is not before seq.
func (x *sender) search(seq uint64) int {
	return sort.Search(x.n, func(i int) bool { return x.entry(i).seq >= seq })
}

// after returns the number of the first message in the ring that is not before seq; end if
// there is none.
func (x *sender) after(seq uint64) uint64 {
	if i := x.search(seq); i < x.n {
		return x.entry(i).seq
	}
	return x.next
}

// find returns the message under a Packet Identifier, if the Server can have it: it was
// sent on this Network Connection, or before in a session that goes on.
func (x *sender) find(id uint16) (uint64, *outgoing) {
	seq, d := x.under(id)
	if d == nil || d.sent == 0 && !(d.left && x.resumed) {
		return 0, nil
	}
	return seq, d
}

// under returns the message that a Packet Identifier belongs to.
func (x *sender) under(id uint16) (uint64, *outgoing) {
	if id == 0 || id > publishIDs {
		return 0, nil
	}
	offset := (int(id) - 1 - int(x.first%publishIDs) + publishIDs) % publishIDs
	seq := x.first + uint64(offset)
	if seq >= x.next {
		return 0, nil
	}
	d := x.at(seq)
	if d.stage == over {
		return 0, nil
	}
	return seq, d
}

// push adds a message with the next number.
func (x *sender) push(s stage) *outgoing {
	x.grow(x.n + 1)
	x.n++
	d := x.entry(x.n - 1)
	*d = outgoing{seq: x.next, stage: s}
	x.next++
	return d
}

// grow makes room for n messages.
func (x *sender) grow(n int) {
	if n <= len(x.ring) {
		return
	}
	size := 16
	for size < n {
		size *= 2
	}
	bigger := make([]outgoing, size)
	for i := range x.n {
		bigger[i] = *x.entry(i)
	}
	x.ring, x.head = bigger, 0
}

// squeeze lets messages that are over leave the ring when they are most of it: while the
// oldest one is unanswered, any number of others may be withdrawn or dropped behind it. Those in
// holes stay; their number is bounded by their distance. Outputs may still point into the ring
// that was.
func (x *sender) squeeze() {
	if x.spent < 64+x.n/2 {
		return
	}
	was := *x
	x.ring, x.head, x.n, x.spent = nil, 0, 0, 0
	x.grow(was.n - was.spent)
	for i := range was.n {
		if d := was.entry(i); d.stage != over || d.passed {
			x.ring[x.n] = *d
			x.n++
		}
	}
}

// Publish accepts a message and returns the token of the Done that ends it. At QoS
// 1 and 2 it is queued while no Network Connection is up or the window is full; the
// payload belongs to the Session until Done. After Publish, [Session.Tail] is the
// number of the Save that makes it durable.
//
// The errors are [*packets.EncodeError] for a message that no packet can carry,
// ErrNotConnected for QoS 0 without a connection, and ErrQueueFull. Nothing happened
// then.
func (s *Session) Publish(now time.Time, m Message) (Token, error) {
	return s.PublishFor(now, m, nil)
}

// PublishFor is Publish; the Done that ends the message has the caller in Output.For, so
// that a driver needs no table.
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

// reserve records sequence numbers ahead of their use, 32 at a time.
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
// their PUBRECs [MQTT-4.6.0-4], then the PUBLISHes in the order of their first sending
// [MQTT-4.6.0-1], then what is new. A message whose window is full holds back those behind it, so
// that none passes another.
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
	if x.hold || x.yields {
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
		after = max(after, x.scrub.saved)
	}
	d.sent = s.transmit(packets.PUBLISH, &d.pub, d.pub.PacketID, after)
	d.sentAt = now
	d.answers = x.answers
	x.unanswered(d)
}

// unanswered counts a message that was sent.
func (x *sender) unanswered(d *outgoing) {
	x.inflight++
	if d.pub.QoS == packets.ExactlyOnce {
		x.inflight2++
	}
}

// answered notes that the newest Send of a message has its answer, or needs none any more.
func (x *sender) answered(d *outgoing) {
	if d.sent == 0 {
		return
	}
	d.sent = 0
	x.inflight--
	if d.pub.QoS == packets.ExactlyOnce {
		x.inflight2--
	}
}

// transmitRelease sends a PUBREL: the first answer to a PUBREC, or again on a new Network
// Connection [MQTT-4.4.0-1].
func (s *Session) transmitRelease(now time.Time, seq uint64) {
	d := s.send.at(seq)
	if d.left {
		s.counters.Resent++
	}
	d.sent = s.transmit(packets.PUBREL, nil, d.pub.PacketID, d.saved) // [MQTT-2.3.1-6]
	d.sentAt = now
	s.send.unanswered(d)
}

// puback ends a QoS 1 delivery. For a QoS 2 PUBLISH it means that the Server keeps
// the message with less than was asked for, as RabbitMQ does.
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

// pubrec moves a message from its first half to its second, on disk before PUBREL
// leaves: "MUST NOT re-send the PUBLISH once it has sent the corresponding PUBREL
// packet" [MQTT-4.3.3-1]. Every other PUBREC gets its PUBREL too, so that a Server
// which knows more than we do can finish.
func (s *Session) pubrec(id uint16) {
	x := &s.send
	seq, d := x.find(id)
	switch {
	case d != nil && d.stage == published && d.pub.QoS == packets.ExactlyOnce:
		x.answered(d)
		s.release(seq, d) // pump sends its PUBREL, after those that came before
		s.acknowledged(seq)
	case d != nil && d.stage == released && d.sent != 0:
		d.sent = s.transmit(packets.PUBREL, nil, id, d.saved)
	case s.ours(id):
		// Its PUBLISH or PUBREL is about to be sent in its turn.
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

// ours tells whether a QoS 2 message of ours has the identifier, so that a PUBREL out of
// turn would come before its PUBLISH.
func (s *Session) ours(id uint16) bool {
	_, d := s.send.under(id)
	return d != nil && d.pub.QoS == packets.ExactlyOnce
}

// pubcomp ends a QoS 2 delivery; only now is the identifier free [MQTT-2.3.1-3].
func (s *Session) pubcomp(id uint16) {
	seq, d := s.send.find(id)
	if d == nil || d.stage != released {
		if !s.scrubbed(id) {
			s.counters.UnexpectedAcks++
		}
		return
	}
	s.finish(seq, d, nil)
}

// acknowledged notes that the Server answered a message.
func (s *Session) acknowledged(seq uint64) {
	s.send.answers++
	s.acquit(seq)
}

func (s *Session) finish(seq uint64, d *outgoing, err error) {
	s.acknowledged(seq)
	s.end(seq, d, err)
}

// end takes a message out of the session and reports it.
func (s *Session) end(seq uint64, d *outgoing, err error) {
	after := s.forget(Record{Kind: RecordPublish, Seq: seq, PacketID: d.pub.PacketID})
	if d.stage == released {
		s.forget(Record{Kind: RecordReleased, Seq: seq, PacketID: d.pub.PacketID})
	}
	if err == nil {
		after = 0 // the Server's word does not depend on our disk
	}
	if !d.silent {
		s.done(tokenPublish|Token(seq), d.caller, err, after)
	}
	s.send.remove(seq, d)
	s.acquit(seq)
}

func (x *sender) remove(seq uint64, d *outgoing) {
	x.answered(d)
	switch d.stage {
	case queued:
		x.waiting--
	case released:
		x.unrelease(seq)
	}
	x.live--
	x.bytes -= len(d.pub.Topic) + len(d.pub.Payload)
	*d = outgoing{seq: seq, stage: over, passed: seq < x.cursor}
	if d.passed {
		x.holes++
	} else {
		x.spent++
	}
	for x.n > 0 && x.entry(0).stage == over {
		if x.entry(0).passed {
			x.holes--
		} else {
			x.spent--
		}
		x.head = (x.head + 1) & (len(x.ring) - 1)
		x.n--
	}
	x.first = x.next
	if x.n > 0 {
		x.first = x.entry(0).seq
	}
	x.cursor = max(x.cursor, x.first)
	x.squeeze()
}

// unrelease takes a message out of released. It is the first one unless the Server answers out of
// order.
func (x *sender) unrelease(seq uint64) {
	i := slices.Index(x.released, seq)
	if i < 0 {
		return
	}
	x.released = slices.Delete(x.released, i, i+1)
	if i < x.relCursor {
		x.relCursor--
	}
}

// Withdraw takes a message back that was never sent, because nobody waits for it
// any more, and tells whether it could: then Done follows with ErrNotSent. Otherwise
// nothing changes, and the message goes on.
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

// DropOldest ends the oldest message that was never sent with ErrQueueFull, to make room for
// another, and tells whether there was one.
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

// uncertain handles messages between PUBREC and PUBCOMP when the Server lost its
// session, and returns their number. The Server had them; it may or may not have
// passed them on. They are completed, or published anew if Config says so.
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

// requeue makes a message a new one for a Server that has forgotten it: DUP 0, at
// its old place. It waits for the end of a record that says PUBREL.
func (s *Session) requeue(seq uint64, d *outgoing) {
	x := &s.send
	if d.stage == released {
		d.saved = s.forget(Record{Kind: RecordReleased, Seq: seq, PacketID: d.pub.PacketID})
		x.unrelease(seq)
	}
	d.stage, d.left, d.before = queued, false, true
	x.waiting++
}

// lost settles what the end of the Network Connection means for every message.
func (x *sender) lost(s *Session, loss Loss) {
	for !x.qos0.empty() {
		m := x.qos0.pop()
		if m.n <= max(loss.Position, loss.Passed) {
			s.done(m.token, m.caller, ErrUnknown, 0)
		} else {
			s.done(m.token, m.caller, ErrNotSent, 0)
		}
	}
	for seq := x.first; seq < x.cursor; seq++ {
		d := x.at(seq)
		if d.stage == over {
			continue
		}
		if d.sent != 0 && d.sent <= loss.Position {
			d.left = true
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
}

// cleanLost ends what a clean session leaves open: the Server has forgotten all of
// it [MQTT-3.1.2-6], so nothing is re-sent; what is published anew is a new message
// with DUP 0 under an identifier that the new session has not seen.
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

// stuckAfter is how long the oldest message may go unanswered while others are
// answered, or wait because their numbers are too far from its own, or because of Hold.
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

// Keep makes the Session keep a copy of the payload of a message that is not done,
// because the caller wants its memory back.
func (s *Session) Keep(t Token) {
	x := &s.send
	seq := uint64(t &^ tokenKind)
	if t&tokenKind != tokenPublish || seq < x.first || seq >= x.end() {
		return
	}
	d := x.at(seq)
	d.pub.Payload = slices.Clone(d.pub.Payload)
}
