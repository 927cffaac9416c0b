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

// An Order says whether a gateway keeps the order of messages with the same key.
type Order byte

const (
	// OrderFast sends many messages to the stream at a time. If the stream does not accept one,
	// later ones may be stored before it.
	OrderFast Order = iota

	// OrderStrict sends messages with the same key one at a time, so that none can overtake
	// another. If it is unknown whether a message was stored, it is sent again with the same
	// idempotency key before the next. Throughput for a single key is limited by the latency of the
	// stream.
	OrderStrict
)

// String returns the name of the order.
func (o Order) String() string {
	switch o {
	case OrderFast:
		return "fast"
	case OrderStrict:
		return "strict"
	}
	return fmt.Sprintf("Order(%d)", byte(o))
}

// GatewayOptions are options of a Gateway.
type GatewayOptions struct {
	Order Order

	// Key is a template such as ${payload.device}: messages with the same key keep their order. The
	// key is the topic if Key is nil, and for messages for which the template fails.
	Key *flow.Template

	// MessageID is a template, such as ${payload.id}, of a text that the sender makes different for each message. It is
	// then the idempotency key, so that the stream recognises a message that its sender or the MQTT Server sent twice: of
	// two messages with the same id within Config.Duplicates it takes the first. If nil, and for messages in which a part
	// of it is missing or empty, the key is that of the delivery. An id of more than 128 bytes is replaced by its SHA-256.
	MessageID *flow.Template

	// Logger logs what the Gateway does, but never payloads. If nil, nothing is logged.
	Logger *slog.Logger
}

const (
	mostAtOnce = 256 // messages taken from the consumer at a time

	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second

	longestID = 128 // bytes of a message id that are the idempotency key as they are
)

// A Gateway moves the messages of a consumer of a connector into a stream.
type Gateway struct {
	stream   *Stream
	conn     *connector.Connector
	consumer string
	opts     GatewayOptions
	log      *slog.Logger

	stored, duplicates, refused, again atomic.Uint64
	trouble                            trouble
}

// GatewayStats are the counts of a Gateway since NewGateway.
type GatewayStats struct {
	Stored     uint64 `json:"stored"`     // messages acknowledged by the stream, including Duplicates
	Duplicates uint64 `json:"duplicates"` // stored messages that the stream already had
	Refused    uint64 `json:"refused"`    // messages that the stream cannot accept; the consumer's failure policy was applied
	Again      uint64 `json:"again"`      // messages sent again because the stream did not answer or could not accept them then
	Problem    string `json:"problem"`    // why the stream accepts no messages at present; empty if it does
}

// NewGateway returns a gateway for a consumer of conn, which must not have a flow. It must be
// called before conn.Start, and [Gateway.Run] after it.
func NewGateway(s *Stream, conn *connector.Connector, consumer string, opts GatewayOptions) *Gateway {
	g := &Gateway{stream: s, conn: conn, consumer: consumer, opts: opts, log: logger(opts.Logger).With("consumer", consumer, "stream", s.cfg.Name)}
	conn.Pull(context.Background(), consumer) // marks the consumer as pulled, so that Start accepts it
	return g
}

// Stats returns the counts since NewGateway.
func (g *Gateway) Stats() GatewayStats {
	return GatewayStats{
		Stored: g.stored.Load(), Duplicates: g.duplicates.Load(), Refused: g.refused.Load(), Again: g.again.Load(),
		Problem: g.trouble.now(),
	}
}

// Run moves messages until ctx is done, which may be that of a [Lease], or the connector stops or fails; the error says which. When
// the connector stops, Run waits up to Config.AckTimeout for the stream to acknowledge messages
// that were sent. A message that the stream has not acknowledged is not acknowledged to the MQTT
// Server. While the stream is unreachable, messages wait, as many as the consumer's MaxInFlight and
// MaxInFlightBytes allow, and none are lost.
func (g *Gateway) Run(ctx context.Context) error {
	c, err := g.cross(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	defer func() {
		if ctx.Err() == nil { // the connector stops: messages in flight may still be stored
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

// passage returns the passage for a delivery.
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

// neverTaken reports whether the server refuses the message itself, so that sending it again is
// useless.
func neverTaken(err error) bool {
	const headerTooLarge = 10097
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) ||
		errors.As(err, &api) && api.ErrorCode == headerTooLarge
}

// pauseAfter returns the pause after n+1 failures in a row. It doubles, and half of it is random.
func pauseAfter(n int) time.Duration {
	d := min(longestPause, firstPause<<min(n, 10))
	return d/2 + rand.N(d/2)
}

// trouble is the current problem with the stream. Its start and end are logged.
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
