package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
)

// TestMain lets a test start this command as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("MQTT311_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A process is the command as a process.
type process struct {
	*exec.Cmd
	out, err *output
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{exec.Command(self, args...), newOutput(), newOutput()}
	p.Env = append(os.Environ(), "MQTT311_TEST_MAIN=1", "LC_ALL=C")
	p.Stdout, p.Stderr = p.out, p.err
	require.NoError(t, p.Start())
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	return p
}

func (p *process) code(t *testing.T) int {
	t.Helper()
	cut := time.AfterFunc(30*time.Second, func() { p.Process.Kill() })
	defer cut.Stop()
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return p.ProcessState.ExitCode()
}

// reading answers CONNECT, reads whatever comes, and then does as told.
func reading(t *testing.T, then func(net.Conn)) string {
	return serveTCP(t, func(c net.Conn) {
		io.ReadAtLeast(c, make([]byte, 256), 14)
		c.Write([]byte{0x20, 2, 0, 0})
		io.ReadAtLeast(c, make([]byte, 256), 2)
		then(c)
	})
}

// Each exit code of docs/command.md, and the type of the error for programs.
func TestExitCodes(t *testing.T) {
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
		{"done", exitOK, "", []string{"pub", "-t", "a", "-m", "x", "-b", addr}},
		{"the policy stops", exitRuntime, "CORE:RUNTIME", []string{"run", "-c", configFile(t, addr, stops), "--exec", "exit 1", "--log-level", "error"}},
		{"wrong usage", exitUsage, "CORE:CONFIG", []string{"pub", "-m", "x"}},
		{"wrong configuration", exitUsage, "CORE:CONFIG", []string{"run", "-c", bad}},
		{"no connection", exitConnection, "MQTT:TCP", []string{"pub", "-t", "a", "-m", "x", "-b", "127.0.0.1:1"}},
		{"no connection for run", exitConnection, "MQTT:TCP", []string{"run", "-c", configFile(t, "127.0.0.1:1", consumes), "--log-level", "error"}},
		{"refused", exitRefused, "MQTT:BAD_CREDENTIALS", []string{"pub", "-t", "a", "-m", "x", "-b", refuses}},
		{"refused for sub", exitRefused, "MQTT:BAD_CREDENTIALS", []string{"sub", "-t", "a", "-b", refuses}},
		{"refused for run", exitRefused, "MQTT:BAD_CREDENTIALS", []string{"run", "-c", configFile(t, refuses, consumes), "--log-level", "error"}},
		{"refused for test", exitRefused, "MQTT:BAD_CREDENTIALS", []string{"test", "-c", configFile(t, refuses, consumes)}},
		{"not subscribed", exitSubscribe, "MQTT:SUBSCRIPTION_REJECTED", []string{"sub", "-t", "a", "-b", subacks}},
		{"not subscribed for run", exitSubscribe, "MQTT:SUBSCRIPTION_REJECTED", []string{"run", "-c", configFile(t, subacks, consumes), "--log-level", "error"}},
		{"not subscribed for test", exitSubscribe, "MQTT:SUBSCRIPTION_REJECTED", []string{"test", "-c", configFile(t, subacks, consumes)}},
		{"not published", exitPublish, "", []string{"pub", "-t", "a", "-m", "x", "-q", "1", "-b", hangsUp}},
		{"out of time", exitTimeout, "CORE:TIMEOUT", []string{"pub", "-t", "a", "-m", "x", "-q", "1", "-b", silent, "-W", "1"}},
		{"out of time for sub", exitTimeout, "CORE:TIMEOUT", []string{"sub", "-t", "a", "-b", addr, "-W", "1"}},
		{"findings", exitFindings, "CORE:CONFIG", []string{"check", "-c", bad}},
		{"warnings that count", exitFindings, "CORE:CONFIG", []string{"check", "--strict", "-c", configFile(t, addr, "consumers: {in: {topics: [a]}}\n")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mqtt311(t, append(c.args, "--json")...)
			require.Equal(t, c.code, r.code, r.err)
			if c.code == exitOK {
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

// --quiet has no error, and the exit code all the same.
func TestQuiet(t *testing.T) {
	t.Setenv("LC_ALL", "C")
	r := mqtt311(t, "pub", "--quiet", "-t", "a", "-m", "x", "-b", "127.0.0.1:1")
	require.Equal(t, result{code: exitConnection}, r)
}

// An interrupt ends pub, though it reads from a terminal where nobody types.
func TestInterruptOfPub(t *testing.T) {
	addr := startBroker(t)
	ctx, cancel := context.WithCancel(t.Context())
	in, stdin := io.Pipe()
	defer stdin.Close()
	done := make(chan int, 1)
	errs := newOutput()
	go func() {
		p := &program{stdin: in, stdout: io.Discard, stderr: errs}
		done <- p.run(ctx, []string{"pub", "-b", addr, "-t", "a", "-l", "-d"})
	}()
	io.WriteString(stdin, "one\n")
	errs.until(t, "connected")
	cancel()
	require.Equal(t, exitInterrupt, <-done)
}

// The first interrupt lets a flow end that runs, and the exit code is that of success; the
// second ends at once, and what the flow runs is ended too.
func TestInterruptOfRun(t *testing.T) {
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
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(2 * sameInterrupt):
				p.Process.Signal(syscall.SIGINT)
			}
		}
	}()
	code := p.code(t)
	close(ended)
	require.Equal(t, exitInterrupt, code, p.err)
	require.Contains(t, p.err.String(), "interrupted before messages were done: 1")
	pid, err := os.ReadFile(dir + "/pid")
	require.NoError(t, err)
	gone(t, string(bytes.TrimSpace(pid)))
	require.Equal(t, "x\n", fetch(t, addr, "in/#", "-C", "1"), "it was not acknowledged")
}

// What a terminal and timeout(1) signal at once is one interrupt.
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

// A second interrupt while only the goodbye is left counts no messages.
func TestInterruptOfGoodbye(t *testing.T) {
	t.Setenv("LC_ALL", "C")
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
	go func() { code <- (&program{stdin: in, stdout: io.Discard, stderr: errs, hurry: hurry}).run(ctx, args) }()
	errs.until(t, `"msg":"started"`)
	close(hurry)
	cancel()
	require.Equal(t, exitInterrupt, <-code)
	require.Contains(t, errs.String(), "mqtt311: interrupted again before the connector had stopped\n")
}

// waitFor waits until a file is there.
func waitFor(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool { _, err := os.Stat(path); return err == nil }, 20*time.Second, 5*time.Millisecond, path)
}

// gone waits until no process of a group is left.
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
	}, 20*time.Second, 20*time.Millisecond, "processes of the group %s", group)
}

// A drain that takes too long is out of time, and says how many messages are left. When run
// has ended nothing runs any more, though it takes no notice of SIGTERM.
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
	require.Equal(t, exitTimeout, <-r.code)
	require.Contains(t, r.err.String(), "messages that were not done after 100ms: 1")
	pid, err := os.ReadFile(dir + "/pid")
	require.NoError(t, err)
	left, _ := exec.Command("ps", "-o", "pid=", "-p", string(bytes.TrimSpace(pid))).Output()
	require.Empty(t, string(left))
}
