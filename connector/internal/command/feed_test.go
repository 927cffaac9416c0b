package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// A relay forwards connections to a server, or cuts them like an outage.
type relay struct {
	addr string
	mu   sync.Mutex
	away bool
	open map[net.Conn]bool
}

func relayTo(t *testing.T, server string) *relay {
	r := &relay{open: make(map[net.Conn]bool)}
	r.addr = serveTCP(t, func(c net.Conn) {
		s, err := net.Dial("tcp", server)
		if err != nil || !r.add(c, s) {
			return
		}
		defer s.Close()
		go func() {
			io.Copy(c, s)
			c.Close()
		}()
		io.Copy(s, c)
	})
	t.Cleanup(r.cut)
	return r
}

func (r *relay) add(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.away {
			c.Close()
		} else {
			r.open[c] = true
		}
	}
	return !r.away
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
	for c := range r.open {
		c.Close()
	}
	clear(r.open)
}

func (r *relay) back() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
}

// tellWaitsAfter shortens the time after which a feed logs that lines wait.
func tellWaitsAfter(t *testing.T, d time.Duration) {
	before := feedPatience
	t.Cleanup(func() { feedPatience = before })
	feedPatience = d
}

// feedFile returns a configuration that reconnects soon after an outage.
func feedFile(t *testing.T, addr, extension, rest string) string {
	t.Helper()
	return writeFile(t, "feed.yaml", "connector:\n  general: {broker_url: '"+addr+"', client_id: feed}\n"+
		"  advanced: {clean_session: false, auto_reconnect: true, max_reconnect_interval: 50ms}\n  extension: {"+extension+"}\n"+rest)
}

func numbered(from, to int) string {
	var s strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&s, "line %d\n", n)
	}
	return s.String()
}

func (r *running) write(t *testing.T, text string) {
	t.Helper()
	_, err := io.WriteString(r.stdin, text)
	require.NoError(t, err)
}

func (r *running) ends(t *testing.T, code int) {
	t.Helper()
	select {
	case got := <-r.code:
		require.Equal(t, code, got, r.err.String())
	case <-time.After(time.Minute):
		t.Fatalf("it does not end: %s", r.err)
	}
}

// subscriber runs a command that prints the messages of topic r, and returns once it has
// subscribed.
func subscriber(t *testing.T, server string) *running {
	t.Helper()
	queue(t, server, "r")
	sub := startRun(t, "sub", "-b", server, "-i", "q", "-c", "-q", "2", "-t", "r", "-d")
	sub.err.until(t, "connected")
	return sub
}

// distinct returns the lines without repetitions: a message in flight when a connection was cut may arrive twice at
// QoS 1.
func distinct(text string) string {
	var s strings.Builder
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		if !seen[line] {
			s.WriteString(line)
		}
		seen[line] = true
	}
	return s.String()
}

// An outage does not end a feed, at any QoS and however long it lasts: lines wait, which is logged
// once, and continue.
func TestFeedOutage(t *testing.T) {
	tellWaitsAfter(t, 100*time.Millisecond)
	for _, test := range []struct{ name, producer, extension string }{
		{"QoS 0", "qos: 0", ""},
		{"QoS 1", "qos: 1", "ack_timeout: 50ms"},
		{"QoS 2", "qos: 2", "ack_timeout: 50ms"},
		{"stored", "qos: 1, done_when: stored", "ack_timeout: 50ms, session_store: {dir: '" + t.TempDir() + "', max_messages: 5}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := startBroker(t)
			way := relayTo(t, server)
			sub := subscriber(t, server)
			r := startRun(t, "run", "-c", feedFile(t, way.addr, test.extension, "producers:\n  r: {topic: r, "+test.producer+"}\n"), "--producer", "r", "-v")
			r.write(t, "line 0\n")
			r.err.until(t, `"msg":"a line of standard input is done"`)
			sub.out.until(t, "line 0\n")
			way.cut()
			r.err.until(t, "the connector has trouble")
			written := make(chan struct{})
			go func() { defer close(written); io.WriteString(r.stdin, numbered(1, 20)); r.stdin.Close() }()
			r.err.until(t, "standard input waits")
			time.Sleep(300 * time.Millisecond) // longer than the delays in this test
			log := r.err.String()
			require.Equal(t, strings.Count(log, "standard input goes on")+1, strings.Count(log, "standard input waits"), "once for each time")
			way.back()
			r.ends(t, ExitOK)
			<-written
			sub.out.until(t, "line 20\n")
			require.Equal(t, numbered(0, 20), distinct(sub.out.String()))
			require.Contains(t, r.err.String(), "standard input goes on")
			require.Contains(t, r.err.String(), `"msg":"stopped"`)
		})
	}
}

// QoS 0 lines in flight when the connection was lost are counted, as in pub.
func TestFeedLosesAtQoS0(t *testing.T) {
	f := &feeder{}
	f.judge(3, 0, fmt.Errorf("lost"))
	require.ErrorContains(t, f.outcome(false), "1 messages of QoS 0 may not have arrived")
	require.NoError(t, f.outcome(true), "nobody waits for them after an interrupt")
}

const goodLine, badOne = `{"producer": "r", "payload": "on", "variable": {"line": 7}}` + "\n", `{"producer": "r", "payload": "off"}` + "\n"

// A bad line ends a run without consumers, and any run with --bad-lines stop. Otherwise it is skipped, logged and
// counted.
func TestFeedBadLines(t *testing.T) {
	const producer = "producers:\n  r: {topic: 'r/${variable.line}', qos: 1}\n"
	for _, test := range []struct {
		name, rest string
		args       []string
		code       int // without consumers; with them, a run whose code is ExitOK continues
		want       []string
	}{
		{"alone", producer, nil, ExitPublish, []string{"mqtt311: standard input: line 2: ", "there is no variable.line"}},
		{"alone, stop", producer, []string{"--bad-lines", "stop"}, ExitPublish, []string{"mqtt311: standard input: line 2: "}},
		{"alone, skip", producer, []string{"--bad-lines", "skip"}, ExitOK, []string{`"line":2`, "is skipped", `"bad":1`}},
		{"consumers", consumes + producer, nil, ExitOK, []string{`"line":2`, "is skipped", `"bad":1`}},
		{"consumers, skip", consumes + producer, []string{"--bad-lines", "skip"}, ExitOK, []string{`"line":2`, "is skipped"}},
		{"consumers, stop", consumes + producer, []string{"--bad-lines", "stop"}, ExitPublish, []string{"mqtt311: standard input: line 2: ", "the consumers stop, too: --bad-lines stop"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := startBroker(t)
			r := startRun(t, append([]string{"run", "-c", feedFile(t, addr, "", test.rest)}, test.args...)...)
			go func() { io.WriteString(r.stdin, goodLine+badOne+goodLine); r.stdin.Close() }()
			if test.code == ExitOK && strings.Contains(test.rest, consumes) {
				r.err.until(t, "standard input has ended")
				ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "after", "-q", "1")
				r.out.until(t, "after")
				r.stop()
			}
			r.ends(t, test.code)
			for _, want := range test.want {
				require.Contains(t, r.err.String(), want)
			}
			if test.code == ExitOK {
				require.Equal(t, 1, strings.Count(r.err.String(), "is skipped"))
			}
		})
	}
	r := mqtt311(t, "run", "-c", feedFile(t, "127.0.0.1:1", "", producer), "--bad-lines", "wait")
	require.Equal(t, ExitUsage, r.code)
	require.Contains(t, r.err, `--bad-lines "wait" is neither stop nor skip`)
	r = runWith(t, t.Context(), badOne, "run", "-c", feedFile(t, startBroker(t), "", producer), "--lang", "zh", "--bad-lines", "skip")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "已跳过标准输入中的一行")
	require.Contains(t, r.err, "标准输入已结束")
	r = mqtt311(t, "run", "-c", feedFile(t, "127.0.0.1:1", "", consumes), "--bad-lines", "skip")
	require.Equal(t, ExitUsage, r.code)
	require.Contains(t, r.err, "--bad-lines needs producers that standard input feeds")
}

// A line that the server refuses is a bad line, too, although it was accepted locally. A line that fails because
// the connector ends counts as unpublished.
func TestFeedRefusedLine(t *testing.T) {
	refused := &flow.Error{Type: flow.TypePublishRefused, Delivered: flow.DeliveredUnknown, Err: client.ErrPoison}
	for _, mode := range []string{"stop", "skip"} {
		errs := newOutput()
		f := &feeder{o: &runOptions{badLines: mode}, p: &Program{}, log: slog.New(slog.NewJSONHandler(errs, nil)), failed: make(chan error, 1), stop: func() {}}
		f.begin(2)
		f.judge(2, 1, refused)
		require.NoError(t, f.outcome(false))
		if mode == "stop" {
			require.ErrorContains(t, <-f.failed, "standard input: line 2: ")
		} else {
			require.Contains(t, errs.String(), `"line":2`)
		}
		f.begin(3)
		f.judge(3, 1, &flow.Error{Type: flow.TypeNotConnected, Delivered: flow.DeliveredNo, Err: client.ErrClosed})
		f.begin(4)
		f.judge(4, 1, &flow.Error{Type: flow.TypeNotConnected, Delivered: flow.DeliveredLater, Err: client.ErrStored})
		require.ErrorContains(t, f.outcome(true), "not published: 1, from line 3")
	}
}

const storing = "producers:\n  r: {topic: r, qos: 1, done_when: stored}\n"

// With done_when: stored, lines are stored before the first connection. The command reports what is left in the
// store at the end, and the next run publishes it.
func TestFeedStoresFromTheStart(t *testing.T) {
	t.Parallel()
	server := startBroker(t)
	way := relayTo(t, server)
	sub := subscriber(t, server)
	store := "session_store: {dir: '" + t.TempDir() + "'}"
	impatient := feedFile(t, way.addr, store, storing)
	patient := writeFile(t, "patient.yaml", "connector:\n  general: {broker_url: '"+way.addr+"', client_id: feed}\n"+
		"  advanced: {clean_session: false, auto_reconnect: true, connect_retry: true, connect_retry_interval: 50ms}\n  extension: {"+store+"}\n"+storing)
	left := func(r *running, n int) {
		t.Helper()
		last := strings.TrimSpace(r.err.String())
		last = last[strings.LastIndex(last, `"msg":"stopped"`):]
		require.Contains(t, last, fmt.Sprintf(`"left_in_store":%d,"then":"the next run of this configuration publishes them"`, n))
	}
	way.cut()

	// An interrupt during the outage.
	r := startRun(t, "run", "-c", patient, "--producer", "r", "-v")
	r.write(t, numbered(1, 2))
	r.err.until(t, `"line":2`)
	r.stop()
	r.ends(t, ExitOK)
	left(r, 2)

	// Standard input ends: --drain-timeout limits how long the server may be away.
	r = startRun(t, "run", "-c", patient, "--producer", "r", "--drain-timeout", "100ms")
	r.write(t, numbered(3, 4))
	r.stdin.Close()
	r.ends(t, ExitOK)
	left(r, 4)

	// Start fails because connect_retry is off; the lines stay in the store.
	r = startRun(t, "run", "-c", impatient, "--producer", "r", "-v")
	r.ends(t, ExitConnection)
	left(r, 4)

	// Connected at first, then an outage.
	way.back()
	r = startRun(t, "run", "-c", patient, "--producer", "r", "--drain-timeout", "100ms")
	r.write(t, numbered(5, 6))
	sub.out.until(t, "line 6\n")
	way.cut()
	r.err.until(t, "the connector has trouble")
	r.write(t, numbered(7, 8))
	r.stdin.Close()
	r.ends(t, ExitOK)
	require.Contains(t, r.err.String(), `"then":"the next run`)

	way.back()
	r = startRun(t, "run", "-c", patient, "--producer", "r", "--lang", "zh")
	r.stdin.Close()
	r.ends(t, ExitOK)
	require.NotContains(t, r.err.String(), "left_in_store")
	sub.out.until(t, "line 8\n")
	require.Equal(t, numbered(1, 8), distinct(sub.out.String()))
}

// An interrupt during an outage leaves lines that no store keeps: the command reports them and
// fails.
func TestFeedInterruptedInAnOutage(t *testing.T) {
	t.Parallel()
	for _, qos := range []int{0, 1} {
		server := startBroker(t)
		way := relayTo(t, server)
		sub := subscriber(t, server)
		r := startRun(t, "run", "-c", feedFile(t, way.addr, "", fmt.Sprintf("producers:\n  r: {topic: r, qos: %d}\n", qos)), "--producer", "r", "-v")
		r.write(t, "line 1\n")
		r.err.until(t, `"msg":"a line of standard input is done"`)
		sub.out.until(t, "line 1\n")
		way.cut()
		r.err.until(t, "the connector has trouble")
		r.write(t, "line 2\n")
		r.err.until(t, `"line":2`)
		r.stop()
		r.ends(t, ExitPublish)
		require.Contains(t, r.err.String(), "mqtt311: standard input: lines that were read and not published: 1, from line 2")
	}
}

// The window of a feed limits lines and bytes, but a single line may always pass.
func TestFeedWindow(t *testing.T) {
	var w feedWindow
	ctx, cancel := context.WithCancel(t.Context())
	require.True(t, w.take(ctx, mostFedBytes+1))
	entered := make(chan bool)
	go func() { entered <- w.take(ctx, 1) }()
	select {
	case <-entered:
		t.Fatal("there is no room")
	case <-time.After(10 * time.Millisecond):
	}
	w.release(mostFedBytes + 1)
	require.True(t, <-entered)
	for range mostFedLines - 1 {
		require.True(t, w.take(ctx, 0))
	}
	go func() { entered <- w.take(ctx, 0) }()
	cancel()
	require.False(t, <-entered)
}
