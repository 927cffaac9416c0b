package fuzz

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/fuzz/internal/clientsim"
	"github.com/stretchr/testify/require"
)

var (
	mutantSeedsMost = flag.Uint64("sim.mutants", 0, "how many seeds each bug of TestDriverMutants may survive; 0: its own number")
	mutantOnly      = flag.String("sim.mutant", "", "the only bug of TestDriverMutants to run")
)

// A driverMutant is a bug in the shipped code: in a copy of its file, a statement is replaced.
type driverMutant struct {
	name     string
	file     string
	old, new string // statements; old occurs once
	seeds    uint64 // how many it may survive at most
}

// driverMutants are bugs in the client, the log and the session.
var driverMutants = []driverMutant{
	{
		"a close of our own counts against what was sent (K1)", "client/link.go",
		`func (l *link) closeFor(reason error) { l.end(reason, session.ByUs) }`,
		`func (l *link) closeFor(reason error) {
			if mutated() {
				l.end(reason, session.ByPeer)
			} else {
				l.end(reason, session.ByUs)
			}
		}`, 1000,
	},
	{
		"Room is called with the lock held (K2)", "client/saver.go",
		`		c.mu.Unlock()
		err := s.store.Room(want)`,
		`		if !mutated() {
			c.mu.Unlock()
		}
		err := s.store.Room(want)
		if mutated() {
			c.mu.Unlock()
		}`, 200,
	},
	{
		"a Send before its Save", "client/link.go",
		`	if o.After > durable || len(l.holds) > 0 && !m.passes {`,
		`	if (o.After > durable || len(l.holds) > 0 && !m.passes) && !mutated() {`, 200,
	},
	{
		"a Send is let go one record too early", "client/link.go",
		`	for n < len(l.holds) && l.holds[n].after <= durable {`,
		`	if mutated() {
			durable++
		}
		for n < len(l.holds) && l.holds[n].after <= durable {`, 200,
	},
	{
		"a Done before its Save", "client/client.go",
		`			if o.After > c.saver.durable {`,
		`			if o.After > c.saver.durable && !mutated() {`, 2000,
	},
	{
		"a batch counts as durable before it is", "client/saver.go",
		`		c.mu.Unlock()
		err := s.store.Commit(b.changes())`,
		`		if mutated() {
			s.durable = s.taken
			c.recordedLocked()
		}
		c.mu.Unlock()
		err := s.store.Commit(b.changes())`, 200,
	},
	{
		"a lost wake-up: of a loop over messages", "client/delivery.go",
		`	case d.router.empty():
		poke(d.ready)`,
		`	case d.router.empty():
		if !mutated() {
			poke(d.ready)
		}`, 200,
	},
	{
		"a lost wake-up: of who waits for room in the queue", "client/waiters.go",
		`		for w := q.first; w != nil && !c.leaving; w = q.first {
			t, err`,
		`		for w := q.first; w != nil && !c.leaving && !(mutated() && q.first != q.last); w = q.first {
			t, err`, 1000,
	},
	{
		"a lost wake-up: of the writer, when a record is durable", "client/saver.go",
		`	c.driveLocked()
	c.admitLocked()
	c.kickLocked()
}

// storeFailedLocked`,
		`	c.driveLocked()
	c.admitLocked()
	if !mutated() {
		c.kickLocked()
	}
}

// storeFailedLocked`, 200,
	},
	{
		"a double Done", "client/receipt.go",
		`	case r != nil:
		r.end(err, results)`,
		`	case r != nil:
		r.end(err, results)
		if mutated() {
			r.end(err, results)
		}`, 200,
	},
	{
		"an acknowledgement over a stale link", "session/receiver.go",
		`		m.known = true
		r.byID.set(r.all, p.index)
	}`,
		`		m.known = true
		r.byID.set(r.all, p.index)
		if mutated() {
			m.placed = s.conn.number + 1
			r.pubacks.push(place{index: p.index, gen: m.gen})
		}
	}`, 4000,
	},
	{
		"the bound of the inbox is taken away", "client/inbox.go",
		`func (b *inbox) hard() bool {`,
		`func (b *inbox) hard() bool {
	if mutated() {
		return false
	}`, 1000,
	},
	{
		"the bound of the queue is taken away", "session/sender.go",
		`	if full {
		return 0, ErrQueueFull`,
		`	if full && !mutated() {
		return 0, ErrQueueFull`, 200,
	},
	{
		"the window of QoS 2 is taken away", "session/blame.go",
		`	return x.inflight < s.cfg.MaxInflight && (qos == packets.AtLeastOnce || x.inflight2 < s.window2())`,
		`	return x.inflight < s.cfg.MaxInflight && (qos == packets.AtLeastOnce || x.inflight2 < s.window2() || mutated())`, 200,
	},
	{
		"a caller that gave up stays in line", "client/publish.go",
		`	c.waiters.line(w.m.QoS).leave(w)
	c.admitLocked() // the next`,
		`	if !mutated() {
		c.waiters.line(w.m.QoS).leave(w)
	}
	c.admitLocked() // the next`, 200,
	},
	{
		"a Publish outlasts its context", "client/publish.go",
		`	select {
	case <-r.ending():
		return r.Err()
	case <-ctx.Done():
	}
	if w != nil {`,
		`	if mutated() {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-r.ending():
		return r.Err()
	case <-ctx.Done():
	}
	if w != nil {`, 200,
	},
	{
		"what left is not noted", "client/link.go",
		`				l.attempted.Store(m.n)`,
		`				if !mutated() {
					l.attempted.Store(m.n)
				}`, 200,
	},
	{
		"a slow disk delays PINGREQ", "client/link.go",
		`	return o.Type == packets.PINGREQ || o.Type == packets.DISCONNECT`,
		`	return o.Type == packets.PINGREQ && !mutated() || o.Type == packets.DISCONNECT`, 1000,
	},
	{
		"the alarm is not set earlier", "client/client.go",
		`	if at.IsZero() || !a.at.IsZero() && !at.Before(a.at) {`,
		`	if at.IsZero() || !a.at.IsZero() && (mutated() || !at.Before(a.at)) {`, 1000,
	},
	{
		"answers that DISCONNECT dropped count as sent", "client/link.go",
		`		l.held, l.holds = nil, nil // answers`,
		`		if mutated() && len(l.holds) > 0 {
			m.n = max(m.n, l.holds[len(l.holds)-1].n)
			l.attempted.Store(m.n)
		}
		l.held, l.holds = nil, nil // answers`, 3000,
	},
	{
		"a connection is not closed", "client/link.go",
		`		defer l.helpers.Done()
		l.conn.Close()
	}()`,
		`		defer l.helpers.Done()
		if mutated() {
			return
		}
		l.conn.Close()
	}()`, 200,
	},
	{
		"a goroutine stays", "client/run.go",
		`	c.settle()
	if over := c.delivery.lifeOver; over != nil {`,
		`	c.settle()
	if mutated() && c.stats.Connects > 0 {
		go func() { select {} }()
	}
	if over := c.delivery.lifeOver; over != nil {`, 200,
	},
	{
		"the log does not sync", "client/wal/commit.go",
		`	if s.opt.Sync == SyncAlways {
		return a.f.Sync()`,
		`	if s.opt.Sync == SyncAlways && !mutated() {
		return a.f.Sync()`, 1000,
	},
	{
		"an older copy of the store is believed", "client/wal/closed.go",
		`	closed, err := s.wasClosed()
	if err != nil || closed {`,
		`	closed, err := s.wasClosed()
	if err != nil || closed || mutated() {`, 500,
	},
}

// mutantAims has the aims of bugs that otherwise take thousands of seeds to find.
var mutantAims = map[string]string{"an older copy of the store is believed": "older-copy"}

// mutantHangs is how long a run may take here: some of these bugs never release a lock.
const mutantHangs = 5 * time.Second

// TestDriverMutants puts bugs into the shipped code, one at a time, and the simulation has to find
// each. All of them are compiled into one test binary with go build -overlay, so that no shipped file
// contains any; an environment variable selects one.
func TestDriverMutants(t *testing.T) {
	if *simSeeds <= fewSeeds && *mutantOnly == "" {
		t.Skip("it takes a build and a minute and a half: make sim runs it, with more seeds")
	}
	binary := buildMutants(t)
	run := func(name string, seeds uint64) clientsim.Result {
		b := clientBatch(clientsim.Batch{
			Options: clientsim.Options{Aim: mutantAims[name]}, Seeds: seeds, Hangs: mutantHangs, Binary: binary, Env: map[string]string{mutantVar: name},
		})
		r, err := b.Run(t.Context())
		require.NoError(t, err)
		return r
	}
	t.Run("none", func(t *testing.T) { require.Empty(t, run("", 200).Failures) })
	t.Run("none, aimed", func(t *testing.T) {
		for _, aim := range mutantAims {
			r, err := clientBatch(clientsim.Batch{Options: clientsim.Options{Aim: aim}, Seeds: 200}).Run(t.Context())
			require.NoError(t, err)
			require.Empty(t, r.Failures)
		}
	})
	for _, m := range driverMutants {
		if *mutantOnly != "" && *mutantOnly != m.name {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			seeds := m.seeds
			if *mutantSeedsMost > 0 {
				seeds = *mutantSeedsMost
			}
			r := run(m.name, seeds)
			require.NotEmpty(t, r.Failures, "it survived %d seeds", seeds)
			t.Logf("after %d runs: %.200v", r.Runs, r.Failures[0])
		})
	}
}

const mutantVar = "MQTT311_MUTANT"

// buildMutants returns a test binary of this package that contains all bugs, none of them active.
func buildMutants(t *testing.T) string {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	dir := t.TempDir()
	var overlay struct{ Replace map[string]string }
	overlay.Replace = make(map[string]string)
	texts := make(map[string]string)
	for _, m := range driverMutants {
		if _, ok := texts[m.file]; !ok {
			b, err := os.ReadFile(filepath.Join(root, m.file))
			require.NoError(t, err)
			texts[m.file] = string(b)
		}
		require.Equal(t, 1, strings.Count(texts[m.file], m.old), "%s: %s is not there once any more: %s", m.name, m.file, m.old)
		awake := strings.ReplaceAll(m.new, "mutated()", fmt.Sprintf("mutated(%q)", m.name))
		texts[m.file] = strings.Replace(texts[m.file], m.old, awake, 1)
		folder := filepath.Dir(m.file)
		texts[filepath.Join(folder, "mutated.go")] = "package " + filepath.Base(folder) + `
import "os"
var awake = os.Getenv("` + mutantVar + `")
func mutated(name string) bool { return awake == name }
`
	}
	for file, text := range texts {
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		require.NoError(t, os.WriteFile(copied, []byte(text), 0o600))
		overlay.Replace[filepath.Join(root, file)] = copied
	}
	b, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), b, 0o600))
	binary := filepath.Join(dir, "mutants.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "-overlay", filepath.Join(dir, "overlay.json"), ".")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}
