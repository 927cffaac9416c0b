// Package client implements an MQTT 3.1.1 client that reconnects by itself. It drives one
// [github.com/mqtt311/mqtt311/session.Session] over one Network Connection at a time.
//
// Every error of a request answers the question "did it happen?":
//
//	errors.Is(err, ErrNotSent)   nothing was sent: repeating is safe
//	errors.Is(err, ErrUnknown)   it may have been sent, and no answer was seen: repeating may do it twice
//	errors.As(err, &refused)     the Server refused it
//
// [SafeToRetry] reports the first of these. [Client.Publish] returns nil only when the guarantee of
// the message's QoS is met: it was written (QoS 0), or PUBACK (QoS 1) or PUBCOMP (QoS 2) was
// received, however many Network Connections that took.
//
// Incoming messages are read from the iterator [Client.Messages] or passed to handlers registered
// with [Client.Handle]. A message is acknowledged after it was processed; acknowledgements are sent
// in the order in which the messages arrived.
//
// Unless Config.CleanSession is set, the client sends PUBRELs after its first CONNACK: they release
// Packet Identifiers that an earlier process may have left in use at the Server. Config.NoScrub
// disables this.
//
// User code never runs on the goroutine that reads or the one that writes: a handler
// may block, publish and wait, subscribe, or close the client.
//
// A program that needs only TCP can use a net.Dialer in [Config].Dial and then links neither
// crypto/tls nor net/http. Packages transport, transport/ws and transport/proxy provide dial
// functions for TLS, WebSocket and proxies.
package client
