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

// A Pending is the outcome to come of a message that was published without waiting. It is
// safe for concurrent use.
type Pending struct {
	producer *Producer
	receipt  *client.Receipt
	qos      packets.QoS
	start    time.Time
}

// PublishAsync queues a message as Publish would publish it, and returns what becomes of it.
// With a session store it goes out even if the process dies first: see Stored. An error
// means that nothing was accepted. It waits for room as long as ctx allows, but neither ctx nor
// AckTimeout ends a message that was accepted. The payload belongs to the producer until the
// end.
func (p *Producer) PublishAsync(ctx context.Context, m client.Message) (*Pending, error) {
	p.conn.stats.published.Add(1)
	pending, err := p.queue(ctx, m)
	if err != nil {
		p.conn.stats.publishFailed.Add(1)
		return nil, err
	}
	p.conn.numbers.publishing.Add(1)
	p.conn.pending.add(pending)
	return pending, nil
}

func (p *Producer) queue(ctx context.Context, m client.Message) (*Pending, error) {
	if err := p.fits(m); err != nil {
		return nil, err
	}
	c := p.conn.out.client()
	if c == nil {
		return nil, p.outcome(errNotStarted, false)
	}
	if err := p.slot(ctx); err != nil {
		return nil, p.outcome(err, false)
	}
	start := time.Now()
	r, err := c.PublishAsync(ctx, m)
	if err != nil {
		p.release()
		return nil, p.outcome(err, false)
	}
	return &Pending{producer: p, receipt: r, qos: m.QoS, start: start}, nil
}

// Done is closed at the end, when Err and Delivered say how it ended.
func (p *Pending) Done() <-chan struct{} { return p.receipt.Done() }

// Stored is closed when the session store has the message, at once if there is none, and at
// the latest at the end.
func (p *Pending) Stored() <-chan struct{} { return p.receipt.Accepted() }

// Err returns nil before the end, and after it what Publish would return: nil or an [*Error].
func (p *Pending) Err() error {
	err := p.receipt.Err()
	if err == nil || errors.Is(err, client.ErrDowngraded) {
		return nil
	}
	return p.producer.outcome(err, false)
}

// Delivered says after the end whether the message has arrived, and before it
// DeliveredUnknown.
func (p *Pending) Delivered() Delivered {
	select {
	case <-p.Done():
	default:
		return DeliveredUnknown
	}
	var e *Error
	if errors.As(p.Err(), &e) {
		return e.Delivered
	}
	return DeliveredYes
}

// stored publishes a message and returns when the session store has it.
func (p *Producer) stored(ctx context.Context, m client.Message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, errNoAnswer)
	defer cancel()
	pending, err := p.PublishAsync(ctx, m)
	var e *Error
	if errors.As(err, &e) && p.waited(e, p.conn.out.lost.Load()) {
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
	e = flow.NewError(TypeStore, fmt.Errorf("the session store did not take the message: %w", context.Cause(ctx)))
	e.Delivered = DeliveredUnknown
	return e
}

// notKept is the error of a message that ended before the session store had it; nil if it has
// it, or had.
func (p *Pending) notKept() error {
	select {
	case <-p.Done():
	default:
		return nil
	}
	var e *Error
	if err := p.Err(); !errors.As(err, &e) || e.Delivered == DeliveredLater {
		return nil
	}
	return e
}

// A waiting list counts messages that nobody need wait for, in the order in which they were
// queued, which is that in which they end. It has a goroutine while there are any.
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
		p.producer.release()
		p.counted()
	}
}

func (p *Pending) counted() {
	conn := p.producer.conn
	conn.numbers.publishing.Add(-1)
	delivered := Delivered("")
	var e *Error
	if errors.As(p.Err(), &e) {
		conn.stats.publishFailed.Add(1)
		delivered = e.Delivered
	}
	conn.numbers.publishEnded(p.qos, time.Since(p.start), delivered)
}
