package session

import "github.com/mqtt311/mqtt311/packets"

// RecordKind says what a [Record] keeps. The values are stored and never change.
type RecordKind byte

// The kinds of records. Kind and key together are unique in a store.
const (
	// RecordPublish is an accepted message of QoS 1 or 2; key Seq.
	RecordPublish RecordKind = 1

	// RecordReleased says that PUBREC came for the message Seq; from then on
	// PUBREL is what is sent, never again the PUBLISH [MQTT-4.3.3-1]. It means nothing
	// without the RecordPublish of its Seq, which is forgotten first.
	RecordReleased RecordKind = 2

	// RecordReceived is an incoming QoS 2 message that the application took over:
	// key PacketID, with the Fingerprint of its content.
	RecordReceived RecordKind = 3

	// RecordFilter is a wanted subscription: Filter is the key.
	RecordFilter RecordKind = 4

	// RecordSession says how the state was made. One a store.
	RecordSession RecordKind = 5

	// RecordScrubbed says that the Packet Identifiers of the sequence numbers from Base to below
	// Seq were released at the Server. One a store.
	RecordScrubbed RecordKind = 6

	// RecordApplication is a note of the application, with its Name as the key; a Session
	// never makes one.
	RecordApplication RecordKind = 7

	// RecordSequence says that sequence numbers below Seq may have been used, so
	// that no Packet Identifier is taken again too early. One a store.
	RecordSequence RecordKind = 8
)

// Made says by what kind of Session a state was made. The values are stored and never change.
type Made byte

// The kinds of Sessions.
const (
	MadeKept      Made = iota // a kept session that does not release Packet Identifiers, see Config.NoScrub
	MadeClean                 // a clean session
	MadeReleasing             // a kept session that releases Packet Identifiers before their first use at QoS 2
)

// A Record is a piece of Session state that must outlive the process, section 4.1.
type Record struct {
	Kind        RecordKind
	PacketID    uint16
	Seq         uint64
	Fingerprint uint64
	Order       uint64           // RecordReleased: the order in which PUBRECs came [MQTT-4.6.0-4]
	Base        uint64           // RecordScrubbed: the first sequence number that is covered
	Made        Made             // RecordSession
	Publish     *packets.Publish // RecordPublish: Topic, Payload, QoS, Retain
	Filter      packets.Subscription
	Note        *Note // RecordApplication
}

// A Note is what the application keeps beside the session, by its name.
type Note struct {
	Name  string // the key
	Value []byte
}
