package sim

import (
	"errors"
	"slices"

	"github.com/mqtt311/mqtt311/packets"
)

// A held message is in flight from the broker to the client.
type held struct {
	id       uint16
	msg      *inMessage
	released bool // PUBREC has been received
}

// An answer is an acknowledgement that the broker owes.
type answer struct {
	typ packets.Type
	id  uint16
	p   packets.Packet // of SUBACK and UNSUBACK
}

// A peer is the broker's end of one Network Connection.
type peer struct {
	link    *link
	in      []byte
	greeted bool // CONNECT has been received
	up      bool // CONNACK with 0 was sent
	left    bool // DISCONNECT has been received
	clean   bool
	heard   int64 // when the last packet came
	alive   int64 // Keep Alive in nanoseconds; 0: off
	answers []answer
	pubacks []uint16 // the order in which PUBACKs must arrive [MQTT-4.6.0-2]
	pubrecs []uint16 // and PUBRECs [MQTT-4.6.0-3]
}

// A broker follows the specification strictly: a client that violates it ends the run.
type broker struct {
	peers   []*peer // the newest last; only the newest may be up
	session bool
	granted map[string]packets.QoS
	holds   map[uint16]*outMessage // QoS 2 identifiers between PUBLISH and PUBREL
	flight  []*held                // in the order of their PUBLISHes
	waiting []*inMessage
	nextID  uint16
}

func (b *broker) accept(l *link) { b.peers = append(b.peers, &peer{link: l}) }

// top returns the connection that is up, if one is.
func (b *broker) top() *peer {
	if n := len(b.peers); n > 0 && b.peers[n-1].up && !b.peers[n-1].link.dead {
		return b.peers[n-1]
	}
	return nil
}

// forget drops the session and everything in it.
func (w *world) forgetSession() {
	b := &w.broker
	w.logf("broker  forgets the session")
	w.sessionDropped()
	*b = broker{peers: b.peers, nextID: b.nextID}
}

// readable returns the index of a connection that has bytes to read or an end to notice.
func (b *broker) readable() int {
	for i, p := range b.peers {
		if len(p.link.up) > 0 || p.link.dead {
			return i
		}
	}
	return -1
}

func (w *world) brokerRead() {
	b := &w.broker
	i := b.readable()
	p := b.peers[i]
	if len(p.link.up) == 0 {
		w.brokerLost(i)
		return
	}
	p.in = append(p.in, take(w.r, &p.link.up)...)
	for {
		pkt, n, err := packets.Parse(p.in)
		if errors.Is(err, packets.ErrShort) {
			return
		}
		if err != nil {
			w.fail("[MQTT-4.8.0-1] the client sent what is not a packet: %v", err)
		}
		w.logf("broker  < %v", pkt)
		p.in = p.in[n:]
		p.heard = w.now.UnixNano()
		if !w.brokerReceived(p, pkt) {
			w.brokerClose(p)
			return
		}
	}
}

func (w *world) brokerClose(p *peer) {
	p.link.dead, p.link.byPeer = true, true
	p.link.up = nil
	if i := slices.Index(w.broker.peers, p); i >= 0 {
		w.brokerLost(i)
	}
}

// brokerLost ends a connection on the broker's side.
func (w *world) brokerLost(i int) {
	b := &w.broker
	p := b.peers[i]
	b.peers = slices.Delete(b.peers, i, i+1)
	if p.up && p.clean {
		w.forgetSession() // [MQTT-3.1.2-6]
	}
}

func (w *world) send(p *peer, pkt packets.Packet) {
	bytes, err := pkt.AppendBinary(nil)
	if err != nil {
		w.fail("the broker cannot send: %v", err)
	}
	w.logf("broker  > %v", pkt)
	p.link.toClient(bytes)
}

// brokerReceived handles one packet. It reports false if the broker closes the connection.
func (w *world) brokerReceived(p *peer, pkt packets.Packet) bool {
	if c, ok := pkt.(*packets.Connect); ok {
		return w.brokerConnect(p, c)
	}
	if !p.greeted {
		w.fail("[MQTT-3.1.0-1] %v before CONNECT", pkt)
	}
	if p.left {
		w.fail("[MQTT-3.14.4-2] %v after DISCONNECT", pkt)
	}
	if !p.up {
		w.fail("%v before CONNACK", pkt)
	}
	b := &w.broker
	switch v := pkt.(type) {
	case *packets.Publish:
		w.brokerPublish(p, v)
	case *packets.Pubrel:
		w.brokerRelease(p, v.PacketID)
	case *packets.Puback:
		w.inOrder("MQTT-4.6.0-2", &p.pubacks, v.PacketID)
		w.brokerAcked(v.PacketID, packets.AtLeastOnce)
	case *packets.Pubrec:
		w.inOrder("MQTT-4.6.0-3", &p.pubrecs, v.PacketID)
		w.brokerAcked(v.PacketID, packets.ExactlyOnce)
		w.send(p, &packets.Pubrel{PacketID: v.PacketID})
	case *packets.Pubcomp:
		w.brokerCompleted(v.PacketID)
	case *packets.Subscribe:
		a := &packets.Suback{PacketID: v.PacketID}
		for _, s := range v.Subscriptions {
			b.granted[s.Filter] = s.QoS
			a.Codes = append(a.Codes, packets.SubscribeCode(s.QoS))
		}
		p.answers = append(p.answers, answer{typ: packets.SUBACK, p: a})
	case *packets.Unsubscribe:
		for _, f := range v.Filters {
			delete(b.granted, f)
		}
		p.answers = append(p.answers, answer{typ: packets.UNSUBACK, p: &packets.Unsuback{PacketID: v.PacketID}})
	case *packets.Pingreq:
		p.answers = append(p.answers, answer{typ: packets.PINGRESP, p: &packets.Pingresp{}})
	case *packets.Disconnect:
		p.left = true
	default:
		w.fail("a client sent %v", pkt)
	}
	return true
}

func (w *world) brokerConnect(p *peer, c *packets.Connect) bool {
	b := &w.broker
	if p.greeted {
		w.fail("[MQTT-3.1.0-2] a second CONNECT")
	}
	p.greeted = true
	for len(b.peers) > 1 { // an earlier client with the identifier is disconnected [MQTT-3.1.4-2]
		b.peers[0].link.dead = true
		w.brokerLost(0)
	}
	if w.profile.refuses && !w.calm && chance(w.r, 20) {
		w.send(p, &packets.Connack{Code: packets.ServerUnavailable})
		return false
	}
	lost := false
	if c.CleanSession && b.session {
		w.forgetSession()
	} else if w.profile.loses && b.session && !w.calm && chance(w.r, 10) {
		w.forgetSession()
		lost = true
	}
	present := b.session
	switch {
	case c.CleanSession:
	case w.profile.lieAbsent && present && chance(w.r, 30):
		present = false
	case w.profile.liePresent && (lost || w.everHad && !present):
		present = true
	}
	if !b.session {
		b.session, b.granted, b.holds = true, make(map[string]packets.QoS), make(map[uint16]*outMessage)
	}
	w.everHad = true
	p.up, p.clean = true, c.CleanSession
	p.alive = int64(c.KeepAlive) * 1e9
	w.send(p, &packets.Connack{SessionPresent: present})
	for _, h := range b.flight { // [MQTT-4.4.0-1]
		if h.released {
			w.send(p, &packets.Pubrel{PacketID: h.id})
		} else {
			w.forward(p, h, true)
		}
	}
	return true
}

func (w *world) brokerPublish(p *peer, v *packets.Publish) {
	b := &w.broker
	m := w.messageOf(v)
	if v.QoS != m.qos {
		w.fail("message %d came with %v", m.number, v.QoS)
	}
	switch v.QoS {
	case packets.AtMostOnce:
		w.arrived(m)
	case packets.AtLeastOnce:
		w.arrived(m)
		p.answers = append(p.answers, answer{typ: packets.PUBACK, id: v.PacketID})
	case packets.ExactlyOnce:
		if old := b.holds[v.PacketID]; old != nil && old != m {
			w.fail("[MQTT-2.3.1-2] message %d under identifier %d, which message %d holds", m.number, v.PacketID, old.number)
		}
		if m.releasedIn == w.epoch {
			w.fail("[MQTT-4.3.3-1] PUBLISH of message %d after its PUBREL", m.number)
		}
		if b.holds[v.PacketID] == nil && !w.profile.methodA {
			w.arrived(m)
		}
		b.holds[v.PacketID] = m
		p.answers = append(p.answers, answer{typ: packets.PUBREC, id: v.PacketID})
	}
}

func (w *world) brokerRelease(p *peer, id uint16) {
	b := &w.broker
	if m := b.holds[id]; m != nil {
		m.releasedIn = w.epoch
		if w.profile.methodA {
			w.arrived(m)
		}
		delete(b.holds, id)
	}
	p.answers = append(p.answers, answer{typ: packets.PUBCOMP, id: id})
}

// inOrder checks that the acknowledgements of the PUBLISHes on this connection arrive in the order
// of the PUBLISHes.
func (w *world) inOrder(statement string, due *[]uint16, id uint16) {
	if len(*due) == 0 || (*due)[0] != id {
		w.fail("[%s] identifier %d acknowledged, due were %v", statement, id, *due)
	}
	*due = (*due)[1:]
}

func (w *world) brokerAcked(id uint16, qos packets.QoS) {
	b := &w.broker
	i := slices.IndexFunc(b.flight, func(h *held) bool { return h.id == id && h.msg.qos == qos && !h.released })
	if i < 0 {
		w.fail("identifier %d acknowledged, which is not in flight", id)
	}
	h := b.flight[i]
	if !h.msg.acked {
		w.fail("message %d acknowledged before the application took it over", h.msg.number)
	}
	h.msg.acknowledged = true
	if qos == packets.ExactlyOnce {
		h.released = true
		return
	}
	b.flight = slices.Delete(b.flight, i, i+1)
}

func (w *world) brokerCompleted(id uint16) {
	b := &w.broker
	i := slices.IndexFunc(b.flight, func(h *held) bool { return h.id == id && h.released })
	if i < 0 {
		if id < noiseID {
			w.fail("PUBCOMP for identifier %d, which is not in flight", id)
		}
		return
	}
	b.flight = slices.Delete(b.flight, i, i+1)
}

// brokerAnswer sends an acknowledgement that the broker owes.
func (w *world) brokerAnswer(p *peer) {
	i := 0
	if w.profile.reorder {
		i = w.r.IntN(len(p.answers))
	}
	a := p.answers[i]
	p.answers = slices.Delete(p.answers, i, i+1)
	if a.p == nil {
		b := packets.AppendAck(nil, a.typ, a.id)
		w.logf("broker  > %v id=%d", a.typ, a.id)
		p.link.toClient(b)
		return
	}
	w.send(p, a.p)
}

// Packet Identifiers from noiseID on are in acknowledgements that answer nothing.
const noiseID = 60000

// brokerSend forwards the next message, or sends an acknowledgement of nothing.
func (w *world) brokerSend(p *peer) {
	b := &w.broker
	if w.profile.noise && !w.calm && chance(w.r, 20) {
		types := []packets.Type{packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP, packets.UNSUBACK}
		t, id := types[w.r.IntN(len(types))], noiseID+uint16(w.r.IntN(1000))
		w.logf("broker  > %v id=%d, for nothing", t, id)
		p.link.toClient(packets.AppendAck(nil, t, id))
		return
	}
	if !w.forwardable() {
		return
	}
	m := b.waiting[0]
	b.waiting = b.waiting[1:]
	h := &held{msg: m}
	if m.qos > packets.AtMostOnce {
		h.id = b.freeID(w.profile.identifiers)
		b.flight = append(b.flight, h)
	}
	w.forward(p, h, false)
}

func (w *world) forwardable() bool {
	b := &w.broker
	return len(b.waiting) > 0 && (b.waiting[0].qos == packets.AtMostOnce || len(b.flight) < w.profile.window)
}

func (w *world) forward(p *peer, h *held, dup bool) {
	w.send(p, &packets.Publish{
		Topic: topic, Payload: h.msg.payload, QoS: h.msg.qos, PacketID: h.id, Dup: dup && h.msg.qos > packets.AtMostOnce,
	})
	switch h.msg.qos {
	case packets.AtLeastOnce:
		p.pubacks = append(p.pubacks, h.id)
	case packets.ExactlyOnce:
		p.pubrecs = append(p.pubrecs, h.id)
	}
}

func (b *broker) freeID(identifiers int) uint16 {
	for {
		b.nextID = b.nextID%uint16(identifiers) + 1
		if !slices.ContainsFunc(b.flight, func(h *held) bool { return h.id == b.nextID }) {
			return b.nextID
		}
	}
}
