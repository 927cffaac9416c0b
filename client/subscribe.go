package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// Subscribe subscribes to Topic Filters and returns the granted QoS of each, in order; it may be
// lower than requested (section 3.9.3). The client remembers the filters until Unsubscribe and
// subscribes to them again whenever the Server may have lost them. A Subscribe for the same filters
// soon after such a reconnect sends nothing and returns the result of that.
//
// If the Server refuses some of the filters, the error is a [*SubscribeError] that names them, and
// the client forgets them; the others are granted. If ctx is done first, the error wraps
// ErrUnknown, and the client remembers the filters, as it does after ErrNotStarted. Any other error
// wraps ErrNotSent and means that nothing has changed: ctx was already done, the client is closed,
// or a filter is invalid (a [*packets.EncodeError]).
func (c *Client) Subscribe(ctx context.Context, subs ...packets.Subscription) ([]packets.QoS, error) {
	ctx, over := c.awaitingConnect(ctx)
	defer over()
	r, err := c.request(ctx, c.subscription(subs))
	if err != nil {
		return nil, err
	}
	if err := c.awaitAnswer(ctx, r, "subscribe", filtersOf(subs)); err != nil && !answered(err) {
		return nil, err
	}
	return r.Granted()
}

// SubscribeAsync is like Subscribe, but returns a Receipt instead of waiting for the Server's
// answer; see [Receipt.Granted]. If it is called before Connect, SUBSCRIBE is sent right after
// CONNACK.
func (c *Client) SubscribeAsync(subs ...packets.Subscription) (*Receipt, error) {
	return c.request(context.Background(), c.subscription(subs))
}

// Granted returns the results of a finished SubscribeAsync, as Subscribe does.
func (r *Receipt) Granted() ([]packets.QoS, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && !answered(r.err) {
		return nil, r.err
	}
	var results []session.FilterResult
	if r.more != nil {
		results = r.more.results
	}
	granted := make([]packets.QoS, len(results))
	for i, f := range results {
		granted[i] = f.QoS
	}
	if r.err != nil {
		return granted, &SubscribeError{Results: results}
	}
	return granted, nil
}

// Unsubscribe unsubscribes from Topic Filters. Messages for them may still arrive until it returns.
// If ctx is done first, the error wraps ErrUnknown, and the client forgets the filters all the
// same. An error that wraps ErrNotSent means that nothing has changed, as with Subscribe.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	ctx, over := c.awaitingConnect(ctx)
	defer over()
	r, err := c.request(ctx, c.unsubscription(filters))
	if err != nil {
		return err
	}
	return c.awaitAnswer(ctx, r, "unsubscribe", filters)
}

// UnsubscribeAsync is like Unsubscribe, but returns a Receipt instead of waiting for the Server's
// answer.
func (c *Client) UnsubscribeAsync(filters ...string) (*Receipt, error) {
	return c.request(context.Background(), c.unsubscription(filters))
}

// Wanted returns the subscriptions that the client has or requests. Right after New these are the
// ones in the Store.
func (c *Client) Wanted() []packets.Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sess.Wanted()
}

// Ungranted returns the wanted filters for which the Server has not yet answered a SUBSCRIBE since
// it may have lost them. Refused filters are not included. While there is no connection, it returns
// the filters that the next connection will request in any case.
func (c *Client) Ungranted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sess.Ungranted()
}

// AskAgain sends again each SUBSCRIBE and UNSUBSCRIBE that the Server has not answered on this
// connection, and returns their number. An answer to any copy will do. A Server that answers
// several copies sends its retained messages for each of them [MQTT-3.8.4-3].
func (c *Client) AskAgain() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.sess.AskAgain()
	c.driveLocked()
	c.sendLocked()
	return n
}

// answered reports whether err is about single filters, so that others may be granted.
func answered(err error) bool {
	var refused *FilterError
	return errors.As(err, &refused) || errors.Is(err, ErrSuperseded)
}

func filtersOf(subs []packets.Subscription) []string {
	filters := make([]string, len(subs))
	for i, s := range subs {
		filters[i] = s.Filter
	}
	return filters
}

// aboutFilters returns the names of filters for an error.
func aboutFilters(filters []string) string {
	switch len(filters) {
	case 0:
		return ""
	case 1:
		return quoted(filters[0])
	}
	return fmt.Sprintf("%s and %d more", quoted(filters[0]), len(filters)-1)
}

// An asking is a call of Subscribe or Unsubscribe: its name, its filters, and the call of the
// session.
type asking struct {
	call    string
	filters []string
	start   func() (session.Token, error)
}

func (c *Client) subscription(subs []packets.Subscription) asking {
	return asking{"subscribe", filtersOf(subs), func() (session.Token, error) { return c.sess.Subscribe(time.Now(), subs...) }}
}

func (c *Client) unsubscription(filters []string) asking {
	return asking{"unsubscribe", filters, func() (session.Token, error) { return c.sess.Unsubscribe(time.Now(), filters...) }}
}

// request starts a SUBSCRIBE or UNSUBSCRIBE, unless ctx is done.
func (c *Client) request(ctx context.Context, a asking) (*Receipt, error) {
	from := request{r: &Receipt{pools: c.pools}, call: a.call, about: aboutFilters(a.filters)}
	refused := func(cause error) error {
		return &callError{call: from.call, about: from.about, kind: ErrNotSent, cause: cause}
	}
	if ctx.Err() != nil {
		return nil, refused(context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving {
		return nil, refused(c.whyClosedLocked())
	}
	t, err := a.start()
	if err != nil {
		return nil, refused(err)
	}
	if c.waiters.requests == nil {
		c.waiters.requests = make(map[session.Token]request)
	}
	c.waiters.requests[t] = from
	c.askLocked()
	c.driveLocked()
	c.sendLocked()
	return from.r, nil
}

// awaitAnswer waits until the Server has answered a request or ctx is done.
func (c *Client) awaitAnswer(ctx context.Context, r *Receipt, call string, filters []string) error {
	select {
	case <-r.Done():
		return r.Err()
	case <-ctx.Done():
	}
	if r.over() {
		return r.Err()
	}
	e := &callError{call: call, about: aboutFilters(filters), kind: ErrUnknown, cause: context.Cause(ctx)}
	if errors.Is(e.cause, ErrNotStarted) {
		e.kind = ErrNotSent
	}
	return e
}
