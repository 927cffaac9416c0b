package flow

import (
	"bytes"
	"maps"

	"github.com/mqtt311/mqtt311/packets"
)

// A Message is the message that a flow processes, with the platform's payload, attribute, variable
// and error.
type Message struct {
	Payload   Entity         `json:"payload"`
	Attribute map[string]any `json:"attribute"` // a consumed message has "QoS" int, "topic" string and "messageID" uint16
	Variable  map[string]any `json:"variable"`
	Error     *Error         `json:"error"` // or nil
}

// An Entity is a payload with its MIME type and encoding.
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

	// These are set with ConsumerParams.ExtendedAttributes.
	AttributeRetained  = "retained"
	AttributeDuplicate = "duplicate"
	AttributeAttempt   = "attempt"

	AttributeFilter         = "filter"         // the Topic Filter of the consumer that matches
	AttributeTopicLevels    = "topicLevels"    // []string
	AttributeReceivedAt     = "receivedAt"     // time in RFC 3339 format, UTC
	AttributeClientID       = "clientID"       // the ClientID of the connector
	AttributeBroker         = "broker"         // as in General.BrokerURL
	AttributeIdempotencyKey = "idempotencyKey" // see IdempotencyKey
)

// NewMessage returns a message like those of a consumer, for a received PUBLISH.
func NewMessage(topic string, payload []byte, qos packets.QoS, id uint16) *Message {
	return &Message{Payload: Entity{Blob: payload}, Attribute: Attributes(topic, qos, id), Variable: map[string]any{}}
}

// Attributes returns the attributes of a message like those of a consumer, for a received PUBLISH.
func Attributes(topic string, qos packets.QoS, id uint16) map[string]any {
	return map[string]any{AttributeQoS: int(qos), AttributeTopic: topic, AttributeMessageID: id}
}

// Topic returns the attribute "topic", or "" if there is none.
func (m *Message) Topic() string {
	s, _ := m.Attribute[AttributeTopic].(string)
	return s
}

// Clone returns a copy of m with copies of its maps. The payload's bytes are shared.
func (m *Message) Clone() *Message {
	c := *m
	c.Attribute, c.Variable = maps.Clone(m.Attribute), maps.Clone(m.Variable)
	return &c
}

// fresh returns a copy that shares only the values in the maps, so that a failed run leaves no
// trace for the next.
func (m *Message) fresh() *Message {
	c := m.Clone()
	c.Payload.Blob = bytes.Clone(m.Payload.Blob)
	return c
}

// WithError returns a copy of m whose Error is AsError(err).
func (m *Message) WithError(err error) *Message {
	c := m.Clone()
	c.Error = AsError(err)
	return c
}
