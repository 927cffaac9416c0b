package session

import (
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// stage is the state of an outgoing message of QoS 1 or 2.
type stage byte

const (
	queued    stage = iota // its PUBLISH was not put out in this session of the Server
	published              // its PUBLISH may have been sent; waiting for PUBACK or PUBREC
	released               // PUBREC was received: only PUBREL is sent from now on [MQTT-4.3.3-1]
	over                   // finished
)

// An outgoing is the delivery of one message of QoS 1 or 2.
type outgoing struct {
	seq     uint64 // its number
	pub     packets.Publish
	caller  any
	stage   stage
	silent  bool   // its Done was put out; only the identifier is still to be freed
	left    bool   // may have been sent on an earlier Network Connection
	before  bool   // may have been sent in a session that the Server has lost
	passed  bool   // over, and counted in sender.holes
	ahead   uint16 // packets without an answer when its PUBLISH was sent
	sent    uint64 // number of its last Send on this Network Connection; 0: none
	sentAt  time.Time
	saved   uint64 // number of its last Save
	answers uint64 // sender.answers when it was sent
}

// sender implements the Sender columns of figures 4.2 and 4.3, and the queue of outgoing messages.
// A message keeps its sequence number, and so its Packet Identifier, until it is finished, across
// Network Connections and crashes [MQTT-2.3.1-3]. The identifier is a function of the sequence
// number, and is unique because the numbers in flight are close together [MQTT-2.3.1-2]; so there
// is no allocator whose state could be lost.
//
// Invariants between inputs, verified by check:
//
//   - The n places of the ring from head on have messages in the order of their numbers, from first
//     to below next. The one at head is not over. A number between them that has no place is over.
//   - live counts the messages that are not over, waiting those of them that are queued, bytes their
//     topics and payloads.
//   - holes counts the places of messages that were before the cursor when they ended, spent those of
//     the others that are over. Few of the latter remain, see squeeze.
//   - inflight counts the messages with a Send on this Network Connection that is unanswered,
//     inflight2 those of QoS 2.
//   - released has the messages of the stage released, each once.
type sender struct {
	// Valid for the session.
	ring     []outgoing // by sequence number; its length is a power of two
	head     int        // index of the oldest message that is not over
	n        int        // messages in the ring; some that are over were removed, see squeeze
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
	before2  uint64 // number of a record that must be durable before a PUBLISH of QoS 2 is sent: see end, scrubbed

	// Valid for one Network Connection.
	resumed   bool   // the Server has the session
	hold      bool   // send nothing new: see Session.Hold
	yields    bool   // send nothing new until nothing is unanswered: see Session.request
	cursor    uint64 // sequence number of the next message to consider for sending
	relCursor int    // index in released of the next PUBREL to send again
	inflight  int    // messages sent on this connection and unanswered
	inflight2 int    // of those, at QoS 2
	answers   uint64 // acknowledgements that completed something
	qos0      queue[sent0]
}

const (
	publishIDs   = 32767 // 1 to 32,767 belong to PUBLISH
	reserveAhead = 32
)

func packetID(seq uint64) uint16 { return uint16(1 + seq%publishIDs) } // [MQTT-2.3.1-1]

func (x *sender) end() uint64 { return x.next }

// entry returns the message at index i from head.
func (x *sender) entry(i int) *outgoing { return &x.ring[(x.head+i)&(len(x.ring)-1)] }

// at returns the message with a sequence number not before first. A message that was removed from
// the ring is over.
func (x *sender) at(seq uint64) *outgoing {
	if i := seq - x.first; i < uint64(x.n) {
		if d := x.entry(int(i)); d.seq == seq { // always, unless messages before it were removed
			return d
		}
	}
	if i := x.search(seq); i < x.n && x.entry(i).seq == seq {
		return x.entry(i)
	}
	return &outgoing{stage: over}
}

// search returns the index of the first message not before seq.
func (x *sender) search(seq uint64) int {
	return sort.Search(x.n, func(i int) bool { return x.entry(i).seq >= seq })
}

// after returns the sequence number of the first message in the ring not before seq, or end if
// there is none.
func (x *sender) after(seq uint64) uint64 {
	if i := x.search(seq); i < x.n {
		return x.entry(i).seq
	}
	return x.next
}

// find returns the message with a Packet Identifier, if the Server may have it: it was sent on this
// Network Connection, or earlier in the same session.
func (x *sender) find(id uint16) (uint64, *outgoing) {
	seq, d := x.under(id)
	if d == nil || d.sent == 0 && !(d.left && x.resumed) {
		return 0, nil
	}
	return seq, d
}

// under returns the message with a Packet Identifier.
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

// push adds a message with the next sequence number.
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

// squeeze removes messages that are over from the ring when they are most of it: while the oldest
// message is unanswered, any number of later ones may be withdrawn or dropped. Those counted in
// holes stay; their number is limited by maxDistance. Outputs may still point into the old ring.
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

// unanswered counts a message that was sent.
func (x *sender) unanswered(d *outgoing) {
	x.inflight++
	if d.pub.QoS == packets.ExactlyOnce {
		x.inflight2++
	}
}

// answered records that the last Send of a message was answered, or no longer needs an answer.
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

// unrelease removes a message from released. It is the first one unless the Server answers out of
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

// check returns which invariant of the sender is violated, or "" if none is. It examines every
// message and is meant for tests.
func (x *sender) check() string {
	var live, waiting, bytes, holes, spent, inflight, inflight2, rel int
	last := x.first
	for i := range x.n {
		d := x.entry(i)
		switch {
		case i == 0 && (d.seq != x.first || d.stage == over):
			return "the message at head is over, or not the first"
		case i > 0 && d.seq <= last, d.seq >= x.next:
			return "messages are out of order"
		case d.stage == over && d.sent != 0:
			return "a message that is over counts as unanswered"
		}
		last = d.seq
		switch {
		case d.stage == over && d.passed:
			holes++
			continue
		case d.stage == over:
			spent++
			continue
		case d.stage == queued:
			waiting++
		case d.stage == released:
			rel++
			if !slices.Contains(x.released, d.seq) {
				return "a released message is not among the released"
			}
		}
		live++
		bytes += len(d.pub.Topic) + len(d.pub.Payload)
		if d.sent != 0 {
			inflight++
			if d.pub.QoS == packets.ExactlyOnce {
				inflight2++
			}
		}
	}
	switch {
	case x.n == 0 && x.first != x.next:
		return "the ring is empty and first is not next"
	case live != x.live, waiting != x.waiting, bytes != x.bytes, holes != x.holes, spent != x.spent:
		return "a count of messages is wrong"
	case inflight != x.inflight, inflight2 != x.inflight2:
		return "a count of unanswered messages is wrong"
	case rel != len(x.released), x.relCursor > rel:
		return "the released are not those of that stage"
	case x.cursor < x.first, x.cursor > x.next:
		return "the cursor is outside"
	}
	return ""
}

// SelfCheck returns an error if the state of the Session is inconsistent, which is a bug in this
// package. It examines every message and is meant for tests and simulations. It must be called
// between inputs.
func (s *Session) SelfCheck() error {
	if wrong := s.send.check(); wrong != "" {
		return errors.New("session: self check: " + wrong)
	}
	return nil
}
