// Package session implements the client side of the MQTT 3.1.1 protocol without I/O.
//
// A [Session] is a state machine: its methods report what happened, and its outputs say what to do.
// It opens no connections, starts no goroutines, takes no locks and reads no clock, so the same
// inputs always give the same outputs. Its driver, such as package client, owns the connection, the
// clock and the store:
//
//	err := s.Opened(now, login) // a connection is up; CONNECT is the first output
//	for {
//		for o, ok := s.Next(); ok; o, ok = s.Next() {
//			switch o.Op {
//			case session.Save, session.Forget: // make o.Record durable, or remove it
//			case session.Send: // write the packet, not before record o.After is durable
//			case session.Deliver: // hand o.Packet to the application, which calls s.Ack(o.Token)
//			case session.Done: // end the operation o.Token with o.Err
//			case session.Notify: // report o.Event to the user
//			case session.Close: // end the connection for the reason o.Err
//			}
//		}
//		// Wait for the first of these and report it:
//		//   a packet came                   s.Received(now, packet)
//		//   bytes were written              s.Written(now, n)
//		//   the connection ended            s.Lost(now, loss); later s.Opened again
//		//   it is s.Deadline()              s.Tick(now)
//		//   the application wants something s.Publish, s.Subscribe, s.Unsubscribe, s.Ack, s.Disconnect
//	}
//
// The example of [Session] is a complete loop of this kind.
//
// # Inputs
//
// The protocol: [Session.Opened], [Session.Received] (with [Session.Plain], its fast path for QoS
// 0), [Session.Lost] and [Session.Tick] report what happened; [Session.Publish],
// [Session.Subscribe], [Session.Unsubscribe], [Session.Ack] and [Session.Disconnect] are requests
// of the application.
//
// Flow control: [Session.Paused] and [Session.Resumed] report that the driver stops reading for a
// while, [Session.Heard] that bytes arrived, [Session.Shed] that it has no room for more messages,
// and [Session.Hold] that nothing new is to be sent on this connection.
//
// Bookkeeping: [Session.Written] and [Session.Passed] report what has been written,
// [Session.Withdraw] and [Session.DropOldest] remove messages from the queue, [Session.Keep] that a
// caller no longer waits, and [Session.Abandon] that the driver gives up. [Session.Outstanding],
// [Session.Unfinished], [Session.Unacked] and others only return state.
//
// # The contract with the driver
//
// After each input the driver must take all outputs from [Session.Next] and perform them in order.
// Durability depends only on this order: a Save comes before the Send that depends on it, and
// [Output.After] of the Send is the number of that Save. So a driver may sync many Saves at once.
// It may crash between any two outputs, restart with [Restore] and reconnect, and the guarantees of
// QoS 1 and QoS 2 still hold. A driver may perform a Save early, and a Forget late if no After
// refers to it, but never a Send early. Only PINGREQ and PUBLISH of QoS 0, whose After is zero, may
// overtake a Send that waits.
//
// The driver must encode the packet of a Send before the next input, because outputs point into the
// Session. It reports with [Session.Written] which Sends it has written, and with [Session.Lost],
// when the Network Connection has ended, of which Sends bytes may have been written and who ended
// the connection. This decides what is sent again with DUP, which error a request ends with, and
// which request is blamed if the Server closed the connection. Sends that overtook a waiting one
// are reported separately, with [Session.Passed] and Loss.Passed.
//
// Invalid calls return an error. A protocol violation by the Server results in a [Close] output. No
// input from the network can make a Session panic.
//
// # Where to read
//
// sender.go implements the Sender columns of figures 4.1 to 4.3 and receiver.go the Receiver
// columns; ring.go has the outgoing messages and their invariants. connection.go implements
// sections 3.1, 3.2 and 3.14, subscriptions.go 3.8 to 3.11, keepalive.go 3.1.2.10. loss.go handles
// the end of a connection, and blame.go decides which request may have caused it. State is grouped
// by its lifetime: that of the Session or that of one Network Connection.
package session
