// Package vectors holds test vectors for codecs of MQTT 3.1.1 Control Packets: [Packets] are valid
// packets and [Refusals] invalid ones, byte by byte. [Judge] decides whether any other bytes are
// valid; it follows the specification as closely as possible.
//
// Package packets is tested with them; they can be used for any other codec as well.
package vectors

import "github.com/mqtt311/mqtt311/packets"

// Legal is a valid Control Packet.
type Legal struct {
	Name  string
	Bytes []byte
	Value packets.Packet
	Text  string // the packet in one line, as returned by its String method
}

// Refusal is an invalid packet: no conforming peer sends it.
type Refusal struct {
	Name   string
	Bytes  []byte
	Type   packets.Type
	Offset int    // of the first invalid byte
	Spec   string // the conformance statement that is violated, or "" if it has no id
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
