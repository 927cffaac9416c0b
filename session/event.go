package session

import (
	"strconv"

	"github.com/mqtt311/mqtt311/packets"
)

// EventKind says what an [Event] is about.
type EventKind byte

// The events of a Session.
const (
	// EventConnected: CONNACK accepted the connection.
	EventConnected EventKind = iota + 1

	// EventSessionLost: the Server had no session where one was expected.
	// Incoming tokens are stale and subscriptions are made again; Count is the
	// number of own messages that are sent again.
	EventSessionLost

	// EventReleasedUncertain: the Server lost its session while Count messages of
	// QoS 2 were between PUBREC and PUBCOMP. It had them; whether it passed them
	// on cannot be known.
	EventReleasedUncertain

	// EventSessionMismatch: another message came under a Packet Identifier that
	// is in use: the Server has another session than we thought. PacketID.
	EventSessionMismatch

	// EventSubscriptionRefused: the Server refused a filter that it had granted
	// before, or closes over it. Filter and Err.
	EventSubscriptionRefused

	// EventPoisonSuspected: the Server closed the connection after a PUBLISH and
	// before answering it. Count times so far; Topic.
	EventPoisonSuspected

	// EventPoison: a message was given up with ErrPoison. Topic.
	EventPoison

	// EventTakeover: the Server closed the connection three times within two
	// seconds of CONNACK: probably another client has the same ClientID.
	EventTakeover

	// EventStuck: see ErrStuck.
	EventStuck

	// EventScrubRefused: see ErrScrubRefused. Count closes in a row.
	EventScrubRefused

	// EventSubscriptionDowngraded: the Server granted a filter that it had granted before again, and at a
	// lower QoS than then. Filter and QoS.
	EventSubscriptionDowngraded
)

var eventNames = [...]string{
	EventConnected:           "connected",
	EventSessionLost:         "session lost",
	EventReleasedUncertain:   "released messages uncertain",
	EventSessionMismatch:     "session mismatch",
	EventSubscriptionRefused: "subscription refused",
	EventPoisonSuspected:     "poison suspected",
	EventPoison:              "poison",
	EventTakeover:            "takeover suspected",
	EventStuck:               "stuck",
	EventScrubRefused:        "identifiers cannot be released",

	EventSubscriptionDowngraded: "subscription downgraded",
}

// String returns the event's name in words.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return "event " + strconv.Itoa(int(k))
}

// An Event is something that a user may want to know.
type Event struct {
	Kind           EventKind
	SessionPresent bool
	Count          int
	PacketID       uint16
	Topic          string
	Filter         string
	QoS            packets.QoS // EventSubscriptionDowngraded
	Err            error
}

// Counters count what happened to a Session since New.
type Counters struct {
	Redelivered       uint64 // incoming messages recognised as known and not delivered again
	Adopted           uint64 // of those, after a resumed session
	UnexpectedAcks    uint64 // acknowledgements that fitted nothing in flight
	Downgraded        uint64 // PUBACK for a PUBLISH of QoS 2
	Mismatched        uint64 // other content under a known Packet Identifier
	Shed              uint64 // incoming messages left to the server because of Shed
	SubackFailures    uint64 // codes of 0x80 and above
	ServerDisconnects uint64
	Pings             uint64
	Resent            uint64 // PUBLISH and PUBREL sent again after a reconnect
}
