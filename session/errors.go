package session

import (
	"errors"
	"strconv"

	"github.com/mqtt311/mqtt311/packets"
)

// How an operation can fail. Each error says whether the operation happened.
var (
	// ErrNotSent: no byte of it left; repeating it is safe.
	ErrNotSent = errors.New("session: not sent")

	// ErrUnknown: bytes may have left and no answer came; repeating it may do it
	// twice.
	ErrUnknown = errors.New("session: sent, outcome unknown")

	// ErrNotConnected: a message of QoS 0 was published while no Network
	// Connection was up. It is an ErrNotSent.
	ErrNotConnected error = &kindError{"session: not connected", ErrNotSent}

	// ErrQueueFull: the limits of messages or bytes in Config are reached. It is
	// an ErrNotSent.
	ErrQueueFull error = &kindError{"session: queue is full", ErrNotSent}

	// ErrDowngraded: the Server answered a QoS 2 PUBLISH with PUBACK. It has the
	// message, with the promise of QoS 1.
	ErrDowngraded = errors.New("session: server keeps the message at QoS 1 only")

	// ErrPoison: the Server closed the Network Connection three times over this
	// message. Whether it took it is not known.
	ErrPoison error = &kindError{"session: server closes the connection over this message", ErrUnknown}

	// ErrScrubRefused: the Server closes the Network Connection when Packet Identifiers are
	// released before their use at QoS 2: see [Config]. It is an ErrNotSent.
	ErrScrubRefused error = &kindError{"session: server closes when packet identifiers are released, so QoS 2 is not safe with it (NoScrub sends all the same)", ErrNotSent}

	// ErrStale: the message that is acknowledged belongs to an earlier session,
	// was replaced by another under its Packet Identifier, or was acknowledged
	// before. Nothing was sent.
	ErrStale = errors.New("session: stale acknowledgement")

	// ErrSuperseded: a later Subscribe or Unsubscribe of the same filter took the
	// place of this one before the Server had answered.
	ErrSuperseded = errors.New("session: superseded by a later request for the filter")

	// ErrClosed: the Session was asked to disconnect.
	ErrClosed = errors.New("session: closed")

	// ErrPingTimeout: nothing came from the Server within PingTimeout after a
	// PINGREQ.
	ErrPingTimeout = errors.New("session: no sign of life from the server within the ping timeout")

	// ErrServerDisconnect: the Server sent DISCONNECT, which 3.1.1 does not have,
	// and is about to close. Some do when another client takes the identifier.
	ErrServerDisconnect = errors.New("session: server sent DISCONNECT (another client with this identifier?)")

	// ErrStuck: the oldest message went unanswered for a minute while others were
	// answered or had to wait for it.
	ErrStuck = errors.New("session: oldest message unanswered for a minute")
)

// kindError is an error of a wider kind.
type kindError struct {
	text string
	kind error
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// A RefusedError is a CONNACK with a code other than zero, section 3.2.2.3.
type RefusedError struct{ Code packets.ConnectCode }

func (e *RefusedError) Error() string {
	return "session: server refused the connection: " + e.Code.String() +
		" (return code " + strconv.Itoa(int(e.Code)) + ")"
}

// A FilterError is a Topic Filter that the Server did not grant.
type FilterError struct {
	Filter string
	Code   packets.SubscribeCode // of SUBACK, section 3.9.3; zero if the Server closed the connection over the filter
}

func (e *FilterError) Error() string {
	if e.Code == 0 {
		return "session: server closes the connection over the filter " + strconv.Quote(e.Filter)
	}
	return "session: server refused the filter " + strconv.Quote(e.Filter) +
		" (return code 0x" + strconv.FormatUint(uint64(e.Code), 16) + ")"
}

// A ProtocolError is a packet that is well formed but may not come when it came.
type ProtocolError struct {
	Packet packets.Type
	Spec   string // conformance statement, as in "MQTT-3.2.0-1"; "" if none applies
	Reason string
}

func (e *ProtocolError) Error() string {
	s := "session: " + e.Packet.String() + ": " + e.Reason
	if e.Spec != "" {
		s += " [" + e.Spec + "]"
	}
	return s
}
