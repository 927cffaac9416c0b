package jetstream_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	internalnats "github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

var long = flag.Bool("jetstream.long", false, "run the long forms")

// scale returns the value for the short or the long form.
func scale[T any](short, longer T) T {
	if *long {
		return longer
	}
	return short
}

// From the Server into the stream, and from there through the flows of two workers: each message once, in order
// for each device.
func TestThrough(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	start(t, p.task("gateway", "gateway"))
	start(t, p.task("worker", "one"))
	start(t, p.task("worker", "two"))
	p.subscribed()
	p.publish(0, 2000, 20, 0)
	c := p.arrives(2000, time.Minute)
	require.Empty(t, c.disorder)
	require.Zero(t, c.copies)
}

// Each role is killed in turn, and so is the NATS server: nothing is lost, the first runs are in order for each
// device, and the stream has nothing twice, since the gateway subscribes at QoS 2 and has a ledger.
func TestKills(t *testing.T) {
	t.Parallel()
	n := scale(3000, 100_000)
	p := newPlant(t)
	job := p.task("gateway", "gateway")
	job.Order, job.Ledger, job.Store = jetstream.OrderStrict, true, t.TempDir()
	gateway := start(t, job)
	one, two := start(t, p.task("worker", "one")), start(t, p.task("worker", "two"))
	p.subscribed()
	published := make(chan struct{})
	go func() {
		defer close(published)
		p.publish(0, n, 50, scale(400, 1000))
	}()
	kills := 0
	for next := time.NewTicker(scale(700*time.Millisecond, 3*time.Second)); ; kills++ {
		select {
		case <-next.C:
			switch kills % 4 {
			case 0:
				gateway.again()
			case 1:
				one.again()
			case 2:
				p.nats.Kill()
				p.nats.Restart()
			case 3:
				two.again()
			}
			continue
		case <-published:
			next.Stop()
		}
		break
	}
	c := p.arrives(n, scale(2*time.Minute, 20*time.Minute))
	t.Logf("%d messages, %d kills: %d ran again, of which the stream had %d twice", c.first, kills, c.copies, c.twice)
	require.Empty(t, c.disorder)
	require.Zero(t, c.twice)
}

// Three servers keep the stream. While they are killed one after another, nothing is lost, and each device keeps
// its order.
func TestCluster(t *testing.T) {
	t.Parallel()
	n := scale(2000, 100_000)
	p := newSite(t)
	cluster := internalnats.StartCluster(t, 3)
	p.stream = cluster.Client
	role := func(role, name string) task {
		job := p.task(role, name)
		job.Replicas, job.TTL = 3, 4*time.Second
		return job
	}
	job := role("gateway", "gateway")
	job.Order, job.Ledger, job.Store = jetstream.OrderStrict, true, t.TempDir()
	start(t, job)
	start(t, role("worker", "one"))
	start(t, role("worker", "two"))
	p.subscribed()
	published := make(chan struct{})
	go func() {
		defer close(published)
		p.publish(0, n, 50, scale(200, 500))
	}()
	for i := 0; ; i++ {
		select {
		case <-time.After(2 * time.Second):
			cluster.Servers[i%3].Kill()
			time.Sleep(500 * time.Millisecond)
			cluster.Servers[i%3].Restart()
			continue
		case <-published:
		}
		break
	}
	c := p.arrives(n, scale(2*time.Minute, 20*time.Minute))
	t.Logf("%d ran again, of which the stream had %d twice", c.copies, c.twice)
	require.Empty(t, c.disorder)
	require.Zero(t, c.twice)
}

// A worker that was stopped for longer than its leases does not run messages that another process has taken
// meanwhile: each device keeps its order.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	job := p.task("gateway", "gateway")
	job.Order = jetstream.OrderStrict
	start(t, job)
	slow := p.task("worker", "one")
	slow.FlowTime = 5 * time.Millisecond
	one := start(t, slow)
	slow.Name = "two"
	two := start(t, slow)
	p.subscribed()
	published := make(chan struct{})
	go func() {
		defer close(published)
		p.publish(0, 2500, 20, 250)
	}()
	for _, c := range []*child{one, two} {
		time.Sleep(time.Second)
		c.signal(syscall.SIGSTOP)
		time.Sleep(3 * time.Second)
		c.signal(syscall.SIGCONT)
	}
	<-published
	c := p.arrives(2500, time.Minute)
	t.Logf("%d ran again", c.copies)
	require.Empty(t, c.disorder)
}

// While the stream does not respond, the gateway acknowledges no message that the stream does not have: messages
// published meanwhile arrive, although the gateway is killed. It keeps its connection to the Server, and its memory
// is bounded.
func TestStreamStands(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	job := p.task("gateway", "gateway")
	job.KeepAlive = 2 * time.Second
	gateway := start(t, job)
	start(t, p.task("worker", "one"))
	p.subscribed()
	p.publish(0, 100, 10, 0)
	p.arrives(100, 30*time.Second)
	before := gateway.memory()

	p.nats.Pause()
	p.publish(100, 2000, 10, 0)
	filler := bytes.Repeat([]byte("x"), 64<<10)
	for i := range scale(500, 5000) { // 32 MB, where 16 may be in hand
		require.NoError(t, p.pub.Publish(t.Context(), client.Message{
			Topic: "in/large", Payload: fmt.Appendf(nil, "0 %d %s", 10_000+i, filler), QoS: packets.AtLeastOnce,
		}))
	}
	time.Sleep(scale(5*time.Second, 5*time.Minute))
	require.Less(t, gateway.memory(), before+(96<<20))
	require.Equal(t, 1, strings.Count(p.log(), " as gateway ("), "the gateway has connected once")

	gateway.again()
	p.nats.Resume()
	c := p.arrives(2100+scale(500, 5000), scale(2*time.Minute, 10*time.Minute))
	t.Logf("%d ran again", c.copies)
}

// A poisonous message becomes a dead letter after its retries, and does not affect its neighbours.
func TestPoison(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	start(t, p.task("gateway", "gateway"))
	job := p.task("worker", "one")
	job.Dead = filepath.Join(t.TempDir(), "dead")
	start(t, job)
	p.subscribed()
	for i := range 200 {
		payload := fmt.Sprintf("%d %d", i%10, i)
		if i%20 == 5 {
			payload = "poison " + payload
		}
		require.NoError(t, p.pub.Publish(t.Context(), client.Message{Topic: fmt.Sprint("in/", i%10), Payload: []byte(payload), QoS: packets.AtLeastOnce}))
	}
	c := p.arrives(190, 30*time.Second)
	require.Empty(t, c.disorder)
	p.waits("dead letters", func() bool {
		text, _ := os.ReadFile(job.Dead)
		return bytes.Count(text, []byte("\n")) == 10
	})
	require.Equal(t, 190, p.read().first)
	require.Zero(t, p.read().copies)
}

// An existing stream is used unchanged, or refused with an error that says what does not fit.
func TestOpen(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc, err := nats.Connect(p.nats.Client)
	require.NoError(t, err)
	defer nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := jetstream.Open(ctx, nc, jetstream.Config{Name: "A", Prefix: "a"})
	require.NoError(t, err)
	require.Equal(t, 16, s.Partitions())
	b, err := s.Backlog(ctx)
	require.NoError(t, err)
	require.Zero(t, b)
	_, err = jetstream.Open(ctx, nc, jetstream.Config{Name: "A", Prefix: "a", MaxBytes: -1})
	require.NoError(t, err)
	for want, cfg := range map[string]jetstream.Config{
		"mqtt311.partitions": {Name: "A", Prefix: "a", Partitions: 8},
		"mqtt311.prefix":     {Name: "A", Prefix: "b"},
		"retention":          {Name: "A", Prefix: "a", Keep: time.Hour},
		"Config.Name":        {Name: "a b"},
		"Config.Prefix":      {Name: "A", Prefix: "a.b"},
		"Config.Partitions":  {Name: "A", Partitions: 1025},
		"Config.Replicas":    {Name: "A", Replicas: 2},
		"Config.Duplicates":  {Name: "A", Keep: time.Second},
		"subjects overlap":   {Name: "B", Prefix: "a"},
	} {
		_, err := jetstream.Open(ctx, nc, cfg)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "jetstream:")
	}
}
