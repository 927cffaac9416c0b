package client

import (
	"context"
	"errors"
	"sync"

	"github.com/mqtt311/mqtt311/session"
)

// A Receipt gives the result of an asynchronous request once it is known. It is safe for concurrent
// use.
type Receipt struct {
	mu       sync.Mutex
	durable  bool
	ended    bool
	lent     bool          // used by Publish: it owns turn and is reused
	recorded bool          // whether its message is stored; guarded by Client.mu
	done     chan struct{} // of Done; nil until that is called
	turn     chan struct{} // capacity 1, filled at the end; nil unless a goroutine is in Wait
	err      error
	more     *receiptDetails // nil: none
	pools    *pools
}

// receiptDetails are the fields that few receipts need.
type receiptDetails struct {
	accepted chan struct{} // of Accepted
	results  []session.FilterResult
}

// pools hold objects for reuse, so that a message needs no allocation besides its Receipt. Each client has
// its own, because a channel that was made in a bubble of testing/synctest cannot be used in another one. Nothing in
// them refers to the client, and they are no part of it: the runtime keeps a pool through two collections, and
// would keep a client that has ended as long.
type pools struct {
	receipts sync.Pool // *Receipt, of Publish
	turns    sync.Pool // chan struct{} with one place, of Receipt.Wait
	waiters  sync.Pool // *waiter
}

// over is a closed channel.
var over = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

// lendReceipt returns a Receipt for internal use by a Publish.
func (c *Client) lendReceipt() *Receipt {
	if r, ok := c.pools.receipts.Get().(*Receipt); ok {
		return r
	}
	return &Receipt{pools: c.pools, lent: true, turn: make(chan struct{}, 1)}
}

// takeBack returns a Receipt to the pool. Nothing may refer to it any more.
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

// ending returns the channel that signals the end.
func (r *Receipt) ending() <-chan struct{} {
	if r.lent {
		return r.turn
	}
	return r.Done()
}

// Done returns a channel that is closed when the request has finished: it was answered by the
// Server, or has failed, at the latest when the client is closed.
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

// Err returns the result as [Client.Publish] does, and nil while the request has not finished.
func (r *Receipt) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Wait waits until the request has finished and returns Err. If ctx is done first, Wait returns an
// error that wraps ErrUnknown, and the request goes on. Wait does not allocate.
func (r *Receipt) Wait(ctx context.Context) error {
	r.mu.Lock()
	if r.ended {
		defer r.mu.Unlock()
		return r.err
	}
	var end <-chan struct{}
	first := r.turn == nil && r.done == nil
	if first {
		r.turn, _ = r.pools.turns.Get().(chan struct{})
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
		r.pools.turns.Put(r.turn)
		r.turn = nil
	}
	if r.ended {
		return r.err
	}
	return &callError{call: "wait", kind: ErrUnknown, cause: context.Cause(ctx)}
}

// Accepted returns a channel that is closed when the message is in the Client's Store: from then on
// it will be sent even if this process dies. Without a Store and at QoS 0 the channel is closed at
// once, and otherwise at the latest when the request has finished.
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

// accept records that the message is in the Store, or does not need to be.
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

// finishLocked ends the request of a Done.
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

// endLocked ends a request. r is nil if no caller waits: the message was enqueued, or accepted by
// an earlier process.
func (c *Client) endLocked(r *Receipt, err error, results []session.FilterResult) {
	switch {
	case r != nil:
		r.end(err, results)
	case err != nil:
		c.stats.Unheard++
	}
}

// outcomeLocked returns the error for a request that the session ended with err.
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
