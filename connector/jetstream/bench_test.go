package jetstream_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	internalnats "github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

var rounds = flag.Int("jetstream.rounds", 3, "how often a benchmark measures in turn; it reports medians")

// BenchmarkGateway moves messages of 256 bytes at QoS 1 from mosquitto into a stream on disk. It reports the
// throughput as a share of what mosquitto can send or the stream can store by itself, whichever is less. The
// messages wait in a session at the Server before the time starts. All are measured in turn, together with
// processor time, because on a machine with few cores the processes compete for it. Run it with make
// bench-jetstream.
func BenchmarkGateway(b *testing.B) {
	b.Run("sync=default", func(b *testing.B) { benchmarkGateway(b, false) })
	b.Run("sync=always", func(b *testing.B) { benchmarkGateway(b, true) })
}

// unbounded lets the Server keep and send any number of messages.
var unbounded = mosquitto.Options{
	Config: "log_type none\nmax_queued_messages 0\nmax_inflight_messages 0\nautosave_on_changes false\nautosave_interval 1800",
}

func benchmarkGateway(b *testing.B, sync bool) {
	mqtt := mosquitto.Start(b, unbounded)
	server := internalnats.Start(b, internalnats.Options{Sync: sync})
	nc, err := nats.Connect(server.Client)
	require.NoError(b, err)
	b.Cleanup(nc.Close)
	processes := []struct {
		name string
		pid  int
	}{{"gateway", os.Getpid()}, {"mosquitto", mqtt.PID()}, {"nats", server.PID()}}
	figures := make(map[string][]float64)
	measure := func(name string, run func()) (rate float64) {
		var before []time.Duration
		for _, p := range processes {
			before = append(before, processor(b, p.pid))
		}
		begin := time.Now()
		run()
		rate = float64(b.N) / time.Since(begin).Seconds()
		figures[name+"/s"] = append(figures[name+"/s"], rate)
		for i, p := range processes {
			spent := processor(b, p.pid) - before[i]
			figures[name+"-"+p.name+"-us"] = append(figures[name+"-"+p.name+"-us"], spent.Seconds()*1e6/float64(b.N))
		}
		return rate
	}
	for round := range *rounds {
		smaller := min(
			measure("mosquitto", receives(b, mqtt, "plain"+strconv.Itoa(round), b.N)),
			measure("stream", stores(b, nc, "alone"+strconv.Itoa(round), b.N)))
		for _, order := range []jetstream.Order{jetstream.OrderFast, jetstream.OrderStrict} {
			name := order.String() + strconv.Itoa(round)
			stream, err := jetstream.Open(b.Context(), nc, jetstream.Config{Name: name, Prefix: name})
			require.NoError(b, err)
			rate := measure(order.String(), moves(b, mqtt, stream, name, b.N, order))
			figures[order.String()+"-share"] = append(figures[order.String()+"-share"], rate/smaller)
			backlog, err := stream.Backlog(b.Context())
			require.NoError(b, err)
			figures["stored-bytes"] = append(figures["stored-bytes"], float64(backlog.Bytes)/float64(backlog.Messages))
		}
	}
	for name, values := range figures {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], name)
	}
	b.ReportMetric(0, "ns/op") // of all together: it says nothing
}

// BenchmarkWorker takes messages of 256 bytes from a stream on disk and passes them to a flow that does nothing.
func BenchmarkWorker(b *testing.B) {
	mqtt := mosquitto.Start(b, unbounded)
	server := internalnats.Start(b, internalnats.Options{})
	nc, err := nats.Connect(server.Client)
	require.NoError(b, err)
	b.Cleanup(nc.Close)
	stream, err := jetstream.Open(b.Context(), nc, jetstream.Config{Name: "BENCH", Partitions: streamPartitions})
	require.NoError(b, err)
	moves(b, mqtt, stream, "into", b.N, jetstream.OrderFast)()
	conn, err := connector.New(connector.Config{
		General:   connector.General{BrokerURL: mqtt.Addr(), ClientID: "worker"},
		Advanced:  connector.Advanced{CleanSession: new(true), AutoReconnect: true},
		Consumers: map[string]connector.ConsumerParams{"in": {Topics: []connector.TopicQoS{{Topic: "#"}}, OrderBy: connector.OrderTopic, MaxInFlight: 1024}},
	}, connector.Options{})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	first := make(chan struct{}, 1)
	feed, err := conn.Feed("in", flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
		select {
		case first <- struct{}{}:
		default:
		}
		return nil, nil
	}))
	require.NoError(b, err)
	leases, err := jetstream.NewLeases(ctx, nc, jetstream.LeaseConfig{Group: "flows", Count: streamPartitions, TTL: 2 * time.Second})
	require.NoError(b, err)
	worker, err := jetstream.NewWorker(stream, feed, leases, jetstream.WorkerOptions{})
	require.NoError(b, err)
	require.NoError(b, conn.Start(ctx))
	done := make(chan struct{})
	go func() { defer close(done); worker.Run(ctx) }()
	<-first
	begin, ours, theirs := time.Now(), processor(b, os.Getpid()), processor(b, server.PID())
	for worker.Stats().Done < uint64(b.N) {
		time.Sleep(time.Millisecond)
	}
	n := float64(b.N)
	b.ReportMetric(n/time.Since(begin).Seconds(), "worker/s")
	b.ReportMetric((processor(b, os.Getpid())-ours).Seconds()*1e6/n, "worker-worker-us")
	b.ReportMetric((processor(b, server.PID())-theirs).Seconds()*1e6/n, "worker-nats-us")
	b.ReportMetric(0, "ns/op")
	cancel()
	<-done
	require.NoError(b, conn.Stop(b.Context()))
}

var payload = bytes.Repeat([]byte("x"), 256)

// fill makes a session at the Server, for a client id, in which n messages wait.
func fill(b *testing.B, mqtt *mosquitto.Broker, id string, n int) {
	dial, err := transport.Dialer(mqtt.TCP, nil)
	require.NoError(b, err)
	c, err := client.New(client.Config{Dial: dial, ClientID: id})
	require.NoError(b, err)
	require.NoError(b, c.Connect(b.Context()))
	_, err = c.Subscribe(b.Context(), packets.Subscription{Filter: id + "/#", QoS: packets.AtLeastOnce})
	require.NoError(b, err)
	require.NoError(b, c.Close(b.Context()))
	pub, err := client.New(client.Config{Dial: dial, CleanSession: true})
	require.NoError(b, err)
	require.NoError(b, pub.Connect(b.Context()))
	defer pub.Close(b.Context())
	var last *client.Receipt
	for i := range n {
		last, err = pub.PublishAsync(b.Context(), client.Message{Topic: fmt.Sprintf("%s/device %d", id, i%1000), Payload: payload, QoS: packets.AtLeastOnce})
		require.NoError(b, err)
	}
	require.NoError(b, last.Wait(b.Context()))
	time.Sleep(time.Second) // the Server may still be at its file
}

// receives returns a function that receives and acknowledges the waiting messages and discards
// them.
func receives(b *testing.B, mqtt *mosquitto.Broker, id string, n int) func() {
	fill(b, mqtt, id, n)
	dial, err := transport.Dialer(mqtt.TCP, nil)
	require.NoError(b, err)
	c, err := client.New(client.Config{Dial: dial, ClientID: id})
	require.NoError(b, err)
	return func() {
		require.NoError(b, c.Connect(b.Context()))
		got := 0
		for _, err := range c.Messages(b.Context()) {
			require.NoError(b, err)
			if got++; got == n {
				break
			}
		}
		// The Server has handled every acknowledgement when it answers what comes after them.
		require.NoError(b, c.Publish(b.Context(), client.Message{Topic: "end", QoS: packets.AtLeastOnce}))
		c.Abort()
	}
}

// stores returns a function that publishes to a stream as fast as it accepts messages.
func stores(b *testing.B, nc *nats.Conn, name string, n int) func() {
	js, err := natsjs.New(nc, natsjs.WithPublishAsyncMaxPending(1024))
	require.NoError(b, err)
	_, err = js.CreateStream(b.Context(), natsjs.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
	require.NoError(b, err)
	return func() {
		for i := range n {
			_, err := js.PublishAsync(fmt.Sprintf("%s.%d", name, i%1000), payload, natsjs.WithMsgID(fmt.Sprint(i)), natsjs.WithStallWait(time.Minute))
			require.NoError(b, err)
		}
		<-js.PublishAsyncComplete()
	}
}

// moves returns a function that runs a gateway until the stream has all messages.
func moves(b *testing.B, mqtt *mosquitto.Broker, stream *jetstream.Stream, name string, n int, order jetstream.Order) func() {
	fill(b, mqtt, name, n)
	conn, err := connector.New(connector.Config{
		General:  connector.General{BrokerURL: mqtt.Addr(), ClientID: name},
		Advanced: connector.Advanced{CleanSession: new(false), AutoReconnect: true},
		Consumers: map[string]connector.ConsumerParams{"in": {
			Topics: []connector.TopicQoS{{Topic: name + "/#"}}, QoS: packets.AtLeastOnce, MaxInFlight: 1024,
		}},
	}, connector.Options{})
	require.NoError(b, err)
	g := jetstream.NewGateway(stream, conn, "in", jetstream.GatewayOptions{Order: order})
	return func() {
		require.NoError(b, conn.Start(b.Context()))
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.Run(ctx) }()
		for g.Stats().Stored < uint64(n) {
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-done
		require.NoError(b, conn.Stop(b.Context()))
		require.Zero(b, g.Stats().Duplicates)
	}
}

// processor returns the processor time used by a process, user and system.
func processor(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	require.NoError(b, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(b, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
