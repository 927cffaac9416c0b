package command

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

// startReloadable is startRun with a SIGHUP that the test sends.
func startReloadable(t *testing.T, args ...string) (*running, chan struct{}) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{out: newOutput(), err: newOutput(), stop: cancel, code: make(chan int, 1)}
	hangup := make(chan struct{})
	go func() {
		r.code <- (&Program{Stdin: strings.NewReader(""), Stdout: r.out, Stderr: r.err, hangup: hangup}).run(ctx, args)
	}()
	t.Cleanup(cancel)
	return r, hangup
}

func rewrite(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, new)), 0o600))
}

// logLines returns the lines of a log with a message.
func logLines(t *testing.T, log *output, message string) (found []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		var l map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		if l["msg"] == message {
			found = append(found, l)
		}
	}
	return found
}

// SIGHUP applies the file; changes that need a restart, and mistakes, are reported.
func TestRunReload(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, consumes+"producers:\n  out: {topic: out, qos: 1}\n")
	r, hangup := startReloadable(t, "run", "-c", file, "-v", "--then", "out")
	r.err.until(t, `"msg":"started"`)
	// ran waits until flows have run. sub connects only then: the broker may lose messages during a resume.
	ran := func(times int) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Count(r.err.String(), `"flow succeeded"`) >= times }, 2*time.Minute, 5*time.Millisecond)
	}

	rewrite(t, file, "in: {", "more: {topics: [more], qos: 1}\n  in: {")
	rewrite(t, file, "auto_reconnect: true", "auto_reconnect: true, keep_alive: 20s")
	rewrite(t, file, "topic: out", "topic: 'done/${attribute.topic}'")
	hangup <- struct{}{}
	r.err.until(t, `"msg":"settings wait for a restart"`)
	require.Equal(t, []any{"consumers.more", "producers.out.topic"}, logLines(t, r.err, "reconfigured")[0]["applied"])
	require.Equal(t, []any{"connector.advanced.keep_alive"}, logLines(t, r.err, "settings wait for a restart")[0]["settings"])
	require.Empty(t, ok(t, "sub", "-b", addr, "-i", "q2", "-c", "-q", "2", "-t", "done/+", "-E"))
	ok(t, "pub", "-b", addr, "-t", "more", "-m", "x", "-q", "1", "-r") // retained, in case it arrives before SUBSCRIBE
	ran(1)
	require.Equal(t, "done/more x\n", ok(t, "sub", "-b", addr, "-i", "q2", "-c", "-q", "2", "-t", "done/+", "-C", "1", "-v", "-W", "120"))

	rewrite(t, file, "topics: [more]", "topics: ['#/more']")
	hangup <- struct{}{}
	r.err.until(t, "the old one goes on")
	require.Equal(t, "mistakes in "+file, logLines(t, r.err, "the configuration is not applied, the old one goes on")[0]["error"])
	require.Contains(t, r.err.String(), `"code":"E105"`)
	rewrite(t, file, "topics: ['#/more']", "topics: [more]")
	rewrite(t, file, "out: {", "other: {")
	hangup <- struct{}{}
	r.err.until(t, `--then: there is no producer \"out\"`)
	require.NoError(t, os.Remove(file))
	hangup <- struct{}{}
	r.err.until(t, "no such file")
	ok(t, "pub", "-b", addr, "-t", "more", "-m", "y", "-q", "1")
	ran(2)
	require.Equal(t, "done/more y\n", ok(t, "sub", "-b", addr, "-i", "q2", "-c", "-q", "2", "-t", "done/+", "-C", "1", "-v", "-W", "120"))
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
	require.Len(t, logLines(t, r.err, "reconfigured"), 1)
}

// --watch applies the file when it changes.
func TestRunWatch(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	file := configFile(t, addr, consumes)
	r, _ := startReloadable(t, "run", "-c", file, "--watch", "--stall-after", "1h")
	r.err.until(t, `"msg":"started"`)
	rewrite(t, file, "in/#", "other")
	r.err.until(t, `"msg":"reconfigured"`)
	ok(t, "pub", "-b", addr, "-t", "other", "-m", "x", "-q", "1", "-r") // retained, in case it arrives before SUBSCRIBE
	r.out.until(t, `"topic":"other"`)
	r.stop()
	require.Equal(t, ExitOK, <-r.code)
	require.Len(t, logLines(t, r.err, "reconfigured"), 1)
	require.Empty(t, logLines(t, r.err, "settings wait for a restart"), "--stall-after is no change")
}

// A file has changed when it stays different for a second; a missing file has not.
func TestWatchWaitsForAQuietSecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		file := filepath.Join(dir, "a")
		size := 0
		write := func() {
			size++
			require.NoError(t, os.WriteFile(file, make([]byte, size), 0o600))
		}
		write()
		changed := make(chan struct{})
		go stampOf(file).watch(ctx, file, changed)
		quiet := func(d time.Duration) {
			t.Helper()
			select {
			case <-changed:
				t.Fatal("changed")
			case <-time.After(d):
			}
		}
		quiet(time.Minute)
		for range 5 {
			write()
			quiet(900 * time.Millisecond)
		}
		begin := time.Now()
		<-changed
		require.Less(t, time.Since(begin), 500*time.Millisecond)
		quiet(time.Minute)
		require.NoError(t, os.Rename(file, file+".old"))
		quiet(time.Minute)
		require.NoError(t, os.Rename(file+".old", file))
		quiet(time.Minute)
		require.NoError(t, os.Remove(file))
		quiet(time.Minute)
		write()
		<-changed
	})
}

// On a terminal the reload is reported in the language of the user.
func TestReloadOnATerminal(t *testing.T) {
	addr := startBroker(t)
	for lang, want := range map[string][]string{
		"en": {
			"FILE: not before a restart: connector.advanced.keep_alive", "FILE: applied: producers.out.topic", "FILE: nothing has changed",
			"FILE:7:12: E106 producers.out.topic: holds a wildcard", "FILE: the configuration is not applied, the old one goes on: mistakes in FILE",
		},
		"zh": {"FILE：重启后生效：connector.advanced.keep_alive", "FILE：已生效：producers.out.topic", "FILE：没有变化", "FILE:7:12: E106 producers.out.topic: ", "FILE：新配置未生效，继续使用原配置：FILE 中有错误"},
	} {
		file := configFile(t, addr, "producers:\n  out:\n    qos: 1\n    topic: out\n")
		p := &Program{Lang: lang, Stderr: newOutput()}
		cfg, _, err := p.load(file)
		require.NoError(t, err)
		c, err := connector.New(*cfg, connector.Options{})
		require.NoError(t, err)
		require.NoError(t, c.Start(t.Context()))
		out := newOutput()
		r := &reloader{o: &runOptions{file: file}, p: p, c: c, cfg: cfg, show: &status{on: true, w: out}, log: slog.New(slog.DiscardHandler)}
		r.reload(t.Context())
		rewrite(t, file, "topic: out", "topic: other")
		r.reload(t.Context())
		rewrite(t, file, "auto_reconnect: true", "auto_reconnect: true, keep_alive: 20s")
		r.reload(t.Context())
		rewrite(t, file, "topic: other", "topic: '#'")
		r.reload(t.Context())
		for _, w := range want {
			require.Contains(t, out.String(), strings.ReplaceAll(w, "FILE", file))
		}
		require.NoError(t, c.Stop(t.Context()))
	}
}
