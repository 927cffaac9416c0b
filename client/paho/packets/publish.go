package packets

import (
	"io"

	mqtt "github.com/mqtt311/mqtt311/packets"
)

// A PublishPacket is PUBLISH.
type PublishPacket struct {
	FixedHeader
	TopicName string
	MessageID uint16
	Payload   []byte
}

func (p *PublishPacket) packet() *mqtt.Publish {
	q := &mqtt.Publish{Dup: p.Dup, QoS: mqtt.QoS(p.Qos), Retain: p.Retain, Topic: p.TopicName, Payload: p.Payload}
	if p.Qos > 0 {
		q.PacketID = p.MessageID
	}
	return q
}

// Write implements ControlPacket.
func (p *PublishPacket) Write(w io.Writer) error { return write(w, &p.FixedHeader, p.packet()) }

// Unpack implements ControlPacket.
func (p *PublishPacket) Unpack(b io.Reader) error {
	in, err := parse[*mqtt.Publish](b, p.FixedHeader)
	if err != nil {
		return err
	}
	p.TopicName, p.MessageID, p.Payload = in.Topic, in.PacketID, in.Payload
	return nil
}

// String implements ControlPacket.
func (p *PublishPacket) String() string { return p.packet().String() }

// Details implements ControlPacket.
func (p *PublishPacket) Details() Details { return Details{Qos: p.Qos, MessageID: p.MessageID} }

// Copy returns a packet with the same topic and payload and an empty fixed header.
func (p *PublishPacket) Copy() *PublishPacket {
	c := NewControlPacket(Publish).(*PublishPacket)
	c.TopicName, c.Payload = p.TopicName, p.Payload
	return c
}
