// Package clientsim runs package client over package client/wal in a bubble of testing/synctest,
// against a strict server, over a network and a disk that fail, in processes that die. It tests the
// code that we ship, where package sim tests the session alone.
//
// A seed determines what the programs do, the faults of the disk and of the network, and the server. It
// does not determine the order in which goroutines run, so a seed that fails may not fail each time.
//
// profile.go draws what a seed is about, aim.go narrows that, transcript.go records what happened. The world is
// in network.go, store.go and server.go; process.go is a program with its client, conn.go the connection
// between client and server. oracle.go says what must hold, mutant.go breaks it on purpose.
package clientsim

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/internal/disk"
	"github.com/mqtt311/mqtt311/packets"
)

// Options select a run.
type Options struct {
	Seed    uint64
	Mutant  Mutant   // the bug to put in
	Simpler []string // the parts of the seed to leave out, see shrink.go
	Aim     string   // what the seed is narrowed to, see aim.go; "": nothing
	Tell    bool     // return a transcript even if everything holds
}

// Stats describe a run.
type Stats struct {
	Processes, Deaths, Connections, Packets, Published, Delivered int
	Outcomes                                                      [outcomes]int
	Simulated                                                     time.Duration
}

// A Failure is a broken promise.
type Failure struct {
	Seed       uint64
	Broken     string
	Transcript []byte
}

// Error names the seed and the promise.
func (f *Failure) Error() string { return fmt.Sprintf("seed %d: %s", f.Seed, f.Broken) }

// Run runs a seed. The error is a Failure. Without Tell, it returns a transcript only for a failure.
func Run(t *testing.T, o Options) (Stats, []byte, error) {
	w := &world{o: o, epoch: 1, wanted: make(map[string]intent), unsure: make(map[string]bool), byID: make(map[uint16]bool)}
	if l, ok := unread.Get().(*[]line); ok {
		w.lines = *l
	}
	w.r = w.random(0)
	w.server.r = w.random(1)
	w.profile = draw(w.r)
	if !w.profile.aim(o.Aim) {
		return Stats{}, nil, &Failure{o.Seed, fmt.Sprintf("a seed cannot be about %q", o.Aim), nil}
	}
	if !w.profile.simplify(o.Simpler) {
		return Stats{}, nil, &Failure{o.Seed, fmt.Sprintf("no simplification is one of %q", o.Simpler), nil}
	}
	w.bubble(t)
	switch {
	case w.broken != "":
		text := w.transcript()
		return w.stats, text, &Failure{o.Seed, w.broken, text}
	case o.Tell:
		return w.stats, w.transcript(), nil
	}
	clear(w.lines)
	lines := w.lines[:0]
	unread.Put(&lines)
	return w.stats, nil, nil
}

// A world is everything in a run. mu guards all fields that do not belong to a component. While it is held, nobody
// calls the client and nothing blocks.
type world struct {
	o       Options
	profile profile
	running sync.WaitGroup // goroutines of the server

	mu       sync.Mutex
	r        *rand.Rand
	began    time.Time
	active   time.Time // when something last happened
	dull     int       // packets in a row that are not about a message
	lines    []line
	broken   string
	decided  bool // the transcript already has broken
	stats    Stats
	calm     bool // the faults are over
	injected bool // the server has got all its messages
	over     bool // the run has ended, and nothing is judged any more
	server   server
	process  *process
	epoch    int // counts the server's sessions

	asking   int // requests in progress
	resting  int // goroutines of the program that stand still
	out      []*outMessage
	incoming []*inMessage
	wanted   map[string]intent
	byID     map[uint16]bool // identifiers that messages of QoS 2 have had

	rollbacks int             // of either side
	oldServer bool            // the server has come back from a snapshot
	olderDisk bool            // the disk is an older copy, and no process has started from it
	wasOlder  bool            // some process has started from an older copy
	excused   bool            // the run ends here, and nothing that follows is judged
	unsure    map[string]bool // filters whose grants a rollback of the server has changed
}

// random returns a random source for one part of the world, so that the draws of other parts do not
// affect it.
func (w *world) random(part int) *rand.Rand { return rand.New(rand.NewPCG(w.o.Seed, uint64(part))) }

// The numbers of the random sources after the first two. Each process has a hundred.
const (
	partConn    = 1_000_000
	partProcess = 100
)

// failf records the first broken promise. The caller holds mu.
func (w *world) failf(format string, args ...any) {
	if w.broken != "" || w.over || w.excused {
		return
	}
	w.broken = fmt.Sprintf(format, args...)
	w.logf("FAILED  %s", w.broken)
	w.decided = true
}

// failed reports whether a promise was broken.
func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken != "" || w.excused
}

// bubble runs the world. A goroutine that does not end is a broken promise.
func (w *world) bubble(t *testing.T) {
	defer func() {
		if v := recover(); v != nil {
			w.over = false
			w.failf("%v\n%s", v, stacks())
		}
	}()
	synctest.Test(t, func(*testing.T) { w.run() })
}

// stacks returns the stacks of all goroutines except the idle ones of deepStacks.
func stacks() []byte {
	b := make([]byte, 1<<20)
	all := strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")
	all = slices.DeleteFunc(all, func(s string) bool { return strings.Contains(s, "clientsim.deepStacks") })
	return []byte(strings.Join(all, "\n\n"))
}

func (w *world) run() {
	w.began = time.Now()
	w.logf("seed %d, %v: %+v", w.o.Seed, w.o.Mutant, w.profile)
	stop := make(chan struct{})
	w.running.Go(func() { w.injectAll(stop) })
	w.running.Go(func() { w.restartServer(stop) })
	d := disk.NewRAM()
	d.R = w.random(2)
	var copies []*disk.RAM
	for range w.profile.lives {
		copies = append(copies, d.After(false, w.random(6)))
		if d = w.live(d, false); w.failed() {
			break
		}
		if w.o.Mutant == RolledBack {
			d = copies[len(copies)-1]
		}
		if c := w.older(&copies); c != nil {
			d = c
		}
	}
	if !w.failed() {
		w.mu.Lock()
		w.logf("CALM")
		w.calm = w.profile.durable // without a store there is only this life, so it has the faults
		w.mu.Unlock()
		w.live(d, true)
	}
	close(stop)
	w.mu.Lock()
	w.over = true
	for _, p := range w.server.peers {
		p.conn.Close()
	}
	w.stats.Simulated = time.Since(w.began)
	w.mu.Unlock()
	w.running.Wait()
}

// injectAll gives the server its messages, one now and then.
func (w *world) injectAll(stop <-chan struct{}) {
	r := w.random(3)
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.injected = true
	}()
	often := some(r, 50*time.Millisecond, 2*time.Second)
	for range w.profile.incoming {
		select {
		case <-time.After(upTo(r, often)):
		case <-stop:
			return
		}
		w.mu.Lock()
		if w.server.session {
			w.inject(packets.QoS(r.IntN(3)))
		}
		w.mu.Unlock()
	}
}

// Add adds the numbers of another run.
func (s *Stats) Add(o Stats) {
	s.Processes += o.Processes
	s.Deaths += o.Deaths
	s.Connections += o.Connections
	s.Packets += o.Packets
	s.Published += o.Published
	s.Delivered += o.Delivered
	s.Simulated += o.Simulated
	for i, n := range o.Outcomes {
		s.Outcomes[i] += n
	}
}
