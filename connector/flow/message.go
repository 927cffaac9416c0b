package flow

import (
	"bytes"
	"maps"

	"github.com/mqtt311/mqtt311/packets"
)

// A Message is what flows through a flow: the platform's payload, attribute, variable and
// error.
type Message struct {
	Payload   Entity         `json:"payload"`
	Attribute map[string]any `json:"attribute"` // of a consumed message: "QoS" int, "topic" string, "messageID" uint16
	Variable  map[string]any `json:"variable"`
	Error     *Error         `json:"error"` // nil: none
}

// An Entity is content with what is known about it.
type Entity struct {
	Blob     []byte `json:"blob"`
	MimeType string `json:"mime_type,omitempty"`
	Encoding string `json:"encoding,omitempty"`
}

// The attributes of a consumed message.
const (
	AttributeQoS       = "QoS"
	AttributeTopic     = "topic"
	AttributeMessageID = "messageID"

	// With ConsumerParams.ExtendedAttributes.
	AttributeRetained  = "retained"
	AttributeDuplicate = "duplicate"
	AttributeAttempt   = "attempt"

	AttributeFilter         = "filter"         // the topic of the consumer that matches
	AttributeTopicLevels    = "topicLevels"    // []string
	AttributeReceivedAt     = "receivedAt"     // RFC 3339, in UTC
	AttributeClientID       = "clientID"       // ours
	AttributeBroker         = "broker"         // as in Broker URL
	AttributeIdempotencyKey = "idempotencyKey" // see IdempotencyKey
)

// NewMessage returns a message as a Consumer makes it.
func NewMessage(topic string, payload []byte, qos packets.QoS, id uint16) *Message {
	return &Message{Payload: Entity{Blob: payload}, Attribute: Attributes(topic, qos, id), Variable: map[string]any{}}
}

// Attributes returns the attributes of a message as a Consumer makes it.
func Attributes(topic string, qos packets.QoS, id uint16) map[string]any {
	return map[string]any{AttributeQoS: int(qos), AttributeTopic: topic, AttributeMessageID: id}
}

// Topic returns the attribute topic, or nothing.
func (m *Message) Topic() string {
	s, _ := m.Attribute[AttributeTopic].(string)
	return s
}

// Clone returns a copy whose maps are its own; the payload's bytes are shared.
func (m *Message) Clone() *Message {
	c := *m
	c.Attribute, c.Variable = maps.Clone(m.Attribute), maps.Clone(m.Variable)
	return &c
}

// fresh returns a copy of which nothing is shared but what the maps refer to: a run that
// fails leaves no trace for the next.
func (m *Message) fresh() *Message {
	c := m.Clone()
	c.Payload.Blob = bytes.Clone(m.Payload.Blob)
	return c
}

// WithError returns a copy that carries err in the platform's form.
func (m *Message) WithError(err error) *Message {
	c := m.Clone()
	c.Error = AsError(err)
	return c
}
