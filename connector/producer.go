package connector

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

const defaultAckTimeout = 30 * time.Second

// A Producer publishes messages. It implements flow.Flow, so it can be a step of a flow. It is safe
// for concurrent use.
type Producer struct {
	name  string
	conn  *Connector
	over  *connection               // the connection over which it publishes
	live  atomic.Pointer[producing] // in effect: see now
	slots slots                     // of messages in flight

	// pending has a list for each QoS, in which messages finish in the order in which they were
	// queued.
	pending [packets.ExactlyOnce + 1]waitingList
}

// producing is the parameters of a producer. It is immutable; Reconfigure creates a new one.
type producing struct {
	params  ProducerParams
	topic   *flow.Template
	payload *flow.Template // nil: that of the message
	qos     *flow.Template // nil: that of the parameters
	retain  *flow.Template // nil: that of the parameters
	strict  bool           // about the characters of a topic
	timeout time.Duration
}

func (c *Connector) newProducer(name string, p ProducerParams, x *Extension) *Producer {
	prod := &Producer{name: name, conn: c, over: c.connectionOf(p.Connection)}
	prod.apply(p, x)
	return prod
}

// now returns the parameters in effect.
func (p *Producer) now() *producing { return p.live.Load() }

// apply puts parameters into effect for future messages. x is that of the connector; an additional
// connection has its own.
func (p *Producer) apply(params ProducerParams, x *Extension) {
	if params.Connection != "" {
		x = &p.over.settings.Extension
	}
	p.live.Store(newProducing(params, x))
	p.slots.limit(params.MaxInFlight)
}

func newProducing(p ProducerParams, x *Extension) *producing {
	prod := &producing{params: p, strict: p.topicCharacters(x) == StrictTopics}
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
	prod.timeout = deref(p.AckTimeout, deref(x.AckTimeout, defaultAckTimeout))
	return prod
}

// Run publishes the message and returns it unchanged when the guarantee of the QoS is met: it was
// written (QoS 0), or PUBACK (QoS 1) or PUBCOMP (QoS 2) was received; or, with DoneWhenStored, when
// the message is in the session store. On failure the returned message carries the error, which
// says whether the message may have arrived.
func (p *Producer) Run(ctx context.Context, m *flow.Message) (*flow.Message, error) {
	s := p.now()
	out, err := p.resolve(ctx, s, m)
	switch {
	case err != nil:
	case s.doneWhen(out.QoS) == DoneWhenStored:
		err = p.stored(ctx, out)
	default:
		err = p.Publish(ctx, out)
	}
	if err != nil {
		failed := m.WithError(p.conn.shown(flow.AsError(err)))
		return failed, failed.Error
	}
	if !out.Retain && p.over.name != "" && cameRetained(ctx, m) {
		p.tellUnretained(m.Topic())
	}
	return m, nil
}

// doneWhen says when a message of a QoS is done: at QoS 0 nothing is stored.
func (s *producing) doneWhen(qos packets.QoS) DoneWhen {
	if qos == packets.AtMostOnce {
		return DoneWhenConfirmed
	}
	return s.params.DoneWhen
}

// resolve returns the message to publish for m.
func (p *Producer) resolve(ctx context.Context, s *producing, m *flow.Message) (client.Message, error) {
	out := client.Message{QoS: s.params.QoS, Retain: s.params.Retained, Payload: m.Payload.Blob}
	e := flow.Evaluate(m, s.topic, s.payload, s.qos, s.retain)
	var err error
	if out.Topic, err = e.Topic(s.topic, s.strict); err != nil {
		return out, p.unresolved("topic", err)
	}
	if s.payload != nil {
		payload, err := e.Text(s.payload)
		if err != nil {
			return out, p.unresolved("payload", err)
		}
		out.Payload = []byte(payload)
	}
	if s.qos != nil {
		if out.QoS, err = evaluated(e, s.qos, ParseQoS); err != nil {
			return out, p.unresolved("qos", err)
		}
	}
	switch {
	case s.params.KeepRetained:
		out.Retain = cameRetained(ctx, m)
	case s.retain != nil:
		if out.Retain, err = evaluated(e, s.retain, ParseBool); err != nil {
			return out, p.unresolved("retained", err)
		}
	}
	return out, nil
}

// evaluated parses the text of a template for a message.
func evaluated[T any](e *flow.Evaluation, t *flow.Template, parse func(string) (T, error)) (v T, err error) {
	text, err := e.Text(t)
	if err != nil {
		return v, err
	}
	return parse(text)
}

func (p *Producer) unresolved(what string, err error) *flow.Error {
	t := flow.TypeExpression
	var topic *flow.TopicError
	if errors.As(err, &topic) {
		t = flow.TypeInvalidTopic
	}
	e := flow.NewError(t, fmt.Errorf("producer %s: %s: %w", p.name, what, err))
	e.Delivered = flow.DeliveredNo
	return e
}

// Publish publishes m over the producer's connection. The topic, payload, QoS and retained flag in
// the producer's parameters are not used. The error is an [*Error].
func (p *Producer) Publish(ctx context.Context, m client.Message) error {
	p.conn.stats.published.Add(1)
	p.conn.numbers.publishing.Add(1)
	defer p.conn.numbers.publishing.Add(-1)
	start := time.Now()
	err := p.confirmed(ctx, m)
	if m.QoS <= packets.ExactlyOnce {
		p.conn.numbers.publishEnded(m.QoS, time.Since(start), delivered(err))
	}
	return err
}

// delivered returns whether a message has arrived whose publishing ended with err, or "" if err is
// nil.
func delivered(err error) flow.Delivered {
	if err == nil {
		return ""
	}
	var e *flow.Error
	if errors.As(err, &e) {
		return e.Delivered
	}
	return ""
}

// confirmed publishes and waits for the result, for at most AckTimeout.
func (p *Producer) confirmed(ctx context.Context, m client.Message) error {
	if err := p.fits(m); err != nil {
		p.conn.stats.publishFailed.Add(1)
		return err
	}
	over := ctx.Err() != nil // the time had passed before
	ctx, cancel := context.WithTimeoutCause(ctx, p.now().timeout, errNoAnswer)
	defer cancel()
	lost := p.over.lost.Load()
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

// waited reports whether a message failed only because it had to wait, which must not count against
// it: it was not sent, because there was no connection or others were before it; or the connection
// was lost while it was in flight, and the Server did not close it because of this message. lost is
// the value of connection.lost before.
func (p *Producer) waited(e *flow.Error, lost uint64) bool {
	switch e.Type {
	case flow.TypeInvalidTopic, flow.TypePayloadTooLarge, flow.TypeInvalidFilter, flow.TypeConfig:
		return false
	case flow.TypePublishRefused:
		return !errors.Is(e.Err, client.ErrPoison) // no identifier can be had at QoS 2
	case flow.TypeStore, flow.TypeOverload:
		return true
	}
	if e.Delivered == flow.DeliveredUnknown {
		c := p.over.client()
		return p.over.lost.Load() != lost || c == nil || c.State() != client.Connected
	}
	return true
}

// fits returns an error if a message is larger than max_packet_size, if that is set.
func (p *Producer) fits(m client.Message) error {
	most := p.over.settings.Extension.MaxPacketSize
	if size := len(m.Topic) + len(m.Payload) + packetOverhead; most > 0 && size > most {
		e := flow.NewError(flow.TypePayloadTooLarge, fmt.Errorf("producer %s: a packet of %d bytes is above max_packet_size, %d", p.name, size, most))
		e.Delivered = flow.DeliveredNo
		return e
	}
	return nil
}

// packetOverhead is the maximum size of a PUBLISH without topic and payload (sections 3.3.1 and
// 3.3.2).
const packetOverhead = 1 + 4 + 2 + 2

// outcome returns the *Error for a failed PUBLISH. late is set if AckTimeout has passed.
func (p *Producer) outcome(err error, late bool) *flow.Error {
	e := flow.NewError(errorType(err), err)
	if late && e.Type != flow.TypeStore && e.Type != flow.TypeOverload {
		e = flow.NewError(flow.TypePublishTimeout, fmt.Errorf("no answer within %s: %w", p.now().timeout, err))
	}
	switch {
	case errors.Is(err, client.ErrStored):
		e.Delivered = flow.DeliveredLater
	case errors.Is(err, client.ErrUnknown):
		e.Delivered = flow.DeliveredUnknown
	default:
		e.Delivered = flow.DeliveredNo
	}
	return e
}

func (p *Producer) publish(ctx context.Context, m client.Message) error {
	if err := p.slots.take(ctx); err != nil {
		return err
	}
	defer p.slots.release()
	return p.over.publish(ctx, m)
}

// errNoAnswer distinguishes the producer's AckTimeout from the context of the caller.
var errNoAnswer = fmt.Errorf("the producer's ack_timeout ended: %w", context.DeadlineExceeded)

// HasPayload reports whether the producer's parameters have a payload, which is published instead
// of the payload of the message.
func (p *Producer) HasPayload() bool { return p.now().payload != nil }

// QoS returns the QoS of the producer's parameters.
func (p *Producer) QoS() packets.QoS { return p.now().params.QoS }

// DoneWhen returns the DoneWhen of the producer's parameters.
func (p *Producer) DoneWhen() DoneWhen { return p.now().params.DoneWhen }

// Connected reports whether the producer's connection is up.
func (p *Producer) Connected() bool {
	c := p.over.client()
	return c != nil && c.State() == client.Connected
}
