package jetstream

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The headers of a message in the stream. Characters that a header cannot contain are escaped as in
// a subject: see [TopicSubject]. The header Nats-Msg-Id has the idempotency key.
const (
	HeaderTopic    = "Mqtt-Topic"
	HeaderQoS      = "Mqtt-QoS"
	HeaderRetained = "Mqtt-Retained" // "true" or absent
	HeaderDup      = "Mqtt-Dup"      // "true" or absent
	HeaderOrderKey = "Mqtt-Order-Key"
	HeaderReceived = "Mqtt-Received" // RFC 3339, UTC
)

// A Record is an MQTT message in the stream.
type Record struct {
	Topic    string
	Payload  []byte
	QoS      packets.QoS // the QoS at which it was received
	Retained bool
	Dup      bool
	Key      string    // the idempotency key
	OrderKey string    // messages with the same OrderKey keep their order; if empty, it is the topic
	Received time.Time // when the gateway received it
}

// inHeader reports whether a byte may be in a header unescaped. Spaces at the ends would be
// trimmed.
func inHeader(c byte) bool { return c > ' ' && c < 0x7F }

func escaped(s string) string {
	for i := range len(s) {
		if s[i] == '%' || !inHeader(s[i]) {
			return string(appendEscaped(make([]byte, 0, 2*len(s)), s, inHeader))
		}
	}
	return s
}

// message returns the message to publish under a subject. It shares the payload.
func (r *Record) message(subject string) *nats.Msg {
	h := make(nats.Header, 8)
	values := make([]string, 0, 8) // one allocation for all
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set(HeaderTopic, escaped(r.Topic))
	set(HeaderQoS, strconv.Itoa(int(r.QoS)))
	set(HeaderReceived, r.Received.UTC().Format(time.RFC3339Nano))
	if r.Retained {
		set(HeaderRetained, "true")
	}
	if r.Dup {
		set(HeaderDup, "true")
	}
	if r.OrderKey != "" && r.OrderKey != r.Topic {
		set(HeaderOrderKey, escaped(r.OrderKey))
	}
	if r.Key != "" {
		set(jetstream.MsgIDHeader, escaped(r.Key))
	}
	return &nats.Msg{Subject: subject, Header: h, Data: r.Payload}
}

// ParseRecord decodes a message of the stream. The Record shares the payload. The error says which
// header is invalid; the message was then not stored by a Gateway.
func ParseRecord(h nats.Header, payload []byte) (*Record, error) {
	r := &Record{Payload: payload, Retained: h.Get(HeaderRetained) == "true", Dup: h.Get(HeaderDup) == "true"}
	for _, f := range []struct {
		name string
		to   *string
	}{{HeaderTopic, &r.Topic}, {HeaderOrderKey, &r.OrderKey}, {jetstream.MsgIDHeader, &r.Key}} {
		text, ok := unescape(h.Get(f.name))
		if !ok {
			return nil, fmt.Errorf("jetstream: header %s: %.80q is not escaped as it should be", f.name, h.Get(f.name))
		}
		*f.to = text
	}
	if err := packets.ValidTopicName(r.Topic); err != nil {
		return nil, fmt.Errorf("jetstream: header %s: %w", HeaderTopic, err)
	}
	qos, err := strconv.ParseUint(h.Get(HeaderQoS), 10, 8)
	if err != nil || qos > uint64(packets.ExactlyOnce) {
		return nil, fmt.Errorf("jetstream: header %s: %.80q is not 0, 1 or 2", HeaderQoS, h.Get(HeaderQoS))
	}
	r.QoS = packets.QoS(qos)
	if r.Received, err = time.Parse(time.RFC3339Nano, h.Get(HeaderReceived)); err != nil {
		return nil, fmt.Errorf("jetstream: header %s: %.80q is not a time of RFC 3339", HeaderReceived, h.Get(HeaderReceived))
	}
	return r, nil
}
