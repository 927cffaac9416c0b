// Package packets reads and writes the fourteen MQTT 3.1.1 Control Packets.
//
// It is bytes in and values out: no connections, no sessions, no clock. Each
// packet has a type named after the specification and stands in a file of its
// own, publish.go for section 3.3 and so on; the four acknowledgements of a
// PUBLISH share ack.go, because they share a shape. Start at [Packet], then
// [Publish].
//
// A value can be appended to a byte slice if, and only if, the specification
// allows it on the wire; anything else is an [*EncodeError] and appends
// nothing. Bytes that no conforming peer would send are a [*FormatError], which
// names the byte and the conformance statement that was broken.
package packets
