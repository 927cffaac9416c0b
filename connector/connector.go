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

// Options are settings that cannot be in a configuration file.
type Options struct {
	// Logger logs what the connector does, but never credentials or payloads. If nil, nothing is
	// logged.
	Logger *slog.Logger

	// Dial, if not nil, opens the Network Connection instead of the address in General.
	Dial func(context.Context) (net.Conn, error)

	// Dials open the connections of Config.Connections, by name, instead of the addresses in their
	// General.
	Dials map[string]func(context.Context) (net.Conn, error)

	// TLS sets what General and Extension do not, for the main connection: it is Base of
	// [transport.TLSOptions]. If nil, the defaults apply.
	TLS *tls.Config

	// OnEvent is called with each event of the connection; see [client.Config].
	OnEvent func(client.Event)

	// OnConnectionEvent is called with each event of a connection of Config.Connections and the
	// name of that connection.
	OnConnectionEvent func(name string, e client.Event)

	// OnError is called with errors of the connector itself: connecting or subscribing fails,
	// another process uses the same ClientID, a message stalls. It may be called from any goroutine
	// and should not block for long.
	OnError func(*flow.Error)
}

// A Connector is a connection with its consumers and producers. It cannot be started again after
// Stop.
type Connector struct {
	cfg    Config
	opts   Options
	log    *slog.Logger
	conn   *connection            // of the consumers
	out    *connection            // of the producers; the same one unless they have their own
	others map[string]*connection // of Config.Connections
	ledger atomic.Pointer[ledger] // of the consumers that have one
	live   atomic.Pointer[setup]  // in effect: see now

	reconfiguring chan struct{}            // holds a token while Reconfigure runs
	coming        atomic.Pointer[setup]    // the setup whose flows are being requested, or nil
	waiting       atomic.Pointer[[]string] // settings that need a restart
	watching      sync.Once                // see watch

	flows     sync.Mutex // guards consumers and changes of the setup
	consumers map[string]*consumer
	feeds     []*Feed       // created before Start
	files     sync.Mutex    // dead letter files
	spooling  chan struct{} // capacity 1, for the one oversize message being put away

	stopping    chan struct{} // closed when nothing new may start
	replaying   sync.WaitGroup
	stopOnce    sync.Once
	flowContext context.Context // parent context of flows; canceled when the ctx of Stop is done
	cancelFlows context.CancelCauseFunc
	pumped      chan struct{} // closed when no more messages are taken
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
	arrivals uint64    // messages taken so far; used only by pump
	takers   []route   // of the current message; used only by pump
	start    time.Time // when Start was called
	began    int64     // the same in ns; identifies an arrival together with its number
	gate     gate

	stalled   atomic.Bool   // a message has been unacknowledged for too long
	unstalled chan struct{} // signals that a message was settled since
}

// New checks cfg and returns a Connector for it. Its only I/O is to examine the files that cfg
// names. The error is a [*ConfigError] with all errors in cfg.
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

// Format prints only the ClientID, whatever the verb. Without it, package fmt would print secrets
// in unexported fields, whose String methods it does not call.
func (c *Connector) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "connector %q", c.cfg.General.ClientID)
}

// Producer returns the producer with the given name, or nil if the configuration has none.
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

// Consume sets the flow of the consumer with the given name, or [Pulled]. It must be called before
// Start.
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

// Start connects, retrying as configured, and subscribes. Flows may run before it returns, because
// the Server sends the messages of an existing session at once. If SUBSCRIBE is not answered within
// AckTimeout because such messages come first, Start returns nil nevertheless, and the connector
// becomes ready when the answer arrives. If Start fails, the connector cannot be used any more.
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
		err = nil // askAgain handles it
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

// behindItsQueue reports whether the answer to SUBSCRIBE may just be late: a Server that resumes a
// session sends the queued messages first, which may take longer than ack_timeout. A connector that
// failed because of that would receive all of them again at each start and never finish.
func (c *Connector) behindItsQueue() bool {
	conn := c.conn.client()
	s := conn.Stats()
	return conn.State() == client.Connected && s.Resumed > 0 && s.Received > 0
}

// complete checks that each consumer has a flow or is pulled.
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

// want subscribes to filters, so that SUBSCRIBE is sent first, and unsubscribes from those in the
// session store that only an earlier configuration wanted. The receipt is nil if there is nothing
// to subscribe to.
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

// subscribed waits for the Server's answer to the filters.
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

// unwanted returns the filters of before that are not in subs.
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

// failedToStart reports the failure and ends the connector.
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

// pump takes messages from the connection and passes them to their consumers.
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

// clock returns the time since Start, which costs half as much as time.Now.
func (c *Connector) clock() time.Duration { return time.Since(c.start) }

// route passes a message to every consumer whose topics match.
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

// settle records that a consumer is done with a message; the last one acknowledges it.
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
			c.stats.stale.Add(1) // the session was lost; the Server may send the message again
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

// leave gives up a message without acknowledging it, so that the Server keeps it.
func (c *Connector) leave(a *arrival) {
	if a.isReplayed() {
		a.fed.replayed <- errStopping
		return
	}
	a.held.Store(true)
	c.settle(a)
}

// over ends the connector because a connection has failed permanently.
func (c *Connector) over(err error) {
	if stop := c.conn.stopsOver(err); stop != nil {
		c.halt(stop)
		return
	}
	c.halt(flow.AsError(err))
}

// halt ends the connector because of err and closes Done.
func (c *Connector) halt(err error) {
	c.haltOnce.Do(func() {
		c.haltErr = err
		close(c.halted)
	})
	c.stopNew()
}

// Done returns a channel that is closed when the connector has failed: its connection has failed
// permanently, or a failure policy stopped it. Err then returns the reason. Stop must be called
// nevertheless.
func (c *Connector) Done() <-chan struct{} { return c.halted }

// Err returns the reason after Done is closed, and nil before.
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
		close(c.stopping) // no more consumers are created
		c.flows.Unlock()
		for _, k := range c.everyConsumer() {
			k.stop()
		}
	})
}

// Stop shuts the connector down gracefully: it takes no new messages, waits for running flows to
// end, acknowledges their messages and disconnects. When ctx is done it stops waiting; messages
// that are not settled by then are not acknowledged. A flow must not call Stop, which would wait
// for that flow until ctx is done.
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

// interrupt cancels the flows that are still running.
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
