package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/mqtt311/mqtt311/packets"
)

// A Handler is called with each incoming message that matches its filter, one at a
// time and in the order of arrival. It may block, publish and wait, subscribe, and
// close the client. Its context ends when the client does.
type Handler func(ctx context.Context, d *Delivery)

// Handle registers a handler for the messages whose Topic Name matches a Topic
// Filter. It does not subscribe. It must be called before Connect, because a session
// that goes on brings messages right after CONNACK.
//
// A message goes to every handler that matches, once each, whichever subscription
// brought it, and is acknowledged when the last returned (unless Config.ManualAck is
// set). What matches none is acknowledged and counted [MQTT-4.5.0-2]. The filter of a
// shared subscription, "$share/group/filter", is matched by its last part.
func (c *Client) Handle(filter string, h Handler) error {
	if err := packets.ValidTopicFilter(filter); err != nil {
		return fmt.Errorf("client: handle: %w", err)
	}
	if h == nil {
		return errors.New("client: handle: the handler is nil")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Idle {
		return ErrStarted
	}
	if _, rest, ok := packets.ParseShared(filter); ok {
		filter = rest
	}
	if c.router == nil {
		c.router = new(router)
	}
	c.router.add(filter, h)
	return nil
}

type handlerKey struct{}

// dispatch runs handlers on a goroutine that lives while there is something to
// handle. The caller holds mu.
func (c *Client) dispatch() {
	if c.handling {
		return
	}
	c.handling, c.idle = true, make(chan struct{})
	c.inbox.consumed = true
	if c.life == nil {
		c.life, c.lifeOver = context.WithCancelCause(context.WithValue(context.Background(), handlerKey{}, c))
	}
	go c.handle(c.life)
}

func (c *Client) handle(ctx context.Context) {
	defer c.handled() // also when a handler ends its goroutine, as a failed test does
	for {
		d, handlers := c.nextHandled()
		if d == nil {
			return
		}
		for _, h := range handlers {
			h(ctx, d)
		}
		if !c.cfg.ManualAck {
			d.Ack() // stale: the Server will send it again
			c.handBack(d)
		}
	}
}

// nextHandled returns the next message that a handler matches; nil if there is none now, or
// the client is leaving.
func (c *Client) nextHandled() (*Delivery, []Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.leaving {
		d, ok := c.inbox.pop()
		if !ok {
			break
		}
		c.afterTake()
		if handlers := c.router.match(d.Topic); len(handlers) > 0 {
			return d, handlers
		}
		c.unmatched(d)
	}
	return nil, nil
}

// handBack takes a message back whose handlers have returned, if it was lent.
func (c *Client) handBack(d *Delivery) {
	if !c.cfg.LendPayloads {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox.takeBack([]*Delivery{d})
}

func (c *Client) handled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handling = false
	close(c.idle)
	c.idle = nil
	if c.inbox.len() > 0 && !c.leaving {
		c.dispatch()
	}
}

func (c *Client) unmatched(d *Delivery) {
	c.stats.Unmatched++
	if c.stats.Unmatched == 1 {
		c.emit(Event{Kind: MessageUnmatched})
		c.cfg.Logger.Warn("message matches no handler; acknowledged and counted", "topic", d.Topic)
	}
	if d.token != 0 {
		c.sess.Ack(d.token)
		c.drive()
		c.kick()
	}
}
