package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
)

// Options are what a configuration file cannot say.
type Options struct {
	// Logger gets what happens; credentials and payloads never. If nil, nothing.
	Logger *slog.Logger

	// Dial opens the Network Connection instead of what General says. If nil, General.
	Dial func(context.Context) (net.Conn, error)

	// OnEvent is told what happens to the connection; see [client.Config].
	OnEvent func(client.Event)

	// OnError is told what goes wrong with the connector itself: connecting, subscribing, a
	// client id that another process uses, a message that stalls. It is called from one
	// goroutine or another and should not block for long.
	OnError func(*Error)
}

// A Connector is a connection with its consumers and producers. It is used once.
type Connector struct {
	cfg    Config
	opts   Options
	log    *slog.Logger
	conn   *connection // of the consumers
	out    *connection // of the producers; the same one unless they have their own
	ledger *ledger     // of the consumers that have one

	flows     sync.Mutex // guards consumers until Start
	consumers map[string]*consumer
	sorted    []*consumer // by name; from Start on
	producers map[string]*Producer
	files     sync.Mutex // dead letter files

	stopping    chan struct{} // closed when nothing new may begin
	stopOnce    sync.Once
	flowContext context.Context // of the flows; ends when Stop's patience does
	cancelFlows context.CancelCauseFunc
	pumped      chan struct{} // closed when no message is taken any more
	started     atomic.Bool
	halted      chan struct{}
	haltOnce    sync.Once
	haltErr     error
	stats       counters
	numbers     numbers
	trouble     trouble
	pending     waitingList
	onStep      func(transport.StepTime) // of Test

	unacked  unacked
	arrivals uint64      // taken so far; pump's own
	takers   []*consumer // of one message; pump's own
	began    int64       // when Start was called, in ns: with the number of an arrival it names it
	gate     gate

	stalled   atomic.Bool   // a message is unacknowledged for too long
	unstalled chan struct{} // one was settled since
}

// New checks a configuration and returns its connector. It does no I/O but for looking at the
// files that the configuration names. The error is a [*ConfigError] with every mistake.
func New(cfg Config, opts Options) (*Connector, error) {
	if err := Errors(cfg.Check()); err != nil {
		return nil, err
	}
	c := &Connector{
		cfg: cfg, opts: opts, log: opts.Logger,
		consumers: make(map[string]*consumer),
		producers: make(map[string]*Producer),
		stopping:  make(chan struct{}),
		pumped:    make(chan struct{}),
		halted:    make(chan struct{}),
		unstalled: make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.flowContext, c.cancelFlows = context.WithCancelCause(context.Background())
	if err := c.connections(); err != nil {
		return nil, err
	}
	for name, p := range cfg.Producers {
		c.producers[name] = c.newProducer(name, p)
	}
	return c, nil
}

// Format prints the client id for every verb: what the connector holds includes secrets, which fmt
// would print because it asks no unexported field for its String.
func (c *Connector) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "connector %q", c.cfg.General.ClientID)
}

// Producer returns a producer of the configuration; nil if it has none of that name.
func (c *Connector) Producer(name string) *Producer { return c.producers[name] }

// Consume gives the consumer of a name its flow, before Start.
func (c *Connector) Consume(name string, f Flow) error {
	p, ok := c.cfg.Consumers[name]
	switch {
	case !ok:
		return flow.NewError(TypeConfig, fmt.Errorf("there is no consumer %q in the configuration", name))
	case c.started.Load():
		return flow.NewError(TypeConfig, errors.New("Consume comes after Start"))
	case f == nil:
		return flow.NewError(TypeConfig, fmt.Errorf("the flow of consumer %q is nil", name))
	}
	if err := flow.Check(f); err != nil {
		return err
	}
	c.flows.Lock()
	defer c.flows.Unlock()
	if c.consumers[name] != nil {
		return flow.NewError(TypeConfig, fmt.Errorf("consumer %q has a flow already, or is pulled", name))
	}
	c.consumers[name] = c.newConsumer(name, p, f)
	return nil
}

// Start connects, as the configuration says how patiently, and subscribes. Flows may
// run before it returns, because a session that goes on brings messages at once. If it
// fails the connector is over.
func (c *Connector) Start(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return flow.NewError(TypeRuntime, errors.New("started before"))
	}
	if err := c.complete(); err != nil {
		close(c.pumped)
		return err
	}
	context.AfterFunc(c.flowContext, func() {
		for _, k := range c.sorted {
			k.cut()
		}
	})
	now := time.Now()
	c.began = now.UnixNano()
	if err := c.open(); err != nil {
		close(c.pumped)
		return err
	}
	if c.keepsLedger() {
		c.ledger = openLedger(c.conn.client(), now)
	}
	go c.pump()
	wanted := c.subscriptions()
	granted, err := c.want(wanted)
	if err == nil {
		err = c.connect(ctx)
	}
	if err == nil {
		err = c.subscribed(ctx, wanted, granted)
	}
	if err != nil {
		e := AsError(err)
		c.failedToStart(ctx, e)
		return e
	}
	c.trouble.mu.Lock()
	c.trouble.started = true
	c.trouble.mu.Unlock()
	if limit := c.stallLimit(); limit > 0 && len(c.consumers) > 0 {
		go c.watch(limit)
	}
	c.log.Info("started", "consumers", len(c.consumers), "producers", len(c.producers), "filters", len(wanted))
	return nil
}

// complete makes sure that each consumer has a flow, or is pulled.
func (c *Connector) complete() error {
	c.flows.Lock()
	defer c.flows.Unlock()
	select {
	case <-c.stopping:
		return flow.NewError(TypeRuntime, errors.New("stopped before"))
	default:
	}
	for _, name := range sortedKeys(c.cfg.Consumers) {
		k := c.consumers[name]
		if k == nil {
			return flow.NewError(TypeConfig, fmt.Errorf("consumer %q has no flow: call Consume, or Pull, before Start", name))
		}
		c.sorted = append(c.sorted, k)
	}
	return nil
}

// want makes filters wanted, so that they are the first that the Server is asked, and gives
// up what only an earlier configuration wanted and the session store remembers. The receipt
// is nil if there is nothing to ask for.
func (c *Connector) want(subs []packets.Subscription) (*client.Receipt, error) {
	conn := c.conn.client()
	if gone := unwanted(conn.Wanted(), subs); len(gone) > 0 {
		if _, err := conn.UnsubscribeAsync(gone...); err != nil {
			return nil, err
		}
	}
	if len(subs) == 0 {
		return nil, nil
	}
	return conn.SubscribeAsync(subs...)
}

// subscribed waits for what the Server says to the filters.
func (c *Connector) subscribed(ctx context.Context, subs []packets.Subscription, r *client.Receipt) error {
	if r == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deref(c.cfg.Extension.AckTimeout, defaultAckTimeout))
	defer cancel()
	if err := r.Wait(ctx); err != nil && ctx.Err() != nil {
		return flow.NewError(TypeSubscribeTimeout, fmt.Errorf("the server did not answer SUBSCRIBE in time: %w", err))
	}
	granted, err := r.Granted()
	if err != nil {
		return AsError(err)
	}
	for i, q := range granted {
		if q < subs[i].QoS {
			c.report(flow.NewError(TypeDowngraded, fmt.Errorf("the server granted %s for %q instead of %s", qosNames[q], subs[i].Filter, qosNames[subs[i].QoS])))
		}
	}
	return nil
}

// unwanted lists the filters of before that are not among subs.
func unwanted(before, subs []packets.Subscription) (gone []string) {
	for _, s := range before {
		if !slices.ContainsFunc(subs, func(o packets.Subscription) bool { return o.Filter == s.Filter }) {
			gone = append(gone, s.Filter)
		}
	}
	return gone
}

// keepsLedger reports whether a consumer wants the ledger.
func (c *Connector) keepsLedger() bool {
	for _, k := range c.sorted {
		if k.params.Ledger {
			return true
		}
	}
	return false
}

// subscriptions lists what the consumers want, each filter once and with the highest QoS
// of those who want it: a second one would replace the first [MQTT-3.8.4-3].
func (c *Connector) subscriptions() []packets.Subscription {
	var subs []packets.Subscription
	for _, k := range c.sorted {
		for _, s := range k.subscriptions() {
			i := slices.IndexFunc(subs, func(o packets.Subscription) bool { return o.Filter == s.Filter })
			if i < 0 {
				subs = append(subs, s)
			} else {
				subs[i].QoS = max(subs[i].QoS, s.QoS)
			}
		}
	}
	return subs
}

// failedToStart tells who wants to know, and ends the connector.
func (c *Connector) failedToStart(ctx context.Context, e *Error) {
	defer context.AfterFunc(ctx, func() { c.cancelFlows(context.Cause(ctx)) })()
	c.report(e)
	c.waitTriggered()
	c.abort()
}

func (c *Connector) abort() {
	c.stopNew()
	c.cancelFlows(client.ErrClosed)
	c.conn.abort()
	c.out.abort()
	<-c.pumped
}

// pump takes messages from the connection and gives them to their consumers.
func (c *Connector) pump() {
	defer close(c.pumped)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	for d, err := range c.conn.client().Messages(ctx) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.halt(AsError(err))
			}
			return
		}
		c.stats.received.Add(1)
		c.numbers.received(d)
		c.route(ctx, d)
	}
}

// route gives a message to every consumer whose topics match.
func (c *Connector) route(ctx context.Context, d *client.Delivery) {
	c.arrivals++
	a := &arrival{d: d, at: time.Now(), n: c.arrivals}
	takers, skipped := c.takers[:0], false
	for _, k := range c.sorted {
		switch {
		case !k.wants(d.Topic):
		case k.skips(d):
			skipped = true
		default:
			takers = append(takers, k)
		}
	}
	c.takers = takers
	a.open.Store(int32(max(1, len(takers))))
	c.unacked.add(a)
	if len(takers) == 0 {
		if skipped {
			c.stats.skipped.Add(1)
		} else {
			c.stats.unmatched.Add(1) // the subscription of an earlier configuration, perhaps
		}
		c.settle(a)
		return
	}
	for _, k := range takers {
		if k.take(ctx, a) != nil {
			c.leave(a)
		}
	}
}

// settle notes that a consumer is done with a message; the last one acknowledges it.
func (c *Connector) settle(a *arrival) {
	if a.open.Add(-1) > 0 {
		return
	}
	defer func() {
		c.unacked.remove(a) // after the counts, as Health promises
		c.unstall()
	}()
	if a.held.Load() {
		return
	}
	if c.ledger != nil {
		defer c.ledger.settled(a.n)
	}
	if err := a.d.Ack(); err != nil {
		c.stats.stale.Add(1) // the session ended first; the Server may send it again
		return
	}
	if a.d.QoS > packets.AtMostOnce {
		c.stats.acknowledged.Add(1)
	}
}

// leave gives a message up without acknowledging it: the Server keeps it.
func (c *Connector) leave(a *arrival) {
	a.held.Store(true)
	c.settle(a)
}

// halt ends the connector because of err; Done tells.
func (c *Connector) halt(err error) {
	c.haltOnce.Do(func() {
		c.haltErr = err
		close(c.halted)
	})
	c.stopNew()
}

// Done is closed when the connector cannot go on: the connection is gone for good, or a
// failure policy says stop. Err says why. Call Stop all the same.
func (c *Connector) Done() <-chan struct{} { return c.halted }

// Err returns why Done is closed, else nil.
func (c *Connector) Err() error {
	select {
	case <-c.halted:
		return c.haltErr
	default:
		return nil
	}
}

func (c *Connector) stopNew() {
	c.stopOnce.Do(func() {
		c.flows.Lock()
		defer c.flows.Unlock()
		close(c.stopping)
		for _, k := range c.consumers {
			k.stop()
		}
	})
}

// Stop takes no new message, lets the flows that run end, acknowledges, disconnects and
// closes, all as long as ctx lasts. What is not settled by then is not acknowledged. A flow must not
// call it, because it waits for that flow as long as ctx lasts.
func (c *Connector) Stop(ctx context.Context) error {
	c.stopNew()
	if !c.started.Load() {
		return c.close(ctx)
	}
	<-c.pumped
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		c.waitTriggered()
		for _, k := range c.sorted {
			k.jobs.Wait()
		}
	}()
	select {
	case <-settled:
	case <-ctx.Done():
		c.interrupt(context.Cause(ctx))
	}
	err := c.close(ctx)
	c.cancelFlows(client.ErrClosed)
	return err
}

// interrupt cuts the flows short that still run.
func (c *Connector) interrupt(cause error) {
	if c.ledger != nil {
		ctx, cancel := context.WithTimeout(context.Background(), storePatience)
		defer cancel()
		c.ledger.interrupted(ctx)
	}
	c.cancelFlows(cause)
}

// storePatience is how long Stop waits for the session store.
const storePatience = 2 * time.Second
