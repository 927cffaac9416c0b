package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

const defaultAckTimeout = 30 * time.Second

// A Producer publishes messages; it is a step of a flow. It is safe for concurrent use.
type Producer struct {
	name    string
	params  ProducerParams
	topic   *flow.Template
	payload *flow.Template // nil: the message's own
	qos     *flow.Template // nil: that of the parameters
	retain  *flow.Template // nil: that of the parameters
	timeout time.Duration
	conn    *Connector
	slots   chan struct{} // holds a token for each message on its way; nil: unbounded
}

func (c *Connector) newProducer(name string, p ProducerParams) *Producer {
	prod := &Producer{name: name, params: p, conn: c}
	prod.topic, _ = flow.ParseTemplate(p.Topic) // Check has read both
	if p.Payload != nil {
		prod.payload, _ = flow.ParseTemplate(*p.Payload)
	}
	if p.QoSFrom != "" {
		prod.qos, _ = flow.ParseTemplate(p.QoSFrom)
	}
	if p.RetainedFrom != "" {
		prod.retain, _ = flow.ParseTemplate(p.RetainedFrom)
	}
	if p.MaxInFlight > 0 {
		prod.slots = make(chan struct{}, p.MaxInFlight)
	}
	prod.timeout = deref(p.AckTimeout, deref(c.cfg.Extension.AckTimeout, defaultAckTimeout))
	return prod
}

// Run publishes the message and returns it as it came when the promise of the QoS is
// kept: written (0), PUBACK (1), PUBCOMP (2); or, with DoneWhenStored, when the session store
// has it. On failure the message that it returns carries the error, which says whether the
// message may have arrived.
func (p *Producer) Run(ctx context.Context, m *Message) (*Message, error) {
	out, err := p.resolve(m)
	switch {
	case err != nil:
	case p.params.DoneWhen == DoneWhenStored && out.QoS > packets.AtMostOnce:
		err = p.stored(ctx, out)
	default:
		err = p.Publish(ctx, out)
	}
	if err != nil {
		failed := m.WithError(p.conn.shown(AsError(err)))
		return failed, failed.Error
	}
	return m, nil
}

// resolve makes of a message what is published.
func (p *Producer) resolve(m *Message) (client.Message, error) {
	out := client.Message{QoS: p.params.QoS, Retain: p.params.Retained, Payload: m.Payload.Blob}
	e := flow.Evaluate(m, p.topic, p.payload, p.qos, p.retain)
	var err error
	if out.Topic, err = e.Topic(p.topic, p.params.topicCharacters(&p.conn.cfg.Extension) == StrictTopics); err != nil {
		return out, p.unresolved("topic", err)
	}
	if p.payload != nil {
		payload, err := e.Text(p.payload)
		if err != nil {
			return out, p.unresolved("payload", err)
		}
		out.Payload = []byte(payload)
	}
	if p.qos != nil {
		if out.QoS, err = evaluated(e, p.qos, ParseQoS); err != nil {
			return out, p.unresolved("qos", err)
		}
	}
	if p.retain != nil {
		if out.Retain, err = evaluated(e, p.retain, ParseBool); err != nil {
			return out, p.unresolved("retained", err)
		}
	}
	return out, nil
}

// evaluated reads what a template's text says.
func evaluated[T any](e *flow.Evaluation, t *flow.Template, parse func(string) (T, error)) (v T, err error) {
	text, err := e.Text(t)
	if err != nil {
		return v, err
	}
	return parse(text)
}

func (p *Producer) unresolved(what string, err error) *Error {
	t := TypeExpression
	var topic *flow.TopicError
	if errors.As(err, &topic) {
		t = TypeInvalidTopic
	}
	e := flow.NewError(t, fmt.Errorf("producer %s: %s: %w", p.name, what, err))
	e.Delivered = DeliveredNo
	return e
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
	if err := p.fits(m); err != nil {
		p.conn.stats.publishFailed.Add(1)
		return err
	}
	over := ctx.Err() != nil // the time was used up before
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, errNoAnswer)
	defer cancel()
	lost := p.conn.out.lost.Load()
	err := p.publish(ctx, m)
	if err == nil || errors.Is(err, client.ErrDowngraded) {
		return nil // downgraded: the Server has it, at QoS 1, which the client's counters show
	}
	p.conn.stats.publishFailed.Add(1)
	e := p.outcome(err, context.Cause(ctx) == errNoAnswer)
	if !over && p.waited(e, lost) {
		e.Err = flow.Uncharged(e.Err)
	}
	return e
}

// waited reports whether a message only waited for what is not its own trouble, and so is not to pay for it: it
// did not leave, because the connection was away or others were before it; or the connection ended while it
// was on its way, and the Server did not close it over this message. Lost is what the connection's was before.
func (p *Producer) waited(e *Error, lost uint64) bool {
	switch e.Type {
	case TypeInvalidTopic, TypePayloadTooLarge, TypeInvalidFilter, TypeConfig:
		return false
	case TypePublishRefused:
		return !errors.Is(e.Err, client.ErrPoison) // no identifier can be had at QoS 2
	case TypeStore, TypeOverload:
		return true
	}
	if e.Delivered == DeliveredUnknown {
		c := p.conn.out.client()
		return p.conn.out.lost.Load() != lost || c == nil || c.State() != client.Connected
	}
	return true
}

// fits reports whether a message is within max_packet_size, where that is set.
func (p *Producer) fits(m client.Message) error {
	most := p.conn.cfg.Extension.MaxPacketSize
	if size := len(m.Topic) + len(m.Payload) + packetOverhead; most > 0 && size > most {
		e := flow.NewError(TypePayloadTooLarge, fmt.Errorf("producer %s: a packet of %d bytes is above max_packet_size, %d", p.name, size, most))
		e.Delivered = DeliveredNo
		return e
	}
	return nil
}

// packetOverhead is what a PUBLISH has besides topic and payload at the most: 3.3.1 and 3.3.2.
const packetOverhead = 1 + 4 + 2 + 2

// outcome makes an *Error of how a PUBLISH failed; late says that the producer's patience ended.
func (p *Producer) outcome(err error, late bool) *Error {
	e := flow.NewError(errorType(err), err)
	if late && e.Type != TypeStore && e.Type != TypeOverload {
		e = flow.NewError(TypePublishTimeout, fmt.Errorf("no answer within %s: %w", p.timeout, err))
	}
	switch {
	case errors.Is(err, client.ErrStored):
		e.Delivered = DeliveredLater
	case errors.Is(err, client.ErrUnknown):
		e.Delivered = DeliveredUnknown
	default:
		e.Delivered = DeliveredNo
	}
	return e
}

func (p *Producer) publish(ctx context.Context, m client.Message) error {
	if err := p.slot(ctx); err != nil {
		return err
	}
	defer p.release()
	return p.conn.out.publish(ctx, m)
}

// slot waits until one more message may be on its way; release makes room for the next.
func (p *Producer) slot(ctx context.Context) error {
	if p.slots == nil {
		return nil
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", client.ErrNotSent, context.Cause(ctx))
	}
}

func (p *Producer) release() {
	if p.slots != nil {
		<-p.slots
	}
}

// errNoAnswer tells the producer's own patience from the caller's.
var errNoAnswer = fmt.Errorf("the producer's ack_timeout ended: %w", context.DeadlineExceeded)

// HasPayload reports whether the producer's parameters have a content, so that the payload of the
// message is not published as it is.
func (p *Producer) HasPayload() bool { return p.payload != nil }

// QoS returns the QoS of the producer's parameters.
func (p *Producer) QoS() packets.QoS { return p.params.QoS }
