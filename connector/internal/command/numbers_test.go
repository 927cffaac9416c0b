//go:build unix

package command

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var pairs = flag.Int("command.pairs", 0, "measure the command beside mosquitto's, so many times each: see make beside-mosquitto")

// A cost is the time that a run took.
type cost struct{ clock, processor time.Duration }

// runProgram runs a program to its end, and returns its cost.
func runProgram(t *testing.T, stdin string, stdout *os.File, name string, args ...string) cost {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if stdin != "" {
		in, err := os.Open(stdin)
		require.NoError(t, err)
		defer in.Close()
		cmd.Stdin = in
	}
	start := time.Now()
	require.NoError(t, cmd.Run(), "%s: %s", name, &errs)
	return cost{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

// numbers returns a file with a number in each line.
func numbers(t *testing.T, n int) string {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintln(&lines, i+1)
	}
	return writeFile(t, fmt.Sprintf("lines-%d", n), lines.String())
}

// arrivals calls publish, and returns how many messages then arrived on topic numbers at QoS 1.
func arrivals(t *testing.T, addr string, publish func()) int {
	t.Helper()
	dial, err := transport.Dialer("mqtt://"+addr, nil)
	require.NoError(t, err)
	c, err := client.New(client.Config{ClientID: "counts", CleanSession: true, Dial: dial})
	require.NoError(t, err)
	defer c.Abort()
	var n atomic.Int64
	require.NoError(t, c.Handle("numbers", func(context.Context, *client.Delivery) { n.Add(1) }))
	require.NoError(t, c.Connect(t.Context()))
	_, err = c.Subscribe(t.Context(), packets.Subscription{Filter: "numbers", QoS: 1})
	require.NoError(t, err)
	publish()
	for last := int64(-1); n.Load() != last; time.Sleep(300 * time.Millisecond) { // until no more come
		last = n.Load()
	}
	return int(n.Load())
}

func median[T ~int64 | ~float64](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

// ratios runs two programs in turn, and returns the median ratios of the first to the second.
func ratios(t *testing.T, what string, ours, theirs func() cost) (clock, processor float64) {
	t.Helper()
	var clocks, processors []float64
	var a, b []time.Duration
	for range *pairs {
		o, m := ours(), theirs()
		clocks, processors = append(clocks, float64(o.clock)/float64(m.clock)), append(processors, float64(o.processor)/float64(m.processor))
		a, b = append(a, o.processor), append(b, m.processor)
	}
	clock, processor = median(clocks), median(processors)
	t.Logf("%-34s wall clock %.2f, processor time %.2f (%v and %v)", what, clock, processor, median(a).Round(100*time.Microsecond), median(b).Round(100*time.Microsecond))
	return clock, processor
}

// Compares the command with mosquitto's tools, and its start with that of an empty program. Both columns are
// ratios, below 1 in favor of the command.
func TestNumbersBesideMosquitto(t *testing.T) {
	if *pairs == 0 {
		t.Skip("make beside-mosquitto")
	}
	dir := t.TempDir()
	build := func(name, source string) string {
		out := filepath.Join(dir, name)
		text, err := exec.CommandContext(t.Context(), "go", "build", "-o", out, source).CombinedOutput()
		require.NoError(t, err, "%s", text)
		return out
	}
	command := build("mqtt311", "../../cmd/mqtt311")
	empty := build("empty", writeFile(t, "empty.go", "package main\n\nfunc main() { println() }\n"))
	host, port, err := net.SplitHostPort(mosquitto.Start(t, mosquitto.Options{Config: "autosave_on_changes false\nmax_queued_messages 0"}).Addr())
	require.NoError(t, err)
	server := []string{"-h", host, "-p", port}
	with := func(args ...string) []string { return append(slices.Clone(args), server...) }

	// mosquitto_pub 2.0.11 leaves at the first PUBACK that has the Packet Identifier of its last message. With more than 65,535
	// messages that is one of the first round: of 100,000 it publishes some 34,467, and exits with 0. So each program is
	// charged per message that arrived, and compared where it publishes all.
	publish := with("-t", "numbers", "-l", "-q", "1")
	for _, n := range []int{60_000, 100_000} {
		file := numbers(t, n)
		run := func(least int, name string, args ...string) func() cost {
			return func() cost {
				var c cost
				came := arrivals(t, net.JoinHostPort(host, port), func() { c = runProgram(t, file, nil, name, args...) })
				require.GreaterOrEqual(t, came, least, name)
				c.clock, c.processor = c.clock*time.Duration(n)/time.Duration(came), c.processor*time.Duration(n)/time.Duration(came)
				return c
			}
		}
		least := n
		if n > 65_535 {
			least = 1
		}
		clock, _ := ratios(t, fmt.Sprintf("pub -l -q 1 of %d", n), run(n, command, append([]string{"pub"}, publish...)...), run(least, tool(t, "mosquitto_pub"), publish...))
		assert.LessOrEqual(t, clock, 1.0)
	}
	file := numbers(t, 100_000)

	// A million messages of QoS 0. The flood begins when the retained message has been printed. The server may drop messages
	// for a slow receiver, so each program is charged per message that it printed.
	ok(t, "pub", "-h", host, "-p", port, "-t", "numbers", "-m", "first", "-r", "-q", "1")
	receive := func(name string, args ...string) cost {
		out, err := os.Create(filepath.Join(dir, "out"))
		require.NoError(t, err)
		defer out.Close()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Stdout = out
		require.NoError(t, cmd.Start())
		size := func() int64 {
			info, err := out.Stat()
			require.NoError(t, err)
			return info.Size()
		}
		require.Eventually(t, func() bool { return size() > 0 }, time.Minute, time.Millisecond)
		for range 10 {
			runProgram(t, file, nil, tool(t, "mosquitto_pub"), with("-t", "numbers", "-l")...)
		}
		runProgram(t, "", nil, tool(t, "mosquitto_pub"), with("-t", "numbers", "-m", "last", "-q", "2")...)
		last := int64(-1)
		for size() != last { // until it prints nothing more
			last = size()
			time.Sleep(200 * time.Millisecond)
		}
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		cmd.Wait()
		printed, err := os.ReadFile(out.Name())
		require.NoError(t, err)
		n := time.Duration(bytes.Count(printed, []byte("\n")))
		require.Greater(t, n, time.Duration(100_000))
		return cost{1, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()) * 1_000_000 / n}
	}
	_, processor := ratios(t, "sub of 1,000,000",
		func() cost { return receive(command, with("sub", "-t", "numbers")...) },
		func() cost { return receive(tool(t, "mosquitto_sub"), with("-t", "numbers")...) })
	assert.LessOrEqual(t, processor, 1.0)

	var took []time.Duration
	for range *pairs {
		retain(t, net.JoinHostPort(host, port), 3000)
		took = append(took, runProgram(t, "", nil, command, with("sub", "-t", "kept/#", "--retained-only", "--remove-retained")...).clock)
		require.Empty(t, kept(t, net.JoinHostPort(host, port)))
	}
	t.Logf("%-34s %v", "--remove-retained of 3,000", median(took).Round(time.Millisecond))
	assert.LessOrEqual(t, median(took), 2*time.Second)

	var more []time.Duration
	var start cost
	ratios(t, "start, beside an empty program",
		func() cost { start = runProgram(t, "", nil, command, "version"); return start },
		func() cost {
			nothing := runProgram(t, "", nil, empty)
			more = append(more, start.processor-nothing.processor)
			return nothing
		})
	t.Logf("%-34s %v", "processor time beyond it", median(more).Round(100*time.Microsecond))
}
