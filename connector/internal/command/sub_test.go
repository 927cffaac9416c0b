package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/thorough"
)

// If a reader stalls, no QoS 0 message is lost as long as they fit in memory.
func TestSubSlowReader(t *testing.T) {
	addr := startBroker(t)
	const n = 6000
	slow := &slowWriter{open: make(chan struct{}), first: make(chan struct{})}
	errs := newOutput()
	p := &Program{Stdin: strings.NewReader(""), Stdout: slow, Stderr: errs}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan int, 1)
	ok(t, "pub", "-b", addr, "-t", "slow", "-m", "first", "-r", "-q", "1")
	go func() { done <- p.run(ctx, []string{"sub", "-b", addr, "-t", "slow", "-C", fmt.Sprint(n + 1)}) }()
	<-slow.first // the output stalls here
	r := runWith(t, t.Context(), strings.Repeat(strings.Repeat("x", 200)+"\n", n), "pub", "-b", addr, "-t", "slow", "-l")
	require.Zero(t, r.code, r.err)
	ok(t, "pub", "-b", addr, "-t", "other", "-m", "all are there", "-q", "1")
	close(slow.open)
	require.Zero(t, <-done, errs.String())
	require.Equal(t, n+1, bytes.Count(slow.text.Bytes(), []byte("\n")))
	require.Empty(t, errs.String())
}

// A slowWriter blocks until it is opened.
type slowWriter struct {
	open, first chan struct{}
	once        sync.Once
	text        bytes.Buffer
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.first) })
	<-w.open
	return w.text.Write(b)
}

// Messages that do not fit in memory are counted and reported, in both languages and in JSON.
func TestSubTellsOfLosses(t *testing.T) {
	thorough.Only(t)
	messages := mostWaiting
	mostWaiting = 4
	bytes := mostWaitingBytes
	mostWaitingBytes = 512
	t.Cleanup(func() { mostWaiting, mostWaitingBytes = messages, bytes })
	addr := startBroker(t)
	ok(t, "pub", "-b", addr, "-t", "slow", "-m", "first", "-r", "-q", "1")
	for _, flags := range [][]string{nil, {"--lang", "zh"}, {"--json"}} {
		slow := &slowWriter{open: make(chan struct{}), first: make(chan struct{})}
		errs := newOutput()
		p := &Program{Stdin: strings.NewReader(""), Stdout: slow, Stderr: errs}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		done := make(chan int, 1)
		go func() {
			done <- p.run(ctx, append([]string{"sub", "-b", addr, "-t", "slow", "-k", "1", "-W", "120"}, flags...))
		}()
		<-slow.first
		r := runWith(t, t.Context(), strings.Repeat("x\n", 300), "pub", "-b", addr, "-t", "slow", "-l")
		require.Zero(t, r.code, r.err)
		errs.until(t, map[int]string{0: "lost", 1: "messages", 2: "丢失"}[len(flags)%3])
		close(slow.open)
		cancel()
		require.Equal(t, ExitInterrupt, <-done)
	}
}

// sub accepts the largest packets; with --max-packet-size it reports those that it skipped.
func TestSubMaxPacketSize(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	file := writeFile(t, "large", strings.Repeat("x", 17<<20))
	ok(t, "pub", "-b", addr, "-t", "fw/a\x1bb", "-f", file, "-r", "-q", "1")
	ok(t, "pub", "-b", addr, "-t", "fw/version", "-m", "7", "-r", "-q", "1")
	out := ok(t, "sub", "-b", addr, "-t", "fw/#", "-C", "2", "-F", "%l")
	require.ElementsMatch(t, []string{fmt.Sprint(17 << 20), "1"}, strings.Fields(out))
	for _, lang := range []string{"en", "zh"} {
		r := startRun(t, "sub", "-b", addr, "-t", "fw/#", "-q", "1", "--max-packet-size", "1000", "-F", "%l", "--lang", lang)
		r.out.until(t, "1\n")
		r.err.until(t, "--max-packet-size")
		r.stop()
		r.ends(t, ExitInterrupt)
		require.Equal(t, "1\n", r.out.String())
		require.Contains(t, r.err.String(), `"fw/a\x1bb"`)
	}
	r := startRun(t, "sub", "-b", addr, "-t", "fw/#", "--max-packet-size", "1000", "--json")
	r.err.until(t, "\n")
	r.stop()
	r.ends(t, ExitInterrupt)
	var warning warningLine
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(r.err.String(), "\n", 2)[0]), &warning))
	require.Contains(t, warning.Warning, "discarded")
}
