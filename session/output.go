package session

import (
	"strconv"

	"github.com/mqtt311/mqtt311/packets"
)

// Op says what an [Output] asks for.
type Op byte

// The outputs.
const (
	// Save makes Output.Record durable, replacing the record of the same key.
	Save Op = iota + 1

	// Forget removes the record with the key of Output.Record. One that no other output
	// names in After may be done late, but the words on one message in their order.
	Forget

	// Send writes a packet to the Network Connection: Output.Packet, or an
	// acknowledgement of Output.Type and Output.PacketID. [Output.AppendPacket]
	// encodes both.
	Send

	// Deliver hands the PUBLISH in Output.Packet to the application. At QoS 1 and
	// 2 it answers with [Session.Ack] of Output.Token. The packet is the one that
	// was given to Received and as short-lived.
	Deliver

	// Done ends the operation Output.Token with Output.Err and, for SUBSCRIBE and
	// UNSUBSCRIBE, Output.Results.
	Done

	// Notify tells what a user may want to know, in Output.Event.
	Notify

	// Close ends the Network Connection after what was sent before it. Output.Err
	// says why; it is nil after DISCONNECT.
	Close
)

// A Token names an operation, or an incoming message at QoS 1 or 2, until it ended.
// Zero names nothing.
type Token uint64

// An Output is one thing for the driver to do.
type Output struct {
	Op Op

	// N numbers the Saves and Forgets of a Session from 1 in one row, and its
	// Sends from 1 in another.
	N uint64

	// After is the Save or Forget that must be durable before this Send leaves or
	// this Done is reported. Zero: none.
	After uint64

	Type     packets.Type   // Send
	PacketID uint16         // Send of an acknowledgement
	Packet   packets.Packet // Send of everything else but PINGREQ; Deliver
	Token    Token          // Deliver at QoS 1 and 2; Done
	For      any            // Done of [Session.PublishFor]: its caller
	Err      error          // Done, Close
	Results  []FilterResult // Done of Subscribe and Unsubscribe
	Record   *Record        // Save, Forget
	Event    *Event         // Notify
}

// AppendPacket appends the packet of a Send to b. The only errors are those of
// [packets.Packet]; a Session sends nothing that it did not validate before.
func (o *Output) AppendPacket(b []byte) ([]byte, error) {
	if o.Packet != nil {
		return o.Packet.AppendBinary(b)
	}
	switch o.Type {
	case packets.PINGREQ:
		return new(packets.Pingreq).AppendBinary(b)
	case packets.DISCONNECT:
		return new(packets.Disconnect).AppendBinary(b)
	}
	return packets.AppendAck(b, o.Type, o.PacketID), nil
}

// A FilterResult is what the Server answered for one Topic Filter.
type FilterResult struct {
	Filter string
	QoS    packets.QoS // granted; it may be lower than asked for, section 3.9.3
	Err    error       // nil, a *FilterError or ErrSuperseded
}

// String returns the packet of a Send in one line.
func (o *Output) String() string {
	if o.Packet != nil {
		return o.Packet.String()
	}
	s := o.Type.String()
	if o.PacketID != 0 {
		s += " id=" + strconv.Itoa(int(o.PacketID))
	}
	return s
}
