package connector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// A Pending gives the result of a message that was published asynchronously, once it is known. It
// is safe for concurrent use.
type Pending struct {
	producer *Producer
	receipt  *client.Receipt
	qos      packets.QoS
	start    time.Time
	promise  DoneWhen // of Wait
}

// RunAsync is like Run, but returns a Pending instead of waiting: Pending.Wait returns when Run
// would. If RunAsync returns an error, which is as for Run, the message was not accepted. It waits
// for room in the queue until ctx is done, regardless of AckTimeout. The payload must not be
// modified until the Pending is done.
func (p *Producer) RunAsync(ctx context.Context, m *flow.Message) (*Pending, error) {
	s := p.now()
	out, err := p.resolve(ctx, s, m)
	var pending *Pending
	if err == nil {
		pending, err = p.accept(ctx, out, s.doneWhen(out.QoS))
	}
	if err != nil {
		return nil, p.conn.shown(flow.AsError(err))
	}
	if !out.Retain && p.over.name != "" && cameRetained(ctx, m) {
		p.tellUnretained(m.Topic())
	}
	return pending, nil
}

// PublishAsync is like Publish, but returns a Pending instead of waiting. With a session store the
// message is sent even if the process dies first: see Stored. If PublishAsync returns an error, the
// message was not accepted. It waits for room in the queue until ctx is done, but neither ctx nor
// AckTimeout applies to a message that was accepted. The payload must not be modified until the
// Pending is done.
func (p *Producer) PublishAsync(ctx context.Context, m client.Message) (*Pending, error) {
	return p.accept(ctx, m, DoneWhenConfirmed)
}

func (p *Producer) accept(ctx context.Context, m client.Message, promise DoneWhen) (*Pending, error) {
	p.conn.stats.published.Add(1)
	pending, err := p.queue(ctx, m)
	if err != nil {
		p.conn.stats.publishFailed.Add(1)
		return nil, err
	}
	pending.promise = promise
	p.conn.numbers.publishing.Add(1)
	p.pending[m.QoS].add(pending)
	return pending, nil
}

func (p *Producer) queue(ctx context.Context, m client.Message) (*Pending, error) {
	if err := p.fits(m); err != nil {
		return nil, err
	}
	c := p.over.client()
	if c == nil {
		return nil, p.outcome(errNotStarted, false)
	}
	if err := p.slots.take(ctx); err != nil {
		return nil, p.outcome(err, false)
	}
	start := time.Now()
	r, err := c.PublishAsync(ctx, m)
	if err != nil {
		p.slots.release()
		return nil, p.outcome(err, false)
	}
	return &Pending{producer: p, receipt: r, qos: m.QoS, start: start}, nil
}

// Done returns a channel that is closed when the result is known: see Err and Delivered.
func (p *Pending) Done() <-chan struct{} { return p.receipt.Done() }

// Stored returns a channel that is closed when the message is in the session store. Without a store
// it is closed at once, and otherwise at the latest together with Done.
func (p *Pending) Stored() <-chan struct{} { return p.receipt.Accepted() }

// Err returns nil until Done is closed, and then the result of Publish: nil or an [*Error].
func (p *Pending) Err() error {
	err := p.receipt.Err()
	if err == nil || errors.Is(err, client.ErrDowngraded) {
		return nil
	}
	return p.producer.outcome(err, false)
}

// Delivered says whether the message has arrived. It is DeliveredUnknown until Done is closed.
func (p *Pending) Delivered() flow.Delivered {
	select {
	case <-p.Done():
	default:
		return flow.DeliveredUnknown
	}
	var e *flow.Error
	if errors.As(p.Err(), &e) {
		return e.Delivered
	}
	return flow.DeliveredYes
}

// QoS returns the QoS of the message.
func (p *Pending) QoS() packets.QoS { return p.qos }

// Wait waits until the message is done: according to the producer's DoneWhen after RunAsync, and to
// the QoS after PublishAsync. It returns the error of Run, or the cause of ctx if that is done
// first.
func (p *Pending) Wait(ctx context.Context) error {
	kept := p.Done()
	if p.promise == DoneWhenStored {
		kept = p.Stored()
	}
	select {
	case <-kept:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p.promise == DoneWhenStored {
		return p.notKept()
	}
	return p.Err()
}

// stored publishes a message and returns when the session store has it.
func (p *Producer) stored(ctx context.Context, m client.Message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.now().timeout, errNoAnswer)
	defer cancel()
	pending, err := p.PublishAsync(ctx, m)
	var e *flow.Error
	if errors.As(err, &e) && p.waited(e, p.over.lost.Load()) {
		e.Err = flow.Uncharged(e.Err)
	}
	if err != nil {
		return err
	}
	select {
	case <-pending.Stored():
		return pending.notKept()
	case <-ctx.Done():
	}
	e = flow.NewError(flow.TypeStore, fmt.Errorf("the session store did not take the message: %w", context.Cause(ctx)))
	e.Delivered = flow.DeliveredUnknown
	return e
}

// notKept returns the error of a message that failed before it was in the session store, or nil.
func (p *Pending) notKept() error {
	select {
	case <-p.Done():
	default:
		return nil
	}
	var e *flow.Error
	if err := p.Err(); !errors.As(err, &e) || e.Delivered == flow.DeliveredLater {
		return nil
	}
	return e
}

// A waitingList waits for the queued messages of a producer and a QoS, in the order in which they
// were queued, so that each is counted even if its publisher does not wait. It has a goroutine
// while it has messages.
type waitingList struct {
	mu      sync.Mutex
	list    []*Pending
	running bool
}

func (w *waitingList) add(p *Pending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, p)
	if !w.running {
		w.running = true
		go w.count()
	}
}

func (w *waitingList) count() {
	for {
		w.mu.Lock()
		if len(w.list) == 0 {
			w.list, w.running = nil, false
			w.mu.Unlock()
			return
		}
		p := w.list[0]
		w.list[0], w.list = nil, w.list[1:]
		w.mu.Unlock()
		<-p.Done()
		p.producer.slots.release()
		p.counted()
	}
}

func (p *Pending) counted() {
	conn := p.producer.conn
	conn.numbers.publishing.Add(-1)
	err := p.Err()
	if err != nil {
		conn.stats.publishFailed.Add(1)
	}
	conn.numbers.publishEnded(p.qos, time.Since(p.start), delivered(err))
}
