package client

import (
	"context"
	"errors"
	"sync"

	"github.com/mqtt311/mqtt311/session"
)

// A Receipt is the outcome to come of an operation. It is safe for concurrent use.
type Receipt struct {
	mu       sync.Mutex
	durable  bool
	ended    bool
	lent     bool          // it belongs to a Publish: turn is its own, and it is used again
	recorded bool          // a record makes its message durable; Client.mu guards it
	done     chan struct{} // of Done; nil: nobody asked
	turn     chan struct{} // has one place, which the end fills; nil unless somebody waits in Wait
	err      error
	more     *receiptDetails // nil: none
	client   *Client
}

// receiptDetails are what few receipts have.
type receiptDetails struct {
	accepted chan struct{} // of Accepted
	results  []session.FilterResult
}

// pools hold what is used again: what a message needs beside its Receipt costs no allocation.
type pools struct {
	receipts sync.Pool // *Receipt, of Publish
	turns    sync.Pool // chan struct{} with one place, of Receipt.Wait
	waiters  sync.Pool // *waiter
}

// over is closed.
var over = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

// lendReceipt returns a receipt for a Publish, which nobody else sees.
func (c *Client) lendReceipt() *Receipt {
	if r, ok := c.pools.receipts.Get().(*Receipt); ok {
		return r
	}
	return &Receipt{client: c, lent: true, turn: make(chan struct{}, 1)}
}

// takeBack takes back a receipt that nothing refers to any more.
func (c *Client) takeBack(r *Receipt) {
	r.mu.Lock()
	r.durable, r.ended, r.err, r.more = false, false, nil, nil
	drain(r.turn)
	r.mu.Unlock()
	c.pools.receipts.Put(r)
}

func drain(ch chan struct{}) {
	select {
	case <-ch:
	default:
	}
}

// ending returns the channel that tells the end.
func (r *Receipt) ending() <-chan struct{} {
	if r.lent {
		return r.turn
	}
	return r.Done()
}

// Done returns a channel that is closed when the operation has ended. It ends exactly once: by the
// Server's answer, or when the client is closed or fails for good.
func (r *Receipt) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doneChannel()
}

// doneChannel returns the channel of Done. The caller holds r.mu.
func (r *Receipt) doneChannel() <-chan struct{} {
	if r.done == nil {
		if r.ended {
			return over
		}
		r.done = make(chan struct{})
	}
	return r.done
}

// Err returns nil before the end, and after it the outcome as [Client.Publish] does.
func (r *Receipt) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Wait waits for the end and returns the outcome, or until ctx ends: then the error is an ErrUnknown
// and the operation goes on. It costs no allocation.
func (r *Receipt) Wait(ctx context.Context) error {
	r.mu.Lock()
	if r.ended {
		defer r.mu.Unlock()
		return r.err
	}
	var end <-chan struct{}
	first := r.turn == nil && r.done == nil
	if first {
		r.turn, _ = r.client.pools.turns.Get().(chan struct{})
		if r.turn == nil {
			r.turn = make(chan struct{}, 1)
		}
		end = r.turn
	} else {
		end = r.doneChannel()
	}
	r.mu.Unlock()
	select {
	case <-end:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first {
		drain(r.turn)
		r.client.pools.turns.Put(r.turn)
		r.turn = nil
	}
	if r.ended {
		return r.err
	}
	return &callError{call: "wait", kind: ErrUnknown, cause: context.Cause(ctx)}
}

// Accepted returns a channel that is closed when the message is in the Client's Store, at once if
// there is none or it is of QoS 0, and at the latest when the operation has ended. A message that
// the Store has is sent even if this process dies.
func (r *Receipt) Accepted() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.durable || r.ended {
		return over
	}
	m := r.details()
	if m.accepted == nil {
		m.accepted = make(chan struct{})
	}
	return m.accepted
}

func (r *Receipt) details() *receiptDetails {
	if r.more == nil {
		r.more = new(receiptDetails)
	}
	return r.more
}

// accept notes that the message is in the Store, or that no Store is to have it.
func (r *Receipt) accept() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellAccepted()
	r.durable = true
}

// tellAccepted closes the channel of Accepted. The caller holds r.mu.
func (r *Receipt) tellAccepted() {
	if !r.durable && !r.ended && r.more != nil && r.more.accepted != nil {
		close(r.more.accepted)
	}
}

func (r *Receipt) isAccepted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.durable
}

func (r *Receipt) end(err error, results []session.FilterResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellAccepted()
	r.ended, r.err = true, err
	if results != nil {
		r.details().results = results
	}
	if r.turn != nil {
		r.turn <- struct{}{}
	}
	if r.done != nil {
		close(r.done)
	}
}

func (r *Receipt) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// finishLocked ends the operation of a Done.
func (c *Client) finishLocked(o *session.Output) {
	r, ok := o.For.(*Receipt)
	from := request{call: "publish"}
	if !ok {
		from = c.waiters.requests[o.Token]
		r = from.r
		delete(c.waiters.requests, o.Token)
	}
	err := o.Err
	if err != nil && r != nil {
		err = c.outcomeLocked(r, &from, err)
	}
	c.endLocked(r, err, o.Results)
}

// endLocked ends an operation. Nobody waits for one without a receipt: it was enqueued, or accepted
// by an earlier process.
func (c *Client) endLocked(r *Receipt, err error, results []session.FilterResult) {
	switch {
	case r != nil:
		r.end(err, results)
	case err != nil:
		c.stats.Unheard++
	}
}

// outcomeLocked is the error of an operation that the session ended with err.
func (c *Client) outcomeLocked(r *Receipt, from *request, err error) error {
	e := &callError{call: from.call, about: from.about, kind: err}
	if c.err == nil {
		if errors.Is(err, ErrUnknown) && err != ErrPoison && c.link == nil && c.attempts.lastErr != nil {
			e.cause = because(ErrConnectionLost, c.attempts.lastErr)
		}
		return e
	}
	e.cause = c.err
	switch {
	case c.saver.store == nil || !r.recorded || errors.Is(err, ErrPoison) || errors.Is(err, ErrDowngraded):
	case r.isAccepted():
		e.kind = ErrStored
	default:
		e.kind = ErrUnknown
	}
	return e
}
