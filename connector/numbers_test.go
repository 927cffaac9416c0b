package connector_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// only returns the bound of the single bucket that has a duration, and the sum of the histogram.
func only(t *testing.T, h connector.Histogram) (bound, sum time.Duration) {
	t.Helper()
	require.EqualValues(t, 1, h.Count())
	for i, n := range h.Buckets {
		if n == 1 && i < len(connector.HistogramBounds) {
			bound = connector.HistogramBounds[i]
		}
	}
	return bound, h.Sum
}

// Health has the durations and outcomes of flows.
func TestHealthOfFlows(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{}), step(func(context.Context) error { time.Sleep(3 * time.Second); return nil }))
		d.send(&packets.Publish{Topic: "t/a", QoS: 1, PacketID: 1, Dup: true, Retain: true})
		d.expect("PUBACK id=1")
		h := d.connector.Health()
		bound, sum := only(t, h.FlowTime)
		require.Equal(t, 5*time.Second, bound)
		require.Equal(t, 3*time.Second, sum)
		require.Equal(t, [3][2][2]uint64{1: {1: {1: 1}}}, h.ReceivedBy)
		require.True(t, h.CertificatesExpire.IsZero())
	})
	second := time.Second
	inBubble(t, func(d *dialogue) {
		p := onFailure(0, connector.OnFailure{Then: connector.Drop})
		p.FlowTimeout = &second
		d.run(kept(p), flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			if string(m.Payload.Blob) == "b" {
				panic("b")
			}
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}))
		d.deliver(1, "a", "b")
		d.expect("PUBACK id=1", "PUBACK id=2")
		h := d.connector.Health()
		require.EqualValues(t, 2, h.Failed)
		require.EqualValues(t, 1, h.TimedOut)
		require.EqualValues(t, 1, h.Panicked)
	})
	inBubble(t, func(d *dialogue) {
		p := onFailure(0, connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: t.TempDir() + "/no/such/folder"})
		d.run(kept(p), step(func(context.Context) error { return errGate }))
		d.deliver(1, "a")
		d.expectNothing(time.Minute)
		require.Positive(t, d.connector.Health().DeadLettersRefused)
	})
}

// Health has the published messages of producers by QoS and outcome.
func TestHealthOfProducers(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "one", QoS: packets.AtLeastOnce}), nil)
		publish := func() func() error {
			return d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		}
		done := publish()
		d.expect("PUBLISH one qos=1 id=1 dup=false payload=21")
		require.EqualValues(t, 1, d.connector.Health().Publishing)
		time.Sleep(2 * time.Second)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		done = publish()
		d.expect("PUBLISH one qos=1 id=2 dup=false payload=21")
		require.Error(t, done(), "no answer")

		h := d.connector.Health()
		require.Zero(t, h.Publishing)
		require.Equal(t, connector.Publishes{}, h.PublishedBy[0])
		one := h.PublishedBy[1]
		require.EqualValues(t, 1, one.Succeeded)
		require.EqualValues(t, 1, one.Unknown)
		require.Zero(t, one.Failed)
		require.EqualValues(t, 2, one.Time.Count())
		require.Equal(t, 32*time.Second, one.Time.Sum)
	})
}

// Health has the expiry of the server's certificate, over TLS and WebSocket Secure.
func TestHealthOfCertificates(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	for url, protocol := range map[string]connector.Protocol{b.TLS: connector.TLS, b.WSS: connector.WebSocketSecure} {
		_, address, _ := strings.Cut(url, "://")
		c, err := connector.New(connector.Config{
			General: connector.General{BrokerURL: address, Protocol: protocol, ClientID: "c", TLSServerCert: b.CAFile},
		}, connector.Options{})
		require.NoError(t, err)
		require.NoError(t, c.Start(t.Context()))
		require.WithinDuration(t, b.Server.Cert.NotAfter, c.Health().CertificatesExpire, 0)
		require.NoError(t, c.Stop(t.Context()))
	}
}
