package connector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/stepwise"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
)

// The steps of [Connector.Test] that follow those of package transport.
const (
	StepConnect    transport.Step = "connect"    // CONNECT and CONNACK (section 3.1)
	StepSubscribe  transport.Step = "subscribe"  // subscribing to all topics of all consumers
	StepDisconnect transport.Step = "disconnect" // sending DISCONNECT
)

// TestOptions are options of [Connector.Test].
type TestOptions struct {
	// OwnID connects with the ClientID and CleanSession of the connector. A running connector with
	// that ClientID is then disconnected, and subscriptions of a persistent session stay. Without
	// OwnID a random suffix is appended to the ClientID, and the session is clean.
	OwnID bool

	// OnStep, if not nil, is called after each step, on the goroutine of Test.
	OnStep func(TestStep)
}

// A TestStep is a step of [Connector.Test].
type TestStep struct {
	Connection string // name in Config.Connections; empty for the main connection

	Step   transport.Step
	Addr   string // the address, if the step has one
	Took   time.Duration
	Err    *flow.Error // nil if the step succeeded
	Hint   string      // advice for the user, in English
	HintZH string      // the same in Chinese
}

// A Grant is the server's answer for one topic of a consumer.
type Grant struct {
	Consumer string
	Filter   string
	Shared   bool // the topic has a share group or another prefix, which the test omits so as not to take messages away
	Asked    packets.QoS
	Granted  packets.QoS // may be lower than requested (section 3.9.3)
	Err      *flow.Error // nil unless the topic was refused
}

// A TestReport is the result of [Connector.Test] for a connection.
type TestReport struct {
	// Connections are the reports for Config.Connections, by name, which have no Connections of
	// their own.
	Connections map[string]*TestReport

	ClientID           string
	CleanSession       bool
	SessionPresent     bool
	Steps              []TestStep // of all servers that were tried: see Extension.FailoverURLs
	Grants             []Grant
	CertificatesExpire time.Time // when the first certificate of the server expires; zero without TLS
}

// Failed returns the first step that failed, or nil. Steps of Connections are considered last.
func (r *TestReport) Failed() *TestStep {
	for i := range r.Steps {
		if r.Steps[i].Err != nil {
			return &r.Steps[i]
		}
	}
	for _, name := range sortedKeys(r.Connections) {
		if s := r.Connections[name].Failed(); s != nil {
			return s
		}
	}
	return nil
}

// Err returns the reason if the test failed, or nil.
func (r *TestReport) Err() error {
	if s := r.Failed(); s != nil {
		return s.Err
	}
	return nil
}

// Test tests the configuration (测试连接): it goes through name resolution, TCP, TLS, WebSocket,
// CONNECT and the subscriptions of all consumers, and disconnects. Then it does the same, without
// subscriptions, for all Config.Connections in the order of their names, even if an earlier one
// fails. It always uses separate connections, has no Will and runs no flows; messages that arrive
// are not acknowledged.
func (c *Connector) Test(ctx context.Context, o TestOptions) *TestReport {
	report := c.testOne(ctx, "", &way{cfg: c.cfg.own(), opts: c.opts}, o)
	for _, name := range sortedKeys(c.cfg.Connections) {
		settings := c.cfg.Connections[name]
		w := &way{cfg: &settings, opts: Options{Dial: c.opts.Dials[name], Logger: c.opts.Logger}}
		report.Connections = with(report.Connections, name, c.testOne(ctx, name, w, o))
	}
	return report
}

// testOne tests a connection. The name of the main connection is empty.
func (c *Connector) testOne(ctx context.Context, name string, w *way, o TestOptions) *TestReport {
	t := &tester{opts: o, name: name, report: new(TestReport)}
	t.note = stepwise.Settled(t.tell)
	conn, err := t.connect(ctx, w)
	if err != nil {
		return t.report
	}
	if name == "" {
		t.subscribe(ctx, c, conn)
	}
	start := time.Now()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := conn.Close(within); t.report.Err() == nil {
		t.ended(StepDisconnect, "", start, err)
	}
	return t.report
}

// A tester makes a report.
type tester struct {
	opts   TestOptions
	name   string
	report *TestReport
	note   func(transport.StepTime)
	dialed time.Time
}

// ended records a step.
func (t *tester) ended(step transport.Step, addr string, start time.Time, err error) {
	t.note(transport.StepTime{Step: step, Addr: addr, Took: time.Since(start), Err: err})
}

func (t *tester) tell(st transport.StepTime) {
	s := TestStep{Connection: t.name, Step: st.Step, Addr: st.Addr, Took: st.Took, Err: flow.AsError(st.Err)}
	if s.Err != nil {
		s.Hint, s.HintZH = t.hints(st.Err, s.Err)
		if t.name != "" {
			s.Err = onConnection(t.name, st.Err)
		}
	}
	t.report.Steps = append(t.report.Steps, s)
	if t.opts.OnStep != nil {
		t.opts.OnStep(s)
	}
}

func (t *tester) hints(err error, e *flow.Error) (en, zh string) {
	var knows interface {
		Hint() string
		HintZH() string
	}
	en, zh = e.Explain("en"), e.Explain("zh")
	if errors.As(err, &knows) && knows.Hint() != "" {
		en, zh = knows.Hint(), knows.HintZH()
	}
	if !t.opts.OwnID && (e.Type.Is(flow.TypeRefused) || e.Type.Is(flow.TypeRejected)) {
		en += " The test had a client id of its own; perhaps the server allows the configured one only."
		zh += "测试使用了临时客户端 ID，服务端可能只允许配置中的客户端 ID。"
	}
	return en, zh
}

// connect opens a connection as the connector would.
func (t *tester) connect(ctx context.Context, w *way) (*client.Client, error) {
	w.onStep = t.note
	cfg, err := w.clientConfig()
	if err != nil {
		t.ended(transport.StepParse, "", time.Now(), err)
		return nil, err
	}
	cfg.Will, cfg.Fallbacks, cfg.ConnectRetry, cfg.NoReconnect = nil, nil, false, true
	if !t.opts.OwnID {
		cfg.ClientID, cfg.CleanSession = cfg.ClientID+"-test-"+withRandom("${random:4}"), true
	}
	cfg.OnEvent = nil
	cfg.Dial = t.noted(cfg.Dial)
	for i, dial := range cfg.Fallbacks {
		cfg.Fallbacks[i] = t.noted(dial)
	}
	t.report.ClientID, t.report.CleanSession = cfg.ClientID, cfg.CleanSession
	conn, err := client.New(cfg)
	if err != nil {
		t.ended(transport.StepParse, "", time.Now(), flow.NewError(flow.TypeConfig, err))
		return nil, err
	}
	start := time.Now()
	err = conn.Connect(ctx)
	t.report.SessionPresent = conn.Stats().Resumed > 0
	if n := len(t.report.Steps); err != nil && n > 0 && t.report.Steps[n-1].Err != nil {
		return nil, err // a step of dialing failed and was recorded
	}
	if !t.dialed.IsZero() {
		start = t.dialed
	}
	step, known := StepConnect, (*transport.DialError)(nil)
	if errors.As(err, &known) && (known.Step != transport.StepTCP || len(t.report.Steps) == 0) {
		step = known.Step
	}
	t.ended(step, "", start, withoutClosed(err))
	return conn, err
}

// withoutClosed returns the cause of an error without client.ErrClosed.
func withoutClosed(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs := joined.Unwrap()
		err = errs[len(errs)-1]
	}
	if err != nil && errorType(err) == flow.TypeRuntime {
		return flow.NewError(flow.TypeConnectivity, err)
	}
	return err
}

// noted returns a dial function that records when it ended and the certificates.
func (t *tester) noted(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err == nil {
			t.report.CertificatesExpire = certificatesExpire(conn)
		}
		t.dialed = time.Now()
		return conn, err
	}
}

// subscribe subscribes to all topics of all consumers.
func (t *tester) subscribe(ctx context.Context, c *Connector, conn *client.Client) {
	var subs []packets.Subscription
	for _, name := range sortedKeys(c.cfg.Consumers) {
		p := c.cfg.Consumers[name]
		shared := p.ShareGroup != ""
		p.ShareGroup = ""
		for _, s := range p.subscriptions() {
			if plain, ok := packets.Undecorated(s.Filter); ok {
				shared, s.Filter = true, plain
			}
			t.report.Grants = append(t.report.Grants, Grant{Consumer: name, Filter: s.Filter, Shared: shared, Asked: s.QoS})
			i := slices.IndexFunc(subs, func(o packets.Subscription) bool { return o.Filter == s.Filter })
			if i < 0 {
				subs = append(subs, s)
				continue
			}
			subs[i].QoS = max(subs[i].QoS, s.QoS)
		}
	}
	if len(subs) == 0 {
		return
	}
	start := time.Now()
	within, cancel := context.WithTimeout(ctx, deref(c.cfg.Extension.AckTimeout, defaultAckTimeout))
	defer cancel()
	granted, err := conn.Subscribe(within, subs...)
	var refused *client.SubscribeError
	switch {
	case errors.As(err, &refused):
		t.grant(subs, granted, refused)
		err = flow.NewError(flow.TypeRejected, err)
	case err == nil:
		t.grant(subs, granted, nil)
	case errors.Is(err, context.DeadlineExceeded):
		err = flow.NewError(flow.TypeSubscribeTimeout, fmt.Errorf("the server did not answer SUBSCRIBE in time: %w", err))
	}
	t.ended(StepSubscribe, "", start, err)
}

// grant records the server's answer for each filter.
func (t *tester) grant(subs []packets.Subscription, granted []packets.QoS, refused *client.SubscribeError) {
	for i := range t.report.Grants {
		g := &t.report.Grants[i]
		j := slices.IndexFunc(subs, func(s packets.Subscription) bool { return s.Filter == g.Filter })
		g.Granted = min(granted[j], g.Asked)
		if refused != nil && refused.Results[j].Err != nil {
			g.Err = flow.AsError(refused.Results[j].Err)
		}
	}
}
