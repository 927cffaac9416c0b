package proofs

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// sized returns a function that makes messages with their number and enough further bytes that a
// queue in the wrong place shows in the memory.
func sized(topic string, size int) func(int) client.Message {
	return func(i int) client.Message {
		b := make([]byte, 0, size)
		b = fmt.Append(b, i, " ")
		return client.Message{Topic: topic, QoS: packets.AtLeastOnce, Payload: append(b, bytes.Repeat([]byte("x"), size-len(b))...)}
	}
}

// hurried returns the settings of a process whose flows take far longer than its keep alive.
func hurried(addr string) settings {
	return settings{
		addr: addr, id: "behind",
		advanced: ", keep_alive: 5s, ping_timeout: 5s",
		consumer: `topics: ["n/#"], qos: At Least Once`,
	}
}

// A million messages wait at the server, which sends all of them without waiting for acknowledgements, while a flow
// takes a minute. The process keeps within its memory and keeps its connection. When the flows are fast, every
// message runs.
func TestProofQueue(t *testing.T) {
	thorough.Only(t)
	apart(t)
	t.Parallel()
	messages, size, behind := pick(50_000, 1_000_000), pick(2048, 1024), pick(15*time.Second, 3*time.Minute)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited + "max_inflight_messages 0\n"})
	ctx := within(t)
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

// The same with flows that each publish at QoS 1 on their own connection: neither waits for the
// other for ever, and every published message arrives. The server sends its whole queue on each
// connection, of which the process holds 16 MiB. With a connection for the producers it need not
// reconnect.
func TestProofQueueFlowsPublish(t *testing.T) {
	thorough.Only(t)
	apart(t)
	t.Parallel()
	t.Run("shared", func(t *testing.T) {
		flowsPublish(t, "shared", func(messages, size int) int { return 4 + 2*messages*(size+512)/(16<<20) })
	})
	t.Run("separate", func(t *testing.T) {
		flowsPublish(t, "separate", func(int, int) int { return 10 })
	})
}

// flowsPublish runs the proof. connections returns how many connections there may be.
func flowsPublish(t *testing.T, producers string, connections func(messages, size int) int) {
	t.Parallel()
	// The window hardly matters: mosquitto 2.0.11 sends another whole window for each PUBACK.
	messages, size, behind := pick(10_000, 1_000_000), pick(4096, 1024), pick(15*time.Second, 130*time.Second)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited + "max_inflight_messages 0\n"})
	ctx := within(t)
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
	s.extend = "producer_connection: " + producers
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
	require.LessOrEqual(t, r.Events["connected"], connections(messages, size), "connections")
}

// In simulated time, with a server that knows no window: flows of a minute with a keep alive of
// five seconds, each of which publishes, work through a queue of hours. No PINGREQ is late, and
// nothing waits for ever.
func TestProofQueueExactTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages, size := pick(3000, 30_000), pick(8192, 1024) // more than the process may keep in memory
		s := settings{
			addr: "127.0.0.1:1883", id: "behind", advanced: ", keep_alive: 5s, ping_timeout: 5s",
			consumer: `topics: ["n/#"], qos: At Least Once`, extra: "producers:\n  out: {topic: out/x, qos: At Least Once}\n",
		}
		cfg, _, err := config.Parse([]byte(s.yaml()), "")
		require.NoError(t, err)
		server := windowless{Server: clienttest.NewServer()}
		for i := range messages {
			server.open = append(server.open, &packets.Publish{Topic: "n/x", QoS: 1, PacketID: uint16(i + 1), Payload: sized("n/x", size)(i).Payload})
		}
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { server.run(ctx) })
		var said reporter
		c, err := connector.New(*cfg, connector.Options{Dial: server.Dial, OnEvent: said.event})
		require.NoError(t, err)
		var runs tally
		require.NoError(t, c.Consume("in", flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			runs.add(m)
			time.Sleep(time.Minute)
			return c.Producer("out").Run(ctx, m)
		})))
		require.NoError(t, c.Start(ctx))
		start, most, last := time.Now(), 0, -1
		for acked := 0; acked < messages; acked = int(c.Health().Acknowledged) {
			time.Sleep(10 * time.Minute)
			h := c.Health()
			most = max(most, h.Unacked+h.Client.InboxMessages)
			if acked == last {
				events, _ := said.counts()
				t.Fatalf("nothing more after %d: %v, %+v", acked, events, h)
			}
			last = acked
		}
		events, losses := said.counts()
		halt(t, c)
		cancel()
		serving.Wait()
		ran, total := runs.counts()
		t.Logf("%d messages, sent %d times, %d runs in %v; at the most %d in memory; %d published; events %v",
			messages, server.sent, total, time.Since(start), most, server.published, events)
		require.Equal(t, messages, ran)
		require.Equal(t, messages, server.published)
		require.Greater(t, server.sent, messages, "all of it had room")
		require.LessOrEqual(t, most, 256+(16<<20)/(size+512)+1)
		require.Empty(t, losses)
	})
}

// A windowless server sends all unacknowledged messages on each connection at once, whatever is
// acknowledged meanwhile.
type windowless struct {
	*clienttest.Server

	mu        sync.Mutex
	open      []*packets.Publish
	sent      int
	published int // messages published to it
}

func (s *windowless) run(ctx context.Context) {
	for present := false; ; present = true {
		conn, err := s.Accept(ctx)
		if err != nil {
			return
		}
		if _, err := conn.Handshake(present); err == nil {
			s.serve(conn)
		}
		conn.Close()
	}
}

// serve reads packets, and sends answers after the unacknowledged messages.
func (s *windowless) serve(conn *clienttest.Conn) {
	answers := make(chan packets.Packet, 1<<16)
	var writing sync.WaitGroup
	writing.Go(func() {
		s.mu.Lock()
		all := slices.Clone(s.open)
		s.mu.Unlock()
		for _, p := range all {
			if conn.Send(p) != nil {
				return
			}
			s.mu.Lock()
			p.Dup = true
			s.sent++
			s.mu.Unlock()
		}
		for p := range answers {
			if conn.Send(p) != nil {
				return
			}
		}
	})
	defer writing.Wait()
	defer conn.Close()
	defer close(answers)
	for {
		p, err := conn.Receive()
		if err != nil {
			return
		}
		s.mu.Lock()
		switch p := p.(type) {
		case *packets.Subscribe:
			answers <- &packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{1}}
		case *packets.Pingreq:
			answers <- &packets.Pingresp{}
		case *packets.Publish:
			s.published++
			answers <- &packets.Puback{PacketID: p.PacketID}
		case *packets.Puback:
			s.open = slices.DeleteFunc(s.open, func(o *packets.Publish) bool { return o.PacketID == p.PacketID })
		}
		s.mu.Unlock()
	}
}
