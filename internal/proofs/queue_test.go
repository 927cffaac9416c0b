package proofs

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// sized is a message with its number and enough behind it that a queue in the wrong place shows.
func sized(topic string, size int) func(int) client.Message {
	return func(i int) client.Message {
		b := make([]byte, 0, size)
		b = fmt.Append(b, i, " ")
		return client.Message{Topic: topic, QoS: packets.AtLeastOnce, Payload: append(b, bytes.Repeat([]byte("x"), size-len(b))...)}
	}
}

// hurried are the settings of a process whose flows take far longer than its keep alive.
func hurried(addr string) settings {
	return settings{
		addr: addr, id: "behind",
		advanced: ", keep_alive: 5s, ping_timeout: 5s",
		consumer: `topics: ["n/#"], qos: At Least Once`,
	}
}

// A million messages wait at the server, which sends as many as there are Packet Identifiers,
// while flows take a minute. The process keeps its memory and its connection. When the flows hurry, every
// message runs.
func TestProofQueue(t *testing.T) {
	t.Parallel()
	messages, size, behind := pick(50_000, 1_000_000), pick(4096, 1024), pick(15*time.Second, 3*time.Minute)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited + "max_inflight_messages 0\n"})
	ctx := within(t, 2*time.Minute)
	subscribed(t, ctx, b.Addr(), "behind", "n/#", packets.AtLeastOnce)
	p := publisher(t, ctx, b.Addr())
	require.NoError(t, publish(ctx, p, 0, messages, sized("n/x", size)))

	job := hurried(b.Addr()).task(t)
	job.Least = pick(6*time.Second, time.Minute)
	job.Most = job.Least
	w := job.start(t)
	w.started(ctx)
	time.Sleep(behind)
	slow := w.now()
	w.hurry()
	j := job.journal(t)
	j.await(ctx, messages)
	w.idle(ctx)
	r := w.now()
	w.stop()
	t.Logf("%d messages of %d bytes, %d runs; flows of %v for %v: %d runs, events %v; at the most %d MiB", messages, size, j.runs, job.Least, behind,
		slow.Health.Succeeded, slow.Events, w.most.Load()>>10)
	require.Len(t, j.ended, messages)
	require.Empty(t, r.Losses, "connections were lost")
	require.Less(t, w.most.Load(), int64(64<<10), "KiB of memory")
}

// The same where every flow publishes at QoS 1 on the connection that it came from: neither
// waits for the other for ever, and all that is published arrives.
func TestProofQueueFlowsPublish(t *testing.T) {
	t.Parallel()
	messages, size, behind := pick(10_000, 1_000_000), pick(4096, 256), pick(15*time.Second, 3*time.Minute)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited + "max_inflight_messages 0\n"})
	ctx := within(t, 2*time.Minute)
	subscribed(t, ctx, b.Addr(), "behind", "n/#", packets.AtLeastOnce)
	p := publisher(t, ctx, b.Addr())
	require.NoError(t, publish(ctx, p, 0, messages, sized("n/x", size)))
	var mu sync.Mutex
	arrived, total := make(map[string]bool), 0
	observer, err := client.New(client.Config{Dial: dialer(b.Addr()), CleanSession: true})
	require.NoError(t, err)
	require.NoError(t, observer.Handle("out/#", func(_ context.Context, m *client.Delivery) {
		number, _, _ := bytes.Cut(m.Payload, []byte(" "))
		mu.Lock()
		defer mu.Unlock()
		arrived[string(number)] = true
		total++
	}))
	require.NoError(t, observer.Connect(ctx))
	t.Cleanup(observer.Abort)
	_, err = observer.Subscribe(ctx, packets.Subscription{Filter: "out/#", QoS: packets.AtLeastOnce})
	require.NoError(t, err)

	s := hurried(b.Addr())
	s.extra = "producers:\n  out: {topic: out/x, qos: At Least Once}\n"
	job := s.task(t)
	job.Least = pick(6*time.Second, time.Minute)
	job.Most = job.Least
	job.Producer = "out"
	w := job.start(t)
	w.started(ctx)
	time.Sleep(behind)
	slow := w.now()
	w.hurry()
	j := job.journal(t)
	j.await(ctx, messages)
	w.idle(ctx)
	eventually(t, ctx, func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		return total, len(arrived) == messages
	})
	r := w.now()
	w.stop()
	t.Logf("%d messages of %d bytes, %d runs, %d published; flows of %v for %v: %d runs, events %v; then %v; at the most %d MiB", messages, size, j.runs, total,
		job.Least, behind, slow.Health.Succeeded, slow.Events, r.Events, w.most.Load()>>10)
	require.Empty(t, r.Losses, "connections were lost")
	require.Less(t, w.most.Load(), int64(64<<10), "KiB of memory")
}

// Exact time, and a server that knows no window at all: flows of a minute at a keep alive of five
// seconds, each of which publishes, work through a queue of an hour. No PINGRESP is late, and
// none waits for another for ever.
func TestProofQueueExactTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := pick(3000, 20_000)
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		b, err := broker.On(l, func(able *mochi.Capabilities) {
			able.MaximumInflight = 65_535
			able.MaximumClientWritesPending = 1 << 17
		})
		require.NoError(t, err)
		s := settings{
			addr: "127.0.0.1:1883", id: "behind", advanced: ", keep_alive: 5s, ping_timeout: 5s",
			consumer: `topics: ["n/#"], qos: At Least Once`, extra: "producers:\n  out: {topic: out/x, qos: At Least Once}\n",
		}
		cfg, _, err := config.Parse([]byte(s.yaml()), "")
		require.NoError(t, err)
		var said reporter
		c, err := connector.New(*cfg, connector.Options{Dial: l.dial, OnEvent: said.event})
		require.NoError(t, err)
		var runs tally
		require.NoError(t, c.Consume("in", connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
			runs.add(m)
			time.Sleep(time.Minute)
			return c.Producer("out").Run(ctx, m)
		})))
		require.NoError(t, c.Start(t.Context()))
		p, err := client.New(client.Config{Dial: l.dial, CleanSession: true})
		require.NoError(t, err)
		require.NoError(t, p.Connect(t.Context()))
		start := time.Now()
		require.NoError(t, publish(t.Context(), p, 0, messages, numbered("n/x", packets.AtLeastOnce)))
		most := 0
		for ran := 0; ran < messages; ran, _ = runs.counts() {
			time.Sleep(time.Minute)
			h := c.Health()
			most = max(most, h.Unacked+h.Client.InboxMessages)
			require.Less(t, h.OldestUnacked, 10*time.Minute, "%+v", h)
		}
		time.Sleep(time.Hour)
		h := c.Health()
		ran, total := runs.counts()
		t.Logf("%d messages, %d runs in %v; at the most %d in memory; events %v", messages, total, time.Since(start)-time.Hour, most, said.events)
		require.Equal(t, messages, ran)
		require.Zero(t, h.Unacked)
		require.Empty(t, said.losses)
		halt(t, c)
		require.NoError(t, p.Close(t.Context()))
		require.NoError(t, b.Close())
	})
}

// pipes are a listener of in-memory connections.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1883} }
