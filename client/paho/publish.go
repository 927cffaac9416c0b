package paho

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// ErrNotConnected: the call needs a connection and there is none.
var ErrNotConnected = errors.New("not Connected")

// ErrInvalidQos: the QoS is above 2.
var ErrInvalidQos = errors.New("invalid QoS")

// ErrInvalidTopicEmptyString: the filter is empty.
var ErrInvalidTopicEmptyString = errors.New("invalid Topic; empty string")

// ErrInvalidTopicMultilevel: the filter has "#" before its last level.
var ErrInvalidTopicMultilevel = errors.New("invalid Topic; multi-level wildcard must be last level")

var errPayload = errors.New("paho: the payload is no []byte, string or bytes.Buffer")

// Publish implements Client.
func (c *pahoClient) Publish(topic string, qos byte, retained bool, payload interface{}) Token {
	t := &PublishToken{room: patience{limit: c.writeTimeout}}
	t.receipt, t.err = c.publish(t, topic, qos, retained, payload)
	return t
}

func (c *pahoClient) publish(t *PublishToken, topic string, qos byte, retained bool, payload any) (*client.Receipt, error) {
	cl := c.usable.Load()
	if cl == nil {
		return nil, ErrNotConnected
	}
	m := client.Message{Topic: topic, QoS: packets.QoS(qos), Retain: retained}
	switch p := payload.(type) {
	case string:
		m.Payload = []byte(p)
	case []byte:
		m.Payload = p
		if qos > 0 { // at QoS 0 the payload is copied into a packet before Publish returns
			m.Payload = slices.Clone(p)
		}
	case bytes.Buffer:
		m.Payload = slices.Clone(p.Bytes())
	default:
		return nil, errPayload
	}
	switch {
	case qos > byte(packets.ExactlyOnce):
		return nil, ErrInvalidQos
	case qos > 0:
		t.messageID = c.nextID()
	}
	r, err := cl.PublishAsync(&t.room, m)
	t.room.over()
	if errors.Is(err, client.ErrNotConnected) {
		err = ErrNotConnected
	}
	return r, err
}

// nextID returns the next number of 1 to 65,535.
func (c *pahoClient) nextID() uint16 { return uint16(1 + (c.ids.Add(1)-1)%65535) }

// A patience is the context of a Publish. Its timeout starts when the message has to wait for room,
// so that it costs nothing otherwise. It is used only by the goroutine that publishes.
type patience struct {
	limit time.Duration
	ended chan struct{} // nil until the timeout has started
	timer *time.Timer
}

func (p *patience) Done() <-chan struct{} {
	if p.ended == nil {
		ended := make(chan struct{})
		p.ended, p.timer = ended, time.AfterFunc(p.limit, func() { close(ended) })
	}
	return p.ended
}

func (p *patience) Err() error {
	select {
	case <-p.ended:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func (p *patience) Deadline() (time.Time, bool) { return time.Time{}, false }

func (p *patience) Value(any) any { return nil }

func (p *patience) over() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
