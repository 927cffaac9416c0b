package packets

import "strconv"

// Type is a Control Packet type (table 2.1).
type Type byte

// The Control Packet types. The values 0 and 15 are reserved.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
)

var typeNames = [16]string{
	"reserved type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "reserved type 15",
}

// String returns the name of the type, as in table 2.1.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

// QoS is a Quality of Service level (section 4.3).
type QoS byte

// The Quality of Service levels.
const (
	AtMostOnce QoS = iota
	AtLeastOnce
	ExactlyOnce
)

// String returns the name of the level in the specification, such as "at least once".
func (q QoS) String() string {
	switch q {
	case AtMostOnce:
		return "at most once"
	case AtLeastOnce:
		return "at least once"
	case ExactlyOnce:
		return "exactly once"
	}
	return "QoS " + strconv.Itoa(int(q))
}

// A Packet is a Control Packet. The fourteen pointer types of this package, from [*Connect] to
// [*Disconnect], are its only implementations.
type Packet interface {
	// Type returns the type of the packet.
	Type() Type

	// AppendBinary appends the encoded packet, including the fixed header, to b and returns the
	// extended slice. If the packet may not be sent, the error is an [*EncodeError] and b is
	// returned unchanged.
	AppendBinary(b []byte) ([]byte, error)

	// String returns a description of the packet in one line, without payload, password and user
	// name.
	String() string

	// decode decodes the part after the fixed header.
	decode(d *decoder)
}

func newPacket(t Type) Packet {
	switch t {
	case CONNECT:
		return new(Connect)
	case CONNACK:
		return new(Connack)
	case PUBLISH:
		return new(Publish)
	case PUBACK:
		return new(Puback)
	case PUBREC:
		return new(Pubrec)
	case PUBREL:
		return new(Pubrel)
	case PUBCOMP:
		return new(Pubcomp)
	case SUBSCRIBE:
		return new(Subscribe)
	case SUBACK:
		return new(Suback)
	case UNSUBSCRIBE:
		return new(Unsubscribe)
	case UNSUBACK:
		return new(Unsuback)
	case PINGREQ:
		return new(Pingreq)
	case PINGRESP:
		return new(Pingresp)
	}
	return new(Disconnect)
}

// Parse decodes the packet at the start of b and returns it with its length in bytes. If b holds
// less than one whole packet, the error is [ErrShort], or a [*FormatError] if the bytes are already
// invalid. Byte slices in the packet alias b.
func Parse(b []byte) (p Packet, n int, err error) {
	var d decoder
	if err := d.parse(b, 0); err != nil {
		return nil, 0, err
	}
	n = d.size()
	if len(b) < n {
		return nil, 0, ErrShort
	}
	p = newPacket(d.typ)
	d.start(b[:n])
	p.decode(&d)
	if err := d.end(); err != nil {
		return nil, 0, err
	}
	return p, n, nil
}

// Clone returns a copy of p that shares no memory with it and stays valid after the next call of
// [Reader.ReadPacket].
func Clone(p Packet) Packet {
	switch p := p.(type) {
	case *Connect:
		return p.Clone()
	case *Publish:
		return p.Clone()
	case *Subscribe:
		return p.Clone()
	case *Suback:
		return p.Clone()
	case *Unsubscribe:
		return p.Clone()
	case *Connack:
		c := *p
		return &c
	case *Puback:
		c := *p
		return &c
	case *Pubrec:
		c := *p
		return &c
	case *Pubrel:
		c := *p
		return &c
	case *Pubcomp:
		c := *p
		return &c
	case *Unsuback:
		c := *p
		return &c
	}
	return p // PINGREQ, PINGRESP and DISCONNECT have nothing to copy
}
