package browser_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a running command. It is interrupted when the test ends.
type process struct {
	t    *testing.T
	told told
	done chan struct{} // closed when it has ended
}

// start runs the command in a folder.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, done: make(chan struct{})}
	p.told.more = make(chan struct{}, 1)
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &p.told, &p.told
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGINT)
		<-p.done
		if t.Failed() {
			t.Logf("mqtt311 %q:\n%s", args, p.told.String())
		}
	})
	return p
}

// until waits until the process has written text that matches, and returns the match.
func (p *process) until(pattern string) string {
	p.t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		if m := re.FindString(p.told.String()); m != "" {
			return m
		}
		select {
		case <-p.told.more:
		case <-p.done:
			if m := re.FindString(p.told.String()); m != "" {
				return m
			}
			p.t.Fatalf("ended before it told %s", pattern)
		case <-late:
			p.t.Fatalf("does not tell %s", pattern)
		}
	}
}

// page returns the URL of the page that the process serves.
func (p *process) page() string { return p.until(`http://\S+#token=\w+`) }

// told collects what a process writes.
type told struct {
	more chan struct{} // receives a value when something was written

	mu   sync.Mutex
	text bytes.Buffer
}

func (o *told) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *told) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
