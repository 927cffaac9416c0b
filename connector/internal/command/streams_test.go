package command

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

const streamConfig = `connector:
  general: {broker_url: ADDR, client_id: q}
  advanced: {clean_session: false, auto_reconnect: true}
consumers:
  in:
    topics: [in/#]
    qos: At Least Once
    on_failure: {retries: 5, then: drop}
`

func streamFile(t *testing.T, addr, more string) string {
	t.Helper()
	return writeFile(t, "connector.yaml", strings.Replace(streamConfig, "ADDR", addr, 1)+more)
}

// The command without NATS validates a configuration that needs it, and says which command can run
// it.
func TestStreamNeedsNATS(t *testing.T) {
	t.Setenv("LANG", "C")
	for _, more := range []string{
		"    partition: {count: 8, lease: 'nats://127.0.0.1:4222'}\n",
		"nats: {urls: ['nats://127.0.0.1:4222'], stream: PLANT, replicas: 1}\n",
	} {
		file := streamFile(t, "127.0.0.1:1", more)
		ok(t, "check", "-c", file)
		for _, lang := range []string{"en", "zh"} {
			r := mqtt311(t, "run", "-c", file, "--lang", lang)
			require.Equal(t, ExitUsage, r.code)
			require.Contains(t, r.err, "go build -C connector/jetstream ./cmd/mqtt311-nats")
		}
		r := mqtt311(t, "run", "-c", file, "--into")
		require.Equal(t, ExitUsage, r.code)
		require.Contains(t, r.err, "--into")
		r = mqtt311(t, "work", "-c", file)
		require.Equal(t, ExitUsage, r.code)
	}
}

// fakeStreams makes parts that do what a test says.
type fakeStreams struct{ part *fakePart }

func (s fakeStreams) Gateway(_ *connector.Config, c *connector.Connector, _ *slog.Logger) Part {
	s.part.c = c
	return s.part
}

func (s fakeStreams) Worker(cfg *connector.Config, c *connector.Connector, f flow.Flow, _ time.Duration, _ *slog.Logger) Part {
	s.part.cfg, s.part.c, s.part.flow = cfg, c, f
	return s.part
}

func (s fakeStreams) Division(_ *connector.Config, o DivisionOptions) Part {
	s.part.division = &o
	return s.part
}

type fakePart struct {
	cfg      *connector.Config
	c        *connector.Connector
	flow     flow.Flow
	division *DivisionOptions

	away   int // how many calls of Open fail
	run    func(ctx context.Context) error
	closed bool
}

func (p *fakePart) Open(context.Context) error {
	if p.away > 0 {
		p.away--
		return Fail(ExitConnection, "nobody is there", "无人应答")
	}
	switch {
	case p.flow != nil:
		_, err := p.c.Feed("in", p.flow)
		return err
	case p.c != nil:
		return p.c.Consume("in", connector.Pulled)
	}
	return nil
}

func (p *fakePart) Run(ctx context.Context) error { return p.run(ctx) }
func (p *fakePart) Close()                        { p.closed = true }

var fake = Gauge("fake", "A fake.")

func (p *fakePart) Collect(e *Exposition) { e.Set(fake, 7) }

func (p *fakePart) Reasons(add func(code, en, zh string, args ...any)) {
	add("fake", "it is a fake: %d", "这是 %d", 7)
}

// startNATS starts the command with a part.
func startNATS(t *testing.T, part *fakePart, args ...string) *running {
	t.Helper()
	return startProgram(t, &Program{Streams: fakeStreams{part}}, args...)
}

// With connect_retry the command waits for unreachable servers; otherwise it exits with 3. A part that fails ends
// it.
func TestStreamIsAwaited(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	stream := "nats: {urls: ['nats://127.0.0.1:4222'], stream: PLANT, replicas: 1}\n"
	part := &fakePart{away: 1}
	r := startNATS(t, part, "run", "-c", streamFile(t, addr, stream), "--into")
	require.Equal(t, ExitConnection, <-r.code)
	require.Contains(t, r.err.String(), "nobody is there")
	require.True(t, part.closed)

	patient := writeFile(t, "patient.yaml", strings.NewReplacer("ADDR", addr, "auto_reconnect: true", "auto_reconnect: true, connect_retry: true").Replace(streamConfig)+stream)
	part = &fakePart{away: 2, run: func(context.Context) error { return Fail(ExitRuntime, "the fake fails", "失败") }}
	r = startNATS(t, part, "run", "-c", patient, "--into")
	require.Equal(t, ExitRuntime, <-r.code)
	require.Contains(t, r.err.String(), `"msg":"the servers of the stream are not there yet"`)
	require.Contains(t, r.err.String(), "the fake fails")
	require.True(t, part.closed)
}

// A worker has only the consumer of the stream, with its own client id and session, and reports its health.
func TestWork(t *testing.T) {
	addr := startBroker(t)
	file := streamFile(t, addr, `  other: {topics: [other], qos: At Least Once, on_failure: {retries: 1, then: drop}}
producers:
  out: {topic: out, qos: 1}
nats: {urls: ['nats://127.0.0.1:4222'], stream: PLANT, replicas: 1, consumer: in, order: strict, partitions: 4}
`)
	began := make(chan struct{})
	part := &fakePart{run: func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		return nil
	}}
	r := startNATS(t, part, "work", "-c", file, "--then", "out", "--listen", "127.0.0.1:0")
	url := listeningAt(t, r)
	<-began
	require.Len(t, part.cfg.Consumers, 1)
	in := part.cfg.Consumers["in"]
	require.Equal(t, connector.OrderTopic, in.OrderBy)
	require.Equal(t, packets.AtLeastOnce, in.QoS)
	require.True(t, part.cfg.Advanced.Clean())
	require.Regexp(t, `^q-work-\w{10}$`, part.cfg.General.ClientID)
	require.Equal(t, "7", metricsAt(t, url)["mqtt_fake"])
	code, v := verdictAt(t, url+"/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, []reason{{"fake", "it is a fake: 7"}}, v.Reasons)
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
	require.True(t, part.closed)
}

// SIGHUP changes neither a stream nor leases.
func TestStreamIsNotReloaded(t *testing.T) {
	addr := startBroker(t)
	for _, c := range []struct{ more, command, old, new string }{
		{"nats: {urls: ['nats://127.0.0.1:4222'], stream: PLANT, replicas: 1}\n", "run --into", "PLANT", "OTHER"},
		{"nats: {urls: ['nats://127.0.0.1:4222'], stream: PLANT, replicas: 1}\n", "work", "retries: 5", "retries: 6"},
		{"    partition: {count: 8, lease: 'nats://127.0.0.1:4222'}\n", "run", "retries: 5", "retries: 6"},
	} {
		file := streamFile(t, addr, c.more)
		began, hangup := make(chan struct{}), make(chan struct{})
		part := &fakePart{run: func(ctx context.Context) error {
			close(began)
			<-ctx.Done()
			return nil
		}}
		r := startProgram(t, &Program{Streams: fakeStreams{part}, hangup: hangup}, append(strings.Fields(c.command), "-c", file)...)
		<-began
		rewrite(t, file, c.old, c.new)
		hangup <- struct{}{}
		r.err.until(t, "is applied by a restart")
		r.stop()
		require.Equal(t, ExitOK, <-r.code)
	}
}

// The help of mqtt311-nats uses its name.
func TestNameOfTheCommandWithNATS(t *testing.T) {
	out := newOutput()
	p := &Program{Streams: fakeStreams{}, Stdout: out, Stderr: newOutput(), Stdin: strings.NewReader("")}
	require.Zero(t, Run(t.Context(), p, []string{"work", "--help"}))
	require.Contains(t, out.String(), "mqtt311-nats work [-c] FILE")
	require.NotContains(t, out.String(), "mqtt311 work")
}
