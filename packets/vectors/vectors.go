// Package vectors holds MQTT 3.1.1 Control Packets byte by byte, to check a codec with:
// [Packets] are legal, [Refusals] are not, and [Judge] tells which of the two any other
// bytes are, by reading them as plainly as the specification is written.
//
// The codec of this project is tested by them, and so can any other be.
package vectors

import "github.com/mqtt311/mqtt311/packets"

// Legal is a legal Control Packet.
type Legal struct {
	Name  string
	Bytes []byte
	Value packets.Packet
	Text  string // the packet in one line, as its String method gives it
}

// Refusal is what no conforming peer sends.
type Refusal struct {
	Name   string
	Bytes  []byte
	Type   packets.Type
	Offset int    // of the offending byte
	Spec   string // the conformance statement that is broken; "" if it has no id
}

// wire joins bytes, given as numbers, and strings.
func wire(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}
