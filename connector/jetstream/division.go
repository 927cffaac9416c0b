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

// DivisionOptions are options of a Division.
type DivisionOptions struct {
	// Connector has the options for each connector.
	Connector connector.Options

	// Key is the Key of each consumer's [connector.Partition]. If empty, the topic.
	Key string

	// Patience is how long running flows may continue when a share passes to another process. If
	// zero or negative, 10 seconds.
	Patience time.Duration

	// Logger logs what the Division does. If nil, nothing is logged.
	Logger *slog.Logger
}

// A Division divides the messages of a connector among a changing number of processes. It runs one
// connector for each share whose lease the process holds: share 3 of the ClientID plant has the
// session plant-3 at the MQTT Server, with the messages whose key belongs to partition 3. While no
// process holds the share, the Server keeps its session, which the next holder resumes. If a
// process was suspended and continues after another one has taken its share, the Server closes its
// connection, since both have the same ClientID [MQTT-3.1.4-2]. For other effects of a flow see
// [Fence].
type Division struct {
	cfg    connector.Config
	leases *Leases
	setup  func(c *connector.Connector, l *Lease) error
	opts   DivisionOptions
	log    *slog.Logger

	sessions *sessions
}

// NewDivision checks cfg and returns a Division for it. The sessions must be persistent
// (clean_session off) and all consumers must subscribe at QoS 1 or 2; otherwise messages would be
// lost whenever a share passes to another process. The function setup is called for each connector
// and must set the flows of its consumers; see [Lease.Flow].
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

// Run runs the connectors of the shares that this process holds, until ctx is done. It must be
// called only once.
//
// Before any connector runs in any process, all sessions are created at the Server: the holder of
// each share connects and subscribes, without acknowledging any message, and records that in a
// second bucket. If the number of shares, a Topic Filter or a QoS has changed, all sessions are
// created again. Failures are logged and retried by the process that then holds the share;
// [Division.Missing] returns the shares that all processes are waiting for.
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

// Flow returns a flow that runs f while the lease is valid, with a context that is canceled when
// the lease ends and that [Fence] accepts. After the lease has ended it fails with an error that is
// Uncharged.
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
