package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// The long forms run in make nightly.
var long = flag.Bool("benthos.long", false, "as many messages, kills and minutes as the claims are about")

// pick returns the value for the form that runs.
func pick[T any](short, inLong T) T {
	if *long {
		return inLong
	}
	return short
}

// engineVariable is the environment variable that makes this program the engine.
const engineVariable = "MQTT311_BENTHOS_ENGINE"

func TestMain(m *testing.M) {
	if os.Getenv(engineVariable) != "" {
		if err := registerHandOver(); err != nil {
			panic(err)
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// unlimited removes the limits of mosquitto's queues, beyond which it drops messages that it has
// acknowledged.
const unlimited = `max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
persistence false
log_type none
log_type error
log_type notice
`

// An engine is a process that runs the command.
type engine struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of its exit

	mu   sync.Mutex
	said strings.Builder
}

// Write records the output of the engine.
func (e *engine) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.said.Write(b)
}

func (e *engine) log() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.said.String()
}

// start runs a configuration in a process that is killed when the test ends.
func start(t *testing.T, config string) *engine {
	t.Helper()
	e := launch(t, config)
	t.Cleanup(func() {
		e.kill()
		if t.Failed() {
			lines := strings.Split(e.log(), "\n")
			t.Log(strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
	})
	return e
}

func launch(t *testing.T, config string, arguments ...string) *engine {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipeline.yaml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	program, err := os.Executable()
	require.NoError(t, err)
	if len(arguments) == 0 {
		arguments = []string{"-c"}
	}
	e := &engine{t: t, cmd: exec.Command(program, append(arguments, file)...), exited: make(chan struct{})}
	e.cmd.Env = append(os.Environ(), engineVariable+"=1", "GOMEMLIMIT=", "GOGC=")
	e.cmd.Stdout, e.cmd.Stderr = e, e
	require.NoError(t, e.cmd.Start())
	go func() {
		e.err = e.cmd.Wait()
		close(e.exited)
	}()
	return e
}

// active waits until all inputs are active.
func (e *engine) active(inputs int) *engine {
	e.t.Helper()
	eventually(e.t, func() int { return 0 }, func() bool { return strings.Count(e.log(), "Input type mqtt311 is now active") >= inputs })
	return e
}

// kill ends the process like a crash.
func (e *engine) kill() {
	e.cmd.Process.Kill()
	<-e.exited
}

// stop ends the process as an operator would.
func (e *engine) stop() {
	e.t.Helper()
	require.NoError(e.t, e.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-e.exited:
		require.NoError(e.t, e.err, e.log())
	case <-time.After(2 * time.Minute):
		e.t.Fatal("the engine does not stop: " + e.log())
	}
}

// memory returns the peak resident memory in MiB.
func (e *engine) memory() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	n, _ := strconv.Atoi(strings.Fields(after)[0])
	return n / 1024
}

// eventually waits until a condition holds. As long as progress grows, it keeps waiting.
func eventually(t *testing.T, progress func() int, done func() bool) {
	t.Helper()
	last, since := progress(), time.Now()
	for !done() {
		if n := progress(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > time.Minute {
			t.Fatalf("nothing happens any more: %d", last)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// quiet waits until there has been no progress for a time.
func quiet(progress func() int, d time.Duration) {
	for last, since := progress(), time.Now(); time.Since(since) < d; time.Sleep(10 * time.Millisecond) {
		if n := progress(); n != last {
			last, since = n, time.Now()
		}
	}
}

// connect makes a client of a server, which is closed when the test ends.
func connect(t *testing.T, addr string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{
		Dial:     func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) },
		ClientID: fmt.Sprint("test-", rand.Uint32()), MaxInflight: 1000, InboxMessages: 100_000, InboxBytes: 256 << 20,
	})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	t.Cleanup(c.Abort)
	return c
}

// publish publishes n messages, at a rate per second or as fast as possible, and returns when the server has
// acknowledged all of them.
func publish(ctx context.Context, c *client.Client, n, rate int, message func(i int) client.Message) error {
	receipts := make([]*client.Receipt, n)
	start := time.Now()
	for i := range n {
		if rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		m := message(i)
		m.QoS = packets.AtLeastOnce
		var err error
		if receipts[i], err = c.PublishAsync(ctx, m); err != nil {
			return err
		}
	}
	for _, r := range receipts {
		if err := r.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// An observer records the messages of a filter.
type observer struct {
	mu    sync.Mutex
	list  []string       // "topic payload", in the order of arrival
	times map[string]int // how often each arrived
}

func observe(t *testing.T, addr, filter string) *observer {
	t.Helper()
	o := &observer{times: make(map[string]int)}
	c := connect(t, addr)
	go func() {
		for m, err := range c.Messages(t.Context()) {
			if err != nil {
				return
			}
			what := m.Topic + " " + string(m.Payload)
			o.mu.Lock()
			o.list = append(o.list, what)
			o.times[what]++
			o.mu.Unlock()
		}
	}()
	_, err := c.Subscribe(t.Context(), packets.Subscription{Filter: filter, QoS: packets.AtLeastOnce})
	require.NoError(t, err)
	return o
}

// count returns the number of different messages.
func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.times)
}

// all returns the messages in the order of arrival.
func (o *observer) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.list)
}

// awaits waits until n messages have arrived.
func (o *observer) awaits(t *testing.T, n int) {
	t.Helper()
	eventually(t, o.count, func() bool { return o.count() >= n })
}

// A handOver is an input like those based on paho: it acknowledges a message when it hands it over.
type handOver struct {
	addr string
	c    *client.Client
	came chan *client.Delivery
}

func registerHandOver() error {
	spec := service.NewConfigSpec().Field(service.NewStringField("addr"))
	return service.RegisterInput("hand_over", spec, func(p *service.ParsedConfig, _ *service.Resources) (service.Input, error) {
		addr, err := p.FieldString("addr")
		return &handOver{addr: addr, came: make(chan *client.Delivery)}, err
	})
}

func (in *handOver) Connect(ctx context.Context) error {
	c, err := client.New(client.Config{
		Dial:     func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", in.addr) },
		ClientID: "engine",
	})
	if err != nil {
		return err
	}
	if _, err := c.SubscribeAsync(packets.Subscription{Filter: "in/#", QoS: packets.AtLeastOnce}); err != nil {
		return err
	}
	if err := c.Connect(ctx); err != nil {
		return err
	}
	in.c = c
	go func() {
		for m, err := range c.Messages(context.Background()) { // the step to the next one acknowledges
			if err != nil {
				return
			}
			in.came <- m
		}
	}()
	return nil
}

func (in *handOver) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	select {
	case d := <-in.came:
		m := service.NewMessage(d.Payload)
		m.MetaSetMut("mqtt_topic", d.Topic)
		return m, func(context.Context, error) error { return nil }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (in *handOver) Close(ctx context.Context) error {
	if in.c == nil {
		return nil
	}
	return errors.Join(in.c.Close(ctx))
}
