package doctor

import "time"

// Facts are what a report says, for programs. What could not be tried is the zero value: see Row.Failed.
type Facts struct {
	// Delivery is what becomes of a message of QoS 1 to a subscriber of its topic: "delivered", "altered" (under another topic),
	// "lost" (granted and acknowledged, and it does not arrive), or "closes", "silent", "refused". It is empty if that
	// could not be tried.
	Delivery string `json:"delivery"`

	// Granted is the QoS that SUBACK grants where 2 was asked for.
	Granted int `json:"granted"`

	// ExactlyOnce says that a message of QoS 2 goes through the whole handshake in both directions.
	ExactlyOnce bool `json:"exactly_once"`

	// Sessions says that a message that was published while a client was away came when its session was resumed.
	Sessions bool `json:"sessions"`

	// QueueInOrder says that what waited in a session came in the order in which it was published.
	QueueInOrder bool `json:"queue_in_order"`

	// Redelivers: an unacknowledged message came again after a reconnect. Dup: with the DUP flag. SameID: with the same Packet
	// Identifier.
	Redelivers bool `json:"redelivers"`
	Dup        bool `json:"dup"`
	SameID     bool `json:"same_id"`

	// Resends is how long an unacknowledged message stays until it is sent again on a living connection; 0: it was not.
	Resends time.Duration `json:"resends_ns"`

	// Window is how many messages of QoS 1 were sent to a client that acknowledges none; WindowOpen says that there may
	// be more.
	Window     int  `json:"window"`
	WindowOpen bool `json:"window_open"`

	// TakenQoS2 is how many messages of QoS 2 got PUBREC while none was released, of TriedQoS2; LostQoS2 is how many
	// of all were not delivered when the handshakes went on after a reconnect.
	TakenQoS2 int `json:"taken_qos2"`
	TriedQoS2 int `json:"tried_qos2"`
	LostQoS2  int `json:"lost_qos2"`

	// Ordered says that messages of QoS 1 arrive in the order in which they were published.
	Ordered bool `json:"ordered"`

	// Retained says that a retained message comes to a new subscription, RetainedByWildcard that it does to one with a
	// wildcard.
	Retained           bool `json:"retained"`
	RetainedByWildcard bool `json:"retained_by_wildcard"`

	// Will says that a will is published when a connection breaks, WillAfterDisconnect that it is even after DISCONNECT.
	Will                bool `json:"will"`
	WillAfterDisconnect bool `json:"will_after_disconnect"`

	// Share is what becomes of a shared subscription.
	Share Share `json:"share"`

	// Copies is how many copies of a message came to a client with three filters that match it.
	Copies int `json:"copies"`

	// Largest is the largest packet that was accepted, in bytes; LargestOpen says that nothing larger was tried.
	Largest     int  `json:"largest"`
	LargestOpen bool `json:"largest_open"`

	// Topics has the outcome of each kind of topic, as "dots": "delivered": one of those of Delivery, or "unknown".
	Topics map[string]string `json:"topics"`
}

// Delivers reports whether messages reach subscribers, without which little else can be found out.
func (f *Facts) Delivers() bool { return f.Delivery == "delivered" || f.Delivery == "altered" }

// safeQoS2 is how many unfinished messages of QoS 2 survive the end of their connection.
func (f *Facts) safeQoS2() int { return f.TriedQoS2 - f.LostQoS2 }

// Share is what becomes of a shared subscription.
type Share string

// The outcomes.
const (
	ShareDelivered Share = "delivered" // each message to one member
	ShareToAll     Share = "to_all"    // each to every member
	ShareGranted   Share = "granted"   // granted, and nothing is delivered
	ShareRefused   Share = "refused"
	ShareCloses    Share = "closes"
)
