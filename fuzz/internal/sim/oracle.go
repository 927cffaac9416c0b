package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

type sessionRecord = session.Record

const recordSequence = session.RecordSequence

const topic = "t"

// An outMessage is a message from the application to the broker.
type outMessage struct {
	number  int
	qos     packets.QoS
	payload []byte

	accepted  bool   // Publish returned without an error
	process   int    // which process accepted it
	seq       uint64 // its record
	saved     bool   // a Save was put out
	forgotten bool   // a Forget was put out
	inDoubt   bool   // the process that accepted it died: nobody waits
	gone      bool   // accepted, but it died with the process
	withdrawn bool   // a crash may undo that as long as it was not reported
	wiped     bool   // the disk was lost, so its identifier may be released at any time
	ended     bool
	err       error

	left       bool // a byte may have left, ever
	leftNow    bool // the same, within the current session
	id         uint16
	arrivals   int
	releasedIn int // epoch of the broker's session in which its PUBREL arrived
	mayLose    bool
	mayDouble  bool
	anew       bool // it may be published again as a new message, with DUP 0
}

// An inMessage is a message from the broker to the application.
type inMessage struct {
	number       int
	qos          packets.QoS
	payload      []byte
	deliveredIn  int // the process that it was delivered to; 0: none
	acked        bool
	acknowledged bool // the broker has read its PUBACK or PUBREC
	answerLeft   bool // a byte of its PUBACK may have left
	dropped      bool // it was lost with the session
	doubleFine   bool
}

// An intent is the subscription that the application wants for a filter.
type intent struct {
	qos  packets.QoS
	want bool
}

// An oracle is the state of one Network Connection that is needed to check the next packet.
type oracle struct {
	connected  bool // CONNACK has been read
	connect    bool // the session has put out CONNECT
	disconnect bool
	lastPub    int             // number of the newest message published on it
	open       map[uint16]bool // identifiers of PUBLISHes and PUBRELs that are unanswered
	comps      map[uint16]int  // by identifier: the newest process that knows that PUBCOMP was received
	recs       map[uint16]int  // by identifier: the place in the order in which PUBRECs arrived, over all connections, until the disk is lost
	rec        int
	lastRel    int // the place in recs of the newest PUBREL that was put out
}

func (w *world) messageOf(p *packets.Publish) *outMessage {
	if len(p.Payload) < 5 || p.Payload[0] != 'o' {
		w.fail("payload %q was never published", p.Payload)
	}
	n := binary.BigEndian.Uint32(p.Payload[1:])
	if int(n) >= len(w.out) || len(w.out[n].payload) != len(p.Payload) {
		w.fail("payload %q was never published", p.Payload)
	}
	return w.out[n]
}

func payload(kind byte, number, padding int) []byte {
	b := make([]byte, 5+padding)
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(number))
	return b
}

// publish has the application publish a message.
func (w *world) publish() {
	m := &outMessage{number: len(w.out), qos: packets.QoS(w.r.IntN(3)), process: w.process}
	m.payload = payload('o', m.number, w.r.IntN(3)*20)
	w.out = append(w.out, m)
	w.logf("app     publishes %d, %v", m.number, m.qos)
	token, err := w.c.s.Publish(w.now, session.Message{Topic: topic, Payload: m.payload, QoS: m.qos})
	if err != nil {
		refused := m.qos == packets.AtMostOnce && errors.Is(err, session.ErrNotSent) || w.scrubMayFail(err)
		if !refused {
			w.fail("Publish: %v", err)
		}
		m.ended, m.err = true, err
		return
	}
	m.accepted = true
	w.c.tokens[token] = m
	w.drain()
}

func (w *world) withdraw() {
	m := w.out[w.r.IntN(len(w.out))]
	for t, x := range w.c.tokens {
		if x != m || m.ended {
			continue
		}
		if w.c.s.Withdraw(t) {
			w.logf("app     withdraws %d", m.number)
			m.withdrawn = true
			if m.left {
				w.fail("message %d was withdrawn after bytes of it had left", m.number)
			}
		}
		w.drain()
		return
	}
}

func (w *world) inject() {
	m := &inMessage{number: len(w.incoming), qos: packets.QoS(w.r.IntN(3))}
	m.payload = payload('i', m.number, w.r.IntN(3)*20)
	w.incoming = append(w.incoming, m)
	w.broker.waiting = append(w.broker.waiting, m)
}

var filters = []string{"a", "b/+", "c/#", "d"}

// ask has the application subscribe or unsubscribe.
func (w *world) ask() {
	w.requests++
	f := filters[w.r.IntN(len(filters))]
	i := intent{qos: packets.QoS(w.r.IntN(3)), want: chance(w.r, 65)}
	w.wanted[f] = i
	w.request(f, i)
}

func (w *world) request(f string, i intent) {
	w.logf("app     wants %q: %+v", f, i)
	var err error
	if i.want {
		_, err = w.c.s.Subscribe(w.now, packets.Subscription{Filter: f, QoS: i.qos})
	} else {
		_, err = w.c.s.Unsubscribe(w.now, f)
	}
	if err != nil {
		w.fail("Subscribe: %v", err)
	}
	w.drain()
}

// wishAgain has the application, at its start, subscribe to all the filters that it wants.
func (w *world) wishAgain() {
	for _, f := range filters {
		if i, ok := w.wanted[f]; ok {
			w.request(f, i)
		}
	}
}

// ack acknowledges a delivery, not always the oldest.
func (w *world) ack() {
	c := w.c
	i := w.r.IntN(len(c.inbox))
	d := c.inbox[i]
	c.inbox = slices.Delete(c.inbox, i, i+1)
	err := c.s.Ack(d.token)
	w.logf("app     takes %d over: %v", d.msg.number, err)
	switch {
	case err == nil:
		d.msg.acked = true
	case !errors.Is(err, session.ErrStale):
		w.fail("Ack: %v", err)
	}
	w.drain()
}

// delivered checks a delivery: at QoS 2 there may be one, and at QoS 1 one until its PUBACK may
// have left.
func (w *world) delivered(p *packets.Publish, token session.Token) {
	if len(p.Payload) < 5 || p.Payload[0] != 'i' {
		w.fail("payload %q was never sent", p.Payload)
	}
	m := w.incoming[binary.BigEndian.Uint32(p.Payload[1:])]
	w.logf("client  delivers %d", m.number)
	w.stats.Delivered++
	if m.qos == packets.AtMostOnce {
		return
	}
	again := m.deliveredIn == w.process || m.acked
	switch {
	case !again || m.doubleFine:
	case m.qos == packets.ExactlyOnce:
		w.fail("[MQTT-4.3.3-2] message %d was delivered twice", m.number)
	case !m.answerLeft && m.deliveredIn == w.process:
		w.fail("message %d was delivered twice, and its PUBACK had not left", m.number)
	}
	m.deliveredIn, m.answerLeft, m.doubleFine = w.process, false, false
	w.c.acks[p.PacketID] = m
	w.c.inbox = append(w.c.inbox, delivery{token, m})
	if w.o.Mutant == AckEarly {
		_ = w.c.s.Ack(token)
	}
}

func (w *world) done(o *session.Output) {
	c := w.c
	for _, r := range o.Results {
		w.refused(r.Filter, r.Err)
	}
	m := c.tokens[o.Token]
	if m == nil {
		return // a token of an earlier process, or of a request
	}
	delete(c.tokens, o.Token)
	if o.After > 0 {
		w.disk.demand(o.After)
	}
	c.reports = append(c.reports, report{m, o.Err, o.After})
}

// ended checks the result of a message that the application gets.
func (w *world) ended(m *outMessage, err error) {
	w.logf("app     hears that %d ended: %v", m.number, err)
	if m.ended {
		w.fail("message %d ended twice", m.number)
	}
	m.ended, m.err = true, err
	switch {
	case !w.profile.byPeer && (errors.Is(err, session.ErrPoison) || errors.Is(err, session.ErrScrubRefused)):
		w.fail("message %d was given up with %v, and the broker never closed", m.number, err)
	case err == nil && m.qos > packets.AtMostOnce && m.arrivals == 0 && !m.mayLose:
		w.fail("message %d is done and never arrived", m.number)
	case errors.Is(err, session.ErrNotSent) && m.left:
		w.fail("message %d ended with %v though bytes of it left", m.number, err)
	case errors.Is(err, session.ErrUnknown):
		if m.qos > packets.AtMostOnce && !w.profile.clean && !errors.Is(err, session.ErrPoison) {
			w.fail("message %d ended with %v in a session that goes on", m.number, err)
		}
		m.mayLose = true
	}
}

// refused accepts that the client gave up a filter if the broker may have closed over it
// repeatedly.
func (w *world) refused(filter string, err error) {
	var f *session.FilterError
	if !errors.As(err, &f) {
		return
	}
	if !w.profile.byPeer {
		w.fail("filter %q was given up: %v", filter, err)
	}
	delete(w.wanted, filter)
}

// arrived counts a message that the broker passes on.
func (w *world) arrived(m *outMessage) {
	m.arrivals++
	switch {
	case !m.accepted:
		w.fail("message %d was refused and arrived", m.number)
	case m.gone:
		w.fail("message %d was lost with its process, and arrived", m.number)
	case m.ended && errors.Is(m.err, session.ErrNotSent):
		w.fail("message %d arrived after it ended with %v", m.number, m.err)
	case m.arrivals > 1 && m.qos == packets.ExactlyOnce && !m.mayDouble:
		w.fail("[MQTT-4.3.3-1] message %d arrived twice", m.number)
	case m.arrivals > 1 && m.qos == packets.AtMostOnce:
		w.fail("[MQTT-4.3.1-1] message %d arrived twice", m.number)
	}
	if m.arrivals > 1 || m.withdrawn || m.wiped || m.qos == packets.AtMostOnce || w.profile.loses || w.profile.clean || w.profile.reorder || w.profile.byPeer {
		return
	}
	for _, other := range w.out[m.number+1:] {
		if other.qos == m.qos && other.arrivals > 0 {
			w.fail("[MQTT-4.6.0-1] message %d arrived first after message %d did", m.number, other.number)
		}
	}
}

// event notes the consequences of an event of the session.
func (w *world) event(e *session.Event) {
	w.logf("client  event: %v %d", e.Kind, e.Count)
	switch e.Kind {
	case session.EventPoisonSuspected:
		if !w.profile.byPeer {
			w.fail("message with id %d is suspected, and the broker never closed", e.PacketID)
		}
	case session.EventPoison:
		for _, m := range w.out {
			if m.id == e.PacketID && m.left && !m.ended {
				m.mayLose = true
			}
		}
	case session.EventSubscriptionRefused:
		w.refused(e.Filter, e.Err)
	case session.EventStuck:
		w.fail("stuck")
	}
}

// noteRecord notes which records of a message have been put out.
func (w *world) noteRecord(e *entry) {
	switch {
	case e.record.Kind != session.RecordPublish:
	case e.forget:
		for _, m := range w.out {
			if m.saved && m.seq == e.record.Seq && !m.gone {
				m.forgotten = true
			}
		}
	default:
		m := w.messageOf(e.record.Publish)
		m.seq, m.saved = e.record.Seq, true
	}
}

// checkSend checks the order of a packet that the session puts out.
func (w *world) checkSend(f *frame) {
	k := &w.oracle
	if k.disconnect {
		w.fail("[MQTT-3.14.4-2] %v after DISCONNECT", f.typ)
	}
	switch {
	case f.typ == packets.CONNECT:
		k.connect = true
		return
	case !k.connect:
		w.fail("[MQTT-3.1.0-1] %v before CONNECT", f.typ)
	case !k.connected:
		w.fail("%v before CONNACK", f.typ)
	}
	switch f.typ {
	case packets.DISCONNECT:
		k.disconnect = true
	case packets.PUBLISH:
		if f.msg.qos == packets.AtMostOnce {
			break
		}
		if f.id == 0 {
			w.fail("[MQTT-2.3.1-1] identifier 0")
		}
		if f.msg.number < k.lastPub {
			w.fail("[MQTT-4.6.0-1] message %d sent after message %d", f.msg.number, k.lastPub)
		}
		k.lastPub = f.msg.number
		f.msg.id = f.id
		delete(k.recs, f.id)
		delete(k.comps, f.id)
		w.unanswered(f.id)
	case packets.PUBREL:
		if n, ok := k.recs[f.id]; ok && !k.open[f.id] && !w.completed(f.id) {
			if n < k.lastRel {
				w.fail("[MQTT-4.6.0-4] PUBREL %d out of the order of the PUBRECs", f.id)
			}
			k.lastRel = n
			w.unanswered(f.id)
		}
	}
}

// stillCompleted carries the completed identifiers over to a new process: those whose PUBCOMP was received
// and that no message on the disk has.
func (w *world) stillCompleted(records []session.Record) {
	comps := w.oracle.comps
	for _, r := range records {
		if r.Kind == session.RecordPublish {
			delete(comps, r.PacketID)
		}
	}
	for id, by := range comps {
		if by == w.process {
			comps[id] = w.process + 1
		}
	}
}

// completed reports whether the PUBCOMP of an identifier was received and this process has no message
// with it. Another PUBREL then belongs to no message and only releases the identifier.
func (w *world) completed(id uint16) bool {
	by, ok := w.oracle.comps[id]
	return ok && by == w.process
}

func (w *world) unanswered(id uint16) {
	k := &w.oracle
	k.open[id] = true
	if len(k.open) > w.inflight && !w.profile.wipes { // with wipes, a PUBREC of an earlier process is answered outside the window
		w.fail("%d messages in flight, %d may be", len(k.open), w.inflight)
	}
}

// leaving checks a packet when its first byte is written: the disk must have the records that the
// packet depends on, and DUP must be right.
func (w *world) leaving(f *frame) {
	w.logf("client  > %d %v id=%d", f.n, f.typ, f.id)
	if w.profile.durable && w.o.Mutant != SendEarlyUnseen {
		w.checkDurable(f)
	}
	switch f.typ {
	case packets.PUBLISH:
		m := f.msg
		if f.dup && m.qos == packets.AtMostOnce {
			w.fail("[MQTT-3.3.1-2] DUP at QoS 0")
		}
		if m.leftNow && !f.dup && !m.anew {
			w.fail("[MQTT-3.3.1-1] message %d sent again without DUP", m.number)
		}
		if f.dup && !m.left && m.process == w.process {
			w.fail("[MQTT-4.3.2-1] message %d sent for the first time with DUP", m.number)
		}
		m.left, m.leftNow, m.anew = true, true, false
	case packets.PUBACK:
		if m := w.c.acks[f.id]; m != nil {
			m.answerLeft = true
		}
	}
}

func (w *world) checkDurable(f *frame) {
	if !w.disk.durable(f.after) {
		w.fail("%v id=%d leaves before record %d is durable", f.typ, f.id, f.after)
	}
	switch f.typ {
	case packets.PUBLISH:
		if m := f.msg; m.qos > packets.AtMostOnce {
			if _, ok := w.disk.has(session.RecordPublish, m.seq); !ok {
				w.fail("message %d leaves and is not on the disk", m.number)
			}
			if _, ok := w.disk.has(session.RecordReleased, m.seq); ok {
				w.fail("[MQTT-4.3.3-1] PUBLISH of message %d leaves, and the disk says PUBREL", m.number)
			}
		}
	case packets.PUBREL:
		for _, m := range w.out {
			if m.id != f.id || m.qos != packets.ExactlyOnce || m.forgotten || m.gone || !m.saved || !m.left {
				continue
			}
			if _, ok := w.disk.has(session.RecordReleased, m.seq); !ok {
				w.fail("[MQTT-4.3.3-1] PUBREL of message %d leaves and is not on the disk", m.number)
			}
		}
	case packets.PUBREC:
		if _, ok := w.disk.has(session.RecordReceived, uint64(f.id)); !ok {
			w.fail("[MQTT-4.1.0-1] PUBREC %d leaves and is not on the disk", f.id)
		}
	case packets.PUBCOMP:
		if _, ok := w.disk.has(session.RecordReceived, uint64(f.id)); ok {
			w.fail("PUBCOMP %d leaves and its identifier is still on the disk", f.id)
		}
	}
}

// received notes the packets that the client reads.
func (w *world) received(p packets.Packet) {
	k := &w.oracle
	switch v := p.(type) {
	case *packets.Connack:
		k.connected = v.Code == packets.Accepted
		if k.connected && !v.SessionPresent {
			for _, m := range w.incoming { // the client has forgotten these
				m.doubleFine = true
			}
			for _, m := range w.out {
				m.anew = w.profile.republish && m.qos == packets.ExactlyOnce
			}
		}
	case *packets.Puback:
		delete(k.open, v.PacketID)
	case *packets.Pubcomp:
		delete(k.open, v.PacketID)
		if _, ok := k.recs[v.PacketID]; ok {
			k.comps[v.PacketID] = w.process
		}
	case *packets.Pubrec:
		if _, ok := k.recs[v.PacketID]; !ok && v.PacketID < noiseID {
			k.rec++
			k.recs[v.PacketID] = k.rec
			delete(k.open, v.PacketID)
		}
	}
}

// connectionEnded resets the state of the connection.
func (w *world) connectionEnded() {
	k := &w.oracle
	*k = oracle{open: make(map[uint16]bool), recs: k.recs, comps: k.comps, rec: k.rec}
	if w.profile.clean {
		clear(k.recs)
		for _, m := range w.out {
			m.leftNow = false
		}
		for _, m := range w.incoming {
			m.doubleFine = true
		}
	}
}

// scrubMayFail accepts that a QoS 2 message was refused if the broker has closed three times over
// identifiers that were being released.
func (w *world) scrubMayFail(err error) bool {
	return w.profile.scrub && w.profile.byPeer && errors.Is(err, session.ErrScrubRefused)
}

// wiped is a crash that leaves the disk empty. Accepted messages may be lost, or arrive once if they had left; the
// broker sends its own messages again.
func (w *world) wiped() {
	for _, m := range w.out {
		if m.accepted && !m.gone && !m.ended {
			m.ended, m.mayLose, m.inDoubt = true, true, true
		}
		m.id, m.forgotten, m.wiped = 0, true, true
	}
	for _, m := range w.incoming {
		m.doubleFine = m.doubleFine || !m.acknowledged
	}
	clear(w.oracle.recs) // the next process knows no PUBREC: its PUBRELs only release identifiers
}

// crashed checks what is left on the disk.
func (w *world) crashed() {
	w.connectionEnded()
	for _, m := range w.out {
		if m.ended || !m.accepted || m.gone {
			continue
		}
		m.inDoubt = true
		if m.qos == packets.AtMostOnce {
			m.ended, m.mayLose = true, true
			continue
		}
		if w.profile.clean {
			m.mayLose = true
		}
		_, kept := w.disk.has(session.RecordPublish, m.seq)
		switch {
		case m.saved && kept:
			m.forgotten = false // its Forget, if any, was lost
		case m.forgotten:
			m.ended = true
			if m.arrivals == 0 && !m.mayLose {
				m.gone = true // withdrawn
			}
		default:
			if m.left {
				w.fail("message %d has left, and nothing of it is on the disk after the crash", m.number)
			}
			m.gone = true
		}
	}
	for _, m := range w.incoming {
		if m.qos == packets.ExactlyOnce && m.acked && !m.acknowledged && !m.doubleFine && !w.profile.clean && !w.remembers(m) {
			m.acked = false // its record was lost, so no PUBREC can have left
		}
	}
}

// remembers reports whether the disk has a record of the incoming message.
func (w *world) remembers(m *inMessage) bool {
	for _, h := range w.broker.flight {
		if h.msg == m {
			_, ok := w.disk.has(session.RecordReceived, uint64(h.id))
			return ok
		}
	}
	return false
}

// sessionDropped excuses the losses that follow from the loss of the broker's session.
func (w *world) sessionDropped() {
	w.epoch++
	b := &w.broker
	for _, m := range b.holds {
		if w.profile.methodA {
			m.mayLose = true // the broker had not delivered it yet
		}
	}
	for _, m := range w.out {
		// With RepublishQoS2 even a finished message may arrive twice, because its Forget may be lost.
		if m.arrivals > 0 && (w.profile.republish || !m.ended && !w.profile.clean) {
			m.mayDouble = true // sent again to a broker that has forgotten it
		}
	}
	for _, h := range b.flight {
		h.msg.dropped = true
	}
	for _, m := range b.waiting {
		m.dropped = true
	}
}

// checkTime checks keep alive: the broker receives packets in time, and the client notices a silent
// connection.
func (w *world) checkTime() {
	c := w.c
	ka := w.profile.keepAlive
	if c.link == nil || ka < 0 || c.closing {
		return
	}
	if p := w.broker.top(); p != nil && p.link == c.link && !c.link.hole && !c.link.dead && c.s.Up() {
		if silence := time.Duration(w.now.UnixNano() - p.heard); silence > ka*3/2 {
			w.fail("[MQTT-3.1.2-23] the broker has not heard from us for %v", silence)
		}
	}
	if silence := w.now.Sub(c.heardAt); c.link.hole && c.s.Up() && silence > ka+c.cfg.PingTimeout+time.Second {
		w.fail("the broker was silent for %v and the client did not notice", silence)
	}
}

func (w *world) checkClose(err error) {
	var refused *session.RefusedError
	switch {
	case err == nil, errors.As(err, &refused):
	case errors.Is(err, session.ErrPingTimeout) && w.c.link.hole:
	case errors.Is(err, session.ErrPingTimeout) && w.c.link.dead:
	default:
		w.fail("the client closed a good connection: %v", err)
	}
}

func (w *world) issued() bool {
	return len(w.out) >= w.profile.publishes && len(w.incoming) >= w.profile.incoming && w.requests >= w.profile.requests
}

// quiet reports whether everything is finished.
func (w *world) quiet() bool {
	c := w.c
	top := w.broker.top()
	messages, _ := c.s.Unfinished()
	return w.issued() && messages == 0 && !c.s.Outstanding() && c.s.Up() && top != nil && top.link == c.link &&
		len(c.inbox) == 0 && len(c.frames) == 0 && len(c.partial) == 0 && len(c.link.up) == 0 && len(c.link.down) == 0 &&
		len(w.disk.log) == 0 && len(w.disk.lazy) == 0 && len(c.reports) == 0 &&
		len(w.broker.waiting) == 0 && len(w.broker.flight) == 0 && len(top.answers) == 0
}

func (w *world) unfinished() string {
	c := w.c
	messages, _ := c.s.Unfinished()
	return fmt.Sprintf("%d messages, inbox %d, frames %d, log %d, the broker has %d waiting and %d in flight, connected %v",
		messages, len(c.inbox), len(c.frames), len(w.disk.log), len(w.broker.waiting), len(w.broker.flight), c.s.Up())
}

// checkEnd checks the final state of every message.
func (w *world) checkEnd() {
	for _, m := range w.out {
		switch {
		case !m.accepted:
		case m.gone:
			if m.arrivals > 0 {
				w.fail("message %d was lost with its process, and arrived", m.number)
			}
		case !m.ended && !m.inDoubt:
			w.fail("message %d never ended", m.number)
		case m.ended && errors.Is(m.err, session.ErrNotSent):
			if m.arrivals > 0 {
				w.fail("message %d ended with %v and arrived", m.number, m.err)
			}
		case m.qos > packets.AtMostOnce && m.arrivals == 0 && !m.mayLose:
			w.fail("message %d never arrived", m.number)
		}
	}
	for _, m := range w.incoming {
		if m.qos > packets.AtMostOnce && !m.acked && !m.dropped {
			w.fail("the application never took message %d over", m.number)
		}
	}
	if w.profile.liePresent {
		return // a broker that claims to have the session is not asked again
	}
	for _, f := range filters {
		i, ok := w.wanted[f]
		if !ok {
			continue // never requested, or given up
		}
		if q, ok := w.broker.granted[f]; ok != i.want || ok && q != i.qos {
			w.fail("subscription %q: wanted %+v, the broker has %v, %v", f, i, ok, q)
		}
	}
}
