// Package torture does everything at once to two clients and the broker between them, in real
// processes: kills, stops, links that are cut or dead, disks that stall or are full, brokers that are
// killed or come back with the folder of a moment before. One process publishes numbers, another one
// consumes them; each writes to a journal what it was promised and what it got. A proxy before each
// reads the wire. A history is all of that, by time, and a checker judges it against what the
// broker can promise.
//
// A history follows from its seed but for the time that processes take. One that failed is drawn as a
// picture.
package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// Options of Run.
type Options struct {
	Broker string // one of Brokers
	Acts   int
	Kinds  []Kind // of the acts; if empty, all kinds
	Seed   uint64
	Kind   string // for the children: see Task.Kind
	Keep   string // a folder in which the journals, the packets and the stores are kept; if empty, they are removed
	Config string // additional lines for the configuration of mosquitto

	// Progress, if not nil, is called with the number of acts done.
	Progress func(done int)
}

const (
	restLimit = 60 * time.Second // until everything must be finished after the last act
	quiet     = 4 * time.Second  // without any message: then the consumer is assumed to get no more
	calm      = time.Second      // the same, if it has got everything that was accepted
)

// A History is what happened, and the verdict of the checker.
type History struct {
	Options Options
	Plan    []Act
	Begin   time.Time
	Took    time.Duration
	Events  []Event // of all sources, by time
	Verdict *Verdict
}

// Run tortures the children of this test binary, see Main. It fails the test if the harness itself
// fails.
func Run(t testing.TB, opts Options) *History {
	t.Helper()
	if len(opts.Kinds) == 0 {
		opts.Kinds = Kinds
	}
	r := &run{opts: opts, dir: opts.Keep, log: &journal{who: nemesis}}
	if r.dir == "" {
		r.dir = t.TempDir()
	}
	h := &History{Options: opts, Begin: time.Now()}
	r.server = serverOf(t, opts.Broker, opts.Config)
	defer r.server.kill() // a test may run many histories
	h.Plan = plan(opts.Seed, opts.Acts, opts.Kinds, r.server.pace)
	for _, role := range []string{Publisher, Consumer} {
		if err := r.make(role); err != nil {
			t.Fatal(err)
		}
		defer r.victims[role].proxy.close()
		defer r.victims[role].kill()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go r.watch(ctx)
	err := r.begin()
	if err == nil {
		err = r.play(h.Plan)
	}
	if err == nil {
		err = r.rest()
	}
	if err != nil {
		t.Fatalf("%v\nthe seed was %d; the broker says: %s", err, opts.Seed, r.server.log())
	}
	h.Events = r.log.all()
	for _, v := range r.victims {
		h.Events = append(h.Events, v.events...)
	}
	slices.SortStableFunc(h.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	if opts.Keep != "" {
		if err := h.write(filepath.Join(opts.Keep, "history.jsonl")); err != nil {
			t.Fatal(err)
		}
	}
	h.Took = time.Since(h.Begin)
	h.Verdict = Check(r.server.promise, h.Events)
	return h
}

type run struct {
	opts    Options
	dir     string
	server  *server
	log     *journal
	victims map[string]*victim
	copies  int
}

func (r *run) make(role string) error {
	p, err := newProxy(r.server.addr, role, r.log, silenceLimit)
	if err != nil {
		return err
	}
	v := &victim{done: make(map[key]bool), proxy: p, log: r.log, keep: r.opts.Keep, told: Task{
		Role: role, Kind: r.opts.Kind, Addr: p.addr(), Dir: filepath.Join(r.dir, role), ClientID: role,
		Journal: filepath.Join(r.dir, role+".jsonl"), QoS2: r.server.promise.QoS2, Trace: r.opts.Keep != "",
	}}
	v.read.path = v.told.Journal
	if r.victims == nil {
		r.victims = make(map[string]*victim)
	}
	r.victims[role] = v
	return os.MkdirAll(v.told.Dir, 0o700)
}

// watch records when this process, which runs the proxies, did not run.
func (r *run) watch(ctx context.Context) {
	before := time.Now()
	for ctx.Err() == nil {
		time.Sleep(watchEvery)
		now := time.Now()
		if now.Sub(before) > hiccupMin {
			r.log.write(Event{What: hiccup, Since: before.UnixNano(), At: now.UnixNano()})
		}
		before = now
	}
}

// begin lets the consumer subscribe, and waits until the broker has saved the subscription. Messages published
// earlier would not reach the consumer.
func (r *run) begin() error {
	consumer := r.victims[Consumer]
	if err := consumer.start(); err != nil {
		return err
	}
	err := r.await("the consumer has subscribed", restLimit, func() (bool, error) {
		return consumer.granted, errors.Join(consumer.catchUp(), consumer.alive())
	})
	if err != nil {
		return err
	}
	since := time.Now()
	if r.server.saved != nil {
		err := r.await("the broker has saved it", restLimit, func() (bool, error) {
			saved, _ := r.server.saved(r.server.folder)
			return saved.After(since), nil
		})
		if err != nil {
			return err
		}
	}
	// A store cannot be created on a full disk, so the acts wait for it.
	publisher := r.victims[Publisher]
	if err := publisher.start(); err != nil {
		return err
	}
	return r.await("the publisher publishes", restLimit, func() (bool, error) {
		return publisher.next[1] > 0, errors.Join(publisher.catchUp(), publisher.alive())
	})
}

func (r *run) await(what string, patience time.Duration, done func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("torture: waited in vain until %s", what)
		}
	}
}

// play performs the acts; those in the same lane one after another.
func (r *run) play(acts []Act) error {
	lanes := make(map[string][]Act)
	for _, a := range acts {
		lanes[a.lane()] = append(lanes[a.lane()], a)
	}
	begin, failed := time.Now(), make(chan error, len(lanes))
	var done atomic.Int64
	for _, lane := range lanes {
		go func() {
			for _, a := range lane {
				time.Sleep(max(a.Rest, time.Until(begin.Add(a.At))))
				if err := r.perform(a); err != nil {
					failed <- fmt.Errorf("torture: %v: %w", a, err)
					return
				}
				if n := done.Add(1); r.opts.Progress != nil {
					r.opts.Progress(int(n))
				}
			}
			failed <- nil
		}()
	}
	var errs []error
	for range lanes {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// rest ends all acts, and waits until nothing is unfinished and no message arrives any more.
func (r *run) rest() error {
	for _, v := range r.victims {
		v.proxy.change(v.proxy.calm)
		if !v.lives() {
			v.kill() // records that it ended by itself
			if err := v.start(); err != nil {
				return err
			}
		}
	}
	publisher, consumer := r.victims[Publisher], r.victims[Consumer]
	publisher.tell(wordDrain)
	err := r.await("the publisher has finished what it had accepted", restLimit, func() (bool, error) {
		err := publisher.catchUp()
		return publisher.rests || !publisher.lives(), err
	})
	if err != nil {
		r.log.write(Event{Who: Publisher, What: hung, Text: err.Error()})
	}
	// Lost messages never arrive, and the checker reports them. So wait until nothing has arrived for a while.
	last, seen := time.Now(), 0
	err = r.await("the consumer gets no more", restLimit, func() (bool, error) {
		err := consumer.catchUp()
		if n := len(consumer.events); n != seen {
			seen, last = n, time.Now()
		}
		patience := quiet
		if consumer.has(publisher) {
			patience = calm
		}
		return time.Since(last) > patience || !consumer.lives(), err
	})
	if err != nil {
		r.log.write(Event{Who: Consumer, What: hung, Text: err.Error()})
	}
	for _, v := range r.victims {
		if !v.lives() {
			v.kill()
		} else if err := v.finish(); err != nil {
			r.log.write(Event{Who: v.told.Role, What: died, Text: err.Error()})
		}
		if err := v.catchUp(); err != nil {
			return err
		}
	}
	return nil
}
