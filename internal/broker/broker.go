// Package broker runs an MQTT server inside the process, for tests, benchmarks and the
// quickstart. No library package and no shipped command links it.
package broker

import (
	"fmt"
	"io"
	"log/slog"
	"net"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// A Broker is a server on a free port of the loopback interface that accepts every client.
type Broker struct {
	// Addr is its host:port.
	Addr string

	// Server is the server itself.
	Server *mochi.Server

	listener *listener
}

// Start starts a broker. Each change may modify its capabilities first.
func Start(change ...func(*mochi.Capabilities)) (*Broker, error) {
	able := mochi.NewDefaultServerCapabilities()
	for _, f := range change {
		f(able)
	}
	server := mochi.New(&mochi.Options{
		Capabilities: able,
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	handover := newTakeover()
	if err := server.AddHook(handover, nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	counted := newListener(l, handover.closed)
	if err := server.AddListener(listeners.NewNet("tcp", counted)); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := server.Serve(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return &Broker{Addr: l.Addr().String(), Server: server, listener: counted}, nil
}

// Close stops the broker and cuts its connections.
func (b *Broker) Close() error {
	b.listener.stop()
	return b.Server.Close()
}
