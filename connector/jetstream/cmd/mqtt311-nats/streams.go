package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/nats-io/nats.go"
)

// streams makes the parts of the command that need NATS servers.
type streams struct{}

func (streams) Gateway(cfg *connector.Config, c *connector.Connector, log *slog.Logger) command.Part {
	return &gateway{server: server{n: cfg.NATS, name: cfg.General.ClientID, log: log}, consumer: cfg.NATSConsumer(), c: c}
}

func (streams) Worker(cfg *connector.Config, c *connector.Connector, f flow.Flow, patience time.Duration, log *slog.Logger) command.Part {
	name := cfg.NATSConsumer()
	return &worker{
		server:   server{n: cfg.NATS, name: cfg.General.ClientID, log: log},
		consumer: name, c: c, flow: f, inFlight: cfg.Consumers[name].MaxInFlight, patience: patience,
	}
}

func (streams) Division(cfg *connector.Config, o command.DivisionOptions) command.Part {
	n, leases := jetstream.DivisionOf(cfg, o.Logger)
	return &division{server: server{n: n, name: cfg.General.ClientID, log: o.Logger}, cfg: cfg, config: leases, opts: o, gateways: make(map[*jetstream.Gateway]bool)}
}

// A server is the NATS connection of a part, with the stream if it has one.
type server struct {
	n    *connector.NATS
	name string
	log  *slog.Logger

	mu     sync.Mutex // guards the fields set by open, which readiness and metrics read meanwhile
	conn   *nats.Conn
	stream *jetstream.Stream
}

// How long a server may take for each answer while a part is opened, and when metrics are collected.
const (
	patience       = 5 * time.Second
	metricPatience = 2 * time.Second
)

// open connects and, if streamed is true, opens the stream.
func (s *server) open(ctx context.Context, streamed bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn := s.connection()
	if conn == nil {
		var err error
		if conn, err = jetstream.Dial(s.n, s.name, s.log); err != nil {
			return failed(err)
		}
		s.set(func() { s.conn = conn })
	}
	if !streamed {
		return nil
	}
	stream, err := jetstream.Open(ctx, conn, jetstream.StreamOf(s.n))
	if err != nil {
		return failed(err)
	}
	s.set(func() { s.stream = stream })
	return nil
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) connection() *nats.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

func (s *server) opened() *jetstream.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream
}

// failed adds the exit code to an error of NATS.
func failed(err error) error {
	switch {
	case errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked):
		return command.Fail(command.ExitRefused, "the NATS server refuses who we are: %w", "NATS 服务器拒绝了身份验证：%w", err)
	case jetstream.Temporary(err):
		return command.Fail(command.ExitConnection, "no connection to NATS: %w", "无法连接 NATS：%w", err)
	}
	return command.Fail(command.ExitUsage, "NATS: %w", "NATS：%w", err)
}

func (s *server) close() {
	if conn := s.connection(); conn != nil {
		conn.Close()
	}
}

// reasons adds the reasons that concern the connection.
func (s *server) reasons(add func(code, en, zh string, args ...any)) {
	if conn := s.connection(); conn == nil || !conn.IsConnected() {
		add("stream_not_connected", "not connected to NATS", "未连接 NATS")
	}
}
