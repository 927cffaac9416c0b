package hostile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// limitFiles sets how many file descriptors this process may have.
func limitFiles(n uint64) error {
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
}

// A Victim is a process that meets a Server.
type Victim struct {
	Order Order
	Log   Log // standard error

	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	err     error         // how it ended, once ended is closed

	mu     sync.Mutex
	most   Figures // without Log and Wall
	last   Report
	cpu    time.Duration
	halted chan struct{} // closed to end look
	looks  sync.WaitGroup
}

// A Log keeps the first bytes written to it, and counts the rest. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
	n    int
}

const mostKept = 4 << 20

// Write implements [io.Writer].
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += len(b)
	l.text.Write(b[:min(len(b), mostKept-l.text.Len())])
	return len(b), nil
}

// Len returns how many bytes were written.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// String returns the kept bytes.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Start starts a victim. command is the path of the command, for the Kind Command, and args are further
// arguments of its run verb.
func Start(t testing.TB, o Order, command string, args ...string) *Victim {
	t.Helper()
	v := &Victim{Order: o, ended: make(chan struct{}), halted: make(chan struct{})}
	if o.Kind == Command {
		file := filepath.Join(t.TempDir(), "connector.yaml")
		if err := os.WriteFile(file, []byte(o.config()), 0o600); err != nil {
			t.Fatal(err)
		}
		v.process = exec.Command(command, append([]string{"run", "-c", file}, args...)...)
		if o.Files > 0 {
			limited := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, o.Files)
			v.process = exec.Command("/bin/sh", append([]string{"-c", limited, command, "run", "-c", file}, args...)...)
		}
	} else {
		told, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		v.process = exec.Command(os.Args[0])
		v.process.Env = append(os.Environ(), victimEnv+"="+string(told))
	}
	v.process.Stderr = &v.Log
	stdin, err := v.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := v.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.process.Start(); err != nil {
		t.Fatal(err)
	}
	var reads sync.WaitGroup
	reads.Go(func() { v.read(stdout) })
	go func() {
		reads.Wait()
		v.err = v.process.Wait()
		close(v.ended)
	}()
	if o.Kind == Command {
		go v.feed(stdin)
	}
	v.looks.Go(v.look)
	t.Cleanup(func() {
		v.process.Process.Kill()
		<-v.ended
		v.halt()
	})
	return v
}

// feed gives the command messages to publish.
func (v *Victim) feed(stdin io.Writer) {
	for {
		if _, err := io.WriteString(stdin, `{"producer": "out", "payload": "something"}`+"\n"); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (v *Victim) read(stdout io.Reader) {
	if v.Order.Kind == Command {
		io.Copy(io.Discard, stdout)
		return
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var r Report
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			v.mu.Lock()
			v.last = r
			v.most.Goroutines = max(v.most.Goroutines, r.Goroutines)
			v.mu.Unlock()
		}
	}
}

// halt ends look.
func (v *Victim) halt() {
	v.mu.Lock()
	select {
	case <-v.halted:
	default:
		close(v.halted)
	}
	v.mu.Unlock()
	v.looks.Wait()
}

// look measures the process at intervals.
func (v *Victim) look() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.lookOnce()
		case <-v.ended:
			return
		case <-v.halted:
			return
		}
	}
}

func (v *Victim) lookOnce() {
	pid := v.process.Process.Pid
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return // the process has exited
	}
	memory := peak(pid)
	cpu := used(pid)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.most.Files = max(v.most.Files, len(files))
	v.most.Memory = max(v.most.Memory, memory)
	v.cpu = max(v.cpu, cpu)
}

// Used returns the processor time that the process has used so far, and the size of its log in
// bytes.
func (v *Victim) Used() (time.Duration, int) {
	v.lookOnce()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cpu, v.Log.Len()
}

// Figures returns the maximum that the process has used since its start, and its last report.
func (v *Victim) Figures() (Figures, Report) {
	v.lookOnce()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.most, v.last
}

// Ended reports whether the process has ended.
func (v *Victim) Ended() bool {
	select {
	case <-v.ended:
		return true
	default:
		return false
	}
}

// Stop asks the process to end, and returns the error of its exit.
func (v *Victim) Stop(patience time.Duration) error {
	v.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-v.ended:
		v.halt()
		return v.err
	case <-time.After(patience):
	}
	v.process.Process.Signal(syscall.SIGQUIT) // prints the stacks of a process that hangs
	select {
	case <-v.ended:
	case <-time.After(time.Second):
	}
	return errors.New("it does not end")
}

// peak returns the peak resident memory in bytes.
func peak(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.Atoi(kib)
	return n << 10
}

// used returns the processor time, user and system.
func used(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
