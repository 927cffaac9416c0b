package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// Options are what a configuration file cannot say.
type Options struct {
	// Logger gets what happens; credentials and payloads never. If nil, nothing.
	Logger *slog.Logger

	// Dial opens the Network Connection instead of what General says. If nil, General.
	Dial func(context.Context) (net.Conn, error)

	// OnEvent is told what happens to the connection; see [client.Config].
	OnEvent func(client.Event)
}

// A Connector is a connection with its consumers and producers. It is used once.
type Connector struct {
	cfg    Config
	opts   Options
	log    *slog.Logger
	client *client.Client

	consumers map[string]*consumer
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
	onStep      func(transport.StepTime) // of Test

	unacked sync.Map // *arrival, for the age of the oldest
}

// New checks a configuration and returns its connector. It does no I/O. The error is a
// [*ConfigError] with every mistake.
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
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.flowContext, c.cancelFlows = context.WithCancelCause(context.Background())
	clientConfig, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	clientConfig.Dial = c.numbers.noted(clientConfig.Dial)
	if c.client, err = client.New(clientConfig); err != nil {
		return nil, newError(TypeConfig, err)
	}
	for name, p := range cfg.Producers {
		c.producers[name] = c.newProducer(name, p)
	}
	return c, nil
}

// Producer returns a producer of the configuration; nil if it has none of that name.
func (c *Connector) Producer(name string) *Producer { return c.producers[name] }

// Consume gives the consumer of a name its flow, before Start.
func (c *Connector) Consume(name string, f Flow) error {
	p, ok := c.cfg.Consumers[name]
	switch {
	case !ok:
		return newError(TypeConfig, fmt.Errorf("there is no consumer %q in the configuration", name))
	case c.started.Load():
		return newError(TypeConfig, errors.New("Consume comes after Start"))
	case c.consumers[name] != nil:
		return newError(TypeConfig, fmt.Errorf("consumer %q has a flow already", name))
	}
	c.consumers[name] = c.newConsumer(name, p, f)
	return nil
}

// Start connects, as the configuration says how patiently, and subscribes. Flows may
// run before it returns, because a session that goes on brings messages at once. If it
// fails the connector is over.
func (c *Connector) Start(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return newError(TypeRuntime, errors.New("started before"))
	}
	for name := range c.cfg.Consumers {
		if c.consumers[name] == nil {
			close(c.pumped)
			return newError(TypeConfig, fmt.Errorf("consumer %q has no flow: call Consume before Start", name))
		}
	}
	go c.pump()
	if err := c.client.Connect(ctx); err != nil {
		c.abort()
		return AsError(err)
	}
	subs := c.subscriptions()
	if len(subs) == 0 {
		c.log.Info("started", "producers", len(c.producers))
		return nil
	}
	within, cancel := context.WithTimeout(ctx, deref(c.cfg.Extension.AckTimeout, defaultAckTimeout))
	defer cancel()
	granted, err := c.client.Subscribe(within, subs...)
	if err != nil {
		c.abort()
		if errors.Is(err, context.DeadlineExceeded) {
			err = newError(TypeSubscribe, fmt.Errorf("the server did not answer SUBSCRIBE in time: %w", err))
		}
		return AsError(err)
	}
	for i, q := range granted {
		if q < subs[i].QoS {
			c.log.Warn("the server granted less than asked for", "filter", subs[i].Filter, "asked", subs[i].QoS, "granted", q)
		}
	}
	c.log.Info("started", "consumers", len(c.consumers), "producers", len(c.producers), "filters", len(subs))
	return nil
}

// subscriptions lists what the consumers want, each filter once and with the highest QoS
// of those who want it: a second one would replace the first [MQTT-3.8.4-3].
func (c *Connector) subscriptions() []packets.Subscription {
	var subs []packets.Subscription
	for _, name := range sortedKeys(c.consumers) {
		for _, s := range c.consumers[name].subscriptions() {
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

func (c *Connector) abort() {
	c.stopNew()
	c.cancelFlows(client.ErrClosed)
	c.client.Abort()
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
	for d, err := range c.client.Messages(ctx) {
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
	a := &arrival{d: d, at: time.Now()}
	var takers []*consumer
	skipped := false
	for _, k := range c.consumers {
		switch {
		case !k.wants(d.Topic):
		case k.skips(d):
			skipped = true
		default:
			takers = append(takers, k)
		}
	}
	a.open.Store(int32(max(1, len(takers))))
	c.unacked.Store(a, nil)
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
	defer c.unacked.Delete(a) // after the counts, as Health promises
	if a.held.Load() {
		return
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

func (c *Connector) stopNew() { c.stopOnce.Do(func() { close(c.stopping) }) }

// Stop takes no new message, lets the flows that run end, acknowledges, disconnects and
// closes, all as long as ctx lasts. What is not settled by then is not acknowledged.
func (c *Connector) Stop(ctx context.Context) error {
	c.stopNew()
	if !c.started.Load() {
		return c.client.Close(ctx)
	}
	<-c.pumped
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		for _, k := range c.consumers {
			k.jobs.Wait()
		}
	}()
	select {
	case <-settled:
	case <-ctx.Done():
		c.cancelFlows(context.Cause(ctx))
	}
	err := c.client.Close(ctx)
	c.cancelFlows(client.ErrClosed)
	return err
}

// clientConfig makes the client's configuration of the connector's.
func (c *Connector) clientConfig() (client.Config, error) {
	g, a, x := &c.cfg.General, &c.cfg.Advanced, &c.cfg.Extension
	cfg := client.Config{
		Dial:                 c.opts.Dial,
		ClientID:             withRandom(g.ClientID),
		UserName:             g.UserName,
		Password:             []byte(g.Password),
		CleanSession:         a.Clean(),
		KeepAlive:            offAtZero(a.KeepAlive),
		PingTimeout:          deref(a.PingTimeout, 0),
		ConnectTimeout:       offAtZero(a.ConnectTimeout),
		WriteTimeout:         offAtZero(a.WriteTimeout),
		NoReconnect:          !a.AutoReconnect,
		MaxReconnectInterval: deref(a.MaxReconnectInterval, 0),
		ConnectRetry:         a.ConnectRetry,
		ConnectRetryInterval: deref(a.ConnectRetryInterval, 30*time.Second),
		MaxPacketSize:        x.MaxPacketSize,
		ManualAck:            true,
		OnEvent:              c.opts.OnEvent,
		Logger:               c.opts.Logger,
	}
	if a.WillEnabled {
		cfg.Will = &packets.Will{Topic: a.WillTopic, Payload: []byte(a.WillPayload), QoS: a.WillQoS, Retain: a.WillRetained}
	}
	if cfg.Dial != nil {
		return cfg, nil
	}
	var err error
	if cfg.Dial, err = c.dialer(); err != nil {
		return cfg, newError(TypeConfig, err)
	}
	return cfg, nil
}

func offAtZero(d *time.Duration) time.Duration {
	if d != nil && *d == 0 {
		return -1
	}
	return deref(d, 0)
}

// dialer opens the connection that the general tab describes.
func (c *Connector) dialer() (func(context.Context) (net.Conn, error), error) {
	g, x := &c.cfg.General, &c.cfg.Extension
	opts := transport.Options{Logger: c.opts.Logger, OnStep: c.onStep, Timeout: -1} // the client's ConnectTimeout bounds it
	if g.Protocol.Secure() {
		opts.TLS = &transport.TLSOptions{
			ClientCert:         transport.File(g.TLSClientCert),
			ClientKey:          transport.File(g.TLSClientKey),
			ServerCert:         transport.File(g.TLSServerCert),
			ServerName:         x.TLSServerName,
			ALPN:               x.TLSALPN,
			InsecureSkipVerify: x.TLSInsecureSkipVerify,
		}
	}
	address := withoutScheme(g.BrokerURL)
	host, _, _ := strings.Cut(address, "/")
	switch g.Protocol {
	case TLS:
		return transport.Dialer("mqtts://"+host, &opts)
	case WebSocket, WebSocketSecure:
		scheme := "ws://"
		if g.Protocol == WebSocketSecure {
			scheme = "wss://"
		}
		return ws.Dialer(scheme+address, &ws.Options{Options: opts, Header: func(context.Context) (http.Header, error) {
			header := make(http.Header)
			for k, v := range x.WSHeaders {
				header.Set(k, string(v))
			}
			return header, nil
		}})
	}
	return transport.Dialer("mqtt://"+host, &opts)
}

func withoutScheme(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		return rest
	}
	return url
}
