package clientsim

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A server follows the specification strictly: a client that violates it ends the run. world.mu
// guards it.
type server struct {
	r       *rand.Rand
	peers   []*peer // the newest last; only the newest may be up
	session bool
	granted map[string]packets.QoS
	holds   map[uint16]*outMessage // QoS 2 identifiers between PUBLISH and PUBREL
	stale   map[uint16]bool        // those in holds that no client can know: see rollBack
	flight  []*held                // in the order of their PUBLISHes
	waiting []*inMessage
	nextID  uint16
	closed  int // connections that it closed by itself, or that look as if it had
}

// A held message is in flight from the server to the client.
type held struct {
	id       uint16
	msg      *inMessage
	released bool // PUBREC has been received
}

// A peer is the server's end of one Network Connection.
type peer struct {
	conn    *end
	number  int
	greeted bool // CONNECT has been received
	up      bool // CONNACK with 0 was sent
	left    bool // DISCONNECT has been received
	over    bool
	clean   bool
	mute    bool
	alive   time.Duration         // one and a half Keep Alive
	out     [][]byte              // to be written
	ready   chan struct{}         // has capacity 1; out is not empty, or the connection is over
	above   []*packets.Publish    // PUBLISHes that wait for a place in the quota
	sent    map[uint16]*inMessage // messages sent on this connection, by identifier
	pubacks []uint16              // the order in which PUBACKs must arrive [MQTT-4.6.0-2]
	pubrecs []uint16              // and PUBRECs [MQTT-4.6.0-3]
}

const greeting = 10 * time.Second // how long it waits for CONNECT

// accept serves a connection.
func (w *world) accept(conn *end, number int) *peer {
	p := &peer{conn: conn, number: number, ready: make(chan struct{}, 1), sent: make(map[uint16]*inMessage)}
	w.server.peers = append(w.server.peers, p)
	w.running.Go(func() { w.serve(p) })
	w.running.Go(func() { w.answer(p) })
	return p
}

func (w *world) serve(p *peer) {
	r := packets.NewReader(p.conn, packets.ReaderOptions{})
	p.conn.SetReadDeadline(time.Now().Add(greeting))
	for {
		pkt, err := r.ReadPacket()
		if !w.handle(p, pkt, err) {
			p.conn.SetWriteDeadline(time.Now().Add(time.Second)) // for the packets still to be written
			return
		}
		if p.alive > 0 {
			p.conn.SetReadDeadline(time.Now().Add(p.alive))
		}
	}
}

// handle handles a packet or the end of the connection. It reports false if the server closes the
// connection.
func (w *world) handle(p *peer, pkt packets.Packet, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && !p.over {
		w.logPacket(serverReads, p.number, pkt)
		if w.serverReceived(p, pkt) {
			return true
		}
	} else if !p.over {
		w.logf("server %d closes: %v", p.number, err)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.server.closed++
		}
		var format *packets.FormatError
		if errors.As(err, &format) {
			w.failf("[MQTT-4.8.0-1] the client sent what is not a packet: %v", err)
		}
	}
	w.serverLost(p)
	return false
}

// serverLost ends a connection on the server's side.
func (w *world) serverLost(p *peer) {
	if p.over {
		return
	}
	p.over = true
	poke(p.ready)
	w.server.peers = slices.DeleteFunc(w.server.peers, func(x *peer) bool { return x == p })
	if p.up && p.clean {
		w.forgetSession() // [MQTT-3.1.2-6]
	}
}

func (w *world) forgetSession() {
	w.logf("server  forgets the session")
	w.sessionDropped()
	s := &w.server
	s.session, s.granted, s.holds, s.flight, s.waiting = false, nil, nil, nil, nil
}

// serverCloses decides whether the server closes over a packet, which is its only way to refuse one.
func (w *world) serverCloses(p *peer) bool {
	if w.calm || w.server.r.IntN(1000) >= w.profile.closes {
		return false
	}
	w.logf("server %d closes over it", p.number)
	w.server.closed++
	return true
}

func (w *world) serverReceived(p *peer, pkt packets.Packet) bool {
	if c, ok := pkt.(*packets.Connect); ok {
		return w.serverConnect(p, c)
	}
	switch {
	case !p.greeted:
		w.failf("[MQTT-3.1.0-1] %v before CONNECT", pkt)
	case p.left:
		w.failf("[MQTT-3.14.4-2] %v after DISCONNECT", pkt)
	case !p.up:
		w.failf("%v before CONNACK", pkt)
	}
	if w.serverCloses(p) {
		return false
	}
	s := &w.server
	switch v := pkt.(type) {
	case *packets.Publish:
		if !w.serverPublish(p, v) {
			return false
		}
	case *packets.Pubrel:
		w.serverRelease(p, v.PacketID)
	case *packets.Puback:
		w.inOrder("MQTT-4.6.0-2", &p.pubacks, v.PacketID)
		w.serverAcked(v.PacketID, packets.AtLeastOnce)
	case *packets.Pubrec:
		w.inOrder("MQTT-4.6.0-3", &p.pubrecs, v.PacketID)
		w.serverAcked(v.PacketID, packets.ExactlyOnce)
		w.send(p, &packets.Pubrel{PacketID: v.PacketID})
	case *packets.Pubcomp:
		w.serverCompleted(v.PacketID)
	case *packets.Subscribe:
		a := &packets.Suback{PacketID: v.PacketID}
		for _, x := range v.Subscriptions {
			s.granted[x.Filter] = x.QoS
			a.Codes = append(a.Codes, packets.SubscribeCode(x.QoS))
		}
		w.send(p, a)
	case *packets.Unsubscribe:
		for _, f := range v.Filters {
			delete(s.granted, f)
		}
		w.send(p, &packets.Unsuback{PacketID: v.PacketID})
	case *packets.Pingreq:
		w.send(p, &packets.Pingresp{})
	case *packets.Disconnect:
		p.left = true
		w.process.left = true
		return true // the client closes its direction next
	default:
		w.failf("a client sent %v", pkt)
	}
	w.forwardAll(p)
	return true
}

func (w *world) serverConnect(p *peer, c *packets.Connect) bool {
	s := &w.server
	if p.greeted {
		w.failf("[MQTT-3.1.0-2] a second CONNECT")
	}
	p.greeted = true
	p.alive = time.Duration(c.KeepAlive) * time.Second * 3 / 2
	for len(s.peers) > 1 { // an earlier client with the identifier is disconnected [MQTT-3.1.4-2]
		old := s.peers[0]
		w.serverLost(old)
		old.conn.Close()
	}
	switch {
	case w.calm:
	case chance(s.r, w.profile.mute):
		w.logf("server %d says nothing", p.number)
		p.mute = true
		return true
	case chance(s.r, w.profile.refuse):
		w.send(p, &packets.Connack{Code: packets.ServerUnavailable})
		return false
	}
	if c.CleanSession && s.session {
		w.forgetSession()
	}
	present := s.session
	if !present {
		s.session, s.granted, s.holds = true, make(map[string]packets.QoS), make(map[uint16]*outMessage)
	}
	p.up, p.clean = true, c.CleanSession
	w.send(p, &packets.Connack{SessionPresent: present})
	for _, h := range s.flight { // [MQTT-4.4.0-1]
		if h.released {
			w.send(p, &packets.Pubrel{PacketID: h.id})
		} else {
			w.forward(p, h, true)
		}
	}
	w.forwardAll(p)
	return true
}

// serverPublish reports false if the server closes over the message.
func (w *world) serverPublish(p *peer, v *packets.Publish) bool {
	s := &w.server
	m := w.messageOf(v)
	if m == nil {
		return true
	}
	if v.QoS != m.qos {
		w.failf("message %d came with %v", m.number, v.QoS)
	}
	switch v.QoS {
	case packets.AtMostOnce:
		w.arrived(m)
	case packets.AtLeastOnce:
		w.arrived(m)
		w.sendAck(p, packets.PUBACK, v.PacketID)
	case packets.ExactlyOnce:
		old := s.holds[v.PacketID]
		if old != nil && old != m && s.stale[v.PacketID] { // the server takes it for a copy of the old one
			w.logf("server  takes %d for a copy of %d", m.number, old.number)
			m.mayLose = true
			w.sendAck(p, packets.PUBREC, v.PacketID)
			return true
		}
		if old != nil && old != m {
			w.failf("[MQTT-2.3.1-2] message %d under identifier %d, which message %d holds", m.number, v.PacketID, old.number)
		}
		if m.releasedIn == w.epoch && !m.mayReturn {
			w.failf("[MQTT-4.3.3-1] PUBLISH of message %d after its PUBREL", m.number)
		}
		if q := w.profile.quota; q > 0 && s.holds[v.PacketID] == nil && len(s.holds) >= q {
			if w.profile.quotaCloses {
				w.logf("server %d closes: it holds %d messages", p.number, len(s.holds))
				s.closed++
				return false
			}
			own := *v // the reader reuses v
			own.Payload = slices.Clone(v.Payload)
			p.above = append(p.above, &own)
			return true
		}
		if s.holds[v.PacketID] == nil && !w.profile.methodA {
			w.arrived(m)
		}
		s.holds[v.PacketID] = m
		w.sendAck(p, packets.PUBREC, v.PacketID)
	}
	return true
}

func (w *world) serverRelease(p *peer, id uint16) {
	s := &w.server
	if m := s.holds[id]; m != nil {
		m.releasedIn = w.epoch
		if w.profile.methodA {
			w.arrived(m)
		}
		delete(s.holds, id)
		delete(s.stale, id)
	}
	w.sendAck(p, packets.PUBCOMP, id)
	if len(p.above) > 0 && len(s.holds) < w.profile.quota {
		v := p.above[0]
		p.above = p.above[1:]
		w.serverPublish(p, v)
	}
}

// inOrder checks that the acknowledgements of the PUBLISHes on this connection arrive in the order
// of the PUBLISHes.
func (w *world) inOrder(statement string, due *[]uint16, id uint16) {
	if len(*due) == 0 || (*due)[0] != id {
		w.failf("[%s] identifier %d acknowledged, due were %v", statement, id, *due)
		return
	}
	*due = (*due)[1:]
}

func (w *world) serverAcked(id uint16, qos packets.QoS) {
	s := &w.server
	i := slices.IndexFunc(s.flight, func(h *held) bool { return h.id == id && h.msg.qos == qos && !h.released })
	if i < 0 {
		w.failf("identifier %d acknowledged, which is not in flight", id)
		return
	}
	h := s.flight[i]
	if !h.msg.taken {
		w.failf("message %d acknowledged before the application took it over", h.msg.number)
	}
	if qos == packets.ExactlyOnce {
		h.released = true
		return
	}
	s.flight = slices.Delete(s.flight, i, i+1)
}

func (w *world) serverCompleted(id uint16) {
	s := &w.server
	i := slices.IndexFunc(s.flight, func(h *held) bool { return h.id == id && h.released })
	if i >= 0 {
		s.flight = slices.Delete(s.flight, i, i+1)
	} else if id < noiseID {
		w.failf("PUBCOMP for identifier %d, which is not in flight", id)
	}
}

// inject gives the server a message for the client.
func (w *world) inject(qos packets.QoS) {
	m := &inMessage{number: len(w.incoming), qos: qos}
	m.payload = payload('i', m.number, w.server.r.IntN(3)*20)
	w.incoming = append(w.incoming, m)
	w.server.waiting = append(w.server.waiting, m)
	if n := len(w.server.peers); n > 0 && w.server.peers[n-1].up {
		w.forwardAll(w.server.peers[n-1])
	}
}

const (
	identifiers = 40    // Packet Identifiers that the server uses
	noiseID     = 60000 // from here on: identifiers in acknowledgements that answer nothing
)

// forwardAll forwards as many messages as the window has room for.
func (w *world) forwardAll(p *peer) {
	s := &w.server
	if !p.up || p.over {
		return
	}
	if w.profile.noise && !w.calm && chance(s.r, 5) {
		w.sendAck(p, some(s.r, packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP), noiseID+uint16(s.r.IntN(100)))
	}
	for len(s.waiting) > 0 && (s.waiting[0].qos == packets.AtMostOnce || len(s.flight) < w.profile.window) {
		h := &held{msg: s.waiting[0]}
		s.waiting = s.waiting[1:]
		if h.msg.qos > packets.AtMostOnce {
			h.id = s.freeID()
			s.flight = append(s.flight, h)
		}
		w.forward(p, h, false)
	}
}

func (w *world) forward(p *peer, h *held, dup bool) {
	switch h.msg.qos {
	case packets.AtLeastOnce:
		p.pubacks = append(p.pubacks, h.id)
	case packets.ExactlyOnce:
		p.pubrecs = append(p.pubrecs, h.id)
	}
	p.sent[h.id], h.msg.forwarded = h.msg, true
	w.send(p, &packets.Publish{Topic: topic, Payload: h.msg.payload, QoS: h.msg.qos, PacketID: h.id, Dup: dup && h.msg.qos > packets.AtMostOnce})
}

func (s *server) freeID() uint16 {
	for {
		s.nextID = s.nextID%identifiers + 1
		if !slices.ContainsFunc(s.flight, func(h *held) bool { return h.id == s.nextID }) {
			return s.nextID
		}
	}
}

func (w *world) send(p *peer, pkt packets.Packet) {
	b, err := pkt.AppendBinary(nil)
	if err != nil {
		w.failf("the server cannot send: %v", err)
		return
	}
	w.logPacket(serverSends, p.number, pkt)
	p.out = append(p.out, b)
	poke(p.ready)
}

// sendAck acknowledges a PUBLISH or PUBREL of the client, sometimes ahead of other acknowledgements
// that wait.
func (w *world) sendAck(p *peer, t packets.Type, id uint16) {
	b := packets.AppendAck(nil, t, id)
	if pkt, _, err := packets.Parse(b); err == nil {
		w.logPacket(serverSends, p.number, pkt)
	}
	at := len(p.out)
	for w.profile.reorder && at > 0 && isAck(p.out[at-1]) && chance(w.server.r, 40) {
		at--
	}
	p.out = slices.Insert(p.out, at, b)
	poke(p.ready)
}

func isAck(b []byte) bool {
	t := packets.Type(b[0] >> 4)
	return t == packets.PUBACK || t == packets.PUBREC || t == packets.PUBCOMP
}

// answer writes the waiting answers.
func (w *world) answer(p *peer) {
	defer p.conn.Close()
	for {
		w.mu.Lock()
		out, over := p.out, p.over
		p.out = nil
		w.mu.Unlock()
		for _, b := range out {
			if _, err := p.conn.Write(b); err != nil {
				return // the reader gets the error too
			}
		}
		if over {
			return
		}
		if len(out) == 0 {
			<-p.ready
		}
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
