package session

import (
	"errors"
	"strconv"

	"github.com/mqtt311/mqtt311/packets"
)

// The errors of requests. Each says whether the request was sent.
var (
	// ErrNotSent: nothing of the request was sent; repeating it is safe.
	ErrNotSent = errors.New("session: not sent")

	// ErrUnknown: the request may have been sent, but no answer arrived; repeating it may do it
	// twice.
	ErrUnknown = errors.New("session: sent, outcome unknown")

	// ErrNotConnected: a message of QoS 0 was published while no Network
	// Connection was up. It is an ErrNotSent.
	ErrNotConnected error = &kindError{"session: not connected", ErrNotSent}

	// ErrQueueFull: QueueMessages or QueueBytes of Config is reached. It is an ErrNotSent.
	ErrQueueFull error = &kindError{"session: queue is full", ErrNotSent}

	// ErrDowngraded: the Server answered a QoS 2 PUBLISH with PUBACK. It has the message, but only
	// with the guarantee of QoS 1.
	ErrDowngraded = errors.New("session: server keeps the message at QoS 1 only")

	// ErrPoison: the Server closed the Network Connection three times after this message was sent,
	// so it was given up. It is not known whether the Server has it.
	ErrPoison error = &kindError{"session: server closes the connection over this message", ErrUnknown}

	// ErrScrubRefused: the Server closes the Network Connection when Packet Identifiers are
	// released before their first use at QoS 2: see Config.NoScrub. It is an ErrNotSent.
	ErrScrubRefused error = &kindError{"session: server closes when packet identifiers are released, so QoS 2 is not safe with it (NoScrub sends all the same)", ErrNotSent}

	// ErrStale: the message cannot be acknowledged because it belongs to an earlier session, its
	// Packet Identifier has been reused for another message, or it was acknowledged before. Nothing
	// was sent.
	ErrStale = errors.New("session: stale acknowledgement")

	// ErrSuperseded: a later Subscribe or Unsubscribe of the same filter replaced this one before
	// the Server had answered.
	ErrSuperseded = errors.New("session: superseded by a later request for the filter")

	// ErrClosed: Disconnect was called.
	ErrClosed = errors.New("session: closed")

	// ErrPingTimeout: nothing was received from the Server within PingTimeout after a PINGREQ.
	ErrPingTimeout = errors.New("session: no sign of life from the server within the ping timeout")

	// ErrServerDisconnect: the Server sent DISCONNECT, which MQTT 3.1.1 does not allow. Some
	// Servers do so before they close the connection because another client uses the same ClientID.
	ErrServerDisconnect = errors.New("session: server sent DISCONNECT (another client with this identifier?)")

	// ErrStuck: the oldest message in flight was not answered for a minute, while later ones were
	// answered or had to wait for it.
	ErrStuck = errors.New("session: oldest message unanswered for a minute")
)

// kindError is an error that wraps a more general one.
type kindError struct {
	text string
	kind error
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// A RefusedError is a CONNACK with a return code other than zero (section 3.2.2.3).
type RefusedError struct{ Code packets.ConnectCode }

func (e *RefusedError) Error() string {
	return "session: server refused the connection: " + e.Code.String() +
		" (return code " + strconv.Itoa(int(e.Code)) + ")"
}

// A FilterError is a Topic Filter that the Server did not grant.
type FilterError struct {
	Filter string
	Code   packets.SubscribeCode // of SUBACK (section 3.9.3); zero if the Server closed the connection instead of answering
}

func (e *FilterError) Error() string {
	if e.Code == 0 {
		return "session: server closes the connection over the filter " + strconv.Quote(e.Filter)
	}
	return "session: server refused the filter " + strconv.Quote(e.Filter) +
		" (return code 0x" + strconv.FormatUint(uint64(e.Code), 16) + ")"
}

// A ProtocolError says that the Server sent a well-formed packet that the protocol does not allow
// at that point.
type ProtocolError struct {
	Packet packets.Type
	Spec   string // the conformance statement that is violated, such as "MQTT-3.2.0-1", or ""
	Reason string
}

func (e *ProtocolError) Error() string {
	s := "session: " + e.Packet.String() + ": " + e.Reason
	if e.Spec != "" {
		s += " [" + e.Spec + "]"
	}
	return s
}
