package main

import (
	"context"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/jetstream"
)

// A worker runs a flow for the messages of the stream.
type worker struct {
	server
	consumer string
	c        *connector.Connector
	flow     flow.Flow
	inFlight int           // messages per partition; 0: the default of the package
	patience time.Duration // for running flows, after an interrupt

	worker *jetstream.Worker // guarded by server.mu, like leases
	leases *jetstream.Leases
}

func (w *worker) Open(ctx context.Context) error {
	if err := w.open(ctx, true); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leases, err := jetstream.NewLeases(within, w.connection(), jetstream.WorkersOf(w.n, w.opened(), w.log))
	if err != nil {
		return failed(err)
	}
	feed, err := w.c.Feed(w.consumer, w.flow)
	if err != nil {
		return command.Coded(command.ExitUsage, err)
	}
	work, err := jetstream.NewWorker(w.opened(), feed, leases, jetstream.WorkerOptions{
		Group: w.n.Group, MaxInFlight: w.inFlight, Patience: w.patience, Logger: w.log,
	})
	if err != nil {
		return failed(err)
	}
	w.set(func() { w.worker, w.leases = work, leases })
	return nil
}

func (w *worker) Run(ctx context.Context) error {
	w.worker.Run(ctx)
	return nil
}

func (w *worker) Close() { w.close() }

func (w *worker) Collect(e *command.Exposition) {
	w.collect(e)
	w.mu.Lock()
	work, leases := w.worker, w.leases
	w.mu.Unlock()
	if work == nil {
		return
	}
	s := work.Stats()
	e.Count(taken, s.Taken)
	e.Count(done, s.Done)
	e.Count(unreadable, s.Unreadable)
	w.collectLeases(e, leases)
}

func (w *worker) Reasons(add func(code, en, zh string, args ...any)) { w.reasons(add) }
