package session

import "github.com/mqtt311/mqtt311/packets"

// A RecordKind is the kind of a [Record]. The values are stored and never change.
type RecordKind byte

// The kinds of records. The comments name the fields that are used as the key; kind and key
// together are unique in a store.
const (
	// RecordPublish is an accepted outgoing message of QoS 1 or 2. The key is Seq.
	RecordPublish RecordKind = 1

	// RecordReleased says that PUBREC was received for the message Seq: from then on only PUBREL is
	// sent, never again the PUBLISH [MQTT-4.3.3-1]. The key is Seq. It is ignored without the
	// RecordPublish of its Seq, which is removed first.
	RecordReleased RecordKind = 2

	// RecordReceived is an incoming QoS 2 message that the application has acknowledged, with the
	// Fingerprint of its content. The key is PacketID.
	RecordReceived RecordKind = 3

	// RecordFilter is a wanted subscription. The key is the Topic Filter in Filter.
	RecordFilter RecordKind = 4

	// RecordSession holds Made. There is at most one in a store.
	RecordSession RecordKind = 5

	// RecordScrubbed says that the Packet Identifiers of the sequence numbers from Base up to, but
	// not including, Seq were released at the Server. There is at most one in a store.
	RecordScrubbed RecordKind = 6

	// RecordApplication is a note of the application. The key is its Name. A Session never saves
	// one.
	RecordApplication RecordKind = 7

	// RecordSequence says that sequence numbers below Seq may have been used, so that Packet
	// Identifiers are not reused too early. There is at most one in a store.
	RecordSequence RecordKind = 8
)

// Made says what kind of Session created the stored state. The values are stored and never change.
type Made byte

// The values of Made.
const (
	MadeKept      Made = iota // a persistent session with Config.NoScrub
	MadeClean                 // a clean session: Config.CleanSession
	MadeReleasing             // a persistent session without Config.NoScrub
)

// A Record is a piece of Session state that is stored to survive a restart of the process (section
// 4.1). The comments of the fields name the kinds that use them.
type Record struct {
	Kind        RecordKind
	PacketID    uint16
	Seq         uint64
	Fingerprint uint64
	Order       uint64           // RecordReleased: the rank of its PUBREC in order of arrival [MQTT-4.6.0-4]
	Base        uint64           // RecordScrubbed: the first sequence number
	Made        Made             // RecordSession
	Publish     *packets.Publish // RecordPublish: Topic, Payload, QoS, Retain
	Filter      packets.Subscription
	Note        *Note // RecordApplication
}

// A Note is a named value that the application keeps in the store of the session.
type Note struct {
	Name  string // the key
	Value []byte
}
