// Package program runs the program of a broker for a test, in a process of its own on loopback, and
// ends it when the test ends.
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

// Find returns the path of the first name that is an executable program. A name that begins with
// "bin/" is looked up from the root of the repository. If there is none, the test is skipped, or
// fails if CI=true is set in the environment; both print install, which says how to install it.
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

// A Program is a broker's process. Its methods must be called from one goroutine.
type Program struct {
	T    testing.TB
	Path string
	Args []string
	Env  []string // added to the environment of this process

	// Ready checks once whether the broker serves. It is called until it returns nil.
	Ready func() error

	// Patience is how long it may take until Ready returns nil. If zero, five minutes.
	Patience time.Duration

	LogFile string // the output of the broker, printed when something fails

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

// Kill ends the process like a crash, without letting it save anything. If the process does not
// run, Kill does nothing.
func (p *Program) Kill() { p.end(os.Kill) }

// Stop ends the process as an operator would, so that it saves its state.
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

// Restart starts the program with the same folder and ports, after ending the running process if
// there is one.
func (p *Program) Restart() {
	p.T.Helper()
	p.Kill()
	if err := p.Start(); err != nil {
		p.T.Fatalf("%s does not start again: %v", filepath.Base(p.Path), err)
	}
}

// Pause stops the process without ending its connections, like a machine that hangs, and returns when
// the process has stopped. The test must call Resume.
func (p *Program) Pause() { p.pause(true) }

// Resume ends Pause.
func (p *Program) Resume() { p.pause(false) }

// PID returns the process id while the process runs.
func (p *Program) PID() int { return p.process.Process.Pid }

// Answers returns an error unless the broker at addr answers a CONNECT. Any return code will do: a
// broker that requires a login refuses this one.
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
