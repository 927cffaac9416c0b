package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/session"
)

// A Receipt is the outcome to come of an operation. It is safe for concurrent use.
type Receipt struct {
	mu       sync.Mutex
	durable  bool
	ended    bool
	again    bool // it is used again: its end puts something into ch
	recorded bool // a record makes its message durable; Client.mu guards it, and token
	onRecord chan struct{}
	ch       chan struct{}
	err      error
	results  *[]session.FilterResult // of SubscribeAsync
	token    session.Token           // what the session calls it
}

// lendReceipt returns a receipt for a Publish, which nobody else sees.
func (c *Client) lendReceipt() *Receipt {
	if r, ok := c.receipts.Get().(*Receipt); ok {
		return r
	}
	return &Receipt{again: true, ch: make(chan struct{}, 1)}
}

// takeBack takes back a receipt that nothing refers to any more.
func (c *Client) takeBack(r *Receipt) {
	r.mu.Lock()
	r.token, r.durable, r.onRecord, r.ended, r.err, r.results = 0, false, nil, false, nil, nil
	select {
	case <-r.ch:
	default:
	}
	r.mu.Unlock()
	c.receipts.Put(r)
}

// ending returns the channel that tells the end.
func (r *Receipt) ending() <-chan struct{} {
	if r.again {
		return r.ch
	}
	return r.Done()
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

// Accepted is closed when the message is in the Client's Store, at once if there is none or
// it is of QoS 0, and at the latest when the operation ended. A message that the Store has
// is sent even if this process dies.
func (r *Receipt) Accepted() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.onRecord == nil {
		r.onRecord = make(chan struct{})
		if r.durable || r.ended {
			close(r.onRecord)
		}
	}
	return r.onRecord
}

func (r *Receipt) accept() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.durable && !r.ended && r.onRecord != nil {
		close(r.onRecord)
	}
	r.durable = true
}

func (r *Receipt) isAccepted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.durable
}

func (r *Receipt) end(err error, results []session.FilterResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.onRecord != nil && !r.durable && !r.ended {
		close(r.onRecord)
	}
	r.ended, r.err = true, err
	if results != nil {
		kept := results // a parameter with an address would be allocated at every end
		r.results = &kept
	}
	switch {
	case r.again:
		r.ch <- struct{}{}
	case r.ch != nil:
		close(r.ch)
	}
}

func (r *Receipt) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// forgotten waits until the Store has forgotten the message of r, for as long as the Store
// deserves. The caller holds mu, which is let go meanwhile.
func (c *Client) forgotten(r *Receipt) {
	c.mu.Unlock()
	defer c.mu.Lock()
	t := time.NewTimer(storePatience)
	defer t.Stop()
	select {
	case <-r.ending():
	case <-t.C:
	}
}

// finish ends the operation of a Done. The caller holds mu.
func (c *Client) finish(o *session.Output) {
	c.wakeSpace()
	r, ok := o.For.(*Receipt)
	if !ok {
		r = c.requests[o.Token]
		delete(c.requests, o.Token)
	}
	err := o.Err
	if err != nil && c.err != nil && r != nil {
		err = c.ended(r, err)
	}
	c.end(r, err, o.Results)
}

// end ends an operation. Nobody waits for one without a receipt: it was enqueued, or accepted by
// an earlier process. The caller holds mu.
func (c *Client) end(r *Receipt, err error, results []session.FilterResult) {
	switch {
	case r != nil:
		r.end(err, results)
	case err != nil:
		c.stats.Unheard++
	}
}

// await waits for the end of an operation or of ctx.
func (c *Client) await(ctx context.Context, r *Receipt, what string) error {
	select {
	case <-r.ending():
		return r.Err()
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offline0.withdraw(r) {
		return &outcome{what, ErrNotSent, context.Cause(ctx)}
	}
	t := r.token
	withdrawn := c.sess.Withdraw(t)
	c.drive()
	if withdrawn && !r.over() {
		c.forgotten(r)
	}
	c.send()
	if r.over() {
		if err := r.Err(); !errors.Is(err, ErrNotSent) {
			return err // it ended in the same moment
		}
		return &outcome{what, ErrNotSent, context.Cause(ctx)}
	}
	c.sess.Keep(t)
	return &outcome{what, ErrUnknown, context.Cause(ctx)}
}
