package client

import (
	"context"
	"errors"
	"sync"

	"github.com/mqtt311/mqtt311/session"
)

// A Receipt is the outcome to come of an operation. It is safe for concurrent use.
type Receipt struct {
	token session.Token // Client.mu guards it

	mu      sync.Mutex
	ended   bool
	err     error
	results []session.FilterResult
	ch      chan struct{}
}

// Done is closed when the operation ended. It ends exactly once: by the Server's
// answer, or when the client is closed or fails for good.
func (r *Receipt) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ch == nil {
		r.ch = make(chan struct{})
		if r.ended {
			close(r.ch)
		}
	}
	return r.ch
}

// Err returns nil before the end, and after it the outcome as [Client.Publish] does.
func (r *Receipt) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Wait waits for the end or for ctx. An operation that ctx ended goes on.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.Done():
		return r.Err()
	case <-ctx.Done():
		return &outcome{"wait", ErrUnknown, context.Cause(ctx)}
	}
}

func (r *Receipt) end(err error, results []session.FilterResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended, r.err, r.results = true, err, results
	if r.ch != nil {
		close(r.ch)
	}
}

// expect makes r the receipt of an operation. The caller holds mu.
func (c *Client) expect(t session.Token, r *Receipt) {
	r.token = t
	c.ops[t] = r
}

// finish ends the operation of a Done. The caller holds mu.
func (c *Client) finish(o *session.Output) {
	c.wakeSpace()
	r := c.ops[o.Token]
	if r == nil {
		return // nobody waits for it
	}
	delete(c.ops, o.Token)
	err := o.Err
	if err != nil && c.err != nil {
		err = &outcome{"ended", o.Err, c.err}
	}
	r.end(err, o.Results)
}

// await waits for the end of an operation or of ctx.
func (c *Client) await(ctx context.Context, r *Receipt, what string) error {
	select {
	case <-r.Done():
		return r.Err()
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offline0.withdraw(r) {
		return &outcome{what, ErrNotSent, context.Cause(ctx)}
	}
	t := r.token
	c.sess.Withdraw(t)
	c.drive()
	if _, waiting := c.ops[t]; !waiting {
		if err := r.Err(); !errors.Is(err, ErrNotSent) {
			return err // it ended in the same moment
		}
		return &outcome{what, ErrNotSent, context.Cause(ctx)}
	}
	c.sess.Keep(t)
	delete(c.ops, t)
	return &outcome{what, ErrUnknown, context.Cause(ctx)}
}
