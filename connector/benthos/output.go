package benthos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// producerName is the name of the output's producer.
const producerName = "output"

func outputSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Publishes to an MQTT 3.1.1 server, and is done with a message when the promise of its QoS is kept.").
		Description("With `qos` 1 and 2 that is when the server has taken the message over, with 0 when it was written. "+
			"A connection that is lost is made again, and what was on its way is sent again. "+
			"An error says whether the message may have arrived.\n\n"+
			"The messages of a batch are published side by side and in their order. A batch of which some fail says which."+
			service.OutputPerformanceDocs(true, true)).
		Fields(connectionFields()...).
		Fields(
			service.NewInterpolatedStringField(fieldTopic).Description("The Topic Name to publish to.").Example(`site/${! metadata("mqtt_topic") }`),
			service.NewIntField(fieldQoS).Description("The QoS of the messages: 0, 1 or 2.").Default(1).LintRule(qosRule),
			service.NewBoolField(fieldRetained).Description("Whether the server keeps the message for later subscribers.").Default(false),
			service.NewInterpolatedStringField(fieldRetainedBy).
				Description("Says it for each message, instead of `retained`: `true` or `false`.").Example(`${! metadata("mqtt_retained") }`).
				Optional().Advanced(),
			service.NewDurationField(fieldWriteTimeout).Description("How long a write to the network may make no progress before the connection counts as dead.").
				Default("3s").Examples("1s", "500ms").Advanced(),
			service.NewDurationField(fieldAckTimeout).Description("How long the server may take to answer a message, while the connection is up.").Default("30s").Advanced(),
			service.NewIntField(fieldMaxInflight).
				Description("How many messages of QoS 1 and 2 may be on their way without an answer. Services of several vendors take no more than 100.").
				Default(100).LintRule(atLeast(1)).Advanced(),
			service.NewOutputMaxInFlightField(),
			service.NewBatchPolicyField(fieldBatching),
		).
		LintRule(lintRule())
}

// An output publishes messages of Benthos.
type output struct {
	link       link
	topic      *service.InterpolatedString
	retainedBy *service.InterpolatedString // nil: the field retained applies
	retained   bool
	qos        packets.QoS
	ackTimeout time.Duration
}

func newOutput(p *service.ParsedConfig, res *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
	r, s := &reader{p: p}, new(settings)
	r.connection(s, true)
	out := &output{topic: read(r, p.FieldInterpolatedString, fieldTopic), retained: r.yes(fieldRetained), qos: r.qos(fieldQoS), ackTimeout: r.duration(fieldAckTimeout)}
	if p.Contains(fieldRetainedBy) {
		out.retainedBy = read(r, p.FieldInterpolatedString, fieldRetainedBy)
	}
	writeTimeout := r.duration(fieldWriteTimeout)
	s.cfg.Advanced.WriteTimeout = &writeTimeout
	s.cfg.Extension.MaxInflight = r.number(fieldMaxInflight)
	s.cfg.Producers = map[string]connector.ProducerParams{producerName: {Topic: "each/message/has/its/own", QoS: out.qos}}
	inFlight, policy := read(r, func(...string) (int, error) { return p.FieldMaxInFlight() }), read(r, p.FieldBatchPolicy, fieldBatching)
	switch {
	case out.ackTimeout <= 0:
		r.fail(fieldAckTimeout, "%s is not above 0", out.ackTimeout)
	case s.cfg.Extension.MaxInflight < 1:
		r.fail(fieldMaxInflight, "%d is below 1", s.cfg.Extension.MaxInflight)
	}
	if r.err != nil {
		return nil, policy, 0, r.err
	}
	warnings, err := s.checked()
	if err != nil {
		return nil, policy, 0, err
	}
	s.warn(res.Logger(), warnings)
	out.link = link{settings: *s, log: res.Logger(), prepare: func(*connector.Connector) {}}
	return out, policy, inFlight, nil
}

// Connect connects, or waits until the connection is up again.
func (out *output) Connect(ctx context.Context) error { return out.link.connect(ctx) }

// Close ends the connection.
func (out *output) Close(context.Context) error { return out.link.close() }

// WriteBatch publishes messages and waits until the guarantee of the QoS is met for all of them.
func (out *output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	n, _ := out.link.now()
	if n == nil {
		return service.ErrNotConnected
	}
	p := n.Producer(producerName)
	if !p.Connected() {
		return service.ErrNotConnected
	}
	pending, errs := make([]*connector.Pending, len(batch)), make([]error, len(batch))
	for i := range batch {
		m, err := out.message(batch, i)
		if err == nil {
			pending[i], err = p.PublishAsync(ctx, m)
		}
		errs[i] = err
	}
	var timer *time.Timer
	for i, q := range pending {
		if q == nil {
			continue
		}
		select {
		case <-q.Done():
			errs[i] = q.Err()
			continue
		default:
		}
		if timer == nil {
			timer = time.NewTimer(out.ackTimeout)
			defer timer.Stop()
		}
		errs[i] = out.wait(ctx, p, q, timer)
	}
	return outcome(batch, errs)
}

// message returns the message to publish.
func (out *output) message(batch service.MessageBatch, i int) (client.Message, error) {
	m := client.Message{QoS: out.qos, Retain: out.retained}
	var err error
	if m.Topic, err = batch.TryInterpolatedString(i, out.topic); err != nil {
		return m, fmt.Errorf("%s: %w", fieldTopic, err)
	}
	if out.retainedBy != nil {
		text, err := batch.TryInterpolatedString(i, out.retainedBy)
		if err == nil {
			m.Retain, err = connector.ParseBool(text)
		}
		if err != nil {
			return m, fmt.Errorf("%s: %w", fieldRetainedBy, err)
		}
	}
	m.Payload, err = batch[i].AsBytes()
	return m, err
}

// wait waits until a message is finished. While there is no connection the server cannot answer;
// messages in flight are sent again when it is back.
func (out *output) wait(ctx context.Context, p *connector.Producer, q *connector.Pending, timer *time.Timer) error {
	for {
		select {
		case <-q.Done():
			return q.Err()
		case <-ctx.Done():
			return unknown(context.Cause(ctx))
		case <-timer.C:
		}
		if p.Connected() {
			timer.Reset(0) // for later ones
			return unknown(fmt.Errorf("the server did not answer within %s", out.ackTimeout))
		}
		timer.Reset(out.ackTimeout)
	}
}

// unknown returns the error for a message that is still in flight.
func unknown(cause error) error {
	e := flow.NewError(flow.TypePublishTimeout, cause)
	e.Delivered = flow.DeliveredUnknown
	return e
}

// outcome returns the errors of a batch in the form for Benthos.
func outcome(batch service.MessageBatch, errs []error) error {
	failed, away := 0, 0
	var failure *service.BatchError
	for i, err := range errs {
		if err == nil {
			continue
		}
		failed++
		if notSent(err) {
			away++
		}
		err = explained(err)
		if failure == nil {
			failure = service.NewBatchError(batch, err)
		}
		failure.Failed(i, err)
	}
	switch {
	case failed == 0:
		return nil
	case away == len(batch):
		return service.ErrNotConnected // Benthos sends the batch again when the connection is back
	case len(batch) == 1:
		return explained(errs[0])
	}
	return failure
}

// notSent reports whether a message was not sent because there was no connection.
func notSent(err error) bool {
	var e *flow.Error
	return errors.As(err, &e) && e.Delivered == flow.DeliveredNo && e.Is(flow.TypeConnectivity)
}

// explained adds to an error whether the message may have arrived and whether it caused the error,
// for an input of this package that gets the error back.
func explained(err error) error {
	var e *flow.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w: the message was not sent", err)
	}
	switch e.Delivered {
	case flow.DeliveredUnknown:
		err = fmt.Errorf("%w: the message may have arrived", err)
	case flow.DeliveredNo:
		err = fmt.Errorf("%w: the message did not arrive", err)
	}
	switch {
	case e.Is(flow.TypeInvalidTopic), e.Is(flow.TypePayloadTooLarge), e.Is(flow.TypePublishRefused):
		return flow.Permanent(err)
	default:
		return flow.Uncharged(err)
	}
}
