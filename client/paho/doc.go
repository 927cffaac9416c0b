// Package paho implements the API of github.com/eclipse/paho.mqtt.golang v1.5.1 on top of package
// client, so that a program needs to change only one line:
//
//	import mqtt "github.com/mqtt311/mqtt311/client/paho"
//
// It is not part of, or affiliated with, the Eclipse Foundation or the Paho project; the name only
// says whose API it has.
//
// It keeps the guarantees of that API, even where the original does not: a token completes without
// an error only when the guarantee of its QoS is met, a handler may publish and wait, subscriptions
// are restored after a reconnect, and QoS 2 messages arrive once. docs/paho.md lists what is the
// same, what differs, and what is missing.
//
// # Concurrency
//
// A Client, its tokens and its messages are safe for concurrent use. ClientOptions are not;
// NewClient copies them. Message handlers run one at a time, in the order in which messages
// arrived, unless SetOrderMatters(false) was called. Other handlers run on goroutines of their own,
// except those that an attempt to connect waits for: OnReconnecting, OnConnectAttempt, the
// CredentialsProvider and the function that opens connections. All of them may call any method of
// the Client and wait for the result.
//
// # Stores
//
// A Store is a [github.com/mqtt311/mqtt311/client.Store]. FileStore is durable and uses package
// client/wal; it imports messages that paho.mqtt.golang left in its directory.
package paho
