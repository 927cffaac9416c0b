package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Handler is called with each incoming message that matches its filter, one at a time and in the
// order of arrival. It may block, publish and wait, subscribe, and close the client. Its context
// ends when the client does.
type Handler func(ctx context.Context, d *Delivery)

// Handle registers a handler for the messages whose Topic Name matches a Topic Filter. It does not
// subscribe. Handlers may come and go at any time: which ones a message goes to is decided when its
// turn comes. Before the first handler messages wait in the inbox. A session that goes on brings
// messages right after CONNACK, so handlers that must not miss one are registered before Connect.
//
// A message goes to every handler that matches, once each, whichever subscription brought it, and
// is acknowledged when the last returned (unless Config.ManualAck is set). What matches none goes
// to [Client.HandleUnmatched]. A filter with a decoration, such as "$share/group/filter" or
// "$queue/filter", is matched by what it stands for: see [packets.Undecorated]. Since a server may
// not know the decoration, it is matched as it is written, too.
//
// The error is ErrLooping while a loop over [Client.Messages] runs, which takes what handlers would
// get, or says what is wrong with the filter.
func (c *Client) Handle(filter string, h Handler) error {
	filters, err := handled(filter)
	if err == nil && h == nil {
		err = &callError{call: "handle", about: quoted(filter), cause: errors.New("the handler is nil")}
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.routeLocked("handle", quoted(filter), func(r *router) {
		for _, f := range filters {
			r.add(f, h)
		}
	})
}

// Unhandle removes every handler that was registered with the filter, and reports whether there was
// one. A handler that runs goes on. When no handler is left, messages wait in the inbox again.
func (c *Client) Unhandle(filter string) bool {
	filters, err := handled(filter)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	removed := false
	for _, f := range filters {
		removed = c.delivery.router.remove(f) || removed
	}
	return removed
}

// HandleUnmatched registers the handler for messages that match no other handler; nil removes it.
// Without one they are acknowledged [MQTT-4.5.0-2], counted in Stats.Unmatched, and told as a
// MessageUnmatched event, once a minute at most.
func (c *Client) HandleUnmatched(h Handler) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.routeLocked("handle unmatched", "", func(r *router) { r.unmatched = h })
}

// handled returns the filters that a handler of a filter is registered with.
func handled(filter string) ([]string, error) {
	if err := packets.ValidTopicFilter(filter); err != nil {
		return nil, &callError{call: "handle", about: quoted(filter), cause: err}
	}
	plain, ok := packets.Undecorated(filter)
	switch {
	case !ok:
		return []string{filter}, nil
	case strings.HasPrefix(plain, "$"): // a message might match both
		return []string{plain}, nil
	}
	return []string{plain, filter}, nil
}

func (c *Client) routeLocked(call, about string, change func(*router)) error {
	switch {
	case c.leaving:
		return &callError{call: call, about: about, cause: c.whyClosedLocked()}
	case c.delivery.loops > 0:
		return &callError{call: call, about: about, cause: ErrLooping}
	}
	if c.delivery.router == nil {
		c.delivery.router = new(router)
	}
	change(c.delivery.router)
	c.announceLocked()
	return nil
}

type handlerKey struct{}

// dispatchLocked runs handlers on a goroutine that lives while there is something to handle.
func (c *Client) dispatchLocked() {
	d := &c.delivery
	if d.handling != nil {
		return
	}
	d.handling = make(chan struct{})
	d.consumed = true
	if d.life == nil {
		d.life, d.lifeOver = context.WithCancelCause(context.WithValue(context.Background(), handlerKey{}, c))
	}
	go c.handle(d.life)
}

func (c *Client) handle(ctx context.Context) {
	defer c.handlingEnds() // also when a handler ends its goroutine, as a failed test does
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

// nextHandled returns the next message that a handler matches; nil if there is none now, or the
// client is leaving.
func (c *Client) nextHandled() (*Delivery, []Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.leaving && !c.delivery.router.empty() {
		d, ok := c.delivery.inbox.pop()
		if !ok {
			break
		}
		c.takenLocked()
		if handlers := c.delivery.router.match(d.Topic); len(handlers) > 0 {
			return d, handlers
		}
		c.unmatchedLocked(d)
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
	c.delivery.inbox.takeBack([]*Delivery{d})
}

func (c *Client) handlingEnds() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.delivery.handling)
	c.delivery.handling = nil
	if !c.leaving {
		c.announceLocked()
	}
}

// unmatchedEvery is how often unmatched messages are told, and skipped ones logged.
const unmatchedEvery = time.Minute

// unmatchedLocked acknowledges a message that no handler matches.
func (c *Client) unmatchedLocked(d *Delivery) {
	c.stats.Unmatched++
	if r, now := c.delivery.router, time.Now(); now.Sub(r.told) >= unmatchedEvery {
		r.told = now
		c.emit(Event{Kind: MessageUnmatched, Err: fmt.Errorf("client: no handler matches %s", quoted(d.Topic))})
		c.cfg.Logger.Warn("message matches no handler; acknowledged and counted", "topic", d.Topic, "count", c.stats.Unmatched)
	}
	if d.token != 0 {
		c.sess.Ack(d.token)
		c.driveLocked()
		c.kickLocked()
	}
}
