package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/thorough"
)

// TestMain lets a test start this command, or a co-process, as a separate process.
func TestMain(m *testing.M) {
	if os.Getenv("MQTT311_TEST_MAIN") != "" {
		if d, err := time.ParseDuration(os.Getenv("MQTT311_TEST_ORDERLY")); err == nil {
			orderly = d
		}
		Main()
	}
	if os.Getenv("MQTT311_TEST_PIPE") != "" {
		coprocess()
		os.Exit(0)
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "NO_COLOR", "MQTT311_URL", "MQTT311_PASSWORD"} {
		os.Unsetenv(name)
	}
	os.Setenv("LANG", "C")
	flag.Parse()
	if !flagGiven("test.parallel") {
		flag.Set("test.parallel", thorough.Pick("8", "4")) // tests mostly wait for processes and servers
	}
	os.Exit(m.Run())
}

func flagGiven(name string) (given bool) {
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// A process is the command in a separate process.
type process struct {
	*exec.Cmd
	out, err *output
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	return startProcessTo(t, nil, args...)
}

// startProcessTo starts the command with a file as its standard output, or with p.out if stdout is nil.
func startProcessTo(t *testing.T, stdout *os.File, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{exec.Command(self, args...), newOutput(), newOutput()}
	p.Env = append(os.Environ(), "MQTT311_TEST_MAIN=1", "LC_ALL=C")
	p.Stdout, p.Stderr = p.out, p.err
	if stdout != nil {
		p.Stdout = stdout
	}
	require.NoError(t, p.Start())
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	return p
}

func (p *process) code(t *testing.T) int {
	t.Helper()
	cut := time.AfterFunc(2*time.Minute, func() { p.Process.Kill() })
	defer cut.Stop()
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return p.ProcessState.ExitCode()
}

// reading answers CONNECT, reads a packet, and then calls then.
func reading(t *testing.T, then func(net.Conn)) string {
	return serveTCP(t, func(c net.Conn) {
		io.ReadAtLeast(c, make([]byte, 256), 14)
		c.Write([]byte{0x20, 2, 0, 0})
		io.ReadAtLeast(c, make([]byte, 256), 2)
		then(c)
	})
}

// Each exit code in docs/command.md, with the error type in JSON.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	refuses := serveTCP(t, func(c net.Conn) {
		io.ReadAtLeast(c, make([]byte, 64), 14)
		c.Write([]byte{0x20, 2, 0, 4})
	})
	subacks := reading(t, func(c net.Conn) { c.Write([]byte{0x90, 3, 0x80, 0, 0x80}); io.Copy(io.Discard, c) })
	hangsUp := reading(t, func(net.Conn) {})
	silent := reading(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	bad := writeFile(t, "bad.yaml", wrong)
	stops := strings.Replace(consumes, "then: drop", "then: stop", 1)
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	for _, c := range []struct {
		name string
		code int
		typ  string
		args []string
	}{
		{"done", ExitOK, "", []string{"pub", "-t", "a", "-m", "x", "-b", addr}},
		{"the policy stops", ExitRuntime, "CORE:RUNTIME", []string{"run", "-c", configFile(t, addr, stops), "--exec", "exit 1", "--log-level", "error"}},
		{"wrong usage", ExitUsage, "CORE:CONFIG", []string{"pub", "-m", "x"}},
		{"wrong configuration", ExitUsage, "CORE:CONFIG", []string{"run", "-c", bad}},
		{"no connection", ExitConnection, "MQTT:TCP", []string{"pub", "-t", "a", "-m", "x", "-b", "127.0.0.1:1"}},
		{"no connection for run", ExitConnection, "MQTT:TCP", []string{"run", "-c", configFile(t, "127.0.0.1:1", consumes), "--log-level", "error"}},
		{"refused", ExitRefused, "MQTT:BAD_CREDENTIALS", []string{"pub", "-t", "a", "-m", "x", "-b", refuses}},
		{"refused for sub", ExitRefused, "MQTT:BAD_CREDENTIALS", []string{"sub", "-t", "a", "-b", refuses}},
		{"refused for run", ExitRefused, "MQTT:BAD_CREDENTIALS", []string{"run", "-c", configFile(t, refuses, consumes), "--log-level", "error"}},
		{"refused for test", ExitRefused, "MQTT:BAD_CREDENTIALS", []string{"test", "-c", configFile(t, refuses, consumes)}},
		{"not subscribed", ExitSubscribe, "MQTT:SUBSCRIPTION_REJECTED", []string{"sub", "-t", "a", "-b", subacks}},
		{"not subscribed for run", ExitSubscribe, "MQTT:SUBSCRIPTION_REJECTED", []string{"run", "-c", configFile(t, subacks, consumes), "--log-level", "error"}},
		{"not subscribed for test", ExitSubscribe, "MQTT:SUBSCRIPTION_REJECTED", []string{"test", "-c", configFile(t, subacks, consumes)}},
		{"not published", ExitPublish, "", []string{"pub", "-t", "a", "-m", "x", "-q", "1", "-b", hangsUp}},
		{"out of time", ExitTimeout, "CORE:TIMEOUT", []string{"pub", "-t", "a", "-m", "x", "-q", "1", "-b", silent, "-W", "1"}},
		{"out of time for sub", ExitTimeout, "CORE:TIMEOUT", []string{"sub", "-t", "a", "-b", addr, "-W", "1"}},
		{"findings", ExitFindings, "CORE:CONFIG", []string{"check", "-c", bad}},
		{"warnings that count", ExitFindings, "CORE:CONFIG", []string{"check", "--strict", "-c", configFile(t, addr, "consumers: {in: {topics: [a]}}\n")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mqtt311(t, append(c.args, "--json")...)
			require.Equal(t, c.code, r.code, r.err)
			if c.code == ExitOK {
				require.Empty(t, r.err)
				return
			}
			lines := strings.Split(strings.TrimSpace(r.err), "\n")
			var e errorLine
			require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &e), r.err)
			require.Equal(t, c.code, e.Code)
			require.NotEmpty(t, e.Error)
			if c.typ != "" {
				require.Equal(t, c.typ, string(e.Type))
			}
		})
	}
}

// --quiet prints no error, but keeps the exit code.
func TestQuiet(t *testing.T) {
	r := mqtt311(t, "pub", "--quiet", "-t", "a", "-m", "x", "-b", "127.0.0.1:1")
	require.Equal(t, result{code: ExitConnection}, r)
}

// An interrupt ends pub even while it reads from a terminal where nobody types.
func TestInterruptOfPub(t *testing.T) {
	addr := startBroker(t)
	ctx, cancel := context.WithCancel(t.Context())
	in, stdin := io.Pipe()
	defer stdin.Close()
	done := make(chan int, 1)
	errs := newOutput()
	go func() {
		p := &Program{Stdin: in, Stdout: io.Discard, Stderr: errs}
		done <- p.run(ctx, []string{"pub", "-b", addr, "-t", "a", "-l", "-d"})
	}()
	io.WriteString(stdin, "one\n")
	errs.until(t, "connected")
	cancel()
	require.Equal(t, ExitInterrupt, <-done)
}

// The first interrupt lets running flows end, and the exit code is that of success. The second ends
// the command at once, with the processes of its flows.
func TestInterruptOfRun(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	file := configFile(t, addr, consumes)
	dir := t.TempDir()
	start := func(command string) *process {
		queue(t, addr, "in/#")
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
		p := startProcess(t, "run", "-c", file, "--exec", command)
		waitFor(t, dir+"/began")
		p.err.until(t, `"msg":"started"`)
		require.NoError(t, os.Remove(dir+"/began"))
		return p
	}
	p := start("touch '" + dir + "/began'; while ! test -e '" + dir + "/go'; do sleep 0.01; done; echo done")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
	require.Zero(t, p.code(t), p.err)
	require.Equal(t, "done\n", p.out.String())
	require.Contains(t, p.err.String(), `"msg":"stopped"`)
	got := mqtt311(t, "sub", "-b", addr, "-i", "q", "-c", "-q", "1", "-t", "in/#", "-W", "1")
	require.Empty(t, got.out, "it was acknowledged")

	p = start("echo $$ > '" + dir + "/pid'; sleep 1000 & touch '" + dir + "/began'; wait")
	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	ended := make(chan struct{})
	go p.interruptUntil(ended, syscall.SIGINT)
	code := p.code(t)
	close(ended)
	require.Equal(t, ExitInterrupt, code, p.err)
	require.Contains(t, p.err.String(), "interrupted before messages were done: 1")
	pid, err := os.ReadFile(dir + "/pid")
	require.NoError(t, err)
	gone(t, string(bytes.TrimSpace(pid)))
	require.Equal(t, "x\n", fetch(t, addr, "in/#", "-C", "1"), "it was not acknowledged")
}

// interruptAgain sends signals, far enough apart to count as separate interrupts, and returns the exit code of the
// process. Of several signals the last is repeated until the process ends, because a slow process may see two as
// one.
func (p *process) interruptAgain(t *testing.T, signals ...os.Signal) int {
	t.Helper()
	for i, s := range signals {
		if i > 0 {
			time.Sleep(2 * sameInterrupt)
		}
		require.NoError(t, p.Process.Signal(s))
	}
	ended := make(chan struct{})
	defer close(ended)
	if len(signals) > 1 {
		go p.interruptUntil(ended, signals[len(signals)-1])
	}
	began := time.Now()
	code := p.code(t)
	require.Less(t, time.Since(began), time.Minute)
	return code
}

// interruptUntil sends a signal repeatedly.
func (p *process) interruptUntil(ended <-chan struct{}, s os.Signal) {
	for {
		select {
		case <-ended:
			return
		case <-time.After(2 * sameInterrupt):
			p.Process.Signal(s)
		}
	}
}

// The second interrupt ends the command at once, even if it waits for a reader of its standard output or for a step
// that ignores signals. The step is killed, too.
func TestSecondInterruptAlwaysEnds(t *testing.T) {
	thorough.Only(t)
	t.Parallel()
	addr := startBroker(t)
	config := configFile(t, addr, consumes)
	queue(t, addr, "in/#")
	blocked := func(args ...string) *process {
		r := runWith(t, t.Context(), strings.Repeat("x", 300_000), "pub", "-b", addr, "-t", "in/a", "-q", "1", "-s")
		require.Zero(t, r.code, r.err)
		out, theirs, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { out.Close() })
		p := startProcessTo(t, theirs, args...)
		theirs.Close()
		_, err = io.ReadFull(out, make([]byte, 1))
		require.NoError(t, err)
		if args[0] == "run" {
			p.err.until(t, `"msg":"started"`)
		}
		return p
	}
	again := func() { require.Len(t, fetch(t, addr, "in/#", "-C", "1"), 300_001, "it was not acknowledged") }
	p := blocked("sub", "-b", addr, "-i", "q", "-c", "-q", "1", "-t", "in/#")
	require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGTERM, syscall.SIGTERM))
	again()
	p = blocked("run", "-c", config)
	require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGINT, syscall.SIGTERM), p.err)
	again()
	p = blocked("run", "-c", config, "--exec", "cat")
	require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGTERM, syscall.SIGINT))
	again()

	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	for _, step := range []string{"--exec", "--pipe"} {
		dir := t.TempDir()
		p := startProcess(t, "run", "-c", config, step, "trap '' TERM INT; echo $$ > '"+dir+"/pid'; touch '"+dir+"/began'; while :; do sleep 0.1; done")
		waitFor(t, dir+"/began")
		p.err.until(t, `"msg":"started"`)
		require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGTERM, syscall.SIGTERM), step)
		pid, err := os.ReadFile(dir + "/pid")
		require.NoError(t, err)
		gone(t, string(bytes.TrimSpace(pid)))
	}
}

// sub ends after one interrupt even if nobody reads its output; it only takes longer.
func TestInterruptOfABlockedSub(t *testing.T) {
	addr := startBroker(t)
	t.Setenv("MQTT311_TEST_ORDERLY", "300ms")
	out, theirs, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	queue(t, addr, "in/#")
	r := runWith(t, t.Context(), strings.Repeat("x", 300_000), "pub", "-b", addr, "-t", "in/a", "-q", "1", "-s")
	require.Zero(t, r.code, r.err)
	p := startProcessTo(t, theirs, "sub", "-b", addr, "-i", "q", "-c", "-q", "1", "-t", "in/#")
	theirs.Close()
	_, err = io.ReadFull(out, make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGTERM))
	require.Len(t, fetch(t, addr, "in/#", "-C", "1"), 300_001, "it was not acknowledged")
}

// SIGHUP does not end a connector without a terminal; it only makes it read the file again.
func TestHangUpOfRun(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	p := startProcess(t, "run", "-c", configFile(t, addr, consumes))
	p.err.until(t, `"msg":"started"`)
	for range 2 {
		require.NoError(t, p.Process.Signal(syscall.SIGHUP))
		p.err.until(t, `"msg":"reconfigured"`)
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	}
	p.out.until(t, "x")
	require.Zero(t, p.interruptAgain(t, syscall.SIGTERM), p.err)
	require.NotContains(t, p.err.String(), "SIGHUP changes nothing")
}

// run ends when --drain-timeout is over, even if the reader of its standard output does not read.
func TestDrainTimeoutOfABlockedOutput(t *testing.T) {
	defer func(before time.Duration) { grace = before }(grace)
	grace = 100 * time.Millisecond
	addr := startBroker(t)
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, theirs := io.Pipe()
	defer out.Close()
	code, errs := make(chan int, 1), newOutput()
	args := []string{"run", "-c", configFile(t, addr, consumes), "--drain-timeout", "100ms"}
	go func() {
		code <- (&Program{Stdin: strings.NewReader(""), Stdout: theirs, Stderr: errs}).run(ctx, args)
	}()
	_, err := io.ReadFull(out, make([]byte, 1))
	require.NoError(t, err)
	errs.until(t, `"msg":"started"`)
	cancel()
	require.Equal(t, ExitTimeout, <-code)
	require.Contains(t, errs.String(), "messages that were not done after 100ms: 1")
}

// Signals that a terminal and timeout(1) send at the same time are one interrupt.
func TestTwoInterruptsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals, hurry := make(chan os.Signal, 1), make(chan struct{})
		ctx, interrupt := context.WithCancel(t.Context())
		go interrupts(signals, interrupt, hurry)
		signals <- syscall.SIGINT
		<-ctx.Done()
		for range 3 {
			time.Sleep(sameInterrupt / 4)
			signals <- syscall.SIGINT
		}
		synctest.Wait()
		select {
		case <-hurry:
			t.Fatal("they are the first interrupt still")
		default:
		}
		time.Sleep(sameInterrupt)
		signals <- syscall.SIGINT
		<-hurry
	})
}

// After a second interrupt while only DISCONNECT is left, no messages are reported as unfinished.
func TestInterruptOfDisconnect(t *testing.T) {
	t.Parallel()
	hold, hurry := make(chan struct{}), make(chan struct{})
	addr := reading(t, func(c net.Conn) {
		c.Write([]byte{0x90, 3, 0x80, 0, 1})
		<-hold // the connection stays open after DISCONNECT
	})
	defer close(hold)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, stdin := io.Pipe()
	defer stdin.Close()
	code, errs := make(chan int, 1), newOutput()
	args := []string{"run", "-c", configFile(t, addr, consumes)}
	go func() { code <- (&Program{Stdin: in, Stdout: io.Discard, Stderr: errs, hurry: hurry}).run(ctx, args) }()
	errs.until(t, `"msg":"started"`)
	close(hurry)
	cancel()
	require.Equal(t, ExitInterrupt, <-code)
	require.Contains(t, errs.String(), "mqtt311: interrupted again before the connector had stopped\n")
}

// waitFor waits until a file exists.
func waitFor(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool { _, err := os.Stat(path); return err == nil }, 2*time.Minute, 5*time.Millisecond, path)
}

// gone waits until no process of a group is running.
func gone(t *testing.T, group string) {
	t.Helper()
	require.Eventually(t, func() bool {
		out, _ := exec.Command("ps", "-o", "pid=,stat=", "-g", group).Output()
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "Z") {
				return false
			}
		}
		return true
	}, 2*time.Minute, 20*time.Millisecond, "processes of the group %s", group)
}

// A drain that takes too long is a timeout, and the error says how many messages are left. When run
// has ended, its processes have ended, too, even those that ignore SIGTERM.
func TestDrainTimeout(t *testing.T) {
	addr := startBroker(t)
	dir := t.TempDir()
	defer func(before time.Duration) { grace = before }(grace)
	grace = 200 * time.Millisecond
	queue(t, addr, "in/#")
	ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	r := startRun(t, "run", "-c", configFile(t, addr, consumes), "--drain-timeout", "100ms",
		"--exec", "trap '' TERM; echo $$ > '"+dir+"/pid'; touch '"+dir+"/began'; while :; do sleep 0.1; done")
	waitFor(t, dir+"/began")
	r.err.until(t, `"msg":"started"`)
	r.stop()
	require.Equal(t, ExitTimeout, <-r.code)
	require.Contains(t, r.err.String(), "messages that were not done after 100ms: 1")
	pid, err := os.ReadFile(dir + "/pid")
	require.NoError(t, err)
	left, _ := exec.Command("ps", "-o", "pid=", "-p", string(bytes.TrimSpace(pid))).Output()
	require.Empty(t, string(left))
}
