package packets

// Type is a Control Packet type, table 2.1. The names are the specification's.
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

// QoS is a Quality of Service level, section 4.3.
type QoS byte

// The Quality of Service levels.
const (
	AtMostOnce QoS = iota
	AtLeastOnce
	ExactlyOnce
)

// Packet is one Control Packet. The fourteen pointer types of this package,
// [*Connect] to [*Disconnect], are the only implementations.
type Packet interface {
	// Type returns which of the fourteen the packet is.
	Type() Type

	// AppendBinary appends the whole packet, fixed header included, and
	// returns the extended slice. If the packet may not be sent the error is an
	// [*EncodeError] and b is returned as it was.
	AppendBinary(b []byte) ([]byte, error)

	// String returns one line for logs and scripts: never payload bytes,
	// passwords or user names.
	String() string
}
