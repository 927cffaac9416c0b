package connector

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
)

// Replay runs the flow of letter.Consumer once for a dead letter, beside the messages that come, and returns the error of that
// run. The failure policy does not apply: a run that fails is not repeated, and what becomes of the dead letter is left to the
// caller. Nothing is acknowledged to a Server.
//
// The run waits for room within MaxInFlight and MaxInFlightBytes, for a place of Concurrency, and, with an order, for the
// messages of its row that came before. FlowTimeout bounds it. It is a run of a message that is Suspected, so that one such
// run goes on at a time. The flow sees the topic, QoS, message id and payload of the letter and, as its [flow.IdempotencyKey],
// letter.Key; if that is empty, a key that no other message has.
//
// When ctx ends, Replay returns at once; a run that has begun is cut short as by FlowTimeout, and may have done its work all
// the same. A connector that stops lets a run end that has begun, and begins none: the error is of [flow.TypeCancelled]. It is
// of [flow.TypeConfig] if there is no such consumer, or a program pulls its messages. A flow must not replay to its own
// consumer: it may wait for itself.
func (c *Connector) Replay(ctx context.Context, letter *DeadLetterRecord) error {
	if err := c.runs("Replay"); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	k, err := c.replays(letter.Consumer)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	a, s := letter.arrival(ctx, ended), k.replaySettings()
	err = k.take(ctx, a, s)
	c.replaying.Done()
	if err != nil {
		return err
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		default:
			return fmt.Errorf("connector: the outcome of the run is not known: %w", context.Cause(ctx))
		}
	}
	if err == errStopping && ctx.Err() != nil {
		return context.Cause(ctx) // it was left because nobody waits for it
	}
	return err
}

// replays returns the consumer of a name. The caller takes one message, and calls replaying.Done then.
func (c *Connector) replays(name string) (*consumer, error) {
	c.flows.Lock()
	defer c.flows.Unlock()
	k := c.consumers[name]
	_, ok := c.now().cfg.Consumers[name]
	switch {
	case k == nil || !ok:
		return nil, flow.NewError(flow.TypeConfig, fmt.Errorf("there is no consumer %q in the configuration", name))
	case k.pulls:
		return nil, flow.NewError(flow.TypeConfig, fmt.Errorf("consumer %q has no flow: a program pulls its messages", name))
	}
	select {
	case <-c.stopping:
		return nil, errStopping
	default:
	}
	c.replaying.Add(1)
	return k, nil
}

// Replays reports whether Replay has a flow for the dead letters of a consumer: the configuration in force has it, and
// no program pulls its messages.
func (c *Connector) Replays(consumer string) bool {
	c.flows.Lock()
	defer c.flows.Unlock()
	k := c.consumers[consumer]
	_, ok := c.now().cfg.Consumers[consumer]
	return k != nil && ok && !k.pulls
}

// arrival makes a message of a dead letter. Its only run tells ended how it went.
func (r *DeadLetterRecord) arrival(ctx context.Context, ended chan<- error) *arrival {
	in := &Input{Key: r.Key, Context: ctx, replayed: ended}
	if in.Key == "" {
		in.Key = "replayed/" + rand.Text()
	}
	a := &arrival{
		d:    &client.Delivery{Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, PacketID: r.MessageID},
		size: len(r.Payload), at: r.Received, fed: in,
	}
	if a.at.IsZero() {
		a.at = time.Now()
	}
	a.open.Store(1)
	return a
}

// isReplayed reports whether a message is of Replay.
func (a *arrival) isReplayed() bool { return a.fed != nil && a.fed.replayed != nil }

// replaySettings are those with which Replay takes a message: there is nothing to acknowledge before the run, or to keep.
func (k *consumer) replaySettings() *settings {
	s := *k.now()
	s.params.AckMode, s.params.Ledger = AfterFlowSuccess, false
	return &s
}
