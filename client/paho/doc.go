// Package paho has the API of github.com/eclipse/paho.mqtt.golang v1.5.1 over package client, so that
// a program changes one line and keeps the rest:
//
//	import mqtt "github.com/mqtt311/mqtt311/client/paho"
//
// It is the work of this project alone, not of the Eclipse Foundation or the Paho project, and not
// affiliated with either; the name says whose API it is.
//
// What that API promises is kept, also where the original does not: a token ends without an error
// when the promise of its QoS is kept and not before, a handler may publish and wait, subscriptions
// come back after a reconnect, QoS 2 arrives once. docs/paho.md says line by line what is the same,
// what is better, and what is not there.
//
// # Concurrency
//
// A Client, its tokens and its messages are safe for concurrent use. ClientOptions are not: NewClient
// copies them. Handlers of messages run one at a time, in the order of arrival, unless
// SetOrderMatters(false) was called. Other handlers have a goroutine of their own, except those that
// an attempt to connect waits for: OnReconnecting, OnConnectAttempt, the CredentialsProvider and the
// function that opens connections. Any of them may call any method of the Client, and wait.
//
// # Stores
//
// A Store is a [github.com/mqtt311/mqtt311/client.Store]. FileStore is the durable one of package
// client/wal; messages that paho.mqtt.golang left in its directory are taken over once.
package paho
