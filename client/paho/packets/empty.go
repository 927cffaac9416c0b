package packets

import (
	"io"

	mqtt "github.com/mqtt311/mqtt311/packets"
)

// A PingreqPacket is PINGREQ.
type PingreqPacket struct {
	FixedHeader
}

// Write implements ControlPacket.
func (p *PingreqPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, new(mqtt.Pingreq))
}

// Unpack implements ControlPacket.
func (p *PingreqPacket) Unpack(b io.Reader) error {
	_, err := parse[*mqtt.Pingreq](b, p.FixedHeader)
	return err
}

// String implements ControlPacket.
func (p *PingreqPacket) String() string { return new(mqtt.Pingreq).String() }

// Details implements ControlPacket.
func (p *PingreqPacket) Details() Details { return Details{} }

// A PingrespPacket is PINGRESP.
type PingrespPacket struct {
	FixedHeader
}

// Write implements ControlPacket.
func (p *PingrespPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, new(mqtt.Pingresp))
}

// Unpack implements ControlPacket.
func (p *PingrespPacket) Unpack(b io.Reader) error {
	_, err := parse[*mqtt.Pingresp](b, p.FixedHeader)
	return err
}

// String implements ControlPacket.
func (p *PingrespPacket) String() string { return new(mqtt.Pingresp).String() }

// Details implements ControlPacket.
func (p *PingrespPacket) Details() Details { return Details{} }

// A DisconnectPacket is DISCONNECT.
type DisconnectPacket struct {
	FixedHeader
}

// Write implements ControlPacket.
func (p *DisconnectPacket) Write(w io.Writer) error {
	return write(w, &p.FixedHeader, new(mqtt.Disconnect))
}

// Unpack implements ControlPacket.
func (p *DisconnectPacket) Unpack(b io.Reader) error {
	_, err := parse[*mqtt.Disconnect](b, p.FixedHeader)
	return err
}

// String implements ControlPacket.
func (p *DisconnectPacket) String() string { return new(mqtt.Disconnect).String() }

// Details implements ControlPacket.
func (p *DisconnectPacket) Details() Details { return Details{} }
