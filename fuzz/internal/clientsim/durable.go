package clientsim

import (
	"encoding/binary"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A durable is what the disk holds, according to the Store. The records that a packet depends on must
// be in it when the packet leaves: this shows a Send before its Save without a crash in between.
// world.mu guards it.
type durable struct {
	kept     map[string]session.Record
	messages map[int]uint64 // sequence numbers of stored messages, by the number of the message
	released map[uint64]bool
	received map[uint16]bool
}

func newDurable() *durable {
	return &durable{make(map[string]session.Record), make(map[int]uint64), make(map[uint64]bool), make(map[uint16]bool)}
}

// set adds a record that is durable, and forget removes one.
func (d *durable) set(key, value []byte) error {
	r, err := session.ParseRecord(key, value)
	if err != nil {
		return err
	}
	d.kept[string(key)] = r
	switch r.Kind {
	case session.RecordPublish:
		d.messages[numberOf(r.Publish.Payload)] = r.Seq
	case session.RecordReleased:
		d.released[r.Seq] = true
	case session.RecordReceived:
		d.received[r.PacketID] = true
	}
	return nil
}

func (d *durable) forget(key []byte) {
	r, ok := d.kept[string(key)]
	if !ok {
		return
	}
	delete(d.kept, string(key))
	switch r.Kind {
	case session.RecordPublish:
		delete(d.messages, numberOf(r.Publish.Payload))
	case session.RecordReleased:
		delete(d.released, r.Seq)
	case session.RecordReceived:
		delete(d.received, r.PacketID)
	}
}

// uses reports whether a stored message has the Packet Identifier.
func (d *durable) uses(id uint16) bool {
	for _, r := range d.kept {
		if r.Kind == session.RecordPublish && r.PacketID == id {
			return true
		}
	}
	return false
}

func numberOf(payload []byte) int { return int(binary.BigEndian.Uint32(payload[1:])) }

// committed notes changes that the Store has made durable.
func (w *world) committed(d *durable, changes []client.Change) {
	for i := range changes {
		if c := &changes[i]; c.Forget {
			d.forget(c.Key)
		} else if err := d.set(c.Key, c.Value); err != nil {
			w.failf("the client saved what is no record: %v", err)
		}
	}
}

// checkDurable checks that the disk has the records that a packet depends on when it leaves. In a
// clean session there are none.
func (w *world) checkDurable(p *process, pkt packets.Packet) {
	d := p.durable
	if d == nil || w.profile.clean {
		return
	}
	switch v := pkt.(type) {
	case *packets.Publish:
		if v.QoS == packets.AtMostOnce {
			return
		}
		n := numberOf(v.Payload)
		seq, ok := d.messages[n]
		if !ok {
			w.failf("message %d leaves and is not on the disk", n)
		}
		if d.released[seq] && v.QoS == packets.ExactlyOnce {
			w.failf("[MQTT-4.3.3-1] PUBLISH of message %d leaves, and the disk says PUBREL", n)
		}
	case *packets.Pubrel:
		for n, seq := range d.messages {
			if m := w.out[n]; m.qos == packets.ExactlyOnce && m.id == v.PacketID && m.left && !d.released[seq] {
				w.failf("[MQTT-4.3.3-1] PUBREL of message %d leaves and is not on the disk", n)
			}
		}
	case *packets.Pubrec:
		if !d.received[v.PacketID] {
			w.failf("[MQTT-4.1.0-1] PUBREC %d leaves and is not on the disk", v.PacketID)
		}
	case *packets.Pubcomp:
		if d.received[v.PacketID] {
			w.failf("PUBCOMP %d leaves and its identifier is still on the disk", v.PacketID)
		}
	}
}
