package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A Handler processes an incoming message. Handlers are called one at a time, in the order in which
// the messages arrived. A Handler may block, publish and wait for the result, subscribe, and close
// the client. Its context is canceled when the client is closed.
type Handler func(ctx context.Context, d *Delivery)

// Handle registers a handler for the messages whose Topic Name matches filter. It does not
// subscribe. Handlers may be added and removed at any time; those registered when a message is
// taken from the inbox receive it. Until the first handler is registered, messages wait in the
// inbox. If the Server still has the session, messages may arrive right after CONNACK: register all
// handlers before Connect to miss none.
//
// A message is passed once to every handler whose filter matches, whichever subscription it came
// from, and is acknowledged when the last of them has returned (unless Config.ManualAck is set). A
// message that matches no filter is passed to the handler of [Client.HandleUnmatched]. A filter
// with a prefix such as "$share/group/" or "$queue/" is matched both without the prefix (see
// [packets.Undecorated]) and, since a Server may not know the prefix, as written.
//
// Handle returns ErrLooping while a loop over [Client.Messages] runs, and an error if the filter is
// invalid.
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

// Unhandle removes all handlers registered with filter and reports whether there was one. A handler
// that is running is not interrupted. When no handler is left, messages wait in the inbox again.
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

// HandleUnmatched sets the handler for messages that match no other handler; nil removes it.
// Without it such messages are acknowledged [MQTT-4.5.0-2], counted in Stats.Unmatched, and
// reported by the event MessageUnmatched, at most once a minute.
func (c *Client) HandleUnmatched(h Handler) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.routeLocked("handle unmatched", "", func(r *router) { r.unmatched = h })
}

// handled returns the filters under which a handler for filter is registered.
func handled(filter string) ([]string, error) {
	if err := packets.ValidTopicFilter(filter); err != nil {
		return nil, &callError{call: "handle", about: quoted(filter), cause: err}
	}
	plain, ok := packets.Undecorated(filter)
	switch {
	case !ok:
		return []string{filter}, nil
	case strings.HasPrefix(plain, "$"): // a message could match both
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

// dispatchLocked starts the goroutine that runs handlers, unless it is running; it ends when there
// is nothing to handle.
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
	defer c.handlingEnds() // even if a handler calls runtime.Goexit, as a failed test does
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

// nextHandled returns the next message with the handlers that match it, or nil if there is none or
// the client is closing.
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

// handBack returns a lent message to the inbox for reuse after its handlers have returned.
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

// unmatchedEvery is the minimum time between reports of unmatched messages, and of skipped ones.
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
