package connector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/loglimit"
	"github.com/mqtt311/mqtt311/packets"
)

// Options are what a configuration file cannot say.
type Options struct {
	// Logger gets what happens; credentials and payloads never. If nil, nothing.
	Logger *slog.Logger

	// Dial opens the Network Connection instead of what General says. If nil, General.
	Dial func(context.Context) (net.Conn, error)

	// Dials open connections of Config.Connections, by name, instead of what their General says.
	Dials map[string]func(context.Context) (net.Conn, error)

	// TLS holds what General and Extension do not say about TLS, for the connector's own connection; see
	// Base of [transport.TLSOptions]. If nil, nothing.
	TLS *tls.Config

	// OnEvent is told what happens to the connection; see [client.Config].
	OnEvent func(client.Event)

	// OnConnectionEvent is told what happens to a connection of Config.Connections, by name.
	OnConnectionEvent func(name string, e client.Event)

	// OnError is told what goes wrong with the connector itself: connecting, subscribing, a
	// client id that another process uses, a message that stalls. It is called from one
	// goroutine or another and should not block for long.
	OnError func(*flow.Error)
}

// A Connector is a connection with its consumers and producers. It is used once.
type Connector struct {
	cfg    Config
	opts   Options
	log    *slog.Logger
	conn   *connection            // of the consumers
	out    *connection            // of the producers; the same one unless they have their own
	others map[string]*connection // of Config.Connections
	ledger atomic.Pointer[ledger] // of the consumers that have one
	live   atomic.Pointer[setup]  // in force now: see now

	reconfiguring chan struct{}            // holds a token while Reconfigure runs
	coming        atomic.Pointer[setup]    // its flows are being asked for; nil: there is none
	waiting       atomic.Pointer[[]string] // settings that wait for a restart
	watching      sync.Once                // see watch

	flows     sync.Mutex // guards consumers, and who makes a new setup
	consumers map[string]*consumer
	feeds     []*Feed       // made before Start
	files     sync.Mutex    // dead letter files
	spooling  chan struct{} // has the place of a message that is too large and is being put away

	stopping    chan struct{} // closed when nothing new may begin
	replaying   sync.WaitGroup
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

	unmatched unmatched
	oversize  sightings
	malformed sightings

	unacked  unacked
	arrivals uint64    // taken so far; pump's own
	takers   []route   // of one message; pump's own
	start    time.Time // when Start was called
	began    int64     // the same in ns: with the number of an arrival it names it
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
	if err := cfg.leased(); err != nil {
		return nil, err
	}
	cfg = cfg.clone()
	c := &Connector{
		cfg: cfg, opts: opts, log: opts.Logger,
		consumers: make(map[string]*consumer),
		stopping:  make(chan struct{}),
		pumped:    make(chan struct{}),
		halted:    make(chan struct{}),
		unstalled: make(chan struct{}, 1),
		spooling:  make(chan struct{}, 1),

		reconfiguring: make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = slog.New(loglimit.New(c.log.Handler()))
	c.oversize.most, c.malformed.most = mostSkippedTold, mostSkippedTold
	c.flowContext, c.cancelFlows = context.WithCancelCause(context.Background())
	if err := c.connections(); err != nil {
		return nil, err
	}
	first := &setup{cfg: cfg, producers: make(map[string]*Producer)}
	c.live.Store(first)
	for name, p := range cfg.Producers {
		first.producers[name] = c.newProducer(name, p, &cfg.Extension)
	}
	return c, nil
}

// Format prints the client id for every verb: what the connector holds includes secrets, which fmt
// would print because it asks no unexported field for its String.
func (c *Connector) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "connector %q", c.cfg.General.ClientID)
}

// Producer returns a producer of the configuration; nil if it has none of that name.
func (c *Connector) Producer(name string) *Producer {
	for _, s := range []*setup{c.now(), c.coming.Load()} {
		if s == nil {
			continue
		}
		if _, ok := s.cfg.Producers[name]; ok { // s.producers has former ones as well
			return s.producers[name]
		}
	}
	return nil
}

// Consume gives the consumer of a name its flow, or Pulled, before Start.
func (c *Connector) Consume(name string, f flow.Flow) error {
	p, ok := c.cfg.Consumers[name]
	switch {
	case !ok:
		return flow.NewError(flow.TypeConfig, fmt.Errorf("there is no consumer %q in the configuration", name))
	case c.started.Load():
		return flow.NewError(flow.TypeConfig, errors.New("Consume comes after Start"))
	case f == nil:
		return flow.NewError(flow.TypeConfig, fmt.Errorf("the flow of consumer %q is nil", name))
	}
	if err := flow.Check(f); err != nil {
		return err
	}
	c.flows.Lock()
	defer c.flows.Unlock()
	if c.consumers[name] != nil {
		return flow.NewError(flow.TypeConfig, fmt.Errorf("consumer %q has a flow already, or is pulled", name))
	}
	if f == Pulled {
		f = nil
	}
	c.consumers[name] = c.newConsumer(name, c.newSettings(p, f))
	return nil
}

// Start connects, as the configuration says how patiently, and subscribes. Flows may
// run before it returns, because a session that goes on brings messages at once. When it does and SUBSCRIBE
// is not answered within AckTimeout, Start returns all the same, and the connector is not ready
// until it is: the answer stands behind the messages. If Start fails the connector is over.
func (c *Connector) Start(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return flow.NewError(flow.TypeRuntime, errors.New("started before"))
	}
	if err := c.complete(); err != nil {
		close(c.pumped)
		return err
	}
	context.AfterFunc(c.flowContext, func() {
		for _, k := range c.everyConsumer() {
			k.cut()
		}
	})
	c.start = time.Now()
	c.began = c.start.UnixNano()
	if err := c.open(); err != nil {
		close(c.pumped)
		return err
	}
	if c.now().keepsLedger() {
		c.ledger.Store(openLedger(c.conn.client(), c.start))
	}
	go c.pump()
	wanted := c.now().subscriptions()
	granted, err := c.want(wanted)
	if err == nil {
		err = c.connect(ctx)
	}
	if err == nil {
		err = c.subscribed(ctx, wanted, granted)
	}
	if e := flow.AsError(err); err != nil && e.Type == flow.TypeSubscribeTimeout && ctx.Err() == nil && c.behindItsQueue() {
		c.trouble.mu.Lock()
		c.trouble.unanswered = e
		c.trouble.told, c.trouble.started = !c.trouble.asked, true
		c.trouble.mu.Unlock()
		c.report(e)
		err = nil // askAgain sees to it
	}
	if err != nil {
		e := flow.AsError(err)
		c.failedToStart(ctx, e)
		return e
	}
	c.trouble.mu.Lock()
	c.trouble.started = true
	c.trouble.mu.Unlock()
	if limit := c.stallLimit(); limit > 0 && len(c.cfg.Consumers) > 0 {
		c.watching.Do(func() { go c.watch(limit) })
	}
	c.log.Info("started", "consumers", len(c.cfg.Consumers), "producers", len(c.cfg.Producers), "filters", len(wanted))
	return nil
}

// behindItsQueue reports whether the answer to SUBSCRIBE may only be late: a Server that goes on with a session sends
// what has gathered first, which may take longer than ack_timeout. A connector that failed then would
// be sent all of it again by each start, and never come to the end.
func (c *Connector) behindItsQueue() bool {
	conn := c.conn.client()
	s := conn.Stats()
	return conn.State() == client.Connected && s.Resumed > 0 && s.Received > 0
}

// complete makes sure that each consumer has a flow, or is pulled.
func (c *Connector) complete() error {
	c.flows.Lock()
	defer c.flows.Unlock()
	select {
	case <-c.stopping:
		return flow.NewError(flow.TypeRuntime, errors.New("stopped before"))
	default:
	}
	s := &setup{cfg: c.cfg, producers: c.now().producers}
	for _, name := range sortedKeys(c.cfg.Consumers) {
		k := c.consumers[name]
		if k == nil {
			return flow.NewError(flow.TypeConfig, fmt.Errorf("consumer %q has no flow: call Consume, or Pull, before Start", name))
		}
		if !k.fed {
			s.routes = append(s.routes, route{k, k.now()})
		}
	}
	s.stray = c.strayRoute(s)
	c.live.Store(s)
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
		c.unmatched.giveUp(gone)
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
	ctx, cancel := context.WithTimeout(ctx, c.ackTimeout())
	defer cancel()
	go func() {
		select {
		case <-c.halted:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := r.Wait(ctx)
	if halted := c.Err(); halted != nil {
		return halted
	}
	if err != nil && ctx.Err() != nil {
		return flow.NewError(flow.TypeSubscribeTimeout, fmt.Errorf("the server did not answer SUBSCRIBE for %s in time: %w", listed(c.conn.client().Ungranted()), err))
	}
	granted, err := r.Granted()
	var refused *client.SubscribeError
	errors.As(err, &refused)
	for i, q := range granted {
		if q < subs[i].QoS && (refused == nil || refused.Results[i].Err == nil) {
			c.report(flow.NewError(flow.TypeDowngraded, fmt.Errorf("the server granted %s for %q instead of %s", qosNames[q], subs[i].Filter, qosNames[subs[i].QoS])))
		}
	}
	if err != nil {
		return flow.AsError(err)
	}
	return nil
}

// unwanted lists the filters of before that are not among subs.
func unwanted(before, subs []packets.Subscription) (gone []string) {
	wanted := make(map[string]bool)
	for _, s := range subs {
		wanted[s.Filter] = true
	}
	for _, s := range before {
		if !wanted[s.Filter] {
			gone = append(gone, s.Filter)
		}
	}
	return gone
}

// failedToStart tells who wants to know, and ends the connector.
func (c *Connector) failedToStart(ctx context.Context, e *flow.Error) {
	defer context.AfterFunc(ctx, func() { c.cancelFlows(context.Cause(ctx)) })()
	c.report(e)
	c.waitTriggered()
	c.abort()
}

func (c *Connector) abort() {
	c.stopNew()
	c.cancelFlows(client.ErrClosed)
	for _, n := range c.all() {
		n.abort()
	}
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
				c.over(err)
			}
			return
		}
		c.numbers.received(d)
		c.route(ctx, d)
	}
}

// clock returns how long ago Start was, which costs half of what time.Now does.
func (c *Connector) clock() time.Duration { return time.Since(c.start) }

// route gives a message to every consumer whose topics match.
func (c *Connector) route(ctx context.Context, d *client.Delivery) {
	c.arrivals++
	a := &arrival{d: d, size: len(d.Payload), at: time.Now(), n: c.arrivals, ours: true}
	s := c.now()
	takers, skipped := s.takers(d, c.takers[:0])
	for _, r := range takers {
		a.ours = a.ours && r.settings.copies()
	}
	c.takers = takers
	a.open.Store(int32(max(1, len(takers))))
	c.unacked.add(a)
	switch {
	case len(takers) > 0:
	case skipped:
		c.stats.skipped.Add(1)
		c.settle(a)
	default:
		c.routeUnmatched(ctx, &s.stray, a)
	}
	for _, r := range takers {
		if r.take(ctx, a, r.settings) != nil {
			c.leave(a)
		}
	}
}

// settle notes that a consumer is done with a message; the last one acknowledges it.
func (c *Connector) settle(a *arrival) {
	if a.open.Add(-1) > 0 {
		return
	}
	switch held := a.held.Load(); {
	case a.fed != nil:
		if a.fed.Settled(!held); !held {
			c.stats.acknowledged.Add(1)
		}
	case !held:
		switch err := a.acknowledge(); {
		case err != nil:
			c.stats.stale.Add(1) // the session ended first; the Server may send it again
		case a.d.QoS > packets.AtMostOnce:
			c.stats.acknowledged.Add(1)
		}
		if l := c.ledger.Load(); l != nil {
			l.settled(a.n)
		}
	}
	c.unacked.remove(a) // after the counts, as Health promises
	c.unstall()
}

// leave gives a message up without acknowledging it: the Server keeps it.
func (c *Connector) leave(a *arrival) {
	if a.isReplayed() {
		a.fed.replayed <- errStopping
		return
	}
	a.held.Store(true)
	c.settle(a)
}

// over ends the connector because a connection has ended for good.
func (c *Connector) over(err error) {
	if stop := c.conn.stopsOver(err); stop != nil {
		c.halt(stop)
		return
	}
	c.halt(flow.AsError(err))
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
		close(c.stopping) // no consumer is made any more
		c.flows.Unlock()
		for _, k := range c.everyConsumer() {
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
	for _, f := range c.feeds {
		f.end()
	}
	c.replaying.Wait()
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		c.waitTriggered()
		for _, k := range c.everyConsumer() {
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
	if l := c.ledger.Load(); l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), storePatience)
		defer cancel()
		l.interrupted(ctx)
	}
	c.cancelFlows(cause)
}

// storePatience is how long Stop waits for the session store.
const storePatience = 2 * time.Second
