package packets

import (
	"io"

	mqtt "github.com/mqtt311/mqtt311/packets"
)

// A PubackPacket is PUBACK.
type PubackPacket struct {
	FixedHeader
	MessageID uint16
}

// Write implements ControlPacket.
func (p *PubackPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, &mqtt.Puback{PacketID: p.MessageID})
}

// Unpack implements ControlPacket.
func (p *PubackPacket) Unpack(b io.Reader) error {
	q, err := parse[*mqtt.Puback](b, p.FixedHeader)
	if err == nil {
		p.MessageID = q.PacketID
	}
	return err
}

// String implements ControlPacket.
func (p *PubackPacket) String() string { return (&mqtt.Puback{PacketID: p.MessageID}).String() }

// Details implements ControlPacket.
func (p *PubackPacket) Details() Details { return Details{Qos: p.Qos, MessageID: p.MessageID} }

// A PubrecPacket is PUBREC.
type PubrecPacket struct {
	FixedHeader
	MessageID uint16
}

// Write implements ControlPacket.
func (p *PubrecPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, &mqtt.Pubrec{PacketID: p.MessageID})
}

// Unpack implements ControlPacket.
func (p *PubrecPacket) Unpack(b io.Reader) error {
	q, err := parse[*mqtt.Pubrec](b, p.FixedHeader)
	if err == nil {
		p.MessageID = q.PacketID
	}
	return err
}

// String implements ControlPacket.
func (p *PubrecPacket) String() string { return (&mqtt.Pubrec{PacketID: p.MessageID}).String() }

// Details implements ControlPacket.
func (p *PubrecPacket) Details() Details { return Details{Qos: p.Qos, MessageID: p.MessageID} }

// A PubrelPacket is PUBREL.
type PubrelPacket struct {
	FixedHeader
	MessageID uint16
}

// Write implements ControlPacket.
func (p *PubrelPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, &mqtt.Pubrel{PacketID: p.MessageID})
}

// Unpack implements ControlPacket.
func (p *PubrelPacket) Unpack(b io.Reader) error {
	q, err := parse[*mqtt.Pubrel](b, p.FixedHeader)
	if err == nil {
		p.MessageID = q.PacketID
	}
	return err
}

// String implements ControlPacket.
func (p *PubrelPacket) String() string { return (&mqtt.Pubrel{PacketID: p.MessageID}).String() }

// Details implements ControlPacket.
func (p *PubrelPacket) Details() Details { return Details{Qos: p.Qos, MessageID: p.MessageID} }

// A PubcompPacket is PUBCOMP.
type PubcompPacket struct {
	FixedHeader
	MessageID uint16
}

// Write implements ControlPacket.
func (p *PubcompPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, &mqtt.Pubcomp{PacketID: p.MessageID})
}

// Unpack implements ControlPacket.
func (p *PubcompPacket) Unpack(b io.Reader) error {
	q, err := parse[*mqtt.Pubcomp](b, p.FixedHeader)
	if err == nil {
		p.MessageID = q.PacketID
	}
	return err
}

// String implements ControlPacket.
func (p *PubcompPacket) String() string { return (&mqtt.Pubcomp{PacketID: p.MessageID}).String() }

// Details implements ControlPacket.
func (p *PubcompPacket) Details() Details { return Details{Qos: p.Qos, MessageID: p.MessageID} }

// A UnsubackPacket is UNSUBACK.
type UnsubackPacket struct {
	FixedHeader
	MessageID uint16
}

// Write implements ControlPacket.
func (p *UnsubackPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, &mqtt.Unsuback{PacketID: p.MessageID})
}

// Unpack implements ControlPacket.
func (p *UnsubackPacket) Unpack(b io.Reader) error {
	q, err := parse[*mqtt.Unsuback](b, p.FixedHeader)
	if err == nil {
		p.MessageID = q.PacketID
	}
	return err
}

// String implements ControlPacket.
func (p *UnsubackPacket) String() string { return (&mqtt.Unsuback{PacketID: p.MessageID}).String() }

// Details implements ControlPacket.
func (p *UnsubackPacket) Details() Details { return Details{Qos: p.Qos, MessageID: p.MessageID} }
