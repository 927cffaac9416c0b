package clientsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/internal/disk"
	"github.com/mqtt311/mqtt311/packets"
)

// A process is a program with its client, until it ends or dies.
type process struct {
	w         *world
	number    int
	config    client.Config
	client    *client.Client
	disk      *disk.RAM
	store     *slowStore
	restored  int           // how many unfinished messages it found
	durable   *durable      // what the store has; nil: no store
	died      chan struct{} // closed when the process dies
	calls     sync.WaitGroup
	consumers sync.WaitGroup // goroutines that end with the client
	rng       *rand.Rand     // of live

	stale []byte // an acknowledgement of the previous connection, for a mutant

	// world.mu guards these.
	ops    int
	last   int // the network operation in which the process dies; 0: none
	dead   bool
	conns  []*conn
	left   bool          // the server has read DISCONNECT
	paused time.Duration // Stats.PausedFor when the inbox was last within its bounds
	ended  bool          // Close or Abort has been called
}

// random returns a random source for a part of the process.
func (p *process) random(part int) *rand.Rand { return p.w.random(partProcess*p.number + part) }

// live runs a process on a disk, and returns the disk for the next one. In the last process
// everything comes to its end.
func (w *world) live(d *disk.RAM, last bool) *disk.RAM {
	w.mu.Lock()
	w.stats.Processes++
	p := &process{w: w, number: w.stats.Processes, config: w.profile.config, disk: d, died: make(chan struct{})}
	p.rng = p.random(0)
	w.process = p
	w.logf("process %d", p.number)
	w.mu.Unlock()
	if !last {
		p.doom()
	}
	if p.start() {
		w.running.Go(func() { p.connect() })
		p.run(last)
		if last {
			p.finish()
		} else {
			p.end()
		}
	}
	return p.after()
}

// doom decides whether and when the process dies.
func (p *process) doom() {
	w, r := p.w, p.rng
	if chance(r, w.profile.eio) {
		time.AfterFunc(upTo(r, 10*time.Second), func() { p.disk.Fail(syscall.EIO) })
	}
	if !chance(r, w.profile.die) {
		return
	}
	switch r.IntN(3) {
	case 0:
		p.disk.PowerAt = p.disk.Ops + 1 + r.IntN(some(r, 20, 200))
		p.disk.Gone = func() { p.diedOnDisk("in an operation on the disk") }
	case 1:
		p.last = 1 + r.IntN(some(r, 10, 100))
	default:
		time.AfterFunc(upTo(r, some(r, 200*time.Millisecond, 2*time.Second, 20*time.Second)), func() { p.kill("at some time") })
	}
}

// operation counts an operation on the network. It reports whether the process is alive, and
// whether it dies during this operation.
func (p *process) operation() (alive, last bool) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.ops++
	return !p.dead, !p.dead && p.ops == p.last
}

// kill ends the process where it is: no further byte reaches the disk or the network, and nothing
// that its program sees counts.
func (p *process) kill(where string) {
	p.disk.Stop()
	p.diedOnDisk(where)
}

// diedOnDisk is kill for a process whose disk has already stopped.
func (p *process) diedOnDisk(where string) {
	w := p.w
	w.mu.Lock()
	if p.dead || p.ended {
		w.mu.Unlock()
		return
	}
	p.dead = true
	w.stats.Deaths++
	w.logf("DIES    %s", where)
	w.processDied()
	conns := p.conns
	p.conns = nil
	w.mu.Unlock()
	r := p.random(6)
	for _, c := range conns {
		c.freeze(r)
	}
	close(p.died)
}

// start opens the store and makes the client. It reports whether the process is alive.
func (p *process) start() bool {
	w := p.w
	if w.profile.durable {
		s, err := wal.Open(wal.Options{ClientID: "c", SegmentBytes: w.profile.segment, MaxBytes: w.profile.maxBytes, Disk: p.disk})
		if err != nil {
			return p.failedToStart(err)
		}
		p.durable = newDurable()
		p.store = &slowStore{Store: s, w: w, d: p.durable, r: p.random(1)}
		p.config.Store = p.mutateStore(p.store)
	}
	p.config.Dial = p.dial
	p.config.OnEvent = p.event
	p.mutateConfig()
	c, err := client.New(p.config)
	if err != nil {
		return p.failedToStart(err)
	}
	p.client, p.restored = c, c.Stats().Unfinished
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.olderDisk {
		w.olderDisk, w.wasOlder = false, true
		w.forgets(p.durable)
	}
	return true
}

func (p *process) failedToStart(err error) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.logf("process does not start: %v", err)
	if !p.dead && !errors.Is(err, syscall.EIO) {
		p.w.failf("the process does not start: %v", err)
	}
	return false
}

func (p *process) connect() {
	err := p.client.Connect(context.Background())
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.logf("app     Connect: %v", err)
}

func (p *process) event(e client.Event) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	w.logf("event   %v", e)
	w.judgeEvent(&e)
}

// bound is how long a call may continue after its context has ended: the Store may be stalled.
const bound = time.Second

// run runs the program until it has finished or the process has died.
func (p *process) run(last bool) {
	w := p.w
	for i := range w.profile.publishers {
		p.calls.Go(func() { p.publishAll(i, p.random(10+i)) })
	}
	p.calls.Go(func() { p.request(p.random(2)) })
	p.consumers.Go(func() { p.consume(p.random(3)) })
	if last {
		p.consumers.Go(p.watch)
	}
	done := make(chan struct{})
	go func() {
		p.calls.Wait()
		close(done)
	}()
	most := time.NewTimer(time.Hour)
	defer most.Stop()
	var leave <-chan time.Time
	if !last {
		leave = time.After(upTo(p.rng, some(p.rng, 10*time.Second, time.Minute)))
	}
	select {
	case <-done:
	case <-p.died:
	case <-p.client.Done():
	case <-leave:
	case <-most.C:
		w.mu.Lock()
		w.failf("calls have not ended after an hour\n%s", stacks())
		w.mu.Unlock()
	}
}

// end ends the client in one of several ways.
func (p *process) end() {
	w := p.w
	w.mu.Lock()
	abort := p.dead || chance(p.rng, w.profile.abort)
	w.mu.Unlock()
	patience, what := upTo(p.rng, 10*time.Second), "Close"
	if abort {
		patience, what = 0, "Abort"
	}
	p.bounded(what, patience+20*time.Second, func() {
		if abort {
			p.client.Abort()
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := p.client.Close(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.logf("app     Close: %v", err)
	})
}

// bounded calls f, which must return in time. If it does not, bounded kills the process, which ends
// its connections, so that the run can end.
func (p *process) bounded(what string, most time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
	}
	w := p.w
	w.mu.Lock()
	w.failf("%s has not returned after %v\n%s", what, most, stacks())
	w.mu.Unlock()
	p.kill("because it does not end")
	<-done
}

// after waits until all goroutines of the process have ended, and returns the disk.
func (p *process) after() *disk.RAM {
	w := p.w
	if p.client != nil {
		p.bounded("Abort", time.Minute, p.client.Abort)
	}
	ended := make(chan struct{})
	go func() {
		p.calls.Wait()
		p.consumers.Wait()
		if p.store != nil {
			p.store.settle()
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		w.mu.Lock()
		w.failf("calls have not ended a minute after the client\n%s", stacks())
		w.mu.Unlock()
	}
	w.mu.Lock()
	killed := p.dead
	p.ended = true
	w.processEnded()
	w.mu.Unlock()
	if p.store != nil {
		if killed || chance(p.rng, 30) {
			p.disk.Stop() // as if the program exited without Close
		}
		p.store.Store.(*wal.Store).Close()
	}
	return p.disk.After(killed && chance(p.rng, w.profile.power), p.random(4))
}

// pause waits between two actions of a goroutine of the program.
func (p *process) pause(r *rand.Rand) {
	d := upTo(r, p.w.profile.idle)
	if p.w.isCalm() {
		d = min(d, 100*time.Millisecond)
	}
	time.Sleep(d)
}

// hurry returns a context for a call, which sometimes ends soon.
func (p *process) hurry(r *rand.Rand) (context.Context, context.CancelFunc, time.Duration) {
	if p.w.isCalm() || !chance(r, p.w.profile.hurry) {
		return context.Background(), func() {}, 0
	}
	d := 1 + upTo(r, some(r, 5*time.Millisecond, 200*time.Millisecond, 5*time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), d)
	return ctx, cancel, d
}

// ends checks how long a call took whose context lasted for d; 0: forever.
func (p *process) ends(what string, began time.Time, d time.Duration) {
	if took := time.Since(began); d > 0 && took > d+bound {
		p.w.failf("%s took %v, and its context ended after %v", what, took, d)
	}
}

func (p *process) publishAll(who int, r *rand.Rand) {
	for range p.w.profile.publishes {
		if p.client.Err() != nil {
			return
		}
		p.pause(r)
		p.publish(who, r, some(r, publishes...))
		p.checkBounds()
	}
}

// The ways to publish.
type publisher int

const (
	publish publisher = iota
	publishAsync
	enqueue
)

var publishes = []publisher{publish, publish, publish, publishAsync, publishAsync, enqueue}

func (p *process) publish(who int, r *rand.Rand, call publisher) {
	w := p.w
	ctx, cancel, d := p.hurry(r)
	defer cancel()
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return
	}
	m := &outMessage{number: len(w.out), qos: packets.QoS(r.IntN(3)), process: p.number, who: who}
	if w.profile.qos2 {
		m.qos = packets.ExactlyOnce
	}
	m.payload = payload('o', m.number, r.IntN(3)*20)
	w.out = append(w.out, m)
	w.stats.Published++
	w.logf("app     publishes %d, %v, by %v, for %v", m.number, m.qos, [...]string{"Publish", "PublishAsync", "Enqueue"}[call], d)
	w.mu.Unlock()

	began := time.Now()
	buf := slices.Clone(m.payload)
	msg := client.Message{Topic: topic, Payload: buf, QoS: m.qos}
	switch call {
	case enqueue:
		err := p.client.Enqueue(ctx, msg)
		w.mu.Lock()
		defer w.mu.Unlock()
		p.ends("Enqueue", began, d)
		p.enqueued(m, err)
		return
	case publish:
		err := p.client.Publish(ctx, msg)
		for i := range buf {
			buf[i] = '!' // Publish has returned, so the buffer may be reused
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		p.ends("Publish", began, d)
		p.outcome(m, err, false)
		return
	}
	receipt, err := p.client.PublishAsync(ctx, msg)
	w.mu.Lock()
	p.ends("PublishAsync", began, d)
	if err != nil {
		p.outcome(m, err, false)
		w.mu.Unlock()
		return
	}
	m.pending = true
	w.mu.Unlock()
	p.calls.Go(func() {
		<-receipt.Accepted()
		select {
		case <-receipt.Done(): // done already, which implies accepted
		default:
			w.mu.Lock()
			p.accepted(m)
			w.mu.Unlock()
			<-receipt.Done()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		p.outcome(m, receipt.Err(), true)
	})
}

// request changes the wanted subscriptions, after repeating those of earlier processes.
func (p *process) request(r *rand.Rand) {
	w := p.w
	for _, f := range filters {
		w.mu.Lock()
		i, ok := w.wanted[f]
		w.mu.Unlock()
		if ok {
			p.ask(r, f, i)
		}
	}
	for range w.profile.requests {
		p.pause(r)
		p.ask(r, some(r, filters...), intent{packets.QoS(r.IntN(3)), chance(r, 65)})
	}
}

func (p *process) ask(r *rand.Rand, f string, i intent) {
	w := p.w
	ctx, cancel, d := p.hurry(r)
	defer cancel()
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return
	}
	w.logf("app     wants %q: %+v, for %v", f, i, d)
	w.wanted[f] = i
	w.asking++
	w.mu.Unlock()
	began := time.Now()
	var err error
	if i.want {
		_, err = p.client.Subscribe(ctx, packets.Subscription{Filter: f, QoS: i.qos})
	} else {
		err = p.client.Unsubscribe(ctx, f)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asking--
	p.ends("Subscribe", began, d)
	p.answered(f, i, err)
}

// consume takes messages in loops or with a handler. With ManualAck, the program acknowledges late and in any
// order.
func (p *process) consume(r *rand.Rand) {
	if p.w.profile.handler {
		p.handle(r)
		return
	}
	for p.client.Err() == nil && !p.isDead() {
		ctx, cancel := context.WithTimeout(context.Background(), 1+upTo(r, some(r, 50*time.Millisecond, time.Second, 30*time.Second)))
		for d, err := range p.client.Messages(ctx) {
			if err != nil || !p.work(d, r) {
				break
			}
		}
		cancel()
	}
}

// handle registers a handler that sometimes publishes and waits for the result.
func (p *process) handle(r *rand.Rand) {
	// An error means that the client is closed; with any other error no message would be handled.
	_ = p.client.Handle("#", func(_ context.Context, d *client.Delivery) {
		if p.work(d, r) && chance(r, 20) && !p.w.isCalm() {
			p.publish(-1, r, publish)
		}
	})
	<-p.client.Done()
	time.Sleep(longestPause + 2*longestWork) // a handler may still be running
}

// longestWork is how long the program takes for a message, except when it stands still for up to
// longestPause.
const (
	longestWork  = time.Second
	longestPause = 20 * time.Second
)

// work processes a message. It reports false if the process is dead.
func (p *process) work(d *client.Delivery, r *rand.Rand) bool {
	p.checkBounds()
	m := p.delivered(d)
	if m == nil {
		return false
	}
	takes := upTo(r, some(r, 0, 5*time.Millisecond, longestWork))
	if chance(r, p.w.profile.slow) && !p.w.isCalm() {
		p.rest(upTo(r, longestPause))
	}
	if !p.w.profile.manual {
		time.Sleep(takes)
		return p.takes(m)
	}
	p.consumers.Go(func() {
		time.Sleep(takes)
		p.ack(d, m)
	})
	return true
}

// rest makes the program stand still.
func (p *process) rest(d time.Duration) {
	w := p.w
	w.mu.Lock()
	w.resting++
	w.mu.Unlock()
	time.Sleep(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting--
	w.active = time.Now()
}

func (p *process) ack(d *client.Delivery, m *inMessage) {
	if !p.takes(m) {
		return
	}
	err := d.Ack()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.acked(m, err)
}

// finish waits until everything is finished, and closes the client.
func (p *process) finish() {
	w := p.w
	w.mu.Lock()
	w.logf("CALM: everything is asked for")
	w.calm = true
	for _, c := range p.conns {
		c.mend()
	}
	w.mu.Unlock()
	p.awaitQuiet()
	time.Sleep(3 * w.profile.config.KeepAlive) // keep alive must work during this time
	p.awaitQuiet()                             // keep alive may have found a dead connection
	if w.failed() {
		return
	}
	var err error
	p.bounded("Close", 5*time.Minute, func() { err = p.client.Close(context.Background()) })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logf("app     Close: %v", err)
	if err != nil || !p.left {
		w.failf("Close: %v, and the server has read DISCONNECT: %v", err, p.left)
	}
	w.checkEnd()
}

// watch checks that a connected client does not stall: while something is unfinished, and neither the
// program nor the Store is busy, something must happen.
func (p *process) watch() {
	w := p.w
	most := 3*time.Second + 4*w.profile.delay + 4*w.profile.store
	if w.profile.quota > 0 && (w.profile.older > 0 || w.profile.restarts > 0) {
		most += 20 * time.Second // until the identifiers that fill the quota are released
	}
	for ; p.client.Err() == nil && !w.failed(); time.Sleep(most / 4) {
		connected := p.client.State() == client.Connected
		busy := p.store != nil && p.store.busy()
		w.mu.Lock()
		if since := time.Since(w.active); connected && !busy && w.resting == 0 && w.calm && w.server.closed == 0 && since > most && w.waits() {
			w.stands("nothing has happened for %v", since)
		}
		w.mu.Unlock()
	}
}

// awaitQuiet waits until nothing is left to do.
func (p *process) awaitQuiet() {
	w := p.w
	for end := time.Now().Add(2 * time.Hour); !w.failed() && !p.quiet(); time.Sleep(time.Second) {
		if time.Now().After(end) {
			w.mu.Lock()
			w.failf("nothing is finished: %s", p.unfinished())
			w.mu.Unlock()
		}
	}
}

func (p *process) quiet() bool {
	w := p.w
	unfinished := p.client.Stats().Unfinished
	messages, _ := p.client.Backlog()
	connected := p.client.State() == client.Connected
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.server
	return unfinished == 0 && messages == 0 && w.injected && !w.waits() && len(s.waiting) == 0 && len(s.flight) == 0 &&
		connected && len(s.peers) > 0 && s.peers[len(s.peers)-1].up
}

func (p *process) unfinished() string {
	s := &p.w.server
	return fmt.Sprintf("the server has %d waiting and %d in flight", len(s.waiting), len(s.flight))
}

func (p *process) isDead() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.dead
}

func (w *world) isCalm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calm
}
