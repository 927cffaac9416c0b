package main

import (
	"context"
	"sync"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/jetstream"
)

// A gateway moves the messages of a consumer into the stream.
type gateway struct {
	server
	consumer string
	c        *connector.Connector

	gateway *jetstream.Gateway // guarded by server.mu
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (g *gateway) Open(ctx context.Context) error {
	if err := g.open(ctx, true); err != nil {
		return err
	}
	gate := jetstream.NewGateway(g.opened(), g.c, g.consumer, jetstream.GatewayOf(g.n, g.log))
	g.set(func() { g.gateway = gate })
	return nil
}

// Run returns when ctx ends, but the gateway continues: the connector, which is stopped next, waits for
// it.
func (g *gateway) Run(ctx context.Context) error {
	over := make(chan error, 1)
	var running context.Context
	running, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	g.running.Go(func() { over <- g.gateway.Run(running) })
	select {
	case err := <-over:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (g *gateway) Close() {
	if g.cancel != nil {
		g.cancel()
	}
	g.running.Wait()
	g.close()
}

func (g *gateway) Collect(e *command.Exposition) {
	g.collect(e)
	g.mu.Lock()
	gate := g.gateway
	g.mu.Unlock()
	if gate != nil {
		collectGateway(e, gate.Stats())
	}
}

func (g *gateway) Reasons(add func(code, en, zh string, args ...any)) {
	g.reasons(add)
	g.mu.Lock()
	gate := g.gateway
	g.mu.Unlock()
	if gate != nil {
		blocked(gate.Stats(), add)
	}
}

// blocked adds the reason for a gateway whose stream accepts no messages.
func blocked(s jetstream.GatewayStats, add func(code, en, zh string, args ...any)) {
	if s.Problem != "" {
		add("stream_blocked", "the stream takes nothing: %s", "流不接收消息：%s", s.Problem)
	}
}
