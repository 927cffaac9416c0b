package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/nats-io/nats.go/jetstream"
)

// WorkerOptions are options of a Worker.
type WorkerOptions struct {
	// Group is the name of the group of workers that share the messages: letters, digits, - and _.
	// With Config.Keep there may be several groups, each of which gets all messages. If empty,
	// "flows".
	Group string

	// MaxInFlight is how many messages of a partition may be taken from the stream and not done. If
	// zero or negative, 256.
	MaxInFlight int

	// Patience is how long running flows may continue when a partition passes to another process,
	// before their contexts are canceled. If zero or negative, 10 seconds.
	Patience time.Duration

	// Logger logs what the Worker does, but never payloads. If nil, nothing is logged.
	Logger *slog.Logger
}

// DefaultGroup is the default of WorkerOptions.Group.
const DefaultGroup = "flows"

const (
	defaultMaxInFlight = 256
	defaultPatience    = 10 * time.Second

	// ackWait is how long the server waits for an acknowledgement or progress report before it
	// redelivers a message; progress is how often it gets a report.
	ackWait  = 30 * time.Second
	progress = ackWait / 3
)

// A Worker takes messages from the partitions of a stream whose leases this process holds, and
// passes them to the consumer of a Feed. The consumer's failure policy applies, including retries,
// and messages are acknowledged to the stream when they are done. So with OrderTopic the flows for
// a key run in the order of the stream, even after failures.
type Worker struct {
	stream *Stream
	feed   *connector.Feed
	leases *Leases
	opts   WorkerOptions
	log    *slog.Logger

	taken, done, unreadable atomic.Uint64
}

// WorkerStats are the counts of a Worker since NewWorker.
type WorkerStats struct {
	Taken      uint64 `json:"taken"`
	Done       uint64 `json:"done"`       // messages settled by the flow or the failure policy
	Unreadable uint64 `json:"unreadable"` // messages that were not stored by a Gateway and were skipped
	Partitions []int  `json:"partitions"` // the partitions that this process owns
}

// NewWorker returns a Worker that passes messages of s to feed. The leases must have one share for
// each partition of s.
func NewWorker(s *Stream, feed *connector.Feed, leases *Leases, opts WorkerOptions) (*Worker, error) {
	opts.Group = cmp.Or(opts.Group, DefaultGroup)
	if opts.MaxInFlight <= 0 {
		opts.MaxInFlight = defaultMaxInFlight
	}
	if opts.Patience <= 0 {
		opts.Patience = defaultPatience
	}
	if !plainName(opts.Group) {
		return nil, fmt.Errorf("jetstream: WorkerOptions.Group is %q: it has to be letters, digits, - and _", opts.Group)
	}
	if leases.cfg.Count != s.cfg.Partitions {
		return nil, fmt.Errorf("jetstream: LeaseConfig.Count is %d, but the stream has %d partitions", leases.cfg.Count, s.cfg.Partitions)
	}
	return &Worker{stream: s, feed: feed, leases: leases, opts: opts, log: logger(opts.Logger).With("stream", s.cfg.Name, "group", opts.Group)}, nil
}

// Stats returns the counts since NewWorker.
func (w *Worker) Stats() WorkerStats {
	return WorkerStats{Taken: w.taken.Load(), Done: w.done.Load(), Unreadable: w.unreadable.Load(), Partitions: w.leases.Held()}
}

// Run processes messages until ctx is done. It must be called after the connector of the feed has
// been started. Before a partition passes to another process, messages already taken are settled, as far
// as Patience allows.
func (w *Worker) Run(ctx context.Context) {
	w.leases.Run(ctx, func(ctx context.Context, l *Lease) error {
		settled := new(past)
		for n := 0; ; n++ {
			err := w.work(ctx, l, settled)
			if ctx.Err() != nil || l.Context().Err() != nil {
				return nil
			}
			w.log.Warn("a partition cannot be read; it is tried again", "partition", l.Index, "error", err.Error())
			pause := time.NewTimer(pauseAfter(n))
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return nil
			}
		}
	})
}

// errGap is why a partition is read again: lost messages would be redelivered only after ackWait,
// after newer ones.
var errGap = errors.New("jetstream: messages were lost on their way from the server")

// work processes the messages of a partition until the lease ends or messages are lost with the
// connection.
func (w *Worker) work(ctx context.Context, l *Lease, settled *past) error {
	c, err := w.own(l)
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(w.opts.MaxInFlight))
	if err != nil {
		return err
	}
	defer messages.Stop()
	flows, cut := l.withCancel()
	defer cut()
	h := &hand{worker: w, flows: flows, held: make(map[uint64]jetstream.Msg), past: settled}
	defer h.empty(cut, w.opts.Patience)
	go h.keep()
	for n := uint64(1); ; n++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != n {
			return errGap
		}
		if err := h.take(ctx, m, meta.Sequence.Stream); err != nil {
			return err
		}
	}
}

// own creates a consumer of the partition for its owner, whose name contains the epoch of the lease
// and a counter, and removes earlier ones. So messages that were taken and not settled are
// delivered again, in the order of the stream, and acknowledgements of former owners have no
// effect.
func (w *Worker) own(l *Lease) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(l.Context(), w.stream.cfg.AckTimeout)
	defer cancel()
	prefix := fmt.Sprintf("%s-%d-", w.opts.Group, l.Index)
	var before []string
	first, number := uint64(0), uint64(0)
	list := w.stream.stream.ListConsumers(ctx)
	for info := range list.Info() {
		epoch, n, ok := ownerOf(info.Name, prefix)
		if !ok {
			continue
		}
		if epoch > l.Epoch {
			return nil, fmt.Errorf("jetstream: epoch %d of the partition has begun: %w", epoch, ErrLeaseLost)
		}
		if epoch == l.Epoch {
			number = max(number, n+1)
		}
		before = append(before, info.Name)
		first = max(first, info.AckFloor.Stream+1)
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, err
	}
	cfg := jetstream.ConsumerConfig{
		Durable:       fmt.Sprintf("%s%d-%d", prefix, l.Epoch, number),
		FilterSubject: w.stream.cfg.Prefix + "." + strconv.Itoa(l.Index) + ".>",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: w.opts.MaxInFlight,
	}
	if w.stream.cfg.Keep == 0 {
		if err := w.remove(ctx, before); err != nil { // two consumers of a work queue cannot share a partition
			return nil, err
		}
		return w.stream.stream.CreateConsumer(ctx, cfg)
	}
	// Messages that are done stay in the stream, so the position passes from one consumer to the
	// next, and the old ones may be removed only when the new one exists.
	if first > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, first
	}
	c, err := w.stream.stream.CreateConsumer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return c, w.remove(ctx, before)
}

// ownerOf returns the epoch and the number of a consumer that own has made.
func ownerOf(name, prefix string) (epoch, number uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	first, second, both := strings.Cut(rest, "-")
	epoch, err1 := strconv.ParseUint(first, 10, 64)
	number, err2 := strconv.ParseUint(second, 10, 64)
	return epoch, number, ok && both && err1 == nil && err2 == nil
}

func (w *Worker) remove(ctx context.Context, consumers []string) error {
	for _, name := range consumers {
		if err := w.stream.stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	return nil
}

// past has the stream sequence numbers of the latest messages that are done: the server may
// redeliver them if it did not get the acknowledgement. At most MaxInFlight messages can be
// unacknowledged.
type past [2]map[uint64]struct{}

func (p *past) add(number uint64, most int) {
	if len(p[0]) >= most {
		p[0], p[1] = nil, p[0]
	}
	if p[0] == nil {
		p[0] = make(map[uint64]struct{})
	}
	p[0][number] = struct{}{}
}

func (p *past) has(number uint64) bool {
	_, newer := p[0][number]
	_, older := p[1][number]
	return newer || older
}

// A hand has the messages that an owner has taken from a partition and not settled.
type hand struct {
	worker *Worker
	flows  context.Context

	settled sync.WaitGroup

	mu   sync.Mutex
	held map[uint64]jetstream.Msg // by number in the stream
	past *past                    // of the lease
}

// take passes the message with a sequence number to the consumer.
func (h *hand) take(ctx context.Context, m jetstream.Msg, number uint64) error {
	w := h.worker
	r, err := ParseRecord(m.Headers(), m.Data())
	if err != nil {
		w.unreadable.Add(1)
		w.log.Error("a message of the stream cannot be read, and is passed over", "subject", m.Subject(), "number", number, "error", err.Error())
		return m.TermWithReason(err.Error())
	}
	if !h.begin(number, m) {
		return nil
	}
	w.taken.Add(1)
	err = w.feed.Take(ctx, connector.Input{
		Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, Retained: r.Retained, Dup: r.Dup,
		Key: r.Key, OrderKey: cmp.Or(r.OrderKey, r.Topic), Context: h.flows,
		Settled: func(done bool) { h.end(number, m, done) },
	})
	if err != nil {
		h.end(number, m, false)
	}
	return err
}

// begin records a message as taken. It returns false if the message is in hand already, or done.
func (h *hand) begin(number uint64, m jetstream.Msg) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.past.has(number) {
		m.Ack()
		return false
	}
	if _, ok := h.held[number]; ok {
		h.held[number] = m
		return false
	}
	h.held[number] = m
	h.settled.Add(1)
	return true
}

// end records the result of a message.
func (h *hand) end(number uint64, m jetstream.Msg, done bool) {
	defer h.settled.Done()
	h.mu.Lock()
	delete(h.held, number)
	if done {
		h.past.add(number, h.worker.opts.MaxInFlight)
	}
	h.mu.Unlock()
	if done {
		h.worker.done.Add(1)
		m.Ack() // if it is lost, the message is redelivered after ackWait
	}
}

// keep reports to the server that the messages in hand are in progress.
func (h *hand) keep() {
	t := time.NewTicker(progress)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-h.flows.Done():
			return
		}
		h.mu.Lock()
		for _, m := range h.held {
			m.InProgress()
		}
		h.mu.Unlock()
	}
}

// empty waits until everything is settled, and cancels the flows when patience has passed.
func (h *hand) empty(cut context.CancelFunc, patience time.Duration) {
	t := time.AfterFunc(patience, cut)
	defer t.Stop()
	h.settled.Wait()
}
