package packets

import "strconv"

// The four acknowledgements of a PUBLISH, and UNSUBACK, carry a Packet Identifier and
// nothing else.

const ackRemaining = 2

// AppendAck appends a PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK to b. The Packet Identifier must
// be nonzero; unlike AppendBinary, AppendAck does not check it.
func AppendAck(b []byte, t Type, packetID uint16) []byte {
	flags := byte(0)
	if t == PUBREL {
		flags = 2 // [MQTT-3.6.1-1]
	}
	return append(b, byte(t)<<4|flags, ackRemaining, byte(packetID>>8), byte(packetID))
}

func appendAck(b []byte, t Type, id uint16) ([]byte, error) {
	if err := checkID(t, id); err != nil {
		return b, err
	}
	return AppendAck(b, t, id), nil
}

func ackText(t Type, id uint16) string { return t.String() + " id=" + strconv.Itoa(int(id)) }

// Puback acknowledges a PUBLISH of QoS 1 (section 3.4).
type Puback struct{ PacketID uint16 }

// Type returns PUBACK.
func (p *Puback) Type() Type { return PUBACK }

// AppendBinary appends the packet; see [Packet].
func (p *Puback) AppendBinary(b []byte) ([]byte, error) { return appendAck(b, PUBACK, p.PacketID) }

// String returns the packet in one line.
func (p *Puback) String() string { return ackText(PUBACK, p.PacketID) }

func (p *Puback) decode(d *decoder) { p.PacketID = d.packetID() }

// Pubrec acknowledges a PUBLISH of QoS 2 (section 3.5).
type Pubrec struct{ PacketID uint16 }

// Type returns PUBREC.
func (p *Pubrec) Type() Type { return PUBREC }

// AppendBinary appends the packet; see [Packet].
func (p *Pubrec) AppendBinary(b []byte) ([]byte, error) { return appendAck(b, PUBREC, p.PacketID) }

// String returns the packet in one line.
func (p *Pubrec) String() string { return ackText(PUBREC, p.PacketID) }

func (p *Pubrec) decode(d *decoder) { p.PacketID = d.packetID() }

// Pubrel answers PUBREC (section 3.6).
type Pubrel struct{ PacketID uint16 }

// Type returns PUBREL.
func (p *Pubrel) Type() Type { return PUBREL }

// AppendBinary appends the packet; see [Packet].
func (p *Pubrel) AppendBinary(b []byte) ([]byte, error) { return appendAck(b, PUBREL, p.PacketID) }

// String returns the packet in one line.
func (p *Pubrel) String() string { return ackText(PUBREL, p.PacketID) }

func (p *Pubrel) decode(d *decoder) { p.PacketID = d.packetID() }

// Pubcomp answers PUBREL and completes a QoS 2 delivery (section 3.7).
type Pubcomp struct{ PacketID uint16 }

// Type returns PUBCOMP.
func (p *Pubcomp) Type() Type { return PUBCOMP }

// AppendBinary appends the packet; see [Packet].
func (p *Pubcomp) AppendBinary(b []byte) ([]byte, error) { return appendAck(b, PUBCOMP, p.PacketID) }

// String returns the packet in one line.
func (p *Pubcomp) String() string { return ackText(PUBCOMP, p.PacketID) }

func (p *Pubcomp) decode(d *decoder) { p.PacketID = d.packetID() }

// Unsuback answers UNSUBSCRIBE (section 3.11).
type Unsuback struct{ PacketID uint16 }

// Type returns UNSUBACK.
func (p *Unsuback) Type() Type { return UNSUBACK }

// AppendBinary appends the packet; see [Packet].
func (p *Unsuback) AppendBinary(b []byte) ([]byte, error) { return appendAck(b, UNSUBACK, p.PacketID) }

// String returns the packet in one line.
func (p *Unsuback) String() string { return ackText(UNSUBACK, p.PacketID) }

func (p *Unsuback) decode(d *decoder) { p.PacketID = d.packetID() }
