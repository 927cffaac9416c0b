package doctor

import "time"

// Facts are the results of a report for programs. Those of failed probes are the zero value: see
// Row.Failed.
type Facts struct {
	// Delivery is what happens to a QoS 1 message for a subscriber of its topic: "delivered", "altered" (under another
	// topic), "lost" (granted and acknowledged, but it does not arrive), or "closes", "silent", "refused". It is empty
	// if that could not be tested.
	Delivery string `json:"delivery"`

	// Granted is the QoS that SUBACK grants when 2 is requested.
	Granted int `json:"granted"`

	// ExactlyOnce means that a QoS 2 message completes the whole handshake in both directions.
	ExactlyOnce bool `json:"exactly_once"`

	// Sessions means that a message published while a client was absent arrived when its session was resumed.
	Sessions bool `json:"sessions"`

	// QueueInOrder means that the messages that waited in a session arrived in the order in which they
	// were published.
	QueueInOrder bool `json:"queue_in_order"`

	// Redelivers means that an unacknowledged message was sent again after a reconnect; Dup, with the DUP flag;
	// SameID, with the same Packet Identifier.
	Redelivers bool `json:"redelivers"`
	Dup        bool `json:"dup"`
	SameID     bool `json:"same_id"`

	// Resends is after which time an unacknowledged message is sent again on a live connection; 0: it was not.
	Resends time.Duration `json:"resends_ns"`

	// Window is how many QoS 1 messages were sent to a client that acknowledges none; WindowOpen means that there may
	// be more.
	Window     int  `json:"window"`
	WindowOpen bool `json:"window_open"`

	// TakenQoS2 is how many of TriedQoS2 messages of QoS 2 got PUBREC while none was released; LostQoS2 is how many
	// of all were not delivered when the handshakes continued after a reconnect.
	TakenQoS2 int `json:"taken_qos2"`
	TriedQoS2 int `json:"tried_qos2"`
	LostQoS2  int `json:"lost_qos2"`

	// Ordered means that QoS 1 messages arrive in the order in which they were published.
	Ordered bool `json:"ordered"`

	// Retained means that a new subscription gets a retained message; RetainedByWildcard, that one with a wildcard
	// does.
	Retained           bool `json:"retained"`
	RetainedByWildcard bool `json:"retained_by_wildcard"`

	// Will means that a will is published when a connection breaks; WillAfterDisconnect, that it is published even
	// after DISCONNECT.
	Will                bool `json:"will"`
	WillAfterDisconnect bool `json:"will_after_disconnect"`

	// Share is what happens to a shared subscription.
	Share Share `json:"share"`

	// Copies is how many copies of a message a client with three matching filters gets.
	Copies int `json:"copies"`

	// Largest is the largest packet that was accepted, in bytes; LargestOpen means that nothing larger was
	// tried.
	Largest     int  `json:"largest"`
	LargestOpen bool `json:"largest_open"`

	// Topics has the outcome for each kind of topic, for example "dots": "delivered": a value of Delivery, or
	// "unknown".
	Topics map[string]string `json:"topics"`
}

// Delivers reports whether messages reach subscribers, without which little else can be tested.
func (f *Facts) Delivers() bool { return f.Delivery == "delivered" || f.Delivery == "altered" }

// safeQoS2 returns how many unfinished QoS 2 messages survive the end of their connection.
func (f *Facts) safeQoS2() int { return f.TriedQoS2 - f.LostQoS2 }

// A Share is what happens to a shared subscription.
type Share string

// The outcomes.
const (
	ShareDelivered Share = "delivered" // each message to one member
	ShareToAll     Share = "to_all"    // each to every member
	ShareGranted   Share = "granted"   // granted, but nothing is delivered
	ShareRefused   Share = "refused"
	ShareCloses    Share = "closes"
)
