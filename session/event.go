package session

import (
	"strconv"

	"github.com/mqtt311/mqtt311/packets"
)

// An EventKind is the kind of an [Event]. The comment of each kind names the fields that are set.
type EventKind byte

// The kinds of events.
const (
	// EventConnected: the Server accepted the connection. SessionPresent.
	EventConnected EventKind = iota + 1

	// EventSessionLost: the Server has lost the session. Messages that were received but not
	// acknowledged can no longer be acknowledged; subscriptions are made again. Count is the number
	// of outgoing messages that are sent again.
	EventSessionLost

	// EventReleasedUncertain: the Server lost its session while Count messages of QoS 2 were
	// between PUBREC and PUBCOMP. The Server had received them; whether it delivered them is
	// unknown.
	EventReleasedUncertain

	// EventSessionMismatch: a different message arrived under a Packet Identifier that is in use,
	// so the Server has another session than expected. PacketID, Topic.
	EventSessionMismatch

	// EventSubscriptionRefused: the Server refused a filter that it had granted before, or keeps
	// closing the connection when it is requested. Filter, Err.
	EventSubscriptionRefused

	// EventPoisonSuspected: the Server closed the connection after a PUBLISH and before answering
	// it, Count times so far. Topic, PacketID, Count.
	EventPoisonSuspected

	// EventPoison: a message was given up with ErrPoison. Topic, PacketID, Err.
	EventPoison

	// EventTakeover: the Server closed three connections within two seconds of CONNACK; probably
	// another client uses the same ClientID. Count is the number of such connections.
	EventTakeover

	// EventStuck: see ErrStuck. Count is the number of messages in flight.
	EventStuck

	// EventScrubRefused: see ErrScrubRefused. Count is how often in a row the Server closed the
	// connection. Err.
	EventScrubRefused

	// EventSubscriptionDowngraded: after a reconnect the Server granted a filter at a lower QoS
	// than before. Filter, QoS.
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

// String returns the name of the event in words.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return "event " + strconv.Itoa(int(k))
}

// An Event is something that the user of a Session may want to know.
type Event struct {
	Kind           EventKind
	SessionPresent bool
	Count          int
	PacketID       uint16
	Topic          string
	Filter         string
	QoS            packets.QoS // granted
	Err            error
}

// Counters count events since New.
type Counters struct {
	Redelivered       uint64 // incoming messages that had been received before and were not delivered again
	Adopted           uint64 // redelivered after a reconnect, before the application had acknowledged them
	UnexpectedAcks    uint64 // acknowledgements that matched nothing in flight
	Downgraded        uint64 // PUBACKs for a PUBLISH of QoS 2
	Mismatched        uint64 // messages with other content than the one in progress under their Packet Identifier
	Shed              uint64 // incoming messages shed: see Session.Shed
	SubackFailures    uint64 // SUBACK return codes of 0x80 and above
	ServerDisconnects uint64
	Pings             uint64
	Resent            uint64 // PUBLISH and PUBREL packets sent again after a reconnect
}
