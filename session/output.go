package session

import (
	"strconv"

	"github.com/mqtt311/mqtt311/packets"
)

// Op is the kind of an [Output].
type Op byte

// The kinds of outputs.
const (
	// Save makes Output.Record durable, replacing the record of the same key.
	Save Op = iota + 1

	// Forget removes the record with the key of Output.Record. It may be performed late if no After
	// refers to it, but the Saves and Forgets for one message must stay in order.
	Forget

	// Send writes a packet to the Network Connection: Output.Packet or, if that is nil, a packet of
	// Output.Type with Output.PacketID. [Output.AppendPacket] encodes either.
	Send

	// Deliver passes the PUBLISH in Output.Packet to the application. At QoS 1 and 2 the
	// application acknowledges it by [Session.Ack] with Output.Token. The packet is the one passed
	// to Received and valid no longer than that.
	Deliver

	// Done completes the request Output.Token with Output.Err and, for Subscribe and Unsubscribe,
	// Output.Results.
	Done

	// Notify reports Output.Event to the user.
	Notify

	// Close closes the Network Connection after all earlier Sends were written. Output.Err is the
	// reason, nil after DISCONNECT.
	Close
)

// A Token identifies a request, or an incoming message of QoS 1 or 2, until it is completed. The
// zero Token identifies nothing.
type Token uint64

// An Output is an instruction to the driver. The comments of the fields name the Ops for which they
// are set.
type Output struct {
	Op Op

	// N is the number of this output, from 1. Saves and Forgets are numbered in one sequence, Sends
	// in another.
	N uint64

	// After is the number of the Save or Forget that must be durable before this Send is written or
	// this Done reported; zero if there is none.
	After uint64

	Type     packets.Type   // Send
	PacketID uint16         // Send, if Packet is nil; zero if the packet has none
	Packet   packets.Packet // Send, nil if Type and PacketID are the whole packet; Deliver
	Token    Token          // Deliver at QoS 1 and 2; Done
	For      any            // Done of PublishFor: its argument caller
	Err      error          // Done, Close
	Results  []FilterResult // Done of Subscribe and Unsubscribe
	Record   *Record        // Save, Forget
	Event    *Event         // Notify
}

// AppendPacket appends the encoded packet of a Send to b. It returns an error only if the packet
// cannot be encoded, which does not happen with the outputs of a Session.
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

// A FilterResult is the Server's answer for one Topic Filter.
type FilterResult struct {
	Filter string
	QoS    packets.QoS // granted; it may be lower than requested (section 3.9.3)
	Err    error       // nil, a *FilterError or ErrSuperseded
}

// String returns a description of the packet of a Send in one line.
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
