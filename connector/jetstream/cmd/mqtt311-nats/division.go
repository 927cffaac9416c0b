package main

import (
	"context"
	"maps"
	"sync"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/jetstream"
)

// A division runs a connector for each partition that this process has leased.
type division struct {
	server
	cfg    *connector.Config
	config jetstream.LeaseConfig
	opts   command.DivisionOptions

	division *jetstream.Division // guarded by server.mu, like the fields below
	leases   *jetstream.Leases
	gateways map[*jetstream.Gateway]bool
	past     jetstream.GatewayStats // of gateways that have ended
	running  sync.WaitGroup
}

func (d *division) Open(ctx context.Context) error {
	if err := d.open(ctx, d.opts.Into); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leases, err := jetstream.NewLeases(within, d.connection(), d.config)
	if err != nil {
		return failed(err)
	}
	cfg := *d.cfg
	key := cfg.Lease().Key
	cfg.Consumers = maps.Clone(cfg.Consumers)
	for name, p := range cfg.Consumers {
		p.Partition = nil // the division has its own
		cfg.Consumers[name] = p
	}
	div, err := jetstream.NewDivision(cfg, leases, d.setUp, jetstream.DivisionOptions{
		Connector: connector.Options{Logger: d.log}, Key: key, Patience: d.opts.Patience, Logger: d.log,
	})
	if err != nil {
		return command.Coded(command.ExitUsage, err)
	}
	d.set(func() { d.division, d.leases = div, leases })
	return nil
}

// setUp gives the consumers of a partition's connector their flows, or starts its gateway.
func (d *division) setUp(c *connector.Connector, l *jetstream.Lease) error {
	streamed := ""
	var gate *jetstream.Gateway
	if d.opts.Into {
		streamed = d.cfg.NATSConsumer()
		gate = jetstream.NewGateway(d.opened(), c, streamed, jetstream.GatewayOf(d.n, d.log))
		d.set(func() { d.gateways[gate] = true })
		d.running.Go(func() { gate.Run(l.Context()) })
	}
	for name := range d.cfg.Consumers {
		if name == streamed {
			continue
		}
		if err := c.Consume(name, l.Flow(d.opts.Flow(c, name))); err != nil {
			return err
		}
	}
	d.opts.Joined(l.Index, c)
	context.AfterFunc(l.Context(), func() {
		d.opts.Left(l.Index, c)
		d.leave(gate)
	})
	return nil
}

// leave adds the counts of a gateway, which may be nil, to those of ended gateways.
func (d *division) leave(gate *jetstream.Gateway) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gateways[gate] {
		d.past = sum(d.past, gate.Stats())
		delete(d.gateways, gate)
	}
}

func (d *division) Run(ctx context.Context) error {
	d.division.Run(ctx)
	return nil
}

func (d *division) Close() {
	d.running.Wait()
	d.close()
}

// stats returns the counts of the running gateways, and the sum of those that have ended.
func (d *division) stats() (now []jetstream.GatewayStats, past jetstream.GatewayStats) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for gate := range d.gateways {
		now = append(now, gate.Stats())
	}
	return now, d.past
}

func (d *division) Collect(e *command.Exposition) {
	d.collect(e)
	d.mu.Lock()
	leases := d.leases
	d.mu.Unlock()
	if leases == nil {
		return
	}
	d.collectLeases(e, leases)
	if d.opts.Into {
		now, past := d.stats()
		collectGateway(e, sum(past, now...))
	}
}

func (d *division) Reasons(add func(code, en, zh string, args ...any)) {
	d.reasons(add)
	d.mu.Lock()
	div := d.division
	d.mu.Unlock()
	if div != nil {
		if missing := div.Missing(); len(missing) > 0 {
			add("sessions_missing", "the sessions of partitions %v are not made", "分区 %v 的会话尚未建立", missing)
		}
	}
	now, _ := d.stats()
	for _, s := range now {
		if s.Problem != "" {
			blocked(s, add)
			return
		}
	}
}
