package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrLeaseLost is the cause of the context of a Lease that was not renewed in time: another process
// may hold the share.
var ErrLeaseLost = errors.New("jetstream: the lease is lost")

// A Lease is the right of this process to one of the shares of [Leases]. Its validity is measured
// on the monotonic clock, from before the request to the server, and ends before it does at the
// server. So two processes never consider their lease of the same share valid at the same time,
// even if one was stopped for a while and continues. This is not guaranteed if the whole machine
// was suspended, because its monotonic clock stops then.
type Lease struct {
	Index int    // the number of the share, from 0
	Epoch uint64 // higher than that of any earlier lease of the share, even if the bucket was recreated

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	until    time.Time
	lost     *time.Timer
	revision uint64 // of the entry at the server; used only by beat
	leave    context.CancelFunc
	done     chan struct{} // closed when hold has returned

	unanswered time.Time // when the first unanswered request since the last renewal was sent; used only by beat
}

// newLease returns a lease that is valid until the given time, when its context is canceled unless
// it is renewed.
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

// Valid reports whether the lease is valid now.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}

// renew extends the lease, unless it has ended.
func (l *Lease) renew(revision uint64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision = revision
	if now := time.Now(); now.Before(l.until) {
		l.until = until
		l.lost.Reset(until.Sub(now))
	}
}

// end ends the lease.
func (l *Lease) end(cause error) {
	l.mu.Lock()
	l.until = time.Time{}
	l.lost.Stop()
	l.mu.Unlock()
	l.cancel(cause)
}

// Context returns a context that is canceled when the lease ends. Its Err method checks the clock,
// so it is correct even right after the process was stopped for a while.
func (l *Lease) Context() context.Context { return leaseContext{l.ctx, l} }

// withCancel returns a context like Context that cancel cancels as well.
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

// Fence protects effects of a flow that only the owner of a partition may have. It returns the
// epoch of the lease under which the flow with context ctx runs, or an error if the lease has
// ended. A system can reject requests whose epoch is lower than the highest it has seen. Without a
// lease the epoch is 0.
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
