package proofs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// workerVariable is the environment variable that makes this program a worker and describes its
// task.
const workerVariable = "MQTT311_PROOF_WORKER"

// A task is what a worker does: it runs a connector whose flows are recorded in a journal.
type task struct {
	Config  string // a file
	Journal string // a file

	// A flow takes a time between Least and Most. Once the worker has read a line from its standard
	// input, flows take no time.
	Least, Most time.Duration

	Producer string // a producer to which each flow publishes as its last step
	Poison   int    // flows of numbers divisible by it fail; 0: none
	Deadly   bool   // those flows kill the process instead of failing
}

// A report is the state of a worker, written ten times a second.
type report struct {
	Health connector.Health
	Events map[string]int // how often each event happened
	Losses map[string]int // how often connections were lost, by reason
	Memory int            // resident memory in KiB
}

var errPoison = errors.New("the payload is poison")

// work is the main function of a worker.
func work(spec string) int {
	var job task
	err := json.Unmarshal([]byte(spec), &job)
	if err == nil {
		err = job.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

func (job *task) run() error {
	cfg, _, err := config.Load(job.Config)
	if err != nil {
		return err
	}
	journal, err := os.OpenFile(job.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer journal.Close()
	var said reporter
	c, err := connector.New(*cfg, connector.Options{OnEvent: said.event})
	if err != nil {
		return err
	}
	hurry := make(chan struct{})
	go func() {
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err == nil {
			close(hurry)
			io.Copy(io.Discard, os.Stdin)
		}
		os.Exit(1) // the test process is gone
	}()
	for name := range cfg.Consumers {
		if err := c.Consume(name, job.flow(c, journal, hurry)); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := c.Start(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := said.report(c); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			within, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			return errors.Join(c.Stop(within), said.report(c))
		}
	}
}

// flow records its start, takes its time, publishes, and records its end.
func (job *task) flow(c *connector.Connector, journal io.Writer, hurry <-chan struct{}) flow.Flow {
	note := func(what string, m *flow.Message) error {
		number, _, _ := strings.Cut(string(m.Payload.Blob), " ")
		_, err := fmt.Fprintf(journal, "%s %s %s\n", what, topicOf(m), number) // a single write, which survives a kill
		return err
	}
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		if err := note("began", m); err != nil {
			return nil, err
		}
		lasts := job.Least
		if job.Most > job.Least {
			lasts += rand.N(job.Most - job.Least)
		}
		if lasts > 0 {
			t := time.NewTimer(lasts)
			defer t.Stop()
			select {
			case <-t.C:
			case <-hurry:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if job.Poison > 0 {
			n, err := strconv.Atoi(string(m.Payload.Blob))
			switch {
			case err == nil && n%job.Poison > 0:
			case job.Deadly:
				self, _ := os.FindProcess(os.Getpid())
				self.Kill()
				select {}
			default:
				return nil, errPoison
			}
		}
		if job.Producer != "" {
			if _, err := c.Producer(job.Producer).Run(ctx, m); err != nil {
				return nil, err
			}
		}
		return m, note("ended", m)
	})
}

// A reporter writes reports, a line of JSON each.
type reporter struct {
	mu     sync.Mutex
	events map[string]int
	losses map[string]int
}

func (r *reporter) event(e client.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events == nil {
		r.events, r.losses = make(map[string]int), make(map[string]int)
	}
	r.events[string(e.Kind)]++
	if e.Kind == client.ConnectionLost && e.Err != nil {
		r.losses[e.Err.Error()]++
	}
}

// counts returns copies of the counters.
func (r *reporter) counts() (events, losses map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.events), maps.Clone(r.losses)
}

func (r *reporter) report(c *connector.Connector) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return json.NewEncoder(os.Stdout).Encode(report{Health: c.Health(), Events: r.events, Losses: r.losses, Memory: resident()})
}

// resident returns the resident memory of this process in KiB; 0 if the system does not report it.
func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(fields[0])
	return n
}

// A worker is a process that runs a task.
type worker struct {
	t       *testing.T
	process *exec.Cmd
	input   io.WriteCloser
	said    strings.Builder
	exited  chan struct{}
	err     error // of its exit

	last atomic.Pointer[report]
	most atomic.Int64 // the maximum of report.Memory
}

// task writes the files of a task to a new folder.
func (s settings) task(t *testing.T) task {
	t.Helper()
	dir := t.TempDir()
	job := task{Config: filepath.Join(dir, "connector.yaml"), Journal: filepath.Join(dir, "journal")}
	require.NoError(t, os.WriteFile(job.Config, []byte(s.yaml()), 0o600))
	require.NoError(t, os.WriteFile(job.Journal, nil, 0o600))
	return job
}

// start runs the task in a new process, which is killed when the test ends.
func (job task) start(t *testing.T) *worker {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	spec, err := json.Marshal(job)
	require.NoError(t, err)
	w := &worker{t: t, process: exec.Command(program), exited: make(chan struct{})}
	w.process.Env = append(os.Environ(), workerVariable+"="+string(spec))
	w.process.Stderr = &w.said
	w.input, err = w.process.StdinPipe()
	require.NoError(t, err)
	out, err := w.process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, w.process.Start())
	t.Cleanup(func() {
		w.kill()
		if r := w.last.Load(); t.Failed() && r != nil {
			h := r.Health
			t.Logf("the worker at last: received %d, succeeded %d, failed %d, acknowledged %d, adopted %d, dead letters %d, running %d, unacknowledged %d; %v %v",
				h.Received, h.Succeeded, h.Failed, h.Acknowledged, h.Adopted, h.DeadLettered, h.Running, h.Unacked, r.Events, r.Losses)
		}
	})
	go func() {
		lines := json.NewDecoder(out)
		for {
			r := new(report)
			if lines.Decode(r) != nil {
				break
			}
			w.last.Store(r)
			w.most.Store(max(w.most.Load(), int64(r.Memory)))
		}
		w.err = w.process.Wait()
		close(w.exited)
	}()
	return w
}

// kill ends the process like a crash.
func (w *worker) kill() {
	w.process.Process.Kill()
	<-w.exited
}

// stop ends the process as an operator would.
func (w *worker) stop() {
	w.t.Helper()
	w.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.exited:
		require.NoError(w.t, w.err, w.said.String())
	case <-time.After(time.Minute):
		w.kill()
		w.t.Fatal("the worker does not stop")
	}
}

// hurry makes flows take no time from now on.
func (w *worker) hurry() {
	_, err := io.WriteString(w.input, "\n")
	require.NoError(w.t, err)
}

// now returns the newest report. It fails the test if the worker ended by itself.
func (w *worker) now() report {
	w.t.Helper()
	select {
	case <-w.exited:
		w.t.Fatalf("the worker ended: %v: %s", w.err, w.said.String())
	default:
	}
	if r := w.last.Load(); r != nil {
		return *r
	}
	return report{}
}

// started waits until the worker's connector has started.
func (w *worker) started(ctx context.Context) {
	w.t.Helper()
	eventually(w.t, ctx, func() (int, bool) {
		w.now()
		return 0, w.last.Load() != nil
	})
}

// idle waits for a report, newer than now, in which nothing is unacknowledged.
func (w *worker) idle(ctx context.Context) {
	w.t.Helper()
	old := w.last.Load()
	eventually(w.t, ctx, func() (int, bool) {
		r := w.now()
		return int(r.Health.Acknowledged), w.last.Load() != old && r.Health.Unacked == 0
	})
}

// A journal is what workers have recorded. Several workers may write to it.
type journal struct {
	t      *testing.T
	path   string
	offset int64
	began  map[string]int // runs, by topic and number
	ended  map[string]int

	runs, endedRuns int // of all messages

	// line, if not nil, is called with each new line.
	line func(what, topic, number string)
}

func (job task) journal(t *testing.T) *journal {
	return &journal{t: t, path: job.Journal, began: make(map[string]int), ended: make(map[string]int)}
}

// read reads the new lines.
func (j *journal) read() {
	j.t.Helper()
	f, err := os.Open(j.path)
	require.NoError(j.t, err)
	defer f.Close()
	_, err = f.Seek(j.offset, io.SeekStart)
	require.NoError(j.t, err)
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // the end of the file, or an incomplete line
			return
		}
		j.offset += int64(len(line))
		what, message, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch what {
		case "began":
			j.runs++
			j.began[message]++
		case "ended":
			j.endedRuns++
			j.ended[message]++
		default:
			j.t.Fatalf("the journal says %q", line)
		}
		if j.line != nil {
			topic, number, _ := strings.Cut(message, " ")
			j.line(what, topic, number)
		}
	}
}

// await reads until n messages have ended.
func (j *journal) await(ctx context.Context, n int) {
	j.t.Helper()
	eventually(j.t, ctx, func() (int, bool) {
		j.read()
		return len(j.ended), len(j.ended) >= n
	})
}
