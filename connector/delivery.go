package connector

import (
	"context"
	"fmt"
	"sync"
)

// A delivery is what the context of a flow's run knows.
type delivery struct {
	consumer *consumer
	job      *job
	attempt  int

	mu       sync.Mutex
	deferred chan error // nil: Run's return ends the run
}

type deliveryKey struct{}

func (d *delivery) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, deliveryKey{}, d)
}

// shown returns an error in the form that the messages of a flow carry.
func shown(ctx context.Context, e *Error) *Error {
	if d, ok := ctx.Value(deliveryKey{}).(*delivery); ok {
		return d.consumer.conn.shown(e)
	}
	return e
}

// IdempotencyKey names the message that a Consumer runs a flow for, in the context of that
// flow; otherwise it is empty. It is the same for every run: after failures, after a
// reconnect that kept the session and, with ConsumerParams.Ledger, after a crash. No other
// message has it, not even one of the same content. It is for systems that do nothing a
// second time under the same key.
func IdempotencyKey(ctx context.Context) string {
	if d, ok := ctx.Value(deliveryKey{}).(*delivery); ok {
		return d.consumer.keyOf(d.job)
	}
	return ""
}

// Attempt is the number of the run that a context belongs to, from 1; 0 if it is not of a
// Consumer's flow.
func Attempt(ctx context.Context) int {
	if d, ok := ctx.Value(deliveryKey{}).(*delivery); ok {
		return d.attempt
	}
	return 0
}

// Defer makes the run of a Consumer's flow last until settle is called, and not end when Run
// returns nil: for work that goes on elsewhere and is to be done before the message is
// acknowledged. Settle takes nil for success; only its first call counts. The run keeps its place
// of ConsumerParams.Concurrency. When the context ends first, by flow_timeout or because the
// connector stops, the run has failed: a handle that is lost is found out by flow_timeout only.
//
// In another context settle does nothing.
func Defer(ctx context.Context) (settle func(error)) {
	d, ok := ctx.Value(deliveryKey{}).(*delivery)
	if !ok {
		return func(error) {}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deferred == nil {
		d.deferred = make(chan error, 1)
	}
	ch := d.deferred
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			select {
			case ch <- err:
			default: // another handle was faster
			}
		})
	}
}

// settled returns how the run ended that Run ended with err.
func (d *delivery) settled(ctx context.Context, err error) error {
	d.mu.Lock()
	ch := d.deferred
	d.mu.Unlock()
	if err != nil || ch == nil {
		return err
	}
	select {
	case err := <-ch:
		return readable(err)
	case <-ctx.Done():
		return fmt.Errorf("connector: the flow was not settled: %w", context.Cause(ctx))
	}
}
