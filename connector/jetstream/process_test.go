package jetstream_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
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
	"github.com/stretchr/testify/require"
)

// taskVariable is the environment variable that makes this program a gateway or a worker and
// describes its task.
const taskVariable = "MQTT311_JETSTREAM_TASK"

func TestMain(m *testing.M) {
	if spec := os.Getenv(taskVariable); spec != "" {
		os.Exit(perform(spec))
	}
	os.Exit(m.Run())
}

// A task is what a child process does until it is killed or told to stop.
type task struct {
	Role      string // gateway, worker or member (of a division)
	Name      string // its client id
	MQTT      string // address
	NATS      string // URL
	Order     jetstream.Order
	QoS       packets.QoS // of a gateway
	Ledger    bool
	KeepAlive time.Duration // of a gateway; if zero, the default
	Store     string        // the session store of a gateway
	Journal   string        // where the flow of a worker records its runs
	FlowTime  time.Duration
	TTL       time.Duration // of leases
	Replicas  int           // of the stream and the bucket
	Dead      string        // the dead letter file of a worker
}

const streamPartitions = 8

// serverWindow is how many messages the Server sends in a session without an acknowledgement: mosquitto's default.
const serverWindow = 20

func perform(spec string) int {
	var job task
	if err := json.Unmarshal([]byte(spec), &job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := job.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, job.Name, err)
		return 1
	}
	return 0
}

func (job *task) config() connector.Config {
	yes, no := true, false
	cfg := connector.Config{
		General: connector.General{BrokerURL: job.MQTT, ClientID: job.Name},
		Advanced: connector.Advanced{
			CleanSession: &yes, AutoReconnect: true, ConnectRetry: true,
			ConnectRetryInterval: new(100 * time.Millisecond), MaxReconnectInterval: new(200 * time.Millisecond),
		},
		Consumers: map[string]connector.ConsumerParams{"in": {
			Topics: []connector.TopicQoS{{Topic: "in/#"}}, QoS: job.QoS, MaxInFlight: 256,
			OrderBy: connector.OrderTopic, Concurrency: 32,
			OnFailure: connector.OnFailure{InitialDelay: new(20 * time.Millisecond), MaxDelay: new(200 * time.Millisecond)},
		}},
	}
	if job.Dead != "" {
		in := cfg.Consumers["in"]
		in.OnFailure.Then, in.OnFailure.Retries, in.OnFailure.DeadLetterFile = connector.DeadLetter, new(1), job.Dead
		cfg.Consumers["in"] = in
	}
	if job.Role == "member" {
		in := cfg.Consumers["in"]
		in.QoS = packets.AtLeastOnce
		cfg.Consumers["in"] = in
		cfg.General.ClientID, cfg.Advanced.CleanSession = "division", &no
	}
	if job.Role == "gateway" {
		if job.KeepAlive > 0 {
			cfg.Advanced.KeepAlive = new(job.KeepAlive)
		}
		in := cfg.Consumers["in"]
		in.OrderBy, in.Ledger = connector.OrderNone, job.Ledger
		cfg.Consumers["in"] = in
		cfg.Advanced.CleanSession = &no
		if job.Store != "" {
			cfg.Extension.SessionStore = &connector.SessionStore{Dir: job.Store}
		}
	}
	return cfg
}

func (job *task) run(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	nc, err := nats.Connect(job.NATS, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		return err
	}
	defer nc.Close()
	var stream *jetstream.Stream
	for stream == nil {
		if stream, err = jetstream.Open(ctx, nc, jetstream.Config{Name: "TEST", Partitions: streamPartitions, Replicas: job.Replicas, AckTimeout: 2 * time.Second}); err != nil {
			log.Warn("open", "error", err)
			time.Sleep(100 * time.Millisecond)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	if job.Role == "member" {
		return job.divide(ctx, nc, log)
	}
	conn, err := connector.New(job.config(), connector.Options{Logger: log})
	if err != nil {
		return err
	}
	var run func()
	if job.Role == "gateway" {
		g := jetstream.NewGateway(stream, conn, "in", jetstream.GatewayOptions{Order: job.Order, Logger: log})
		run = func() { g.Run(ctx) }
	} else {
		journal, err := os.OpenFile(job.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer journal.Close()
		feed, err := conn.Feed("in", flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			time.Sleep(job.FlowTime)
			if _, err := jetstream.Fence(ctx); err != nil {
				return nil, err
			}
			if strings.Contains(string(m.Payload.Blob), "poison") {
				return nil, errors.New("poison")
			}
			_, err := fmt.Fprintf(journal, "%.40s %s %s\n", m.Payload.Blob, job.Name, flow.IdempotencyKey(ctx))
			return nil, err
		}))
		if err != nil {
			return err
		}
		leases, err := job.leases(ctx, nc, "flows", log)
		if err != nil {
			return err
		}
		w, err := jetstream.NewWorker(stream, feed, leases, jetstream.WorkerOptions{Logger: log})
		if err != nil {
			return err
		}
		run = func() { w.Run(ctx) }
	}
	if err := conn.Start(ctx); err != nil {
		return err
	}
	run()
	within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return conn.Stop(within)
}

// leases opens the leases of a group, once the servers have a leader for the bucket.
func (job *task) leases(ctx context.Context, nc *nats.Conn, group string, log *slog.Logger) (*jetstream.Leases, error) {
	for {
		l, err := jetstream.NewLeases(ctx, nc, jetstream.LeaseConfig{Group: group, Count: streamPartitions, TTL: job.TTL, Replicas: job.Replicas, Name: job.Name, Logger: log})
		if err == nil || ctx.Err() != nil || !jetstream.Temporary(err) {
			return l, err
		}
		log.Warn("leases", "error", err)
		time.Sleep(100 * time.Millisecond)
	}
}

// divide runs the connectors of the shares that the process has.
func (job *task) divide(ctx context.Context, nc *nats.Conn, log *slog.Logger) error {
	journal, err := os.OpenFile(job.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer journal.Close()
	leases, err := job.leases(ctx, nc, "division", log)
	if err != nil {
		return err
	}
	d, err := jetstream.NewDivision(job.config(), leases, func(c *connector.Connector, l *jetstream.Lease) error {
		return c.Consume("in", l.Flow(flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			_, err := fmt.Fprintf(journal, "%.40s %s %s\n", m.Payload.Blob, job.Name, flow.IdempotencyKey(ctx))
			time.Sleep(job.FlowTime) // the effect is there, and not acknowledged
			return nil, err
		})))
	}, jetstream.DivisionOptions{Connector: connector.Options{Logger: log}, Logger: log})
	if err != nil {
		return err
	}
	d.Run(ctx)
	return nil
}

// A child is a process that performs a task. It is killed when the test ends.
type child struct {
	t       *testing.T
	job     task
	process *exec.Cmd
	errors  string
}

func start(t *testing.T, job task) *child {
	t.Helper()
	c := &child{t: t, job: job, errors: filepath.Join(t.TempDir(), job.Name)}
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			text, _ := os.ReadFile(c.errors)
			t.Logf("%s:\n%s", job.Name, text[max(0, len(text)-4000):])
		}
	})
	c.start()
	return c
}

func (c *child) start() {
	c.t.Helper()
	spec, err := json.Marshal(c.job)
	require.NoError(c.t, err)
	c.process = exec.Command(os.Args[0])
	c.process.Env = append(os.Environ(), taskVariable+"="+string(spec))
	stderr, err := os.OpenFile(c.errors, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	defer stderr.Close()
	c.process.Stderr = stderr
	require.NoError(c.t, c.process.Start())
}

func (c *child) kill() {
	if c.process != nil {
		c.process.Process.Kill()
		c.process.Wait()
		c.process = nil
	}
}

func (c *child) signal(s os.Signal) { c.process.Process.Signal(s) }

// again kills the process and starts another one for the same task.
func (c *child) again() {
	c.t.Helper()
	c.kill()
	c.start()
}

// memory returns the resident memory in bytes.
func (c *child) memory() int {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.process.Process.Pid))
	if err != nil {
		return 0 // not on Linux
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	var kib int
	fmt.Sscan(after, &kib)
	return kib << 10
}

// A plant is a Server, a NATS server with a stream, and a client that publishes for devices.
type plant struct {
	*testing.T
	mqtt    *mosquitto.Broker
	nats    *internalnats.Broker
	stream  string // URLs
	journal string
	pub     *client.Client
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := newSite(t)
	p.nats = internalnats.Start(t, internalnats.Options{})
	p.stream = p.nats.Client
	return p
}

// newSite returns a plant without a NATS server.
func newSite(t *testing.T) *plant {
	t.Helper()
	p := &plant{T: t, journal: filepath.Join(t.TempDir(), "journal")}
	p.mqtt = mosquitto.Start(t, mosquitto.Options{
		// No test here ends it, and to save everything after each message would take most of the time.
		Config: fmt.Sprintf("max_queued_messages 0\nmax_inflight_messages %d\nautosave_on_changes false\nautosave_interval 1800", serverWindow),
	})
	dial, err := transport.Dialer(p.mqtt.TCP, nil)
	require.NoError(t, err)
	p.pub, err = client.New(client.Config{Dial: dial, ClientID: "devices"})
	require.NoError(t, err)
	require.NoError(t, p.pub.Connect(t.Context()))
	t.Cleanup(p.pub.Abort)
	return p
}

// subscribed waits until the gateway has subscribed.
func (p *plant) subscribed() {
	p.Helper()
	p.waits("SUBACK for the gateway", func() bool { return strings.Contains(p.log(), "Sending SUBACK to gateway") })
}

// log returns the log of the Server.
func (p *plant) log() string {
	text, err := os.ReadFile(p.mqtt.LogFile)
	require.NoError(p, err)
	return string(text)
}

func (p *plant) waits(what string, until func() bool) {
	p.Helper()
	for deadline := time.Now().Add(time.Minute); !until(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.Fatalf("%s: not within a minute", what)
		}
	}
}

func (p *plant) task(role, name string) task {
	return task{Role: role, Name: name, MQTT: p.mqtt.Addr(), NATS: p.stream, Journal: p.journal, QoS: packets.ExactlyOnce, TTL: 2 * time.Second}
}

// publish publishes n messages of several devices, in order for each device, at a rate per second.
func (p *plant) publish(from, n, devices int, rate int) {
	p.Helper()
	begin := time.Now()
	var last []*client.Receipt
	for i := from; i < from+n; i++ {
		r, err := p.pub.PublishAsync(p.Context(), client.Message{
			Topic: fmt.Sprintf("in/device %d", i%devices), Payload: fmt.Appendf(nil, "%d %d", i%devices, i), QoS: packets.ExactlyOnce,
		})
		require.NoError(p, err)
		last = append(last, r)
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i-from) * time.Second / time.Duration(rate))))
		}
	}
	for _, r := range last {
		require.NoError(p, r.Wait(p.Context()))
	}
}

// A count is a summary of the journal.
type count struct {
	first, copies int
	twice         int      // copies under another key, so that the stream had the message twice
	disorder      []string // first occurrences that came after a later one of their device
	keys          map[int]string
}

func (p *plant) read() count {
	p.Helper()
	f, err := os.Open(p.journal)
	if errors.Is(err, os.ErrNotExist) {
		return count{}
	}
	require.NoError(p, err)
	defer f.Close()
	c := count{keys: make(map[int]string)}
	newest := make(map[int]int)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var device, number int
		fields := strings.Fields(lines.Text())
		if n, _ := fmt.Sscan(lines.Text(), &device, &number); n < 2 || len(fields) < 4 {
			continue
		}
		key := fields[len(fields)-1]
		if before, ok := c.keys[number]; ok {
			c.copies++
			if before != key {
				c.twice++
			}
			continue
		}
		c.keys[number] = key
		c.first++
		if newest, ok := newest[device]; ok && newest > number {
			c.disorder = append(c.disorder, fmt.Sprintf("device %d: %d after %d", device, number, newest))
		}
		newest[device] = max(newest[device], number)
	}
	return c
}

// arrives waits until the flows have run for n messages.
func (p *plant) arrives(n int, within time.Duration) count {
	p.Helper()
	deadline := time.Now().Add(within)
	for {
		c := p.read()
		if c.first >= n {
			return c
		}
		if time.Now().After(deadline) {
			p.Fatalf("%d of %d messages arrived within %s", c.first, n, within)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
