// Package program runs a broker's program for a test: somebody else's, in a process of its own,
// on loopback, which is ended when the test ends.
package program

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Find returns the path of the first of the names that is an executable program. A name that
// begins with "bin/" is looked for from the top of the repository. Where there is none the test
// is skipped, or fails if the environment says CI=true, with install, which says how to get it.
func Find(t testing.TB, install string, names ...string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	top := filepath.Join(filepath.Dir(file), "..", "..")
	for _, name := range names {
		if strings.HasPrefix(name, "bin/") {
			name = filepath.Join(top, name)
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: %s", names[0], install)
	}
	t.Skipf("%s is not installed: %s", names[0], install)
	return ""
}

// FreePorts returns n addresses on loopback that differ and were free a moment ago.
func FreePorts(t testing.TB, n int) []string {
	t.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // all stay open until the end, so that the ports differ
		addrs[i] = ln.Addr().String()
	}
	return addrs
}

// A Program is one broker. Its methods are for one goroutine.
type Program struct {
	T    testing.TB
	Path string
	Args []string
	Env  []string // added to the environment of this process

	// Ready asks once whether the broker serves. It is asked until it returns nil.
	Ready func() error

	// Patience is how long it may take until Ready returns nil. If zero, five minutes.
	Patience time.Duration

	LogFile string // what the broker writes, for what went wrong

	process *exec.Cmd
	exited  chan struct{} // closed when process has ended
}

// Start runs the program and returns when it is ready.
func (p *Program) Start() error {
	p.process = exec.Command(p.Path, p.Args...)
	p.process.Env = append(os.Environ(), p.Env...)
	output := new(strings.Builder)
	p.process.Stdout, p.process.Stderr = output, output
	if err := p.process.Start(); err != nil {
		return err
	}
	process, exited := p.process, make(chan struct{})
	p.exited = exited
	go func() { process.Wait(); close(exited) }()
	if err := p.await(cmp.Or(p.Patience, 5*time.Minute)); err != nil {
		p.Kill()
		return fmt.Errorf("%w\n%s%s", err, output, p.Log())
	}
	return nil
}

func (p *Program) await(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := p.Ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v: %w", patience, err)
		}
		select {
		case <-p.exited:
			return errors.New("the process ended at once")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Log returns the end of the broker's log.
func (p *Program) Log() string {
	text, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8192):])
}

// Kill ends the process as a crash does, without its last words. If it does not run, nothing
// happens.
func (p *Program) Kill() { p.end(os.Kill) }

// Stop ends the process as an operator does, so that it saves its state.
func (p *Program) Stop() { p.end(os.Interrupt) }

func (p *Program) end(signal os.Signal) {
	if p.process == nil || p.process.Process == nil {
		return
	}
	p.process.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(5 * time.Minute):
		p.process.Process.Kill()
		<-p.exited
	}
	p.process = nil
}

// Restart starts the program again on the same folder and ports, whether it runs or not.
func (p *Program) Restart() {
	p.T.Helper()
	p.Kill()
	if err := p.Start(); err != nil {
		p.T.Fatalf("%s does not start again: %v", filepath.Base(p.Path), err)
	}
}

// Pause stops the process without ending its connections, as a machine that hangs does, and returns when
// it does nothing any more. The test must call Resume.
func (p *Program) Pause() { p.pause(true) }

// Resume ends Pause.
func (p *Program) Resume() { p.pause(false) }

// PID is the number of the process, while it runs.
func (p *Program) PID() int { return p.process.Process.Pid }

// Answers says whether the broker at addr answers a CONNECT. Any code will do: a broker that
// wants a login refuses this one.
func Answers(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	// CONNECT, CleanSession 1, Keep Alive 60 s, Client Identifier "ready".
	if _, err := conn.Write([]byte("\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05ready")); err != nil {
		return err
	}
	var connack [4]byte
	if _, err := io.ReadFull(conn, connack[:]); err != nil {
		return err
	}
	if connack[0] != 0x20 || connack[1] != 2 {
		return fmt.Errorf("the CONNACK is % x", connack)
	}
	return nil
}
