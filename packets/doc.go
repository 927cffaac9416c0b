// Package packets reads and writes the fourteen MQTT 3.1.1 Control Packets.
//
// It converts between bytes and values, and knows nothing of connections, sessions or clocks. Each
// packet has a type with the name that the specification uses, in a file of its own: publish.go is
// section 3.3, and so on. The four acknowledgements of a PUBLISH and UNSUBACK have the same layout
// and share ack.go. Start reading at [Packet], then [Publish].
//
// Encoding succeeds if and only if the specification allows the packet to be sent; otherwise the
// error is an [*EncodeError] and nothing is appended. Decoding bytes that no conforming peer would
// send returns a [*FormatError], which says which byte violates which conformance statement. There
// are two exceptions: a CONNACK that refuses the connection is decoded whatever its return code and
// Session Present are, so that the refusal can be reported, and a [Reader] has [Tolerances].
//
// [Parse] decodes one packet from a slice; a [Reader] reads packets from a stream. A Reader reuses
// the packets that it returns, and so needs no allocation for packets without a list; use [Clone]
// to keep one. Payloads that are too large for memory can be streamed: see [Publish.StreamTo] and
// [Reader.Payload]. [ValidTopicName], [ValidTopicFilter], [Match], [ParseShared] and [Undecorated]
// implement section 4.7. Package vectors has test vectors for this and any other codec.
package packets
