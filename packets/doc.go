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
// names the byte and the conformance statement that was broken. The exceptions are
// few, and named: a CONNACK that refuses is read whatever its code and its Session
// Present are, because the user has to learn of it, and a [Reader] has [Tolerances].
//
// [Parse] reads one packet from a slice, a [Reader] packets from a stream, without an
// allocation where the packet has no list: what it returns it uses again, so keep a
// [Clone]. A payload too large for memory can pass as a stream, [Publish.StreamTo] and
// [Reader.Payload]. [ValidTopicName], [ValidTopicFilter], [Match], [ParseShared] and
// [Undecorated] are section 4.7. Package vectors checks this codec, and any other, byte by byte.
package packets
