// Package session is the client half of the MQTT 3.1.1 protocol without I/O.
//
// A [Session] is told what happened and answers with what to do. It opens no connection, starts no
// goroutine, takes no lock and reads no clock, so the same inputs always give the same outputs. What
// drives it, such as package client, has the connection, the clock and the store:
//
//	err := s.Opened(now, login) // a connection is up; CONNECT is the first output
//	for {
//		for o, ok := s.Next(); ok; o, ok = s.Next() {
//			switch o.Op {
//			case session.Save, session.Forget: // make o.Record durable, or remove it
//			case session.Send: // write the packet, not before record o.After is durable
//			case session.Deliver: // hand o.Packet to the application, which calls s.Ack(o.Token)
//			case session.Done: // end the operation o.Token with o.Err
//			case session.Notify: // tell o.Event to whoever wants to know
//			case session.Close: // end the connection for the reason o.Err
//			}
//		}
//		// Wait for the first of these, and say what it was:
//		//   a packet came                   s.Received(now, packet)
//		//   bytes were written              s.Written(now, n)
//		//   the connection ended            s.Lost(now, loss); later s.Opened again
//		//   it is s.Deadline()              s.Tick(now)
//		//   the application wants something s.Publish, s.Subscribe, s.Unsubscribe, s.Ack, s.Disconnect
//	}
//
// The example of [Session] is such a loop that runs.
//
// # Inputs
//
// The protocol: [Session.Opened], [Session.Received] (and [Session.Plain], its fast path for QoS 0),
// [Session.Lost] and [Session.Tick] say what happened; [Session.Publish], [Session.Subscribe],
// [Session.Unsubscribe], [Session.Ack] and [Session.Disconnect] what is wanted.
//
// What a driver says of its load: [Session.Paused] and [Session.Resumed] that it does not read for a
// while, [Session.Heard] that bytes came, [Session.Shed] that it can store no more, [Session.Hold] that
// nothing new is to be sent on this connection.
//
// Bookkeeping: [Session.Written] and [Session.Passed] say how far it has written, [Session.Withdraw],
// [Session.DropOldest] and [Session.Keep] that a caller waits no longer, [Session.Abandon] that it gives
// up for good. [Session.Outstanding], [Session.Unfinished], [Session.Unacked] and others only
// answer.
//
// # The contract with the driver
//
// After each input the driver takes all outputs from [Session.Next] and performs them in that order.
// The order is the whole durability contract: a Save stands before the Send that it protects, and
// [Output.After] names it, so that a driver which groups Saves into one sync, crashes between any two
// outputs, restarts with [Restore] and reconnects keeps every promise of QoS 1 and QoS 2. A driver may
// perform a Save early, or a Forget that nothing names late, but never a Send early. Only PINGREQ and
// QoS 0, whose After is zero, may pass a Send that waits.
//
// The driver encodes the packet of a Send before its next input, because outputs point into the
// Session. It reports with [Session.Written] how far it has written, and with [Session.Lost] how far
// bytes may have left when the Network Connection ended, and who ended it: what is sent again with
// DUP, what an error says, and what a close counts against depend on it. What passed a Send that
// waits is reported apart, with [Session.Passed] and Loss.Passed.
//
// A mistake of the caller comes back as an error. A mistake of the peer comes out as [Close]. No input
// from the network can make a Session panic.
//
// # Where to read
//
// sender.go has the Sender columns of figures 4.1 to 4.3, ring.go the messages and their invariant,
// receiver.go the Receiver columns; connection.go is sections 3.1, 3.2 and 3.14, subscriptions.go 3.8
// to 3.11, keepalive.go 3.1.2.10. loss.go says what the end of a connection means, and blame.go what it
// counts against. State is grouped by how long it lives: for the Session, or for one Network
// Connection.
package session
