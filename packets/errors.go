package packets

import (
	"errors"
	"strconv"
)

// ErrShort says that the bytes hold less than one whole packet; more are needed.
var ErrShort = errors.New("packets: incomplete packet")

// A FormatError says why bytes are not an MQTT 3.1.1 Control Packet. The receiver
// must close the Network Connection [MQTT-4.8.0-1].
type FormatError struct {
	Type   Type   // as claimed by the fixed header; 0 or 15 if that is the fault
	Offset int    // of the offending byte, from the start of the packet
	Spec   string // conformance statement, as in "MQTT-2.3.1-1"; "" if none applies
	Reason string // "packet identifier is zero"
	Topic  string // how the offending topic begins, as it came, up to 64 bytes; "" if it is not the fault
}

func (e *FormatError) Error() string {
	s := "packets: " + e.Type.String() + ": byte " + strconv.Itoa(e.Offset) + ": " + e.Reason + cite(e.Spec)
	if e.Topic != "" {
		s += ": " + strconv.QuoteToASCII(e.Topic)
	}
	return s
}

// mostTopic is how much of a topic an error keeps, in bytes.
const mostTopic = 64

// An EncodeError says why a value may not be sent. Nothing was appended.
type EncodeError struct {
	Type   Type
	Field  string // as named in this package, such as "Topic" or "Will.Topic"
	Spec   string // conformance statement; "" if none applies
	Reason string
}

func (e *EncodeError) Error() string {
	return "packets: " + e.Type.String() + ": " + e.Field + ": " + e.Reason + cite(e.Spec)
}

// A TooLargeError says that a packet is larger than the Reader's limit. Nothing was
// allocated for it. One that is larger than any packet of its type can be, such as a
// PUBACK of 3 bytes after its header, is a [*FormatError].
type TooLargeError struct {
	Type Type
	Size int // bytes, fixed header included, as the header claims
	Max  int

	// Of a PUBLISH:
	QoS   QoS
	Topic string // how it begins, as it came, up to 64 bytes; "" if it had not come yet
}

func (e *TooLargeError) Error() string {
	s := "packets: " + e.Type.String() + " of " + strconv.Itoa(e.Size) +
		" bytes is above the limit of " + strconv.Itoa(e.Max) + " bytes"
	if e.Topic != "" {
		s += ": " + strconv.QuoteToASCII(e.Topic)
	}
	return s
}

func cite(spec string) string {
	if spec == "" {
		return ""
	}
	return " [" + spec + "]"
}
