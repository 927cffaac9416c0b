package client

import (
	"context"
	"errors"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// Subscribe subscribes to Topic Filters and returns the QoS granted for each, in
// their order; it may be lower than asked for, section 3.9.3. The filters stay wanted
// across reconnects until Unsubscribe, and are sent again whenever the Server may
// have lost them.
//
// If the Server refuses some, the error is a [*SubscribeError] that names them; they
// are not wanted any more, the others are granted. If ctx ends first the error is
// ErrUnknown and the filters stay wanted.
func (c *Client) Subscribe(ctx context.Context, subs ...packets.Subscription) ([]packets.QoS, error) {
	r, err := c.SubscribeAsync(subs...)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx, r, "subscribe"); err != nil && !answered(err) {
		return nil, err
	}
	return r.Granted()
}

// SubscribeAsync makes Topic Filters wanted and returns a receipt for what the Server says to
// them; see [Receipt.Granted]. Before Connect it may be called as well: then they are the
// first packet after CONNACK.
func (c *Client) SubscribeAsync(subs ...packets.Subscription) (*Receipt, error) {
	return c.request("subscribe", func() (session.Token, error) { return c.sess.Subscribe(time.Now(), subs...) })
}

// Granted returns after the end of a SubscribeAsync what Subscribe does.
func (r *Receipt) Granted() ([]packets.QoS, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && !answered(r.err) {
		return nil, r.err
	}
	var results []session.FilterResult
	if r.results != nil {
		results = *r.results
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

// Unsubscribe gives filters up. Messages for them may come until it returns. If ctx
// ends first the error is ErrUnknown and the filters stay unwanted.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	r, err := c.UnsubscribeAsync(filters...)
	if err != nil {
		return err
	}
	return c.await(ctx, r, "unsubscribe")
}

// UnsubscribeAsync gives filters up and returns a receipt for the Server's answer.
func (c *Client) UnsubscribeAsync(filters ...string) (*Receipt, error) {
	return c.request("unsubscribe", func() (session.Token, error) { return c.sess.Unsubscribe(time.Now(), filters...) })
}

// Wanted returns the filters that are subscribed or to be. Right after New these are the ones
// that the Store remembers.
func (c *Client) Wanted() []packets.Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sess.Wanted()
}

// answered tells whether err is about single filters, so that others may be granted.
func answered(err error) bool {
	var refused *FilterError
	return errors.As(err, &refused) || errors.Is(err, ErrSuperseded)
}

// request starts a SUBSCRIBE or UNSUBSCRIBE.
func (c *Client) request(what string, start func() (session.Token, error)) (*Receipt, error) {
	r := new(Receipt)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving {
		return nil, c.refused(what)
	}
	t, err := start()
	if err != nil {
		return nil, err
	}
	r.token = t
	if c.requests == nil {
		c.requests = make(map[session.Token]*Receipt)
	}
	c.requests[t] = r
	c.ask()
	c.drive()
	c.send()
	return r, nil
}
