// Package session is the client half of the MQTT 3.1.1 protocol without I/O.
//
// A [Session] is told what happened and answers with what to do. It opens no
// connection, starts no goroutine, takes no lock and reads no clock, so the same
// inputs always give the same outputs.
//
//	happened --> Opened  Received  Heard  Lost  Written  Tick
//	wanted   --> Publish  Subscribe  Unsubscribe  Ack  Withdraw  Disconnect
//	to do    <-- Next: Save | Forget | Send | Deliver | Done | Notify | Close
//	by when  <-- Deadline
//
// # The contract with the driver
//
// After each input the driver takes all outputs from [Session.Next] and performs
// them in that order. The order is the whole durability contract: a Save stands
// before the Send that it protects, and [Output.After] names it, so that a driver
// which groups Saves into one sync, crashes between any two outputs, restarts with
// [Restore] and reconnects keeps every promise of QoS 1 and QoS 2. A driver may
// perform a Save early or a Forget that nothing names late; never a Send early.
// Only PINGREQ and QoS 0, whose After is zero, may pass a Send that waits.
//
// The driver encodes the packet of a Send before its next input, because outputs
// point into the Session. It reports with [Session.Written] how far it has written,
// and with [Session.Lost] how far bytes may have left when the Network Connection
// ended: what is re-sent with DUP, and what an error says, depend on it. What passed a
// Send that waits is reported apart, with [Session.Passed] and Loss.Passed.
//
// A mistake of the caller comes back as an error. A mistake of the peer comes out
// as [Close]. No input from the network can make a Session panic.
//
// # Where to read
//
// sender.go has the Sender columns of figures 4.1 to 4.3, receiver.go the Receiver
// columns; connection.go is sections 3.1, 3.2 and 3.14, subscriptions.go 3.8 to
// 3.11, keepalive.go 3.1.2.10. State is grouped by how long it lives: for the
// Session, or for one Network Connection.
package session
