package session

import (
	"github.com/mqtt311/mqtt311/packets"
)

// An incoming is a received message of QoS 1 or 2, from its PUBLISH until its identifier is free:
// at QoS 1 until PUBACK is sent, at QoS 2 until PUBREL arrives.
type incoming struct {
	gen         uint32 // incremented when the entry is reused, so that old tokens are stale
	known       bool   // the identifier belongs to this message
	acked       bool   // the application has acknowledged it
	qos         packets.QoS
	id          uint16
	fingerprint uint64
	placed      uint64 // number of the Network Connection in whose order it has a place; 0: none
	recorded    bool   // QoS 2: it has a record
	saved       uint64 // QoS 2: its Save, if made by this process
}

// A place is a weak reference to a message, in the order of arrival or in the queue of
// acknowledgements being written.
type place struct {
	index uint32
	gen   uint32
	n     uint64 // number of the Send of the acknowledgement, or 0
}

// receiver implements the Receiver columns of figures 4.2 and 4.3. Acknowledgements are sent in the
// order in which messages arrived, whatever the order of Ack [MQTT-4.6.0-2] [MQTT-4.6.0-3]: there
// is a queue for each kind, from whose front acknowledged messages are removed. PUBCOMP is sent at
// once after PUBREL and needs no queue.
type receiver struct {
	// Valid for the session.
	all  []incoming
	free []uint32
	byID *identifiers // nil until the first message
	head []byte       // memory of fingerprint

	// Valid for one Network Connection.
	pubacks queue[place]
	pubrecs queue[place]
	leaving queue[place] // PUBACKs put out and perhaps not yet written
}

func (r *receiver) add(id uint16, qos packets.QoS, print uint64) (uint32, *incoming) {
	var i uint32
	if n := len(r.free); n > 0 {
		i = r.free[n-1]
		r.free = r.free[:n-1]
	} else {
		i = uint32(len(r.all))
		r.all = append(r.all, incoming{})
	}
	m := &r.all[i]
	m.renew()
	m.known, m.qos, m.id, m.fingerprint = true, qos, id, print
	if r.byID == nil {
		r.byID = new(identifiers)
	}
	r.byID.set(r.all, i)
	return i, m
}

// drop removes a message and makes its token and places invalid.
func (r *receiver) drop(i uint32) {
	m := &r.all[i]
	if at, ok := r.byID.get(r.all, m.id); m.known && ok && at == i {
		r.byID.remove(r.all, m.id)
	}
	m.renew()
	r.free = append(r.free, i)
}

// renew makes the token and places of m invalid.
func (m *incoming) renew() {
	gen := m.gen + 1
	*m = incoming{}
	m.gen = gen
}

func (r *receiver) get(p place) *incoming {
	if m := &r.all[p.index]; m.gen == p.gen {
		return m
	}
	return nil
}

func (r *receiver) token(i uint32) Token {
	return Token(r.all[i].gen)<<32 | Token(i)
}

// publish handles a PUBLISH (section 3.3.4) [MQTT-3.3.4-1]. Whether it is a duplicate depends on
// the identifier, never on the DUP flag alone [MQTT-4.3.2-2] [MQTT-4.3.3-2]. It does not check
// whether the topic matches one of our filters [MQTT-3.3.2-3].
func (s *Session) publish(p *packets.Publish) {
	if p.QoS == packets.AtMostOnce {
		s.put(Deliver).Packet = p
		return
	}
	if s.conn.hasShed {
		s.counters.Shed++
		return
	}
	r := &s.recv
	print := r.fingerprint(p)
	i, known := r.byID.get(r.all, p.PacketID)
	same := known && r.all[i].fingerprint == print && r.all[i].qos == p.QoS
	switch {
	case same && s.recognised(i, &r.all[i], p):
		s.counters.Redelivered++
		return
	case s.conn.shed:
		s.conn.hasShed = true
		s.counters.Shed++
		return
	case known && !same:
		s.counters.Mismatched++
		s.notify(Event{Kind: EventSessionMismatch, PacketID: p.PacketID, Topic: p.Topic})
	}
	if known {
		s.unknow(i, &r.all[i])
	}
	i, m := r.add(p.PacketID, p.QoS, print)
	s.placeOn(i, m)
	o := s.put(Deliver)
	o.Packet, o.Token = p, r.token(i)
}

// Awaits reports whether Received would deliver p, that is, p was not received before and would not
// be shed.
func (s *Session) Awaits(p *packets.Publish) bool {
	switch {
	case p.QoS == packets.AtMostOnce:
		return true
	case s.conn.shed || s.conn.hasShed:
		return false
	}
	r := &s.recv
	i, known := r.byID.get(r.all, p.PacketID)
	if !known {
		return true
	}
	m := &r.all[i]
	same := m.qos == p.QoS && m.fingerprint == r.fingerprint(p)
	return !same || m.placed != s.conn.number && m.qos == packets.AtLeastOnce && !p.Dup
}

// recognised handles a redelivered message, and reports whether it is one.
func (s *Session) recognised(i uint32, m *incoming, p *packets.Publish) bool {
	switch {
	case m.placed == s.conn.number:
		return true // its acknowledgement is still to be sent and answers this copy too
	case m.qos == packets.AtLeastOnce && !p.Dup:
		return false // a new message, as far as one can know at QoS 1
	case !m.acked:
		s.counters.Adopted++
	}
	s.placeOn(i, m)
	return true
}

// unknow frees the identifier for another message and makes the token stale.
func (s *Session) unknow(i uint32, m *incoming) {
	if m.recorded {
		s.forget(Record{Kind: RecordReceived, PacketID: m.id})
	}
	s.recv.drop(i)
}

// placeOn gives the message its place in the order of arrival on this Network Connection.
func (s *Session) placeOn(i uint32, m *incoming) {
	m.placed = s.conn.number
	s.recv.ring(m.qos).push(place{index: i, gen: m.gen})
	s.acknowledge(m.qos)
}

func (r *receiver) ring(qos packets.QoS) *queue[place] {
	if qos == packets.AtLeastOnce {
		return &r.pubacks
	}
	return &r.pubrecs
}

// Ack acknowledges a delivered message, with PUBACK at QoS 1 and PUBREC at QoS 2; the application
// is responsible for it from then on. Acknowledgements are sent in the order in which the messages
// arrived. After a reconnect an Ack is remembered until the Server has sent the message again. Ack
// returns ErrStale if the token was used before or has become invalid.
func (s *Session) Ack(t Token) error {
	p := place{index: uint32(t), gen: uint32(t >> 32)}
	if uint64(p.index) >= uint64(len(s.recv.all)) {
		return ErrStale
	}
	m := s.recv.get(p)
	if m == nil || !m.known || m.acked {
		return ErrStale
	}
	m.acked = true
	if m.qos == packets.ExactlyOnce {
		m.recorded = true
		m.saved = s.save(Record{Kind: RecordReceived, PacketID: m.id, Fingerprint: m.fingerprint}) // [MQTT-4.1.0-1]
	}
	s.acknowledge(m.qos)
	return nil
}

// acknowledge sends the acknowledgements that are next in order.
func (s *Session) acknowledge(qos packets.QoS) {
	if s.conn.phase != up {
		return
	}
	r := &s.recv
	ring := r.ring(qos)
	for !ring.empty() {
		m := r.get(*ring.front())
		if m != nil && !m.acked {
			return
		}
		p := ring.pop()
		switch {
		case m == nil: // its identifier now belongs to another message
		case qos == packets.AtLeastOnce:
			p.n = s.transmit(packets.PUBACK, nil, m.id, 0) // [MQTT-2.3.1-6]
			m.known = false                                // a later PUBLISH under the identifier is a new message [MQTT-4.3.2-2]
			r.byID.remove(r.all, m.id)
			r.leaving.push(p)
		default:
			after := m.saved
			if after == 0 {
				after = s.logged
			}
			m.placed = 0
			s.transmit(packets.PUBREC, nil, m.id, after)
		}
	}
}

// wrote frees the messages whose PUBACK was written.
func (r *receiver) wrote(n uint64) {
	for !r.leaving.empty() && r.leaving.front().n <= n {
		r.drop(r.leaving.pop().index)
	}
}

// pubrel completes an incoming QoS 2 delivery: after PUBCOMP the identifier is free for a new
// message. An unexpected PUBREL is answered with PUBCOMP too [MQTT-4.3.3-2], after all earlier
// records, because the record of the identifier may just have been removed.
func (s *Session) pubrel(id uint16) {
	r := &s.recv
	if i, ok := r.byID.get(r.all, id); ok && r.all[i].qos == packets.ExactlyOnce {
		s.unknow(i, &r.all[i])
	}
	s.transmit(packets.PUBCOMP, nil, id, s.logged)
	s.acknowledge(packets.ExactlyOnce)
}

// lost keeps the messages that the Server will send again: those whose acknowledgement was not
// sent.
func (r *receiver) lost(s *Session, loss Loss) {
	r.pubacks.clear()
	r.pubrecs.clear()
	for !r.leaving.empty() {
		p := r.leaving.pop()
		m := &r.all[p.index]
		if _, taken := r.byID.get(r.all, m.id); p.n <= loss.Position || taken {
			r.drop(p.index)
			continue
		}
		m.known = true
		r.byID.set(r.all, p.index)
	}
	if s.cfg.CleanSession {
		r.discard(s) // [MQTT-3.1.2-6]
	}
}

// discard removes all incoming messages because the Server has lost them, and returns their number.
// Their tokens become stale.
func (r *receiver) discard(s *Session) int {
	n := 0
	for i := range r.all {
		if m := &r.all[i]; m.known {
			s.unknow(uint32(i), m)
			n++
		}
	}
	return n
}

// Unacked reports whether Ack(t) would succeed.
func (s *Session) Unacked(t Token) bool {
	p := place{index: uint32(t), gen: uint32(t >> 32)}
	if uint64(p.index) >= uint64(len(s.recv.all)) {
		return false
	}
	m := s.recv.get(p)
	return m != nil && m.known && !m.acked
}
