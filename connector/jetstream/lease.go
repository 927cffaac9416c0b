package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrLeaseLost is why the context of a Lease has ended: it was not renewed in time, and another process may have the
// share.
var ErrLeaseLost = errors.New("jetstream: the lease is lost")

// A Lease is one of the shares that Leases divide, while this process has it. The time until which it is valid is
// measured on the monotonic clock, from before the server was asked, and ends before the server's does: so two
// processes never both take their lease for valid, also if one of them was stopped and goes on. That does not hold for
// a machine that was suspended as a whole, because its clock stood still.
type Lease struct {
	Index int    // of the share, from 0
	Epoch uint64 // higher than that of whoever had the share before, also if the bucket was made anew since then

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	until    time.Time
	lost     *time.Timer
	revision uint64 // of the entry at the server; the beat's own
	leave    context.CancelFunc
	done     chan struct{} // closed when hold has returned

	unanswered time.Time // when the first request since the last renewal went out that was not answered; the beat's own
}

// newLease is valid until a time, at which its context ends unless it is renewed.
func newLease(ctx context.Context, index int, epoch, revision uint64, until time.Time) *Lease {
	l := &Lease{Index: index, Epoch: epoch, revision: revision, until: until, done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.lost = time.AfterFunc(time.Until(until), func() {
		if !l.Valid() {
			l.cancel(ErrLeaseLost)
		}
	})
	return l
}

// Valid reports whether the share is ours now.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}

// renew makes the lease valid for longer. One that has ended stays over.
func (l *Lease) renew(revision uint64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision = revision
	if now := time.Now(); now.Before(l.until) {
		l.until = until
		l.lost.Reset(until.Sub(now))
	}
}

// end makes it invalid.
func (l *Lease) end(cause error) {
	l.mu.Lock()
	l.until = time.Time{}
	l.lost.Stop()
	l.mu.Unlock()
	l.cancel(cause)
}

// Context returns a context that ends when the lease does. Its Err is exact: it looks at the clock, so that code which
// begins right after the process was stopped for a while does not take a lease for valid that is over.
func (l *Lease) Context() context.Context { return leaseContext{l.ctx, l} }

// withCancel returns a context like Context that cancel ends as well.
func (l *Lease) withCancel() (ctx context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(l.ctx)
	return leaseContext{ctx, l}, cancel
}

type leaseContext struct {
	context.Context
	lease *Lease
}

func (c leaseContext) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !c.lease.Valid() {
		return ErrLeaseLost
	}
	return nil
}

type leaseKey struct{}

func (c leaseContext) Value(key any) any {
	if _, ok := key.(leaseKey); ok {
		return c.lease
	}
	return c.Context.Value(key)
}

// Fence is for effects of a flow that only the owner of a partition may have. It returns the epoch of the lease under
// which the flow runs, which a system can compare with the highest it has seen, and an error if the lease is over. In
// the context of another flow it returns 0.
func Fence(ctx context.Context) (epoch uint64, err error) {
	l, _ := ctx.Value(leaseKey{}).(*Lease)
	if l == nil {
		return 0, nil
	}
	if !l.Valid() {
		return l.Epoch, fmt.Errorf("partition %d: %w", l.Index, ErrLeaseLost)
	}
	return l.Epoch, nil
}
