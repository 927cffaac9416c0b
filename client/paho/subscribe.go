package paho

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

var errNotResumed = errors.New("paho: not connected, and SetResumeSubs(true) was not called")

// Subscribe implements Client.
func (c *pahoClient) Subscribe(topic string, qos byte, callback MessageHandler) Token {
	return c.subscribe(map[string]byte{topic: qos}, callback)
}

// SubscribeMultiple implements Client.
func (c *pahoClient) SubscribeMultiple(filters map[string]byte, callback MessageHandler) Token {
	return c.subscribe(filters, callback)
}

// AddRoute implements Client.
func (c *pahoClient) AddRoute(topic string, callback MessageHandler) {
	if callback != nil {
		c.router.add(topic, callback)
	}
}

func (c *pahoClient) subscribe(filters map[string]byte, callback MessageHandler) *SubscribeToken {
	t := &SubscribeToken{filters: slices.Sorted(maps.Keys(filters))}
	cl, err := c.requester()
	if err != nil {
		t.err = err
		return t
	}
	if len(filters) == 0 {
		t.err = errors.New("paho: no filter to subscribe to")
		return t
	}
	subs := make([]packets.Subscription, len(filters))
	for i, f := range t.filters {
		if t.err = checkFilter(f, filters[f]); t.err != nil {
			return t
		}
		subs[i] = packets.Subscription{Filter: f, QoS: packets.QoS(filters[f])}
	}
	if callback != nil { // before the Server may send
		for _, f := range t.filters {
			c.router.add(f, callback)
		}
	}
	t.receipt, t.err = cl.SubscribeAsync(subs...)
	return t
}

// Unsubscribe implements Client.
func (c *pahoClient) Unsubscribe(topics ...string) Token {
	t := &UnsubscribeToken{}
	cl, err := c.requester()
	if err != nil {
		t.err = err
		return t
	}
	if t.receipt, t.err = cl.UnsubscribeAsync(topics...); t.err == nil {
		for _, f := range topics {
			c.router.remove(f)
		}
	}
	return t
}

// requester returns the client for a SUBSCRIBE or UNSUBSCRIBE.
func (c *pahoClient) requester() (*client.Client, error) {
	cl := c.usable.Load()
	switch {
	case cl == nil:
		return nil, ErrNotConnected
	case !c.resumeSubs && cl.State() != client.Connected:
		return nil, errNotResumed
	}
	return cl, nil
}

// checkFilter returns the errors that have a variable in this package; package client finds the
// others.
func checkFilter(filter string, qos byte) error {
	switch {
	case filter == "":
		return ErrInvalidTopicEmptyString
	case strings.Contains("/"+filter, "/#/"):
		return ErrInvalidTopicMultilevel
	case qos > byte(packets.ExactlyOnce):
		return ErrInvalidQos
	}
	return nil
}
