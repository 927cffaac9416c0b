// Package sim runs the session, the codec and a disk against a strict broker, with every fault that a
// network, a machine and a broker can have, one event at a time. A seed always gives the same run.
//
// profile.go draws what a seed is about. disk.go, network.go and broker.go are the world, driver.go is the
// client's process, oracle.go says what must hold, and mutant.go breaks it on purpose.
package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Options select a run.
type Options struct {
	Seed    uint64
	Mutant  Mutant    // the bug to put in
	Trace   io.Writer // gets a transcript; nil: none
	Limit   int       // at most this many messages of a kind; 0: as many as the seed draws
	Without []int     // kinds of steps to leave out
}

// Stats describe a run.
type Stats struct {
	Steps, Crashes, Connections, Delivered int
	Hash                                   uint64 // of everything that happened
}

// A violation is a broken promise.
type violation struct{ error }

// Run runs a seed. The error names the promise that was broken.
func Run(o Options) (st Stats, err error) {
	w := &world{o: o, r: rand.New(rand.NewPCG(o.Seed, 0)), now: time.Unix(0, 0), epoch: 1}
	defer func() {
		switch v := recover().(type) {
		case nil:
		case violation:
			st, err = w.stats, v
		default:
			panic(v)
		}
	}()
	w.run()
	return w.stats, nil
}

type world struct {
	o       Options
	r       *rand.Rand
	profile profile
	now     time.Time
	stats   Stats
	calm    bool // the faults are over
	disk    disk
	broker  broker
	c       *driver
	process int // counts the client's processes

	out      []*outMessage
	incoming []*inMessage
	wanted   map[string]intent
	requests int
	inflight int // how many PUBLISHes may be unanswered
	epoch    int // counts the broker's sessions
	everHad  bool
	oracle   oracle
}

func (w *world) logf(format string, args ...any) {
	w.stats.Hash = w.stats.Hash*31 + uint64(len(format)) + uint64(w.stats.Steps)
	if w.o.Trace != nil {
		fmt.Fprintf(w.o.Trace, "%5d %8s  %s\n", w.stats.Steps, w.now.Sub(time.Unix(0, 0)), fmt.Sprintf(format, args...))
	}
}

func (w *world) fail(format string, args ...any) {
	w.logf("FAILED  "+format, args...)
	panic(violation{fmt.Errorf("seed %d, step %d: %s", w.o.Seed, w.stats.Steps, fmt.Sprintf(format, args...))})
}

// calmFor is how many steps a run may take to complete everything after the faults are over.
const (
	maxSteps = 3000
	calmFor  = 500_000 // releasing all identifiers takes 65,534 packets, and each a few steps
)

func (w *world) run() {
	w.profile = draw(w.r, w.o.Limit)
	for _, s := range w.o.Without {
		w.profile.weight[s] = 0
		switch s {
		case stepPublish:
			w.profile.publishes = 0
		case stepIncoming:
			w.profile.incoming = 0
		case stepSubscribe:
			w.profile.requests = 0
		}
	}
	w.logf("seed %d: %+v", w.o.Seed, w.profile)
	w.begin()
	for !w.calm {
		w.step()
		if w.stats.Steps > maxSteps || w.issued() && chance(w.r, 1) {
			w.calm = true
		}
	}
	w.logf("CALM")
	for _, s := range []int{stepCut, stepHole, stepCrash, stepLoseSession, stepDisconnect, stepWithdraw} {
		w.profile.weight[s] = 0
	}
	for end := w.stats.Steps + calmFor; !w.quiet(); {
		if w.stats.Steps > end {
			w.fail("nothing is finished: %s", w.unfinished())
		}
		w.step()
	}
	w.checkEnd()
}

func (w *world) begin() {
	w.oracle = oracle{open: make(map[uint16]bool), recs: make(map[uint16]int), comps: make(map[uint16]int)}
	w.disk.synced = map[key]sessionRecord{}
	w.wanted = make(map[string]intent)
	var records []sessionRecord
	if w.profile.firstSeq > 0 && w.profile.durable {
		r := sessionRecord{Kind: recordSequence, Seq: w.profile.firstSeq}
		w.disk.synced[keyOf(&r)] = r
		records = append(records, r)
	}
	w.start(records)
}

// step does one of the things that can happen now.
func (w *world) step() {
	w.stats.Steps++
	var possible [steps]int
	total, busy, top := 0, false, w.broker.top()
	for s := range steps {
		if w.profile.weight[s] > 0 && w.possible(s, top) {
			possible[s] = w.profile.weight[s]
			total += possible[s]
			busy = busy || s != stepTime && s < stepDisconnect && possible[s] > 0
		}
	}
	if !busy {
		w.pass(true)
		return
	}
	n := w.r.IntN(total)
	for s := range steps {
		if n -= possible[s]; n < 0 {
			w.do(s)
			return
		}
	}
}

func (w *world) possible(s int, top *peer) bool {
	c := w.c
	up := c.link != nil && !c.closing
	switch s {
	case stepPublish:
		return len(w.out) < w.profile.publishes
	case stepIncoming:
		return len(w.incoming) < w.profile.incoming && w.broker.session
	case stepSubscribe:
		return w.requests < w.profile.requests
	case stepWithdraw:
		return len(w.out) > 0
	case stepOpen:
		return c.link == nil
	case stepWrite:
		return up && w.writable() >= 0
	case stepRead:
		return c.link != nil && (len(c.link.down) > 0 || c.link.dead || c.closing)
	case stepBrokerRead:
		return w.broker.readable() >= 0
	case stepBrokerAnswer:
		return top != nil && len(top.answers) > 0
	case stepBrokerSend:
		return top != nil && (w.forwardable() || w.profile.noise && !w.calm)
	case stepSync:
		return len(w.disk.log) > 0
	case stepAppend:
		return len(w.disk.lazy) > 0
	case stepAck:
		return len(c.inbox) > 0
	case stepTime, stepCrash:
		return true
	case stepDisconnect:
		return up
	case stepCut:
		return c.link != nil && !c.link.dead
	case stepHole:
		return c.link != nil && !c.link.hole && c.s.Up()
	case stepLoseSession:
		return w.profile.loses && len(w.broker.peers) == 0 && w.broker.session
	}
	return false
}

func (w *world) do(s int) {
	c := w.c
	switch s {
	case stepPublish:
		w.publish()
	case stepIncoming:
		w.inject()
	case stepSubscribe:
		w.ask()
	case stepWithdraw:
		w.withdraw()
	case stepOpen:
		w.stats.Connections++
		w.open()
	case stepWrite:
		w.write()
	case stepRead:
		switch {
		case c.closing:
			w.lost(false)
		case len(c.link.down) > 0:
			w.read()
		default:
			w.lost(c.link.byPeer)
		}
	case stepBrokerRead:
		w.brokerRead()
	case stepBrokerAnswer:
		w.brokerAnswer(w.broker.top())
	case stepBrokerSend:
		w.brokerSend(w.broker.top())
	case stepSync:
		w.disk.sync(1 + w.r.IntN(len(w.disk.log)))
		w.settle()
	case stepAppend:
		w.disk.demand(w.disk.lazy[0].n)
	case stepAck:
		w.ack()
	case stepTime:
		w.pass(false)
	case stepDisconnect:
		w.logf("client  disconnects")
		c.s.Disconnect()
		w.drain()
	case stepCut:
		w.logf("CUT")
		c.link.byPeer = w.profile.byPeer && chance(w.r, 50)
		c.link.cut(w.r)
	case stepHole:
		w.logf("HOLE")
		c.link.blackhole()
	case stepCrash:
		w.stats.Crashes++
		w.crash()
	case stepLoseSession:
		w.forgetSession()
	}
}

// pass advances the clock: a little, or, if nothing else can happen, until something is due.
func (w *world) pass(idle bool) {
	d := time.Duration(1+w.r.IntN(20)) * time.Millisecond
	due := w.c.s.Deadline()
	if idle {
		d = time.Second
		if !due.IsZero() && due.Sub(w.now) > 0 {
			d = due.Sub(w.now)
		}
	}
	w.now = w.now.Add(d)
	if w.o.Mutant == NoTick {
		w.checkTime()
		return
	}
	if due = w.c.s.Deadline(); !due.IsZero() && !w.now.Before(due) || chance(w.r, 5) {
		w.c.s.Tick(w.now)
		if at := w.c.s.Deadline(); !at.IsZero() && !at.After(w.now) {
			w.fail("after Tick the deadline is %v in the past", w.now.Sub(at))
		}
		w.drain()
	}
	w.checkTime()
}
