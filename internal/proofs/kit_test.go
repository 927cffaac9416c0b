// Package proofs shows on real brokers what docs/connector.md promises: through kills of the
// process, cuts of the link, slow flows, full queues and many processes. Every proof has a short
// form and a long one; go test ./... runs the short ones that need only seconds:
//
//	make proofs      # short
//	make proofs-long # long, part of make nightly
package proofs

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

var (
	long = flag.Bool("proof.long", false, "run the long forms: 100,000 and 1,000,000 messages, real durations")
	seed = flag.Uint64("proof.seed", 0, "what is random follows from this `number`; 0: a new one, which is logged")
)

// TestMain also runs the program of a worker.
func TestMain(m *testing.M) {
	if spec := os.Getenv(workerVariable); spec != "" {
		os.Exit(work(spec))
	}
	os.Exit(m.Run())
}

// pick returns the value for the form that runs.
func pick[T any](short, inLong T) T {
	if *long {
		return inLong
	}
	return short
}

// apart prepares a proof with processes of its own. It skips the test under the race detector,
// which makes them several times as slow and as large, and checks each process alone.
func apart(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("a proof by processes runs without the race detector")
	}
}

// random returns a random source that a later run can repeat.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-proof.seed=%d", s)
	return rand.New(rand.NewPCG(s, s))
}

// within limits the time of a proof, with room for a slow machine. The long forms have an hour.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pick(8*time.Minute, time.Hour))
	t.Cleanup(cancel)
	return ctx
}

// settings are the parts in which the configurations of the proofs differ.
type settings struct {
	addr, id string
	advanced string // further keys of the advanced tab, each with a comma before it
	extend   string // keys of the extension
	consumer string // the keys of the consumer "in"
	extra    string // blocks after the consumers
}

// yaml returns a configuration with a persistent session and one consumer, as a user would write
// it.
func (s settings) yaml() string {
	return fmt.Sprintf(`connector:
  general: {broker_url: %q, client_id: %q}
  advanced: {clean_session: false, auto_reconnect: true, connect_retry: true, connect_retry_interval: 1s%s}
  extension: {%s}
consumers:
  in: {%s}
%s`, s.addr, s.id, s.advanced, s.extend, s.consumer, s.extra)
}

// open starts a connector in this process. It is stopped when the test ends.
func open(t *testing.T, ctx context.Context, s settings, opts connector.Options, f func(*connector.Connector) flow.Flow) *connector.Connector {
	t.Helper()
	cfg, _, err := config.Parse([]byte(s.yaml()), t.TempDir())
	require.NoError(t, err)
	c, err := connector.New(*cfg, opts)
	require.NoError(t, err)
	require.NoError(t, c.Consume("in", f(c)))
	require.NoError(t, c.Start(ctx))
	t.Cleanup(func() { halt(t, c) })
	return c
}

// halt stops a connector; a second call does nothing.
func halt(t *testing.T, c *connector.Connector) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// dialer dials host:port.
func dialer(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
}

// subscribed creates a persistent session for a ClientID, with one subscription, and disconnects.
func subscribed(t *testing.T, ctx context.Context, addr, id, filter string, qos packets.QoS) {
	t.Helper()
	c, err := client.New(client.Config{Dial: dialer(addr), ClientID: id})
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	_, err = c.Subscribe(ctx, packets.Subscription{Filter: filter, QoS: qos})
	require.NoError(t, err)
	require.NoError(t, c.Close(ctx))
}

// publisher returns a client for publish, which waits when its queue is full.
func publisher(t *testing.T, ctx context.Context, addr string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Dial: dialer(addr), CleanSession: true, QueueMessages: 10_000})
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	t.Cleanup(c.Abort)
	return c
}

// publish sends the messages numbered from..to-1 and returns when the broker has acknowledged all
// of them.
func publish(ctx context.Context, c *client.Client, from, to int, message func(int) client.Message) error {
	receipts := make([]*client.Receipt, 0, to-from)
	for i := from; i < to; i++ {
		r, err := c.PublishAsync(ctx, message(i))
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		receipts = append(receipts, r)
	}
	for i, r := range receipts {
		if err := r.Wait(ctx); err != nil {
			return fmt.Errorf("message %d: %w", from+i, err)
		}
	}
	return nil
}

// stream is publish, but never more than ahead messages further than done.
func stream(ctx context.Context, c *client.Client, n, ahead int, done func() int, message func(int) client.Message) error {
	for i := 0; i < n; {
		to := min(n, done()+ahead)
		if to > i {
			if err := publish(ctx, c, i, to, message); err != nil {
				return err
			}
			i = to
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// numbered returns a function that makes messages whose payload is their number.
func numbered(topic string, qos packets.QoS) func(int) client.Message {
	return func(i int) client.Message {
		return client.Message{Topic: topic, QoS: qos, Payload: strconv.AppendInt(nil, int64(i), 10)}
	}
}

// topicOf returns the topic of a message.
func topicOf(m *flow.Message) string { return m.Attribute["topic"].(string) }

// A tally counts runs in this process, by topic and payload.
type tally struct {
	mu    sync.Mutex
	runs  map[string]int
	total int
}

func (c *tally) add(m *flow.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = make(map[string]int)
	}
	c.runs[topicOf(m)+" "+string(m.Payload.Blob)]++
	c.total++
}

// counts returns how many messages ran, and how many runs they had.
func (c *tally) counts() (messages, runs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.runs), c.total
}

// eventually waits until a condition holds. As long as the count grows, it keeps waiting.
func eventually(t *testing.T, ctx context.Context, progress func() (count int, done bool)) {
	t.Helper()
	patience := pick(time.Minute, 5*time.Minute)
	last, since := -1, time.Now()
	for {
		n, done := progress()
		if done {
			return
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > patience {
			t.Fatalf("nothing more after %d for %v", n, patience)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the time is over after %d", n)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
