package command

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// A result is the output and exit code of a command.
type result struct {
	code     int
	out, err string
}

// An output is a buffer that a test may read while the command writes.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func newOutput() *output { return &output{wrote: make(chan struct{}, 1)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// until waits until text has been written.
func (o *output) until(t *testing.T, text string) {
	t.Helper()
	patience := time.After(2 * time.Minute)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.wrote:
		case <-patience:
			t.Fatalf("%q was not written, only %q", text, o.String())
		}
	}
}

// runWith runs the command with stdin as its standard input.
func runWith(t *testing.T, ctx context.Context, stdin string, args ...string) result {
	t.Helper()
	out, errs := newOutput(), newOutput()
	p := &Program{Stdin: strings.NewReader(stdin), Stdout: out, Stderr: errs}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	code := p.run(ctx, args)
	return result{code, out.String(), errs.String()}
}

func mqtt311(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t, t.Context(), "", args...)
}

// ok runs the command, requires success, and returns its standard output.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	r := mqtt311(t, args...)
	require.Zero(t, r.code, "%v: %s", args, r.err)
	require.Empty(t, r.err)
	return r.out
}

func startBroker(t *testing.T) string {
	t.Helper()
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b.Addr
}

// queue creates a session that keeps the messages of a filter, for sub -c -i q to fetch.
func queue(t *testing.T, addr, filter string) {
	t.Helper()
	require.Empty(t, ok(t, "sub", "-b", addr, "-i", "q", "-c", "-q", "2", "-t", filter, "-E"))
}

// fetch returns what the session has kept.
func fetch(t *testing.T, addr, filter string, args ...string) string {
	t.Helper()
	return ok(t, append([]string{"sub", "-b", addr, "-i", "q", "-c", "-q", "2", "-t", filter, "-W", "120"}, args...)...)
}

// retained returns what sub prints of the retained messages that match the filters. A server sends them filter by
// filter: the last is zz/end, which no other filter here may match.
func retained(t *testing.T, addr string, args ...string) string {
	t.Helper()
	ok(t, "pub", "-b", addr, "-t", "zz/end", "-m", "zz/end", "-q", "2", "-r")
	sub := startRun(t, append(append([]string{"sub", "-b", addr, "-q", "2"}, args...), "-t", "zz/end")...)
	sub.out.until(t, "zz/end")
	sub.stop()
	sub.ends(t, ExitInterrupt)
	before, _, _ := strings.Cut(sub.out.String(), "zz/end")
	return before
}

// serveTCP starts a server that calls answer for each connection.
func serveTCP(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				answer(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); open.Wait() })
	return l.Addr().String()
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// graceOf shortens grace until the end of a test and of the processes started after the call.
func graceOf(t *testing.T, d time.Duration) {
	before := grace
	t.Cleanup(func() { grace = before })
	grace = d
}
