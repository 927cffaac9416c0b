package clientsim

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// The caller of each of these functions holds world.mu.

const topic = "t"

var filters = []string{"a", "b/+", "c/#", "d"}

// An outMessage is a message from the program to the server.
type outMessage struct {
	number  int
	qos     packets.QoS
	payload []byte
	process int // which process published it
	who     int // which of its goroutines

	pending   bool // PublishAsync has returned
	promised  bool // it must arrive
	mayLose   bool // one side may have forgotten that it had the message
	mayDouble bool // one side may have forgotten that it passed the message on
	mayReturn bool // the process may have forgotten how the message ended
	inDoubt   bool // the process died, or the client reported an unknown outcome: it may arrive
	ended     bool
	err       error

	id         uint16
	left       bool // a byte may have left
	arrivals   int
	releasedIn int // epoch of the server's session in which its PUBREL arrived
}

// An inMessage is a message from the server to the program.
type inMessage struct {
	number      int
	qos         packets.QoS
	payload     []byte
	deliveredIn int  // the process that it was delivered to; 0: none
	taken       bool // the program has taken it over
	answerLeft  bool // a byte of its PUBACK or PUBREC may have left
	forwarded   bool // the server has sent it
	dropped     bool // it was lost with the session
	moreFine    int  // how many more deliveries are allowed, because one side may have forgotten that it was acknowledged
}

// An intent is the subscription that the program wants for a filter.
type intent struct {
	qos  packets.QoS
	want bool
}

// The outcomes of a Publish.
const (
	outcomeDone = iota
	outcomeNotSent
	outcomeUnknown
	outcomeStored
	outcomeGivenUp
	outcomeDied
	outcomes
)

func payload(kind byte, number, padding int) []byte {
	b := make([]byte, 5+padding)
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(number))
	return b
}

func (w *world) messageOf(p *packets.Publish) *outMessage {
	if len(p.Payload) >= 5 && p.Payload[0] == 'o' {
		if n := binary.BigEndian.Uint32(p.Payload[1:]); int(n) < len(w.out) && len(w.out[n].payload) == len(p.Payload) {
			return w.out[n]
		}
	}
	w.failf("payload %q was never published", p.Payload)
	return nil
}

// accepted notes that the Store has a message, unless the process is dead.
func (p *process) accepted(m *outMessage) {
	if p.dead || m.ended || m.qos == packets.AtMostOnce || p.config.Store == nil || p.w.profile.clean {
		return
	}
	p.w.logf("app     hears that %d is accepted", m.number)
	m.promised = true
}

// enqueued checks the result of Enqueue, which only says whether the message was accepted.
func (p *process) enqueued(m *outMessage, err error) {
	if err != nil || p.dead {
		p.outcome(m, err, false)
		return
	}
	p.w.logf("app     has enqueued %d", m.number)
	m.ended = true
	m.promised = p.w.calm && m.qos > packets.AtMostOnce && !p.w.profile.clean
}

// outcome checks the result of a message that the program gets.
func (p *process) outcome(m *outMessage, err error, async bool) {
	w := p.w
	if p.dead {
		return // the program died before it got the result
	}
	w.logf("app     hears that %d ended: %v", m.number, err)
	if m.ended {
		w.failf("message %d ended twice", m.number)
	}
	wasPromised := m.promised
	m.ended, m.err = true, err
	lasting := m.qos > packets.AtMostOnce && !w.profile.clean
	switch {
	case err == nil:
		w.stats.Outcomes[outcomeDone]++
		if m.qos > packets.AtMostOnce && m.arrivals == 0 && !m.mayLose {
			w.failf("message %d is done and never arrived", m.number)
		}
	case errors.Is(err, client.ErrPoison), errors.Is(err, session.ErrScrubRefused):
		w.stats.Outcomes[outcomeGivenUp]++
		w.givenUp(err)
		m.promised, m.inDoubt = false, true
	case errors.Is(err, client.ErrStored):
		w.stats.Outcomes[outcomeStored]++
		m.promised = lasting
		m.inDoubt = true
	case errors.Is(err, client.ErrNotSent):
		w.stats.Outcomes[outcomeNotSent]++
		if m.left {
			w.failf("message %d ended with %v though bytes of it left", m.number, err)
		}
		if wasPromised && !async {
			w.failf("message %d was promised and ended with %v", m.number, err)
		}
		m.promised = false
	case errors.Is(err, client.ErrUnknown):
		w.stats.Outcomes[outcomeUnknown]++
		m.inDoubt = true
		if errors.Is(err, client.ErrClosed) || errors.Is(err, client.ErrStoreFailed) {
			break
		}
		if async && m.qos > packets.AtMostOnce && !w.profile.clean {
			w.failf("message %d ended with %v in a session that goes on", m.number, err)
		}
		if lasting && m.left {
			m.promised = true // still in flight, so it has to arrive
		}
	default:
		w.failf("message %d ended with %v", m.number, err)
	}
}

// givenUp checks an error with which the client gave something up: the only valid reason is that
// the server closed.
func (w *world) givenUp(err error) {
	if w.server.closed < 3 {
		w.failf("given up with %v, and the server has closed %d connections", err, w.server.closed)
	}
}

func (w *world) judgeEvent(e *client.Event) {
	if e.Session == nil {
		return
	}
	switch e.Session.Kind {
	case session.EventPoisonSuspected:
		if w.server.closed == 0 {
			w.failf("a message is suspected, and the server never closed")
		}
	case session.EventPoison, session.EventScrubRefused:
		w.givenUp(e.Err)
		for _, m := range w.out { // the program may have stopped waiting, so it may be any of these
			if m.qos == packets.ExactlyOnce || e.Session.Kind == session.EventPoison && m.left {
				m.promised = false
			}
		}
	case session.EventSubscriptionRefused:
		w.givenUp(e.Err)
	case session.EventStuck:
		w.stands("stuck")
	}
}

// stands fails the run because nothing moves. One case is allowed: the server's quota is full of messages of
// earlier processes, and a process that started from an older copy cannot release their identifiers, because
// NoScrub forbids it or because it uses them for messages of its own, later than the one that waits. The client
// reports that to the program, as it should.
func (w *world) stands(format string, args ...any) {
	unknown := w.wasOlder && w.profile.quota > 0 && len(w.server.holds) >= w.profile.quota
	for id, m := range w.server.holds {
		unknown = unknown && m.process < w.stats.Processes && (w.profile.config.NoScrub || w.process.durable.uses(id))
	}
	if unknown {
		w.logf("event   the rest is not judged: the server's quota is full of identifiers that an older copy uses")
		w.excused = true
		return
	}
	w.failf(format, args...)
}

// answered checks the result of a subscription that the program gets.
func (p *process) answered(f string, i intent, err error) {
	w := p.w
	if p.dead {
		return
	}
	w.logf("app     hears about %q: %v", f, err)
	var filter *client.FilterError
	switch {
	case err == nil:
		if q, ok := w.server.granted[f]; w.server.session && (ok != i.want || ok && q != i.qos) && !w.profile.clean && !w.unsure[f] {
			w.failf("%q is %+v, and the server has %v, %v", f, i, ok, q)
		}
	case errors.As(err, &filter):
		w.givenUp(err)
	case errors.Is(err, client.ErrUnknown), errors.Is(err, client.ErrNotSent):
	default:
		w.failf("%q: %v", f, err)
	}
}

// delivered checks a delivery: at QoS 2 there may be one, and at QoS 1 one until its PUBACK may
// have left. It returns nil if the process is dead.
func (p *process) delivered(d *client.Delivery) *inMessage {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return nil
	}
	if len(d.Payload) < 5 || d.Payload[0] != 'i' {
		w.failf("payload %q was never sent", d.Payload)
		return nil
	}
	m := w.incoming[binary.BigEndian.Uint32(d.Payload[1:])]
	w.logf("app     is given %d", m.number)
	w.stats.Delivered++
	if m.qos == packets.AtMostOnce {
		return m
	}
	here := m.deliveredIn == p.number
	switch {
	case w.profile.clean:
	case m.qos == packets.AtLeastOnce && (!here || m.answerLeft): // allowed without an excuse
	case m.qos == packets.ExactlyOnce && !here && !m.answerLeft: // allowed too: only an answer that has left is surely on record
	case m.moreFine > 0:
		m.moreFine--
	case m.qos == packets.ExactlyOnce:
		w.failf("[MQTT-4.3.3-2] message %d was delivered twice", m.number)
	default:
		w.failf("message %d was delivered twice, and its PUBACK had not left", m.number)
	}
	m.deliveredIn, m.answerLeft = p.number, false
	return m
}

// takes notes that the program takes a message over. It reports false if the process is dead.
func (p *process) takes(m *inMessage) bool {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return false
	}
	if m.qos > packets.AtMostOnce {
		w.logf("app     takes %d over", m.number)
	}
	m.taken = true
	return true
}

// acked checks the error of Ack.
func (p *process) acked(m *inMessage, err error) {
	w := p.w
	switch {
	case err == nil, p.dead, errors.Is(err, client.ErrClosed):
	case errors.Is(err, client.ErrStale) && (w.profile.clean || w.rollbacks > 0):
	default:
		w.failf("Ack of message %d: %v", m.number, err)
	}
}

// arrived counts a message that the server passes on.
func (w *world) arrived(m *outMessage) {
	m.arrivals++
	switch {
	case m.withdrawn():
		w.failf("message %d arrived after it ended with %v", m.number, m.err)
	case m.arrivals > 1 && m.qos == packets.ExactlyOnce && !m.mayDouble:
		w.failf("[MQTT-4.3.3-1] message %d arrived twice", m.number)
	case m.arrivals > 1 && m.qos == packets.AtMostOnce:
		w.failf("[MQTT-4.3.1-1] message %d arrived twice", m.number)
	}
	if m.arrivals > 1 || m.qos == packets.AtMostOnce || w.profile.clean || w.profile.reorder || w.server.closed > 0 {
		return
	}
	if w.profile.config.WhenFull == client.QueueDropOldest {
		return // a dropped message comes back if the process dies before the drop is on record
	}
	if w.rollbacks > 0 && w.profile.methodA && m.qos == packets.ExactlyOnce {
		return // a PUBREL that only releases an identifier makes the server deliver a message that the older copy lacks
	}
	for _, other := range w.out[m.number+1:] {
		if other.qos == m.qos && other.process == m.process && other.who == m.who && other.arrivals > 0 && m.order() {
			w.failf("[MQTT-4.6.0-1] message %d arrived first after message %d did", m.number, other.number)
		}
	}
}

// withdrawn reports whether the program was told that the message will not be sent any more.
func (m *outMessage) withdrawn() bool {
	return m.ended && errors.Is(m.err, client.ErrNotSent) && !errors.Is(m.err, client.ErrStored) && !m.mayReturn
}

// order reports whether the message was handed over before later ones of its goroutine were.
func (m *outMessage) order() bool { return m.pending || m.ended }

// left checks a packet that is about to leave.
func (w *world) left(c *conn, pkt packets.Packet) {
	w.checkDurable(c.p, pkt)
	switch v := pkt.(type) {
	case *packets.Publish:
		m := w.messageOf(v)
		if m == nil {
			return
		}
		again := m.left && !w.profile.clean
		switch {
		case v.Dup && m.qos == packets.AtMostOnce:
			w.failf("[MQTT-3.3.1-2] DUP at QoS 0")
		case again && !v.Dup && m.qos > packets.AtMostOnce:
			w.failf("[MQTT-3.3.1-1] message %d sent again without DUP", m.number)
		case v.Dup && !m.left && m.process == c.p.number:
			w.failf("[MQTT-4.3.2-1] message %d sent for the first time with DUP", m.number)
		case m.withdrawn():
			w.failf("message %d leaves after it ended with %v", m.number, m.err)
		}
		m.id, m.left = v.PacketID, true
		w.byID[m.id] = true
		if v.QoS > packets.AtMostOnce {
			c.open[v.PacketID] = v.QoS
			if n := w.profile.config.MaxInflight; len(c.open) > n {
				w.failf("%d messages in flight, %d may be", len(c.open), n)
			}
			if n := w.profile.config.MaxInflightQoS2; v.QoS == packets.ExactlyOnce && c.inflight2() > n {
				w.failf("%d messages of QoS 2 in flight, %d may be", c.inflight2(), n)
			}
		}
	case *packets.Puback:
		c.answers(v.PacketID)
	case *packets.Pubrec:
		c.answers(v.PacketID)
	case *packets.Disconnect:
		c.bye = true
	}
}

// inflight2 returns how many messages of QoS 2 are in flight.
func (c *conn) inflight2() (n int) {
	for _, qos := range c.open {
		if qos == packets.ExactlyOnce {
			n++
		}
	}
	return n
}

// answers notes that the acknowledgement of a message leaves.
func (c *conn) answers(id uint16) {
	if m := c.peer.sent[id]; m != nil {
		m.answerLeft = true
	}
}

// received notes the packets that the client reads.
func (w *world) received(c *conn, pkt packets.Packet) {
	switch v := pkt.(type) {
	case *packets.Connack:
		c.up = v.Code == packets.Accepted
	case *packets.Puback:
		delete(c.open, v.PacketID)
	case *packets.Pubcomp:
		delete(c.open, v.PacketID)
	}
}

// checkPing checks keep alive: the time between two writes, or between the last one and the close,
// is at most the interval promised in CONNECT [MQTT-3.1.2-23].
func (c *conn) checkPing() {
	if !c.up || c.writing || c.failed || c.bye || c.p.dead {
		return
	}
	if silence := time.Since(c.sentAt); silence > c.w.profile.config.KeepAlive {
		c.w.failf("[MQTT-3.1.2-23] nothing was written to connection %d for %v", c.number, silence)
	}
}

// checkSilence checks, when the client closes, that it noticed a dead server in time.
func (c *conn) checkSilence() {
	cfg := &c.w.profile.config
	if !c.up || !c.reading || c.failed || c.bye {
		return
	}
	if silence := time.Since(c.readAt); silence > cfg.KeepAlive+cfg.PingTimeout+cfg.WriteTimeout+2*time.Second {
		c.w.failf("nothing was heard on connection %d for %v", c.number, silence)
	}
}

// processDied marks the messages whose outcome the dead program can no longer learn.
func (w *world) processDied() {
	for _, m := range w.out {
		if !m.ended {
			m.ended, m.inDoubt = true, true
			w.stats.Outcomes[outcomeDied]++
		}
	}
}

// waits reports whether something is unfinished that the program is not responsible for.
func (w *world) waits() bool {
	return len(w.server.flight) > 0 || len(w.server.waiting) > 0 || w.asking > 0 ||
		slices.ContainsFunc(w.out, func(m *outMessage) bool { return !m.ended })
}

// processEnded checks that every call has returned.
func (w *world) processEnded() {
	for _, m := range w.out {
		if !m.ended {
			w.failf("message %d never ended", m.number)
		}
	}
}

// sessionDropped allows the losses that follow from the loss of the server's session.
func (w *world) sessionDropped() {
	w.epoch++
	for _, h := range w.server.flight {
		h.msg.dropped = true
	}
	for _, m := range w.server.waiting {
		m.dropped = true
	}
}

// checkEnd checks the final state of every message.
func (w *world) checkEnd() {
	for _, m := range w.out {
		switch {
		case !m.promised || m.arrivals > 0 || m.mayLose:
		case w.profile.config.WhenFull == client.QueueDropOldest && !m.left: // dropped for a newer message
		default:
			w.failf("message %d was promised and never arrived: %v", m.number, m.err)
		}
	}
	for _, m := range w.incoming {
		if m.qos > packets.AtMostOnce && !m.taken && !m.dropped {
			w.failf("the program never took message %d over", m.number)
		}
	}
	for f, i := range w.wanted {
		if q, ok := w.server.granted[f]; !w.profile.clean && !w.unsure[f] && w.server.closed < 3 && (ok != i.want || ok && q != i.qos) {
			w.failf("subscription %q: wanted %+v, the server has %v, %v", f, i, ok, q)
		}
	}
}
