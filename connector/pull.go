package connector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// ErrStale: a Delivery or Batch cannot be settled because it was settled before, its FlowTimeout
// has passed, or the connector was stopped. Nothing has changed.
var ErrStale = client.ErrStale

// A Delivery is a message that a program has pulled. The program owns it until it is settled or
// released or its FlowTimeout has passed. Deliveries may be settled from any goroutine and in any
// order; acknowledgements are always sent in the order in which the messages arrived.
type Delivery struct {
	Topic    string
	Payload  []byte // must not be modified; it stays valid after the delivery is settled
	QoS      packets.QoS
	Retained bool
	Dup      bool   // the DUP flag: the Server may have sent the message before
	PacketID uint16 // 0 at QoS 0
	Received time.Time
	Attempt  int // the number of this attempt, from 1, without those that were not charged

	job    *job
	number uint32
}

// Settle reports the result of processing the message. If err is nil, the message is acknowledged.
// Otherwise the failure policy of the consumer applies, as if a flow had failed with err; see
// flow.Permanent and flow.Uncharged. While retries are left, the message is yielded again after a
// pause.
//
// Settle returns ErrStale if the program no longer owns the delivery.
func (d *Delivery) Settle(err error) error {
	return d.job.consumer.settle(d.job, d.number, flow.Readable(err), false)
}

// Release gives the message back as if it had not been pulled: it is yielded again, and no attempt
// is charged. It returns ErrStale if the program no longer owns the delivery.
func (d *Delivery) Release() error { return d.job.consumer.release(d.job, d.number) }

// Key returns a key that identifies the message and is the same in every attempt: see
// flow.IdempotencyKey.
func (d *Delivery) Key() string { return d.job.consumer.keyOf(d.job) }

// Message returns the message that a flow would get for the delivery, with a copy of the payload.
func (d *Delivery) Message() *flow.Message {
	m := new(flow.Message)
	k := d.job.consumer
	k.fill(m, d.job, &k.now().params)
	return m
}

// A Batch is a set of messages that were pulled together.
type Batch []*Delivery

// Settle settles the deliveries of the batch that were not settled individually. If err is not nil
// and there are several, it is unknown which of them failed: none is charged with an attempt, and
// each is yielded again on its own. Settle returns ErrStale if there was nothing to settle.
func (b Batch) Settle(err error) error {
	if err = flow.Readable(err); err != nil && len(b) > 1 {
		err = flow.Uncharged(err)
		for _, d := range b {
			d.job.consumer.apart(d.job, d.number)
		}
	}
	settled := false
	for _, d := range b {
		settled = d.job.consumer.settle(d.job, d.number, err, false) == nil || settled
	}
	if !settled {
		return ErrStale
	}
	return nil
}

// Release gives back the deliveries that were not settled individually: see [Delivery.Release].
func (b Batch) Release() error {
	settled := false
	for _, d := range b {
		settled = d.Release() == nil || settled
	}
	if !settled {
		return ErrStale
	}
	return nil
}

// apart marks a job to be yielded on its own.
func (k *consumer) apart(j *job, number uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if j.state == jobRunning && j.number == number {
		j.single = true
	}
}

// Pull returns an iterator over the messages of a consumer that has no flow, in the order of
// arrival. It yields as many as MaxInFlight and MaxInFlightBytes allow to be unsettled; Concurrency
// does not apply. Pull must be called before Start, unless the consumer was given [Pulled]; the
// loop may start later. Several loops, of Pull and PullBatch, may run at once; each message goes to
// one of them. With an order, the next message of a lane is yielded when the one before it is
// settled.
//
// A delivery that is not settled within FlowTimeout fails. The loop ends with an error when ctx is
// done, the connector stops, or the consumer cannot be pulled. Leaving the loop early loses no
// messages.
func (c *Connector) Pull(ctx context.Context, name string) iter.Seq2[*Delivery, error] {
	each := c.pull(ctx, name)
	return func(yield func(*Delivery, error) bool) {
		each(func(k *consumer, j *job, err error) bool {
			if err != nil {
				return yield(nil, err)
			}
			return yield(k.deliver(j), nil)
		})
	}
}

// PullBatch is like Pull, but yields several messages at a time: those that are ready, up to most,
// without waiting for more. If most is zero or negative, it is 1.
func (c *Connector) PullBatch(ctx context.Context, name string, most int) iter.Seq2[Batch, error] {
	each := c.pull(ctx, name)
	return func(yield func(Batch, error) bool) {
		each(func(k *consumer, j *job, err error) bool {
			if err != nil {
				return yield(nil, err)
			}
			b := Batch{k.deliver(j)}
			if !j.single {
				for _, more := range k.giveMore(most - 1) {
					b = append(b, k.deliver(more))
				}
			}
			return yield(b, nil)
		})
	}
}

// Pulled is passed to [Connector.Consume] or [Connector.Reconfigure] instead of a flow for a
// consumer whose messages are pulled. [Connector.Pull] may then be called at any time.
var Pulled flow.Flow = pulledFlow{}

type pulledFlow struct{}

func (pulledFlow) Run(context.Context, *flow.Message) (*flow.Message, error) {
	return nil, flow.NewError(flow.TypeConfig, errors.New("connector.Pulled is no flow: it says that a program pulls"))
}

// pull returns a function that calls each for the jobs of a consumer until an error occurs or each
// returns false.
func (c *Connector) pull(ctx context.Context, name string) func(each func(*consumer, *job, error) bool) {
	k, err := c.pulled(name)
	return func(each func(*consumer, *job, error) bool) {
		if err != nil {
			each(nil, nil, err)
			return
		}
		w := &waiter{make(chan struct{}, 1)}
		for {
			j, err := k.give(ctx, w, false, anyJob)
			if !each(k, j, err) || err != nil {
				return
			}
		}
	}
}

// pulled returns a consumer that is pulled.
func (c *Connector) pulled(name string) (*consumer, error) {
	c.flows.Lock()
	defer c.flows.Unlock()
	k := c.consumers[name]
	p, ok := c.cfg.Consumers[name]
	switch {
	case k != nil && !k.pulls:
		return nil, flow.NewError(flow.TypeConfig, fmt.Errorf("consumer %q has a flow", name))
	case k != nil:
		return k, nil
	case !ok:
		return nil, flow.NewError(flow.TypeConfig, fmt.Errorf("there is no consumer %q in the configuration", name))
	case c.started.Load():
		return nil, flow.NewError(flow.TypeConfig, errors.New("the first Pull comes after Start: give the consumer connector.Pulled before"))
	}
	k = c.newConsumer(name, c.newSettings(p, nil))
	c.consumers[name] = k
	return k, nil
}

// deliver passes a job to a program.
func (k *consumer) deliver(j *job) *Delivery {
	d := &Delivery{
		Topic: j.d.Topic, Payload: j.d.Payload, QoS: j.d.QoS, Retained: j.d.Retain, Dup: j.d.Dup, PacketID: j.d.PacketID,
		Received: j.at, Attempt: j.attempt, job: j, number: j.number,
	}
	limit := deref(k.now().params.FlowTimeout, 0)
	k.mu.Lock()
	defer k.mu.Unlock()
	if limit > 0 && j.state == jobRunning { // unless cut was faster
		j.timer = time.AfterFunc(limit, func() {
			k.settle(d.job, d.number, fmt.Errorf("connector: not settled within %s: %w", limit, context.DeadlineExceeded), true)
		})
	}
	return d
}
