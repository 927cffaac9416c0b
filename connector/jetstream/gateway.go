package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An Order says how a gateway treats messages with one key.
type Order byte

const (
	// OrderFast has many messages on their way to the stream at once. When the stream does not take one, those
	// behind it may be there before it.
	OrderFast Order = iota

	// OrderStrict has one message of each key on its way, so that no later one passes it. A message that is in doubt is
	// sent again, under its idempotency key, before the next. A single key is as fast as the stream answers.
	OrderStrict
)

func (o Order) String() string {
	switch o {
	case OrderFast:
		return "fast"
	case OrderStrict:
		return "strict"
	}
	return fmt.Sprintf("Order(%d)", byte(o))
}

// GatewayOptions are what is optional for a Gateway.
type GatewayOptions struct {
	Order Order

	// Key is a template, as ${payload.device}, of what messages have in common that keep their order. If nil, and for
	// messages that it does not fit, the topic.
	Key *flow.Template

	// MessageID is a template, as ${payload.id}, of what the sender of a message makes different for each. It is then the
	// idempotency key, so that the stream knows a message again whose sender or MQTT Server has sent it twice: of two
	// messages with one id within Config.Duplicates it takes the first. If nil, and for messages where something of it is
	// missing or empty, the key is that of the delivery. An id of more than 128 bytes is replaced by its SHA-256.
	MessageID *flow.Template

	// Logger gets what happens; payloads never. If nil, nothing.
	Logger *slog.Logger
}

const (
	mostAtOnce = 256 // messages that are taken from the consumer at once

	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second

	longestID = 128 // bytes of a message id that are the idempotency key as they are
)

// A Gateway moves the messages of a connector's consumer into a stream.
type Gateway struct {
	stream   *Stream
	conn     *connector.Connector
	consumer string
	opts     GatewayOptions
	log      *slog.Logger

	stored, duplicates, refused, again atomic.Uint64
	trouble                            trouble
}

// GatewayStats counts what a Gateway did.
type GatewayStats struct {
	Stored     uint64 `json:"stored"`     // acknowledged by the stream; Duplicates included
	Duplicates uint64 `json:"duplicates"` // of Stored: the stream had them already
	Refused    uint64 `json:"refused"`    // the stream never takes them: the consumer's failure policy decided
	Again      uint64 `json:"again"`      // sent again, because the stream did not answer or could not take them
	Problem    string `json:"problem"`    // why the stream takes nothing now; empty if it does
}

// NewGateway returns a gateway for a consumer, which must not have a flow. It is called before conn.Start; Run begins
// after it.
func NewGateway(s *Stream, conn *connector.Connector, consumer string, opts GatewayOptions) *Gateway {
	g := &Gateway{stream: s, conn: conn, consumer: consumer, opts: opts, log: logger(opts.Logger).With("consumer", consumer, "stream", s.cfg.Name)}
	conn.Pull(context.Background(), consumer) // so that it is pulled, and Start accepts it
	return g
}

// Stats returns the counts since NewGateway.
func (g *Gateway) Stats() GatewayStats {
	return GatewayStats{
		Stored: g.stored.Load(), Duplicates: g.duplicates.Load(), Refused: g.refused.Load(), Again: g.again.Load(),
		Problem: g.trouble.now(),
	}
}

// Run moves messages until ctx ends, which may be that of a [Lease], or the connector stops or cannot go on: the error says which. When the connector
// stops, what is on its way to the stream may still arrive there for Config.AckTimeout. What the stream has
// not acknowledged is not acknowledged to the MQTT Server either. While the stream cannot be reached nothing is lost
// or acknowledged; as many messages wait as the consumer's MaxInFlight and MaxInFlightBytes allow.
func (g *Gateway) Run(ctx context.Context) error {
	c, err := g.cross(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	defer func() {
		if ctx.Err() == nil { // the connector stops: what is on its way may still arrive
			c.rest(ctx)
		}
	}()
	for batch, err := range g.conn.PullBatch(ctx, g.consumer, mostAtOnce) {
		if err != nil {
			return err
		}
		for _, d := range batch {
			c.take(g.passage(d))
		}
	}
	return ctx.Err()
}

// passage makes of a delivery what goes into the stream.
func (g *Gateway) passage(d *connector.Delivery) *passage {
	key, id := d.Topic, ""
	if g.opts.Key != nil || g.opts.MessageID != nil {
		m := d.Message()
		if t := g.opts.Key; t != nil {
			if text, err := t.Text(m); err == nil {
				key = text
			}
		}
		if t := g.opts.MessageID; t != nil {
			if text, err := t.Full(m); err == nil {
				id = text
			}
		}
	}
	switch {
	case id == "":
		id = d.Key()
	case len(id) > longestID:
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:])
	}
	r := Record{
		Topic: d.Topic, Payload: d.Payload, QoS: d.QoS, Retained: d.Retained, Dup: d.Dup,
		Key: id, OrderKey: key, Received: d.Received,
	}
	m := r.message(g.stream.subject(g.stream.partition(key), d.Topic))
	m.Header[jetstream.ExpectedStreamHeader] = []string{g.stream.cfg.Name}
	return &passage{delivery: d, message: m, key: key}
}

// neverTaken reports whether the server refuses a message for what it is, so that it is of no use to send it again.
func neverTaken(err error) bool {
	const headerTooLarge = 10097
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) ||
		errors.As(err, &api) && api.ErrorCode == headerTooLarge
}

// pauseAfter is the pause after n+1 failures in a row: it doubles, and half of it is chance.
func pauseAfter(n int) time.Duration {
	d := min(longestPause, firstPause<<min(n, 10))
	return d/2 + rand.N(d/2)
}

// trouble is what is wrong with the stream now. It is logged when it begins and when it is over.
type trouble struct {
	mu    sync.Mutex
	since time.Time
	what  string // empty: nothing
}

func (t *trouble) begins(log *slog.Logger, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.what == "" {
		t.since = time.Now()
		log.Error("the stream takes nothing; messages wait", "error", err.Error())
	}
	t.what = err.Error()
}

func (t *trouble) over(log *slog.Logger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.what == "" {
		return
	}
	log.Info("the stream takes messages again", "after", time.Since(t.since).Round(time.Millisecond))
	t.what = ""
}

func (t *trouble) now() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.what
}
