package jetstream_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// marks returns the number of sessions with a mark.
func (p *plant) marks(nc *nats.Conn) int {
	p.Helper()
	js, err := natsjs.New(nc)
	require.NoError(p, err)
	kv, err := js.KeyValue(p.Context(), "mqtt311-leases-sessions")
	if err != nil {
		return 0 // not made yet
	}
	keys, err := kv.ListKeys(p.Context())
	require.NoError(p, err)
	n := 0
	for range keys.Keys() {
		n++
	}
	return n
}

func (p *plant) dial() *nats.Conn {
	p.Helper()
	nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
	require.NoError(p, err)
	p.Cleanup(nc.Close)
	return nc
}

// Two processes start together while devices publish. Nothing is acknowledged in any session before all sessions
// exist, and messages published from then on arrive, in order for each device.
func TestSessionsBeforeFlows(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc := p.dial()
	start(t, p.task("member", "one"))
	start(t, p.task("member", "two"))
	next := 0
	publish := func(n int) {
		p.publish(next, n, 40, 400)
		next += n
	}
	p.waits("a mark for each session", func() bool {
		publish(20)
		return p.marks(nc) == streamPartitions
	})
	begin := next
	publish(400)
	p.holds(begin, next)
	p.sessionsBeforeFlows()
}

// holds waits until the flows have run for the messages with these numbers, and checks the order of
// each device.
func (p *plant) holds(from, to int) {
	p.Helper()
	p.waits("what was published when all sessions were there arrives", func() bool {
		keys := p.read().keys
		for i := from; i < to; i++ {
			if keys[i] == "" {
				return false
			}
		}
		return true
	})
	require.Empty(p, p.read().disorder)
}

// sessionsBeforeFlows checks that nothing was acknowledged in any session before all had their
// subscriptions.
func (p *plant) sessionsBeforeFlows() {
	p.Helper()
	log := p.log()
	acknowledged := regexp.MustCompile(`Received PUB(ACK|REC) from division-`).FindStringIndex(log)
	require.NotNil(p, acknowledged)
	for i := range streamPartitions {
		require.Contains(p, log[:acknowledged[0]], fmt.Sprintf("Sending SUBACK to division-%d", i))
	}
}

// A door forwards connections to an address. A connection whose first bytes contain a text that it shuts out gets
// no answer.
type door struct {
	addr string

	mu   sync.Mutex
	shut []string
}

func (d *door) shuts(texts ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = texts
}

func (d *door) passes(first []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !slices.ContainsFunc(d.shut, func(text string) bool { return bytes.Contains(first, []byte(text)) })
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &door{addr: l.Addr().String()}
	ctx, end := context.WithCancel(context.Background())
	var passing sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		end()
		passing.Wait()
	})
	pass := func(in net.Conn) {
		context.AfterFunc(ctx, func() { in.Close() })
		first := make([]byte, 1024)
		n, err := in.Read(first)
		if err == nil && !d.passes(first[:n]) {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer out.Close()
		defer context.AfterFunc(ctx, func() { out.Close() })()
		if _, err := out.Write(first[:n]); err != nil {
			return
		}
		passing.Go(func() {
			io.Copy(out, in)
			out.Close()
		})
		io.Copy(in, out)
	}
	passing.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { pass(in) })
		}
	})
	return d
}

// A process is killed after it has created some of the sessions. Until then it has acknowledged nothing, although
// the sessions have messages. The next process creates the others, and only those.
func TestSessionsAfterKill(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc := p.dial()
	d := newDoor(t, p.mqtt.Addr())
	d.shuts("division-5", "division-6", "division-7")
	job := p.task("member", "one")
	job.MQTT = d.addr
	one := start(t, job)
	p.waits("some marks", func() bool { return p.marks(nc) == 5 })
	p.publish(0, 100, 40, 100) // which takes a second, for flows that would run
	one.kill()
	require.Equal(t, 5, p.marks(nc))
	d.shuts()
	job.Name = "two"
	start(t, job)
	p.waits("a mark for each session", func() bool { return p.marks(nc) == streamPartitions })
	p.publish(100, 200, 40, 0)
	p.holds(100, 300)
	p.sessionsBeforeFlows()
	log := p.log()
	for i := range streamPartitions {
		require.Equal(t, 2, strings.Count(log, fmt.Sprintf(" as division-%d (", i)), "session %d: once to make it, and once to work on it", i)
	}
}

// division runs a division of 8 shares until the test ends, or stop is called.
func (p *plant) division(nc *nats.Conn, log *slog.Logger, change func(*connector.Config)) (d *jetstream.Division, stop func()) {
	p.Helper()
	cfg := new(p.task("member", "")).config()
	change(&cfg)
	leases, err := jetstream.NewLeases(p.Context(), nc, jetstream.LeaseConfig{Group: "division", Count: streamPartitions, TTL: 2 * time.Second, Logger: log})
	require.NoError(p, err)
	nothing := flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) { return nil, nil })
	d, err = jetstream.NewDivision(cfg, leases, func(c *connector.Connector, l *jetstream.Lease) error {
		return c.Consume("in", l.Flow(nothing))
	}, jetstream.DivisionOptions{Logger: log})
	require.NoError(p, err)
	ctx, cancel := context.WithCancel(p.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.Run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	p.Cleanup(stop)
	return d, stop
}

// A process that cannot reach the Server logs that, and leaves the sessions to one that can.
func TestSessionsOfProcessThatFails(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc := p.dial()
	said := make(chan string, 1000)
	log := slog.New(slog.NewTextHandler(lines(said), nil))
	broken, _ := p.division(nc, log, func(cfg *connector.Config) {
		cfg.General.BrokerURL = newDoor(t, "127.0.0.1:1").addr // which ends each connection
		cfg.Advanced.ConnectRetry, cfg.Advanced.ConnectRetryInterval = false, nil
	})
	for line := range said {
		if strings.Contains(line, "session division-") {
			require.Contains(t, line, "cannot be made")
			require.Contains(t, line, "level=ERROR")
			break
		}
	}
	require.Len(t, broken.Missing(), streamPartitions)
	good, _ := p.division(nc, nil, func(*connector.Config) {})
	p.waits("the other makes all", func() bool { return len(good.Missing()) == 0 })
}

// A lines receives each Write as a string, and drops those that nobody takes.
type lines chan<- string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// Existing sessions are not created again, unless the Topic Filters change.
func TestSessionsOfOtherFilters(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc := p.dial()
	visits := func(topic string) int {
		before := strings.Count(p.log(), " as division-")
		var working atomic.Int32
		d, stop := p.division(nc, slog.New(counting{slog.DiscardHandler, "a share is worked on", &working}), func(cfg *connector.Config) {
			in := cfg.Consumers["in"]
			in.Topics = []connector.TopicQoS{{Topic: topic}}
			cfg.Consumers["in"] = in
		})
		p.waits("each share is worked on", func() bool { return working.Load() == streamPartitions && len(d.Missing()) == 0 })
		stop()
		return strings.Count(p.log(), " as division-") - before
	}
	require.Equal(t, 2*streamPartitions, visits("in/#"), "each is made, and worked on")
	require.Equal(t, streamPartitions, visits("in/#"), "each is worked on")
	require.Equal(t, 2*streamPartitions, visits("other/#"))
	require.Equal(t, 2*streamPartitions, visits("in/#"), "what was made for others does not count")
}

// A counting counts the log records with a message.
type counting struct {
	slog.Handler
	message string
	n       *atomic.Int32
}

func (c counting) Enabled(context.Context, slog.Level) bool { return true }

func (c counting) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c counting) Handle(_ context.Context, r slog.Record) error {
	if r.Message == c.message {
		c.n.Add(1)
	}
	return nil
}
