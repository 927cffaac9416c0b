package jetstream_test

import (
	"context"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// A connector that stops waits for messages in flight to the stream, and then the gateway ends.
func TestGatewayStopsInOrder(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	for _, order := range []jetstream.Order{jetstream.OrderFast, jetstream.OrderStrict} {
		stream, err := jetstream.Open(t.Context(), nc, jetstream.Config{Name: order.String(), Prefix: order.String(), AckTimeout: time.Minute})
		require.NoError(t, err)
		conn, err := connector.New((&task{Role: "gateway", Name: order.String(), MQTT: p.mqtt.Addr(), QoS: 1}).config(), connector.Options{})
		require.NoError(t, err)
		gateway := jetstream.NewGateway(stream, conn, "in", jetstream.GatewayOptions{Order: order})
		require.NoError(t, conn.Start(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- gateway.Run(context.WithoutCancel(t.Context())) }()
		p.nats.Pause()
		p.publish(0, 20, 5, 0)
		p.waits("all have arrived", func() bool { return conn.Health().Unacked == 20 })
		stopped := make(chan error, 1)
		go func() { stopped <- conn.Stop(context.WithoutCancel(t.Context())) }()
		for _, err := range conn.Pull(t.Context(), "in") { // until it stops
			require.Error(t, err)
		}
		p.nats.Resume()
		require.NoError(t, <-stopped)
		require.Error(t, <-ended)
		require.EqualValues(t, 20, gateway.Stats().Stored)
		require.EqualValues(t, 20, conn.Health().Acknowledged)
	}
}
