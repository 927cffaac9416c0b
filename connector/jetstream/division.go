package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// DivisionOptions are what is optional for a Division.
type DivisionOptions struct {
	// Connector has the options of each connector.
	Connector connector.Options

	// Key is the key of each consumer's [connector.Partition]. If empty, the topic.
	Key string

	// Patience is how long flows that run may go on when a partition passes to another process. If zero or negative, 10
	// seconds.
	Patience time.Duration

	// Logger gets what happens. If nil, nothing.
	Logger *slog.Logger
}

// A Division divides the topics of a connector among processes that come and go. It runs a connector for each share that
// the process has by lease: share 3 of the client id plant is the session plant-3 at the MQTT Server, with the
// messages whose key belongs to partition 3. The session waits at the Server while nobody has the share, and goes on
// with whoever has it next. A process that was stopped and goes on has its connection ended by the Server, because another
// one has its client id by then [MQTT-3.1.4-2]; for other effects of a flow see [Fence].
type Division struct {
	cfg    connector.Config
	leases *Leases
	setup  func(c *connector.Connector, l *Lease) error
	opts   DivisionOptions
	log    *slog.Logger

	sessions *sessions
}

// NewDivision checks a configuration. It has to keep its sessions (clean_session off), and all its consumers have to
// subscribe at QoS 1 or 2, or messages would be lost whenever a share passes on. Setup is called for each connector, and
// gives its consumers their flows; see [Lease.Flow].
func NewDivision(cfg connector.Config, leases *Leases, setup func(c *connector.Connector, l *Lease) error, opts DivisionOptions) (*Division, error) {
	if opts.Patience <= 0 {
		opts.Patience = defaultPatience
	}
	d := &Division{cfg: cfg, leases: leases, setup: setup, opts: opts, log: logger(opts.Logger)}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("jetstream: a division needs "+format, args...))
	}
	if cfg.General.ClientID == "" {
		bad("a client id, to which the number of the share is added")
	}
	if cfg.Advanced.Clean() {
		bad("clean_session: false, because messages wait in the session while a share passes on")
	}
	if len(cfg.Consumers) == 0 {
		bad("a consumer")
	}
	for name, p := range cfg.Consumers {
		if p.ShareGroup != "" || p.Partition != nil {
			bad("consumer %s without share_group and partition of its own", name)
		}
		for _, t := range p.Topics {
			if qos := t.QoS; t.HasQoS && qos == packets.AtMostOnce || !t.HasQoS && p.QoS == packets.AtMostOnce {
				bad("QoS 1 or 2 for topic %q of consumer %s", t.Topic, name)
			}
		}
	}
	errs = append(errs, connector.Errors(d.config(0).Check()))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	d.sessions = newSessions(&d.cfg, leases, d.config, d.log)
	return d, nil
}

// config returns the configuration of a share.
func (d *Division) config(i int) *connector.Config {
	cfg := d.cfg
	cfg.General.ClientID += "-" + strconv.Itoa(i)
	cfg.Consumers = maps.Clone(cfg.Consumers)
	for name, p := range cfg.Consumers {
		p.Partition = &connector.Partition{Index: i, Count: d.leases.cfg.Count, Key: d.opts.Key}
		cfg.Consumers[name] = p
	}
	return &cfg
}

// Run runs the connectors of the shares that this process has, until ctx ends. It is called once.
//
// Before the first of them runs, in any process, all sessions are made at the Server: who has the lease of a share connects
// and subscribes for it, without acknowledging anything, and notes that in a bucket beside that of the leases. Another
// number of shares, other Topic Filters or another QoS make all sessions anew. What failed is logged, and tried
// again by whoever has the share by then; [Division.Missing] tells what all wait for.
func (d *Division) Run(ctx context.Context) {
	watching, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	helpers.Go(func() { d.sessions.watch(watching) })
	d.leases.Run(ctx, d.hold)
	stop()
	helpers.Wait()
}

// hold runs the connector of a share while the lease lasts.
func (d *Division) hold(ctx context.Context, l *Lease) error {
	starting, cancel := context.WithCancel(l.Context())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	if err := d.sessions.await(starting, l.Index); err != nil {
		return err
	}
	c, err := connector.New(*d.config(l.Index), d.opts.Connector)
	if err != nil {
		return err
	}
	if err := d.setup(c, l); err != nil {
		c.Stop(l.Context()) // its stores are open
		return err
	}
	err = c.Start(starting)
	if err == nil {
		d.log.Info("a share is worked on", "share", l.Index, "client_id", d.config(l.Index).General.ClientID)
		select {
		case <-ctx.Done():
		case <-l.Context().Done():
		case <-c.Done():
			err = c.Err()
		}
	}
	stopping, cancel := context.WithTimeout(l.Context(), d.opts.Patience)
	defer cancel()
	if stopped := c.Stop(stopping); err == nil {
		err = stopped
	}
	return err
}

// Flow returns a flow that runs f while the lease is valid, with a context that ends with the lease and that [Fence] knows.
// Afterwards it fails without being charged.
func (l *Lease) Flow(f flow.Flow) flow.Flow {
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })()
		defer cancel(nil)
		ctx = leaseContext{ctx, l}
		if err := ctx.Err(); err != nil {
			return nil, flow.Uncharged(err)
		}
		out, err := f.Run(ctx, m)
		if err != nil && !l.Valid() {
			err = flow.Uncharged(err)
		}
		return out, err
	})
}
