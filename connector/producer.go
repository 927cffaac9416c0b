package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

const defaultAckTimeout = 30 * time.Second

// A Producer publishes messages; it is a step of a flow. It is safe for concurrent use.
type Producer struct {
	name    string
	params  ProducerParams
	topic   *template
	payload *template // nil: the message's own
	timeout time.Duration
	conn    *Connector
	slots   chan struct{} // holds a token for each message on its way; nil: unbounded
}

func (c *Connector) newProducer(name string, p ProducerParams) *Producer {
	prod := &Producer{name: name, params: p, conn: c}
	prod.topic, _ = parseTemplate(p.Topic) // Check has read both
	if p.Payload != nil {
		prod.payload, _ = parseTemplate(*p.Payload)
	}
	if p.MaxInFlight > 0 {
		prod.slots = make(chan struct{}, p.MaxInFlight)
	}
	prod.timeout = deref(p.AckTimeout, deref(c.cfg.Extension.AckTimeout, defaultAckTimeout))
	return prod
}

// Run publishes the message and returns it as it came when the promise of the QoS is
// kept: written (0), PUBACK (1), PUBCOMP (2). On failure the message that it returns
// carries the error, which says whether the message may have arrived.
func (p *Producer) Run(ctx context.Context, m *Message) (*Message, error) {
	out, err := p.resolve(m)
	if err == nil {
		err = p.Publish(ctx, out)
	}
	if err != nil {
		failed := m.WithError(err)
		return failed, failed.Error
	}
	return m, nil
}

func (p *Producer) resolve(m *Message) (client.Message, error) {
	topic, err := p.topic.eval(m)
	if err != nil {
		return client.Message{}, &Error{
			Code: CodeRuntime, Type: TypeExpression, Delivered: DeliveredNo, Err: err,
			Description: fmt.Sprintf("[%s] producer %s: topic: %v", TypeExpression, p.name, err),
		}
	}
	out := client.Message{Topic: topic, QoS: p.params.QoS, Retain: p.params.Retained, Payload: m.Payload.Blob}
	if p.payload == nil {
		return out, nil
	}
	payload, err := p.payload.eval(m)
	if err != nil {
		return client.Message{}, &Error{
			Code: CodeRuntime, Type: TypeExpression, Delivered: DeliveredNo, Err: err,
			Description: fmt.Sprintf("[%s] producer %s: payload: %v", TypeExpression, p.name, err),
		}
	}
	out.Payload = []byte(payload)
	return out, nil
}

// Publish publishes a message without regard to the producer's topic, content, QoS and
// retained. The error is an [*Error].
func (p *Producer) Publish(ctx context.Context, m client.Message) error {
	p.conn.stats.published.Add(1)
	p.conn.numbers.publishing.Add(1)
	defer p.conn.numbers.publishing.Add(-1)
	start := time.Now()
	err := p.confirmed(ctx, m)
	var e *Error
	delivered := Delivered("")
	if errors.As(err, &e) {
		delivered = e.Delivered
	}
	if m.QoS <= packets.ExactlyOnce {
		p.conn.numbers.publishEnded(m.QoS, time.Since(start), delivered)
	}
	return err
}

// confirmed publishes and waits for the end, as long as the producer has patience.
func (p *Producer) confirmed(ctx context.Context, m client.Message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, errNoAnswer)
	defer cancel()
	err := p.publish(ctx, m)
	if err == nil || errors.Is(err, client.ErrDowngraded) {
		return nil // downgraded: the Server has it, at QoS 1, which the client's counters show
	}
	p.conn.stats.publishFailed.Add(1)
	e := newError(classify(err), err)
	if context.Cause(ctx) == errNoAnswer {
		e = newError(TypePublishTimeout, fmt.Errorf("no answer within %s: %w", p.timeout, err))
	}
	e.Delivered = DeliveredNo
	if errors.Is(err, client.ErrUnknown) {
		e.Delivered = DeliveredUnknown
	}
	return e
}

func (p *Producer) publish(ctx context.Context, m client.Message) error {
	if p.slots != nil {
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", client.ErrNotSent, context.Cause(ctx))
		}
	}
	return p.conn.conn.publish(ctx, m)
}

// errNoAnswer tells the producer's own patience from the caller's.
var errNoAnswer = fmt.Errorf("the producer's ack_timeout ended: %w", context.DeadlineExceeded)

// QoS returns the QoS of the producer's parameters.
func (p *Producer) QoS() packets.QoS { return p.params.QoS }
