package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/stretchr/testify/require"
)

// coprocess is a typical co-process: it reads ahead, works on one line after another, and exits at a line that it
// cannot read. It hangs at "hang".
func coprocess() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<16), 1<<20)
	for lines.Scan() {
		var m struct{ ID, Payload string }
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			os.Exit(4)
		}
		switch {
		case strings.HasPrefix(m.Payload, "bad"):
			os.Exit(3)
		case strings.HasPrefix(m.Payload, "hang"):
			time.Sleep(time.Hour)
		}
		time.Sleep(time.Millisecond)
		fmt.Printf("{\"id\":%q,\"ok\":true}\n", m.ID)
	}
}

func coprocessCommand(t *testing.T) string {
	self, err := os.Executable()
	require.NoError(t, err)
	return "MQTT311_TEST_PIPE=1 exec '" + self + "'"
}

// deadLetterPayloads returns the payloads in a dead letter file.
func deadLetterPayloads(t *testing.T, file string) (payloads []string) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var r connector.DeadLetterRecord
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.Equal(t, 4, r.Attempts, "retries: 3")
		payloads = append(payloads, string(r.Payload))
	}
	return payloads
}

// Every 20th of 400 messages kills the co-process, or one in 200 hangs it. Exactly these become dead letters.
func TestRunPipeThatDiesOfMessages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		payload string
		args    []string
		bad     int // one message in this many is bad
	}{
		"dies":                   {payload: "bad", bad: 20},
		"dies, with three of it": {payload: "bad", bad: 20, args: []string{"--processes", "3"}},
		"hangs, with a timeout":  {payload: "hang", bad: 200, args: []string{"--step-timeout", thorough.Pick("1s", "5s")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := startBroker(t)
			queue(t, addr, "in/#")
			file := t.TempDir() + "/dead.jsonl"
			var lines strings.Builder
			var want []string
			n := thorough.Pick(200, 400)
			for i := range n {
				payload := fmt.Sprint("good", i)
				if i%c.bad == c.bad-1 {
					payload = fmt.Sprint(c.payload, i)
					want = append(want, payload)
				}
				lines.WriteString(payload + "\n")
			}
			r := runWith(t, t.Context(), lines.String(), "pub", "-b", addr, "-t", "in/a", "-l", "-q", "1")
			require.Zero(t, r.code, r.err)
			config := configFile(t, addr, "consumers:\n  in: {topics: ['in/#'], qos: 1, on_failure: {retries: 3, then: dead_letter, dead_letter: {file: '"+file+"'}}}\n")
			began := time.Now()
			run := startRun(t, append([]string{"run", "-c", config, "--listen", "127.0.0.1:0", "--pipe", coprocessCommand(t)}, c.args...)...)
			at := listeningAt(t, run)
			done := func() bool {
				m := metricsAt(t, at)
				return m["mqtt_messages_acknowledged_total"] == strconv.Itoa(n)
			}
			require.Eventually(t, done, 9*time.Minute, 20*time.Millisecond, "%v", func() map[string]string { return metricsAt(t, at) })
			took := time.Since(began)
			metrics := metricsAt(t, at)
			run.stop()
			require.Equal(t, ExitOK, <-run.code)
			dead := deadLetterPayloads(t, file)
			slices.Sort(dead)
			slices.Sort(want)
			require.Equal(t, want, dead)
			t.Logf("%s, %s restarts", took.Round(time.Millisecond), metrics["mqtt_process_restarts_total"])
			require.NotEqual(t, "0", metrics["mqtt_process_restarts_total"])
		})
	}
}

// A message that runs out of time is charged only if it was alone with the process: otherwise it may have waited
// for another message.
func TestPipeOutOfTime(t *testing.T) {
	t.Parallel()
	s := pipeOf(t, 1, coprocessCommand(t))
	_, err := runStep(t, s, "good")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		all.Go(func() { _, errs[i] = runStepIn(ctx, s, "hang") })
	}
	all.Wait()
	for _, err := range errs {
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, flow.IsUncharged(err), "%v", err)
	}
	for _, with := range []func(context.Context) context.Context{suspected, func(ctx context.Context) context.Context { return ctx }} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = runStepIn(with(ctx), s, "hang")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, flow.IsUncharged(err), "%v", err)
		for { // may be given to the process that is being stopped
			if _, err = runStepIn(with(t.Context()), s, "good"); !flow.IsUncharged(err) {
				break
			}
		}
		require.NoError(t, err)
	}
}

// A process that closes a pipe and keeps running, or whose exit cannot be noticed at its pipes, is logged, ended
// and started again.
func TestPipeThatClosesItsPipes(t *testing.T) {
	graceOf(t, 200*time.Millisecond)
	for name, c := range map[string]struct{ command, told string }{
		"standard input":                     {"exec 0</dev/null; exec sleep 1000", "the process closed its standard input and ran on"},
		"standard output":                    {"exec 1>&-; exec sleep 1000", "the process closed its standard output and ran on"},
		"both":                               {"exec 0</dev/null 1>&-; exec sleep 1000", "and ran on"},
		"a daemon holds its output":          {"setsid sleep 5 & exit 3", "the process ended: exit status 3"},
		"a daemon holds all, and takes none": {"exec 3<&0; setsid sleep 5 <&3 & exit 3", "the process ended: exit status 3"},
		"a child holds its output":           {"sleep 1000 & exit 3", "the process ended: exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, log := t.TempDir(), newOutput()
			s := pipeTo(t, log, 1, "if mkdir '"+dir+"/once' 2>/dev/null; then "+c.command+"; else "+answering(`{"id":"\1","ok":true}`)+"; fi")
			for {
				_, err := runStep(t, s, "x")
				if err == nil {
					break
				}
				require.ErrorContains(t, err, c.told)
			}
			log.until(t, "process ended")
			require.Contains(t, log.String(), c.told)
			require.EqualValues(t, 1, s.restarts.Load())
		})
	}
}

// A process that closes its standard input may still answer the messages that it has.
func TestPipeThatEndsSlowly(t *testing.T) {
	graceOf(t, 10*time.Second)
	s := pipeOf(t, 1, `read -r a; read -r b; read -r c; exec 0</dev/null
		for line in "$a" "$b" "$c"; do sleep 0.3; id=${line#*:\"}; echo "{\"id\":\"${id%%\"*}\",\"ok\":true}"; done`)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, err := runStep(t, s, "x"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A process that reads nothing and keeps running after every start is not tried for ever: the first message that it
// got is charged, those after it are not, so that the retries of a message run out.
func TestPipeThatTakesNothing(t *testing.T) {
	thorough.Only(t)
	for name, c := range map[string]struct {
		command string
		grace   time.Duration
	}{
		"closes at once":             {"exec 0</dev/null; exec sleep 1000", 400 * time.Millisecond},
		"closes a little later":      {"sleep 0.3; exec 0</dev/null; exec sleep 1000", 400 * time.Millisecond},
		"closes, and ends by itself": {"exec 0</dev/null; sleep 2; exit 0", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			graceOf(t, c.grace)
			s := pipeOf(t, 1, c.command)
			var all sync.WaitGroup
			var charged, uncharged atomic.Int64
			for range 3 {
				all.Go(func() {
					_, err := runStep(t, s, "x")
					if flow.IsUncharged(err) {
						uncharged.Add(1)
					} else if err != nil {
						charged.Add(1)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 3, charged.Load()+uncharged.Load())
			for range 20 { // an uncharged message is tried again
				if _, err := runStep(t, s, "x"); !flow.IsUncharged(err) {
					require.Regexp(t, "pipe: the process (closed its standard input and ran on|ended)", err.Error())
					return
				}
			}
			t.Error("no message ever pays")
		})
	}
}

// Messages for such a process are treated as on_failure says.
func TestRunPipeThatTakesNothing(t *testing.T) {
	thorough.Only(t)
	graceOf(t, 400*time.Millisecond)
	addr := startBroker(t)
	queue(t, addr, "in/#")
	r := runWith(t, t.Context(), "a\nb\n", "pub", "-b", addr, "-t", "in/a", "-l", "-q", "1")
	require.Zero(t, r.code, r.err)
	file := filepath.Join(t.TempDir(), "dead.jsonl")
	config := configFile(t, addr, "consumers:\n  in: {topics: ['in/#'], qos: 1, on_failure: {retries: 1, initial_delay: 10ms, then: dead_letter, dead_letter: {file: '"+file+"'}}}\n")
	run := startRun(t, "run", "-c", config, "--pipe", "exec 0</dev/null; exec sleep 1000")
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(file)
		return bytes.Count(b, []byte("\n")) == 2
	}, 5*time.Minute, 50*time.Millisecond)
	run.stop()
	require.Equal(t, ExitOK, <-run.code)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(b), "the process closed its standard input and ran on")
}
