package clientsim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Seeds run in a child process, which may hang or crash: the parent still reports which seed did.
// ServeChild is the child's end, Batch.Run the parent's.

// A Batch is what a child runs.
type Batch struct {
	Options         // Seed is not used
	First    uint64 // seed
	Seeds    uint64 // how many; the first failure ends the batch
	Repeat   int    // how often to run First, whatever fails; 0: run Seeds
	Parallel int    // how many at a time; 0: one per processor

	// Hangs is how long a run may take in real time. Nothing in a bubble waits for anything outside of
	// it, so a run that does not end waits for a lock, or loops.
	Hangs time.Duration

	Progress func(runs int) `json:"-"` // called after each run, if not nil

	Binary string            // the test binary with the child; "": the running one
	Test   string            // the test in it that calls ServeChild
	Env    map[string]string // of the child, in addition to that of the parent
}

// A Result is the result of a Batch.
type Result struct {
	Stats    Stats
	Runs     int
	Failures []*Failure
	Cost     time.Duration // processor time of the child
}

// A message is a line of output of the child.
type message struct {
	Begins  *uint64  `json:",omitempty"` // the seed of a run that begins
	Ends    *uint64  `json:",omitempty"`
	Failure *Failure `json:",omitempty"`
	Stats   *Stats   `json:",omitempty"` // of all finished runs
}

const (
	childVar   = "MQTT311_CLIENTSIM" // holds the Batch of a child
	linePrefix = "clientsim "        // prefix of a line that is a message; other lines are those of package testing
)

// Run starts a child and returns its findings. The error is that of starting the child.
func (b Batch) Run(ctx context.Context) (Result, error) {
	binary := b.Binary
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return Result{}, err
		}
	}
	spec, err := json.Marshal(b)
	if err != nil {
		return Result{}, err
	}
	var stderr tail
	cmd := exec.CommandContext(ctx, binary, "-test.run=^"+b.Test+"$", "-test.timeout=0", "-test.count=1")
	cmd.Env = append(os.Environ(), childVar+"="+string(spec))
	for k, v := range b.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stderr = &stderr
	alive, err := cmd.StdinPipe() // the child exits when this pipe closes
	if err != nil {
		return Result{}, err
	}
	defer alive.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	r, running := b.follow(io.TeeReader(out, &stderr))
	err = cmd.Wait()
	r.Cost = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if err != nil && len(r.Failures) == 0 {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		for seed := range running {
			r.Failures = append(r.Failures, &Failure{Seed: seed, Broken: fmt.Sprintf("the process died in this run or in one beside it (%v)", err), Transcript: stderr.b})
		}
		if len(running) == 0 {
			return r, fmt.Errorf("clientsim: %s: %w\n%s", binary, err, stderr.b)
		}
	}
	return r, nil
}

// follow reads the output of the child. It also returns the seeds that have begun and not ended,
// with how often.
func (b *Batch) follow(out io.Reader) (r Result, running map[uint64]int) {
	running = make(map[uint64]int)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), linePrefix)
		var m message
		if !ok || json.Unmarshal([]byte(text), &m) != nil {
			continue
		}
		switch {
		case m.Begins != nil:
			running[*m.Begins]++
		case m.Ends != nil:
			r.Runs++
			if running[*m.Ends]--; running[*m.Ends] == 0 {
				delete(running, *m.Ends)
			}
			if b.Progress != nil {
				b.Progress(r.Runs)
			}
		case m.Failure != nil:
			r.Failures = append(r.Failures, m.Failure)
		case m.Stats != nil:
			r.Stats = *m.Stats
		}
	}
	return r, running
}

// A tail keeps the last part of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 1 << 20
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b = append(t.b, b...); len(t.b) > most {
		t.b = t.b[len(t.b)-most:]
	}
	return len(b), nil
}

// ServeChild runs the batch of a child. In any other process it skips the test.
func ServeChild(t *testing.T) {
	spec := os.Getenv(childVar)
	if spec == "" {
		t.Skip("it runs in a process that TestClientSim starts")
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent exits
		os.Exit(2)
	}()
	c := &child{out: os.Stdout}
	if err := json.Unmarshal([]byte(spec), &c.batch); err != nil {
		t.Fatal(err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	defer deepStacks()()
	c.run(t)
	c.tell(message{Stats: &c.total})
}

// gcPercent lets the heap of a child grow from a few megabytes to some tens before it is collected.
const gcPercent = 800

// deepStacks makes the runtime start each goroutine with a stack of 8 KiB: the runtime uses the average of
// the stacks that it sees during a collection. The client starts a goroutine for each burst of work, and
// growing their stacks took a sixth of the time.
func deepStacks() (end func()) {
	stop := make(chan struct{})
	for range 100 {
		go func() {
			var deep [6 << 10]byte
			<-stop
			runtime.KeepAlive(&deep)
		}()
	}
	runtime.GC()
	return func() { close(stop) }
}

// A child is the process that runs a Batch.
type child struct {
	batch Batch

	mu    sync.Mutex
	out   io.Writer
	total Stats
}

func (c *child) tell(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(c.out, "%s%s\n", linePrefix, b)
}

// run runs the seeds, several at a time.
func (c *child) run(t *testing.T) {
	b := &c.batch
	n, at := b.Seeds, func(i uint64) uint64 { return b.First + i }
	if b.Repeat > 0 {
		n, at = uint64(b.Repeat), func(uint64) uint64 { return b.First }
	}
	if b.Parallel == 0 {
		b.Parallel = runtime.GOMAXPROCS(0)
	}
	var next atomic.Uint64
	t.Run("seeds", func(t *testing.T) {
		for range b.Parallel {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
					if !c.one(t, at(i)) && b.Repeat == 0 {
						next.Store(n)
					}
				}
			})
		}
	})
}

// one runs a seed, and reports whether everything held.
func (c *child) one(t *testing.T, seed uint64) bool {
	o := c.batch.Options
	o.Seed = seed
	c.tell(message{Begins: &seed})
	ended := make(chan struct{})
	go watch(ended, c.batch.Hangs, func() {
		c.tell(message{Failure: &Failure{seed, fmt.Sprintf("it hangs, after %v on the clock of the wall", c.batch.Hangs), stacks()}})
		os.Exit(3)
	})
	st, _, err := Run(t, o)
	close(ended)
	if err != nil {
		c.tell(message{Failure: err.(*Failure)})
	}
	c.tell(message{Ends: &seed})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total.Add(st)
	return err == nil
}

// watch calls hangs unless ended is closed in time. It counts in short steps, so that a time in which the process
// got no processor counts for little.
func watch(ended <-chan struct{}, most time.Duration, hangs func()) {
	const step = 100 * time.Millisecond
	for left := most; left > 0; left -= step {
		select {
		case <-ended:
			return
		case <-time.After(step):
		}
	}
	hangs()
}
