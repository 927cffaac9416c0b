package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

const (
	defaultConcurrency   = 64
	defaultInFlight      = 256
	defaultInFlightBytes = 16 << 20
	defaultInitialDelay  = 200 * time.Millisecond
	defaultMaxDelay      = 30 * time.Second
)

// A consumer runs a flow for each message of its topics.
type consumer struct {
	name    string
	params  ConsumerParams
	flow    Flow
	conn    *Connector
	filters []string       // as matched: without $share/group/
	key     *flow.Template // of Partition; nil: the topic
	log     *slog.Logger

	running chan struct{} // holds a token for each flow that runs
	room    chan struct{} // holds a token for each message that is not settled
	jobs    sync.WaitGroup

	triggering atomic.Bool // its flow runs on an error of the connector

	mu    sync.Mutex
	lanes map[string][]*job // what waits for its turn, by lane; a lane that runs is there
	bytes int
	less  chan struct{} // closed when bytes fell
}

// A job is a message on its way through a consumer.
type job struct {
	*arrival
	attempt int
	entry   *entry // nil: not in the ledger
	alone   bool   // the next attempt runs while nothing else does
}

// An arrival is a message that one or more consumers take; it is acknowledged when the
// last is done with it.
type arrival struct {
	d    *client.Delivery
	open atomic.Int32
	held atomic.Bool // a consumer could not settle it
	at   time.Time
	n    uint64 // counts what the connector received
}

func (c *Connector) newConsumer(name string, p ConsumerParams, f Flow) *consumer {
	k := &consumer{
		name: name, params: p, flow: f, conn: c,
		log:   c.log.With("consumer", name),
		lanes: make(map[string][]*job),
		less:  make(chan struct{}),
	}
	concurrency := cmp.Or(p.Concurrency, defaultConcurrency)
	if k.order() == OrderConnection {
		concurrency = 1
	}
	k.running = make(chan struct{}, concurrency)
	k.room = make(chan struct{}, cmp.Or(p.MaxInFlight, defaultInFlight))
	for _, t := range p.Topics {
		k.filters = append(k.filters, matched(t.Topic))
	}
	if p.Partition != nil && p.Partition.Key != "" && p.Partition.Key != keyTopic {
		k.key, _ = flow.ParseTemplate(p.Partition.Key) // Check has read it
	}
	return k
}

func matched(filter string) string {
	if _, rest, ok := packets.ParseShared(filter); ok {
		return rest
	}
	return filter
}

// order returns which flows of the consumer run one after the other.
func (k *consumer) order() OrderBy {
	switch {
	case k.params.OrderBy != OrderDefault:
		return k.params.OrderBy
	case k.conn.cfg.Advanced.Order:
		return OrderConnection
	}
	return OrderNone
}

// subscribed returns the filter that the Server is asked for.
func (p *ConsumerParams) subscribed(t TopicQoS) string {
	if p.ShareGroup == "" {
		return t.Topic
	}
	return "$share/" + p.ShareGroup + "/" + t.Topic
}

func (k *consumer) subscriptions() []packets.Subscription {
	var subs []packets.Subscription
	for _, t := range k.params.Topics {
		s := packets.Subscription{Filter: t.Topic, QoS: k.params.QoS}
		if t.HasQoS {
			s.QoS = t.QoS
		}
		s.Filter = k.params.subscribed(t)
		subs = append(subs, s)
	}
	return subs
}

func (k *consumer) wants(topic string) bool { return k.filter(topic) >= 0 }

// filter returns which topic of the parameters matches; below zero if none does.
func (k *consumer) filter(topic string) int {
	return slices.IndexFunc(k.filters, func(f string) bool { return packets.Match(f, topic) })
}

const keyTopic = "topic"

// elsewhere tells whether another process of the partition has a message. All of them have to
// agree, so that a message without its key goes by its topic.
func (k *consumer) elsewhere(d *client.Delivery) bool {
	p := k.params.Partition
	if p == nil {
		return false
	}
	key := d.Topic
	if k.key != nil {
		if s, err := k.key.Text(NewMessage(d.Topic, d.Payload, d.QoS, d.PacketID)); err == nil {
			key = s
		}
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	return int64(h.Sum32())%int64(p.Count) != int64(p.Index)
}

// skips tells whether a message of the consumer's topics is not for its flow.
func (k *consumer) skips(d *client.Delivery) bool {
	if k.elsewhere(d) {
		return true
	}
	switch k.params.Retained {
	case RetainedSkip:
		return d.Retain
	case RetainedOnly:
		return !d.Retain
	}
	return false
}

// take accepts a message, waiting for room, and starts its lane if it does not run.
func (k *consumer) take(ctx context.Context, a *arrival) error {
	select {
	case k.room <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := k.reserve(ctx, len(a.d.Payload)); err != nil {
		<-k.room
		return err
	}
	k.jobs.Add(1)
	j := k.newJob(a)
	if k.order() == OrderNone {
		go k.run(j)
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	lane := k.lane(a.d)
	waiting, runs := k.lanes[lane]
	k.lanes[lane] = append(waiting, j)
	if !runs {
		go k.runLane(lane)
	}
	return nil
}

func (k *consumer) newJob(a *arrival) *job {
	j := &job{arrival: a}
	if k.params.Ledger && k.params.AckMode == AfterFlowSuccess && a.d.QoS > packets.AtMostOnce {
		j.entry = k.conn.ledger.take(k.name, a.d, a.n)
		j.attempt = int(j.entry.attempts)
	}
	return j
}

// reserve waits until the payload fits into MaxInFlightBytes; alone it always does.
func (k *consumer) reserve(ctx context.Context, size int) error {
	most := cmp.Or(k.params.MaxInFlightBytes, defaultInFlightBytes)
	for {
		k.mu.Lock()
		if k.bytes == 0 || k.bytes+size <= most {
			k.bytes += size
			k.mu.Unlock()
			return nil
		}
		less := k.less
		k.mu.Unlock()
		select {
		case <-less:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lane names the row that a message waits in.
func (k *consumer) lane(d *client.Delivery) string {
	if k.order() == OrderTopic {
		return d.Topic
	}
	return ""
}

// runLane runs the jobs of a lane in their order.
func (k *consumer) runLane(lane string) {
	for {
		k.mu.Lock()
		waiting := k.lanes[lane]
		if len(waiting) == 0 {
			delete(k.lanes, lane)
			k.mu.Unlock()
			return
		}
		j := waiting[0]
		k.lanes[lane] = waiting[1:]
		k.mu.Unlock()
		k.run(j)
	}
}

// run runs a message and makes room for another.
func (k *consumer) run(j *job) {
	k.process(j)
	k.mu.Lock()
	k.bytes -= len(j.d.Payload)
	close(k.less)
	k.less = make(chan struct{})
	k.mu.Unlock()
	<-k.room
	k.jobs.Done()
}

// process runs the flow until the message is settled or the connector stops.
func (k *consumer) process(j *job) {
	if k.params.AckMode == Immediately {
		if !k.begin(j) {
			k.conn.leave(j.arrival)
			return
		}
		k.conn.settle(j.arrival)
		k.attempt(j)
		<-k.running
		return
	}
	done, err := k.recall(j)
	if done {
		k.conn.stats.adopted.Add(1)
		k.conn.settle(j.arrival)
		return
	}
	for {
		if err == nil {
			if !k.begin(j) {
				break
			}
			err = k.attempt(j)
			<-k.running // a message that waits for its next attempt keeps no flow from running
			if err == nil {
				k.settle(j)
				return
			}
			if k.conn.flowContext.Err() != nil || errors.Is(err, errNotRun) {
				break // Stop's patience ended, or the store failed, which is no failure of the flow
			}
		}
		if (k.exhausted(j) || !k.retries(err)) && k.dispose(j, err) {
			return
		}
		if !k.wait(j) {
			break
		}
		if !errors.Is(err, TypeRedeliveryExhausted) {
			err = nil
		}
	}
	k.conn.leave(j.arrival)
}

// errNotRun says that a flow did not run because the ledger could not be written, which ends
// the connector.
var errNotRun = errors.New("connector: the flow did not run")

// recall finds out what the ledger knows of a message: that its flow has ended, or that
// processes died while it ran. Many flows run at once, so a death accuses all of them: a
// message is given up for it when nothing else ran, and only if its retries are used up.
func (k *consumer) recall(j *job) (done bool, err error) {
	e := j.entry
	switch {
	case e == nil || !e.suspect && !e.done:
		return false, nil
	case e.done:
		return true, nil
	case e.alone && k.exhausted(j):
		return false, flow.NewError(TypeRedeliveryExhausted, fmt.Errorf("begun %d times, and the process died of it", j.attempt))
	}
	j.alone = j.attempt > 1 || k.exhausted(j)
	return false, nil
}

// settle is settle of the connector for a message that the flow, or its failure policy, is
// done with.
func (k *consumer) settle(j *job) {
	if j.entry != nil {
		k.conn.ledger.finish(j.entry)
	}
	k.conn.settle(j.arrival)
}

// begin waits until one more flow may run; false means that the connector stops first,
// and the Server keeps the message. One that the Server does not keep is run in any case,
// as long as Stop has patience.
func (k *consumer) begin(j *job) bool {
	stopping := k.conn.stopping
	if k.conn.cfg.Advanced.Clean() || j.d.QoS == packets.AtMostOnce {
		stopping = nil
	}
	select {
	case <-stopping:
		return false
	default:
	}
	select {
	case k.running <- struct{}{}:
		return true
	case <-stopping:
	case <-k.conn.flowContext.Done():
	}
	return false
}

// attempt runs the flow once.
func (k *consumer) attempt(j *job) error {
	j.attempt++
	if j.entry != nil {
		defer k.conn.gate.enter(j.alone)()
		if err := k.conn.ledger.begin(j.entry, j.alone); err != nil {
			return fmt.Errorf("%w: %w", errNotRun, err)
		}
		defer k.conn.ledger.end(j.entry)
	}
	j.alone = false
	ctx, cancel := k.conn.flowContext, context.CancelFunc(func() {})
	if d := deref(k.params.FlowTimeout, 0); d > 0 {
		ctx, cancel = context.WithTimeout(ctx, d)
	}
	defer cancel()
	k.conn.stats.running.Add(1)
	defer k.conn.stats.running.Add(-1)
	d := delivery{consumer: k, job: j, attempt: j.attempt}
	start := time.Now()
	err := d.settled(ctx, isolated(flow.WithRunner(ctx, &d), k.flow, k.message(j)))
	k.conn.numbers.flowEnded(ctx, time.Since(start), err)
	if err == nil {
		k.conn.stats.succeeded.Add(1)
		return nil
	}
	k.conn.stats.failed.Add(1)
	attrs := []any{"topic", j.d.Topic, "id", j.d.PacketID, "attempt", j.attempt, "error", err.Error()}
	var p *PanicError
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	k.log.Warn("flow failed", attrs...)
	return err
}

// isolated runs a flow in a goroutine of its own, so that a Goexit ends that one only.
func isolated(ctx context.Context, f Flow, m *Message) error {
	_, err := isolatedRun(ctx, f, m)
	return err
}

func isolatedRun(ctx context.Context, f Flow, m *Message) (out *Message, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		out, err = m, flow.ErrGoexit
		out, err = flow.Run(ctx, f, m)
	}()
	<-done
	return out, err
}

// keyOf names a message.
func (k *consumer) keyOf(j *job) string {
	name := fmt.Sprintf("%s/%x.%x", k.name, k.conn.began, j.n)
	if j.entry != nil {
		name = strings.TrimPrefix(j.entry.name, notePrefix)
	}
	return k.conn.conn.cfg.ClientID + "/" + name
}

func (k *consumer) message(j *job) *Message {
	m := NewMessage(j.d.Topic, append([]byte(nil), j.d.Payload...), j.d.QoS, j.d.PacketID)
	m.Payload.MimeType, m.Payload.Encoding = k.params.MimeType, k.params.Encoding
	if k.params.ExtendedAttributes {
		m.Attribute[AttributeRetained] = j.d.Retain
		m.Attribute[AttributeDuplicate] = j.d.Dup
		m.Attribute[AttributeAttempt] = j.attempt
		m.Attribute[AttributeFilter] = k.params.Topics[k.filter(j.d.Topic)].Topic
		m.Attribute[AttributeTopicLevels] = strings.Split(j.d.Topic, "/")
		m.Attribute[AttributeReceivedAt] = j.at.UTC().Format(time.RFC3339Nano)
		m.Attribute[AttributeClientID] = k.conn.conn.cfg.ClientID
		m.Attribute[AttributeBroker] = k.conn.cfg.General.BrokerURL
		m.Attribute[AttributeIdempotencyKey] = k.keyOf(j)
	}
	return m
}

// retries tells whether an error is worth another run.
func (k *consumer) retries(err error) bool {
	return !flow.IsPermanent(err) && AsError(err).Matches(k.params.OnFailure.RetryOn...)
}

func (k *consumer) exhausted(j *job) bool {
	retries := deref(k.params.OnFailure.Retries, -1)
	return retries >= 0 && j.attempt > retries
}

// dispose does what the failure policy says when the retries are used up, and tells
// whether that settled the message.
func (k *consumer) dispose(j *job, err error) bool {
	switch k.params.OnFailure.Then {
	case Drop:
		k.conn.stats.dropped.Add(1)
		k.log.Warn("message dropped", "topic", j.d.Topic, "id", j.d.PacketID, "attempts", j.attempt)
		k.settle(j)
		return true
	case DeadLetter:
		if derr := k.deadLetter(j, err); derr != nil {
			k.conn.numbers.deadLettersRefused.Add(1)
			k.log.Error("dead letter not written; the message is held", "error", derr.Error())
			return false
		}
		k.conn.stats.deadLettered.Add(1)
		k.log.Warn("message put away as a dead letter", "topic", j.d.Topic, "id", j.d.PacketID, "attempts", j.attempt)
		k.settle(j)
		return true
	case Halt:
		k.conn.leave(j.arrival)
		k.conn.halt(fmt.Errorf("connector: consumer %s: the flow failed %d times: %w", k.name, j.attempt, err))
		return true
	}
	return false // held: retried for ever
}

// wait pauses before the next attempt; false means that the connector stops.
func (k *consumer) wait(j *job) bool {
	f := &k.params.OnFailure
	first := cmp.Or(deref(f.InitialDelay, 0), defaultInitialDelay)
	d := jitter(j.attempt, first, cmp.Or(deref(f.MaxDelay, 0), defaultMaxDelay))
	k.conn.stats.retries.Add(1)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.conn.stopping:
		return false
	}
}

// jitter is the pause before attempt n+1: exponential between two bounds, with full
// jitter, so that messages that failed together do not come back together.
func jitter(n int, first, most time.Duration) time.Duration {
	bound := first
	for range n - 1 {
		if bound >= most/2 {
			bound = most
			break
		}
		bound *= 2
	}
	return 1 + rand.N(min(bound, most))
}
