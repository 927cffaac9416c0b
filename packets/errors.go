package packets

import (
	"errors"
	"strconv"
)

// ErrShort is returned by [Parse] if the slice holds less than one whole packet.
var ErrShort = errors.New("packets: incomplete packet")

// A FormatError says why the received bytes are not a valid MQTT 3.1.1 Control Packet. The receiver
// must close the Network Connection [MQTT-4.8.0-1].
type FormatError struct {
	Type   Type   // from the fixed header; 0 or 15 if the type itself is invalid
	Offset int    // of the offending byte, from the start of the packet
	Spec   string // the conformance statement that is violated, such as "MQTT-2.3.1-1", or ""
	Reason string // such as "packet identifier is zero"
	Topic  string // the first 64 bytes of the invalid topic, as received; "" if the fault is elsewhere
}

func (e *FormatError) Error() string {
	s := "packets: " + e.Type.String() + ": byte " + strconv.Itoa(e.Offset) + ": " + e.Reason + cite(e.Spec)
	if e.Topic != "" {
		s += ": " + strconv.QuoteToASCII(e.Topic)
	}
	return s
}

// mostTopic is how many bytes of a topic an error keeps.
const mostTopic = 64

// An EncodeError says why a packet may not be sent.
type EncodeError struct {
	Type   Type
	Field  string // as named in this package, such as "Topic" or "Will.Topic"
	Spec   string // the conformance statement that is violated, or ""
	Reason string
}

func (e *EncodeError) Error() string {
	return "packets: " + e.Type.String() + ": " + e.Field + ": " + e.Reason + cite(e.Spec)
}

// A TooLargeError says that a received packet is larger than ReaderOptions.Max. Nothing was
// allocated for it. A packet that is too large for its type, such as a PUBACK with a Remaining
// Length of 3, is a [*FormatError] instead.
type TooLargeError struct {
	Type Type
	Size int // in bytes, including the fixed header, according to that header
	Max  int

	// The fields of a PUBLISH:
	QoS   QoS
	Topic string // the first 64 bytes, as received; "" if it was not received yet
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
