// Package client is an MQTT 3.1.1 client: one
// [github.com/mqtt311/mqtt311/session.Session], driven over one Network Connection
// at a time, with reconnecting.
//
// Every error of a request answers the question "did it happen?":
//
//	errors.Is(err, ErrNotSent)   no byte of it left: repeating is safe
//	errors.Is(err, ErrUnknown)   it may have left, the answer was not seen: repeating may do it twice
//	errors.As(err, &refused)     the Server answered no
//
// [SafeToRetry] asks the first question directly. [Client.Publish] returns nil only
// when the promise of its QoS is kept: written (0), PUBACK (1), PUBCOMP (2), however
// many Network Connections that took.
//
// Messages come by [Client.Messages], an iterator, or to handlers registered with
// [Client.Handle]. An acknowledgement leaves after the work is done, in the order in
// which the messages arrived.
//
// A client with a kept session sends PUBRELs after its first CONNACK: they release the Packet
// Identifiers that an earlier process may have left at the Server. [Config].NoScrub leaves
// them out.
//
// User code never runs on the goroutine that reads or the one that writes: a handler
// may block, publish and wait, subscribe, or close the client.
//
// A program that only needs TCP gives [Config].Dial a net.Dialer and links neither
// crypto/tls nor net/http. Packages transport, transport/ws and transport/proxy have
// functions for everything else.
package client
