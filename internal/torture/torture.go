// Package torture kills a client with SIGKILL, again and again, behind a proxy that cuts, and
// counts: what was accepted and did not arrive is lost, what arrived twice at QoS 2 is duplicated.
//
// A child process publishes numbers and consumes numbers at QoS 1 and 2, and writes what it does
// to a journal. The numbers that it publishes are counted by an observer that shares no code with
// the client but the codec and holds one connection all the time; the same observer publishes
// what the child consumes. The child notes each number before it acknowledges it.
package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
)

// Options of Run.
type Options struct {
	Kills int
	Seed  uint64
	Kind  string // for the child: see Child.Kind
	Keep  string // a folder where the journal and the packets stay; if empty, they go

	// Broker is added to the configuration of mosquitto, a line each.
	Broker string
}

const (
	feedBatch  = 10               // numbers of each QoS that a round gives the child to consume
	feedAhead  = 1000             // but no more than so many that it has not noted
	drainLimit = 60 * time.Second // for all that is unfinished when the kills are over
)

// Run tortures the child of this test binary, see Main, and returns what it counted. It ends the
// test when it cannot count: the child ends by itself, or the time is up.
func Run(t testing.TB, opts Options) *Report {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(opts.Kills+60)*time.Second)
	defer cancel()
	r := &run{
		t: t, opts: opts, dir: opts.Keep, rand: rand.New(rand.NewPCG(opts.Seed, 311)),
		tally: newTally(),
	}
	if r.dir == "" {
		r.dir = t.TempDir()
	}
	// By default the broker drops what goes beyond 1,000 waiting messages, after it has
	// acknowledged them. Its own death is no part of this, so it need not write to the disk.
	broker := mosquitto.Start(t, mosquitto.Options{
		Config: "max_queued_messages 0\nmax_queued_bytes 0\npersistence false\nlog_type none\nlog_type error\n" + opts.Broker,
	})
	var err error
	if r.proxy, err = newProxy(broker.Addr(), opts.Seed); err != nil {
		t.Fatal(err)
	}
	defer r.proxy.close()
	if r.observer, err = observe(broker.Addr()); err != nil {
		t.Fatal(err)
	}
	defer r.observer.conn.Close()

	defer func() {
		if t.Failed() {
			t.Logf("torture: the seed was %d", opts.Seed)
		}
	}()
	r.subscribe(ctx)
	for i := range opts.Kills {
		r.round(ctx)
		r.progress(i+1, begin)
	}
	r.drain(ctx)
	report := r.tally.compare(r.observer, r.proxy.saw, r.fed)
	report.Kills, report.Cuts, report.Seed = opts.Kills, r.proxy.cuts.Load(), opts.Seed
	report.Time = time.Since(begin).Round(time.Second / 10)
	return report
}

type run struct {
	t        testing.TB
	opts     Options
	dir      string
	rand     *rand.Rand
	proxy    *proxy
	observer *observer
	tally    *tally
	fed      int // numbers of each QoS that were published for the child
}

// subscribe lets the child live until the Server has its subscription: what is published for it
// before that is not meant for it.
func (r *run) subscribe(ctx context.Context) {
	p := r.start(false)
	r.await(ctx, p, "the child has subscribed", func() bool { return r.tally.subscribed })
	p.kill()
	r.read()
}

// round lets the child live for a random time, or until a random byte has passed the proxy.
func (r *run) round(ctx context.Context) {
	// Most lives are short, so that many end in the first steps of a start.
	life := time.Duration(r.rand.ExpFloat64() * float64(80*time.Millisecond))
	if r.rand.IntN(20) == 0 {
		life += time.Second // long enough to find out about a connection that hangs
	}
	var passed <-chan struct{}
	if r.rand.IntN(2) == 0 {
		life += 200 * time.Millisecond
		passed = r.proxy.passes(r.rand.IntN(8000))
	}
	p := r.start(false)
	defer p.kill() // if feeding ends the test
	timer := time.NewTimer(life)
	defer timer.Stop()
	if r.fed-r.tally.noted() < feedAhead {
		if err := r.observer.feed(r.fed, feedBatch); err != nil {
			r.t.Fatalf("torture: publishing for the child: %v", err)
		}
		r.fed += feedBatch
	}
	select {
	case <-timer.C:
	case <-passed:
	case <-p.ended:
	case <-ctx.Done():
		r.t.Fatalf("torture: the time is up")
	}
	if err := p.kill(); err != nil {
		r.t.Fatal(err)
	}
	r.read()
}

// drain lets the child finish, over connections that hold, and waits for everything.
func (r *run) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	r.proxy.calm.Store(true)
	p := r.start(true)
	r.await(ctx, p, "the child has finished what it had accepted", func() bool { return r.tally.drained })
	if err := r.observer.flush(ctx); err != nil {
		p.kill()
		r.t.Fatalf("torture: the last message does not come: %v", err)
	}
	// What is lost is lost: it is counted, so waiting for it ends without an error.
	r.poll(ctx, p, 10*time.Second, func() bool { return r.tally.noted() >= r.fed })
	if err := p.finish(); err != nil {
		r.t.Fatal(err)
	}
	r.read()
}

func (r *run) await(ctx context.Context, p *process, what string, done func() bool) {
	if !r.poll(ctx, p, drainLimit, done) {
		err := p.kill()
		r.t.Fatalf("torture: waited in vain until %s: %v; %s", what, err, p.stderr.String())
	}
}

// poll reads the journal until done, and reports whether it came to that.
func (r *run) poll(ctx context.Context, p *process, patience time.Duration, done func() bool) bool {
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r.read()
		if done() {
			return true
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return false
		case <-deadline:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (r *run) read() {
	if err := r.tally.read(r.journal()); err != nil {
		r.t.Fatalf("torture: %v", err)
	}
}

func (r *run) journal() string { return filepath.Join(r.dir, "journal") }

// progress shows on a terminal how far it is.
func (r *run) progress(kills int, begin time.Time) {
	if info, err := os.Stdout.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	fmt.Printf("\r%d of %d kills, %d cuts, %d accepted, %d consumed, %v ",
		kills, r.opts.Kills, r.proxy.cuts.Load(), r.tally.accepted(), r.tally.consumed(), time.Since(begin).Round(time.Second))
	if kills == r.opts.Kills {
		fmt.Println()
	}
}

// A process is a child.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	ended  chan struct{}
	err    error // valid when ended is closed
	killed bool
}

func (r *run) start(drain bool) *process {
	r.t.Helper()
	told, err := json.Marshal(&Child{
		Kind: r.opts.Kind, Addr: r.proxy.addr(), Dir: r.dir, Journal: r.journal(), ClientID: "tortured",
		Drain: drain, Next: r.tally.next(), Trace: r.opts.Keep != "",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(told))
	p.cmd.Stderr = &p.stderr
	if r.opts.Keep != "" {
		trace, err := os.OpenFile(filepath.Join(r.dir, "trace"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			r.t.Fatal(err)
		}
		defer trace.Close()
		p.cmd.Stdout = trace
	}
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		r.t.Fatalf("torture: %v", err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.ended) }()
	return p
}

// kill ends the child without its last words. It is an error if the child has ended before.
func (p *process) kill() error {
	if p.killed {
		return nil
	}
	select {
	case <-p.ended:
		return fmt.Errorf("torture: the child ended by itself: %v: %s", p.err, p.stderr.String())
	default:
	}
	p.killed = true
	p.cmd.Process.Kill()
	<-p.ended
	return nil
}

// finish ends the input of the child, which ends the child.
func (p *process) finish() error {
	p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.kill()
		return fmt.Errorf("torture: the child does not end: %s", p.stderr.String())
	}
	if p.err != nil {
		return fmt.Errorf("torture: the child failed: %v: %s", p.err, p.stderr.String())
	}
	return nil
}
