package client

import (
	"context"
	"errors"

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
	results, err := c.request(ctx, "subscribe", func() (session.Token, error) {
		return c.sess.Subscribe(now(), subs...)
	})
	if err != nil && !answered(err) {
		return nil, err
	}
	if err != nil {
		err = &SubscribeError{Results: results}
	}
	granted := make([]packets.QoS, len(results))
	for i, r := range results {
		granted[i] = r.QoS
	}
	return granted, err
}

// Unsubscribe gives filters up. Messages for them may come until it returns. If ctx
// ends first the error is ErrUnknown and the filters stay unwanted.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	_, err := c.request(ctx, "unsubscribe", func() (session.Token, error) {
		return c.sess.Unsubscribe(now(), filters...)
	})
	return err
}

// answered tells whether err is about single filters, so that others may be granted.
func answered(err error) bool {
	var refused *FilterError
	return errors.As(err, &refused) || errors.Is(err, ErrSuperseded)
}

// request starts a SUBSCRIBE or UNSUBSCRIBE and waits for the results.
func (c *Client) request(ctx context.Context, what string, start func() (session.Token, error)) ([]session.FilterResult, error) {
	r := new(Receipt)
	c.mu.Lock()
	if c.leaving {
		defer c.mu.Unlock()
		return nil, c.refused(what)
	}
	t, err := start()
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.expect(t, r)
	c.ask()
	c.drive()
	c.kick()
	c.mu.Unlock()
	err = c.await(ctx, r, what)
	return r.filters(), err
}

func (r *Receipt) filters() []session.FilterResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.results
}
