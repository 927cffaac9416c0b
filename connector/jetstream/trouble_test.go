package jetstream_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	internalnats "github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// large publishes messages of 32 KiB.
func (p *plant) large(n int) {
	p.Helper()
	filler := bytes.Repeat([]byte("x"), 32<<10)
	for i := range n {
		require.NoError(p, p.pub.Publish(p.Context(), client.Message{Topic: fmt.Sprintf("in/device %d", i%5), Payload: fmt.Appendf(nil, "%d %d %s", i%5, i, filler), QoS: packets.AtLeastOnce}))
	}
}

// A full stream accepts nothing and removes nothing. The gateway waits, and messages continue, in the order of each
// device, when a worker has made room. The server has room for the leases beside the stream; otherwise no worker
// could start.
func TestFullStream(t *testing.T) {
	t.Parallel()
	const n = 100
	p := newSite(t)
	p.nats = internalnats.Start(t, internalnats.Options{MaxFile: "17MB"})
	p.stream = p.nats.Client
	nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	stream, err := jetstream.Open(t.Context(), nc, jetstream.Config{Name: "TEST", Partitions: streamPartitions, MaxBytes: 1 << 20})
	require.NoError(t, err)
	g := p.gatewayInto(stream, p.mqtt.Addr(), "")
	p.large(n)
	p.waits("the stream is full", func() bool { return strings.Contains(g.Stats().Problem, "maximum bytes exceeded") })
	b, err := stream.Backlog(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, g.Stats().Stored, b.Messages)
	start(t, p.task("worker", "one"))
	require.Empty(t, p.arrives(n, time.Minute).disorder)
	p.waits("the gateway has settled all", func() bool { return g.Stats().Stored == n && g.Stats().Problem == "" })
}

// A deleted stream accepts nothing; messages received meanwhile go into the stream that is created in its
// place.
func TestStreamIsDeleted(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	g := p.gateway(nc, p.mqtt.Addr(), "")
	p.publish(0, 100, 5, 0)
	p.waits("all is stored", func() bool { return g.Stats().Stored == 100 })
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	require.NoError(t, js.DeleteStream(t.Context(), "TEST"))
	p.publish(100, 100, 5, 0)
	p.waits("the gateway notices", func() bool { return g.Stats().Problem != "" })
	_, err = jetstream.Open(t.Context(), nc, jetstream.Config{Name: "TEST", Partitions: streamPartitions, Keep: time.Hour})
	require.NoError(t, err)
	require.Len(t, p.keys(nc, 100), 100)
	p.waits("all is stored", func() bool { return g.Stats().Stored == 200 && g.Stats().Problem == "" })
}

// The bucket of the leases is deleted twice under load: the workers create it again and continue, nothing is lost,
// and each device keeps its order.
func TestBucketIsDeleted(t *testing.T) {
	t.Parallel()
	const n = 3000
	p := newPlant(t)
	job := p.task("gateway", "gateway")
	job.Order = jetstream.OrderStrict
	start(t, job)
	start(t, p.task("worker", "one"))
	start(t, p.task("worker", "two"))
	p.subscribed()
	nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	published := make(chan struct{})
	go func() {
		defer close(published)
		p.publish(0, n, 20, 400)
	}()
	for i := range 2 {
		p.arrives((i+1)*n/4, time.Minute)
		require.NoError(t, js.DeleteKeyValue(t.Context(), "mqtt311-leases"))
	}
	<-published
	c := p.arrives(n, 2*time.Minute)
	t.Logf("%d ran again", c.copies)
	require.Empty(t, c.disorder)
}

// A stream that was created or changed by others, so that it would lose messages or keep fewer than requested, is
// refused with the reason.
func TestOpenRefusesStreams(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc, err := nats.Connect(p.stream)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for want, change := range map[string]func(*natsjs.StreamConfig){
		"":                           func(*natsjs.StreamConfig) {},
		"old, which are to be kept":  func(c *natsjs.StreamConfig) { c.MaxAge = time.Hour },
		"messages of each subject":   func(c *natsjs.StreamConfig) { c.MaxMsgsPerSubject = 5 },
		"acknowledges nothing":       func(c *natsjs.StreamConfig) { c.NoAck = true },
		"is sealed":                  func(c *natsjs.StreamConfig) { c.Sealed = true },
		"has the subjects":           func(c *natsjs.StreamConfig) { c.Subjects = []string{"p.0.>"} },
		"for 1m0s instead of 2m0s":   func(c *natsjs.StreamConfig) { c.Duplicates = time.Minute },
		"discards old messages":      func(c *natsjs.StreamConfig) { c.Discard, c.MaxMsgs = natsjs.DiscardOld, 100 },
		"is kept in memory":          func(c *natsjs.StreamConfig) { c.Storage = natsjs.MemoryStorage },
		"has the retention Interest": func(c *natsjs.StreamConfig) { c.Retention = natsjs.InterestPolicy },
		"by 1 servers instead of 3":  nil,
		"kept for 2h0m0s":            nil,
	} {
		s, err := jetstream.Open(ctx, nc, jetstream.Config{Name: "S", Prefix: "p"})
		require.NoError(t, err)
		require.NotNil(t, s)
		info, err := js.Stream(ctx, "S")
		require.NoError(t, err)
		cfg := info.CachedInfo().Config
		asked := jetstream.Config{Name: "S", Prefix: "p"}
		switch want {
		case "by 1 servers instead of 3":
			asked.Replicas = 3
		case "kept for 2h0m0s":
			asked.Keep = 2 * time.Hour
			cfg.Retention, cfg.MaxAge = natsjs.LimitsPolicy, time.Hour
		default:
			change(&cfg)
		}
		require.NoError(t, js.DeleteStream(ctx, "S"))
		sealed := cfg.Sealed
		cfg.Sealed = false
		_, err = js.CreateStream(ctx, cfg)
		require.NoError(t, err, want)
		if cfg.Sealed = sealed; sealed {
			_, err = js.UpdateStream(ctx, cfg)
			require.NoError(t, err)
		}
		_, err = jetstream.Open(ctx, nc, asked)
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
		require.NoError(t, js.DeleteStream(ctx, "S"))
	}
}
