package connector

import (
	"context"
	"fmt"
	"sync"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// A delivery is what the context of a flow's run knows: it is a flow.Runner.
type delivery struct {
	consumer *consumer
	job      *job
	attempt  int

	mu       sync.Mutex
	deferred chan error // nil: Run's return ends the run
}

func (d *delivery) Key() string { return d.consumer.keyOf(d.job) }

func (d *delivery) Attempt() int { return d.attempt }

func (d *delivery) Shown(e *Error) *Error { return d.consumer.conn.shown(e) }

func (d *delivery) Defer() (settle func(error)) {
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
		return flow.Readable(err)
	case <-ctx.Done():
		return fmt.Errorf("connector: the flow was not settled: %w", context.Cause(ctx))
	}
}
