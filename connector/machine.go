package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// An arrival is a message that one or more consumers process. It is acknowledged when the last is
// done with it.
type arrival struct {
	d    *client.Delivery
	size int // size of its payload, which is dropped when it is settled
	open atomic.Int32
	held atomic.Bool // a consumer could not settle it
	ours bool        // its payload is not used after it is settled: see settings.copies
	at   time.Time
	n    uint64 // its number among the messages that the connector received

	before, after *arrival // see unacked

	fed *Input // nil if it came from the connection

	first job // of one of its consumers; the others have their own
}

func (a *arrival) acknowledge() error {
	if a.ours {
		return a.d.Recycle()
	}
	return a.d.Ack()
}

// A job is the processing of a message by a consumer. Its states are:
//
//	waiting -> running -> deciding -> settled
//	   ^                     |
//	   +------ paused <------+-----> away -> settled
//
// The consumer's mu guards state, number, timer and the links of jobs. The other fields belong to
// the goroutine that last changed the state: while the job runs, the worker or program that it was
// given to, and after that the goroutine that ended the run. A job is never taken away from a
// worker, so a worker need not go through deciding.
//
// There is one for each message, allocated with the arrival, so the fields are ordered to keep it
// small.
type job struct {
	*arrival
	consumer *consumer
	taken    *settings // the settings with which it was taken
	lane     *lane     // nil if it has no order
	next     *job      // in a list
	timer    *time.Timer

	number    uint32 // number of times it was given out; settling an earlier one is stale
	uncharged uint32 // runs in a row that were not charged
	state     jobState
	holds     bool // it occupies its lane
	behind    bool // it waits until jobs from before a change of the order are settled
	alone     bool // its next run must be the only one of messages in the ledger
	claims    bool // it keeps others from starting; used by the gate
	inside    bool // it has entered the gate; used by the gate
	suspect   bool // see flow.Suspect
	trial     bool // it runs as a suspect
	single    bool // it is not batched with others: a batch with it failed, or it is a suspect

	attempt int           // number of the current or last run, without those that were not charged
	began   time.Duration // when that run began: see Connector.clock
	entry   *entry        // nil if it is not in the ledger
	givenUp error         // why it is not run: an earlier process gave it up, or it matches no consumer

	first run // the first of its runs
}

type jobState byte

const (
	jobWaiting  jobState = iota // in its lane, or in ready
	jobRunning                  // a flow or a program has it
	jobDeciding                 // the failure policy is being applied
	jobPaused                   // waiting for its next attempt
	jobAway                     // being put away as a dead letter
	jobSettled
)

// jobs is a list in the order of arrival.
type jobs struct{ head, tail *job }

// insert adds a job in order, which is nearly always at the end: behind those that arrived before it or with it.
func (l *jobs) insert(j *job) {
	j.next = nil
	switch {
	case l.head == nil:
		l.head, l.tail = j, j
	case l.tail.n <= j.n:
		l.tail.next, l.tail = j, j
	default:
		at := &l.head
		for (*at).n <= j.n {
			at = &(*at).next
		}
		j.next, *at = *at, j
	}
}

// take removes and returns the first job that fits.
func (l *jobs) take(fits func(*job) bool) *job {
	var before *job
	for j := l.head; j != nil; before, j = j, j.next {
		if !fits(j) {
			continue
		}
		if before == nil {
			l.head = j.next
		} else {
			before.next = j.next
		}
		if l.tail == j {
			l.tail = before
		}
		j.next = nil
		return j
	}
	return nil
}

func anyJob(*job) bool { return true }

func notSingle(j *job) bool { return !j.single }

// A lane is a queue of messages that are processed one at a time.
type lane struct {
	name    string
	busy    bool
	waiting jobs
}

// take accepts a message after waiting for room.
func (k *consumer) take(ctx context.Context, a *arrival, s *settings) error {
	k.mu.Lock()
	for k.inFlight >= k.most || k.bytes > 0 && k.bytes+a.size > k.mostBytes {
		k.taking++
		k.mu.Unlock()
		var err error
		select {
		case <-k.room:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-k.conn.stopping:
			err = errStopping
		}
		k.mu.Lock()
		if k.taking--; err != nil {
			k.mu.Unlock()
			return err
		}
	}
	if a.isReplayed() {
		a.n = k.newest // behind all that is here
	} else {
		k.newest = a.n
	}
	j := k.newJob(a, s)
	j.suspect = a.isReplayed()
	if s.keeps(a) {
		k.mu.Unlock()
		k.recall(j)
		if j.entry.done {
			k.conn.stats.adopted.Add(1)
			k.conn.settle(j.arrival)
			return nil
		}
		k.mu.Lock()
	}
	k.inFlight++
	k.bytes += a.size
	k.makeRoom() // for others that wait: Replay may beside whatever brings messages
	k.jobs.Add(1)
	if k.draining > 0 {
		j.behind = true
		k.behind.insert(j)
		k.nBehind++
		k.mu.Unlock()
		return nil
	}
	left := k.enter(j)
	k.mu.Unlock()
	if left {
		k.leave(j)
	}
	return nil
}

// enter adds a job to its lane, and makes it ready if it is next. It returns the result of admit.
// The caller holds mu.
func (k *consumer) enter(j *job) (left bool) {
	if j.lane = k.laneOf(k.ordered, j.row()); j.lane != nil && j.lane.busy {
		j.lane.waiting.insert(j)
		return false
	}
	return k.admit(j)
}

func (k *consumer) newJob(a *arrival, s *settings) *job {
	j := &a.first
	if j.arrival != nil { // another consumer has it
		j = new(job)
	}
	j.arrival, j.consumer, j.taken = a, k, s
	if k.putsAway {
		j.givenUp = flow.NewError(flow.TypeUnmatched, errors.New("it matches no consumer"))
	}
	return j
}

// copies reports whether a message is not used after the consumer is done with it, because flows
// get copies. It is used if a program pulls, which may be late; if the ledger keeps it; and if the
// flow starts after the acknowledgement.
func (s *settings) copies() bool {
	return s.flow != nil && !s.params.Ledger && s.params.AckMode == AfterFlowSuccess
}

// keeps reports whether the ledger keeps a message.
func (s *settings) keeps(a *arrival) bool {
	return s.params.Ledger && s.params.AckMode == AfterFlowSuccess && a.d.QoS > packets.AtMostOnce && a.fed == nil
}

// recall gets the state of a message from the ledger. If a process dies, all running flows are
// suspected: a message is given up for that only if it was running alone, and was started more
// often than its retries allow.
func (k *consumer) recall(j *job) {
	e := k.conn.ledger.Load().take(k.name, j.d, j.n)
	j.entry, j.attempt = e, int(e.attempts)
	retries := deref(j.taken.params.OnFailure.Retries, -1)
	begun := retries >= 0 && j.attempt > retries
	switch {
	case e.givenUp:
		j.givenUp = flow.NewError(flow.TypeRetryExhausted, errors.New("the process before had given it up, and did not get to put it away"))
	case e.suspect && e.alone && begun:
		j.givenUp = flow.NewError(flow.TypeRedeliveryExhausted, fmt.Errorf("begun %d times, and the process died of it", j.attempt))
	}
	j.alone = e.suspect && (j.attempt > 1 || begun)
}

// row returns the name of the lane of a message with OrderTopic.
func (a *arrival) row() string {
	if a.fed != nil && a.fed.OrderKey != "" {
		return a.fed.OrderKey
	}
	return a.d.Topic
}

// laneOf returns the lane with a name, or nil if there is no order. The caller holds mu.
func (k *consumer) laneOf(order OrderBy, name string) *lane {
	switch {
	case order == OrderNone:
		return nil
	case order == OrderConnection:
		name = "" // which no lane of OrderTopic has
	}
	l := k.lanes[name]
	if l == nil {
		l = &lane{name: name}
		k.lanes[name] = l
	}
	return l
}

// admit makes the next job of a lane ready. It reports whether the caller must leave it instead,
// because the connector is stopping and the Server keeps it. The caller holds mu.
func (k *consumer) admit(j *job) (left bool) {
	if j.lane != nil {
		j.lane.busy, j.holds = true, true
	}
	switch then := k.now().params.OnFailure.Then; {
	case k.over || k.stopping && k.kept(j):
		j.state = jobDeciding
		return true
	case j.givenUp != nil && then != Hold:
		j.state = jobAway
		go k.dispose(j, then, j.givenUp)
	default:
		j.state = jobWaiting
		k.ready.insert(j)
		k.wake()
	}
	return false
}

// kept reports whether the Server or the source of a Feed sends an unacknowledged message again.
func (k *consumer) kept(j *job) bool {
	return j.fed != nil || !k.conn.cfg.Advanced.Clean() && j.d.QoS > packets.AtMostOnce
}

// A waiter waits for a ready job.
type waiter struct{ woken chan struct{} }

// wake wakes a waiter or starts a worker. Only one is woken at a time; it wakes the next if there
// are more jobs. The caller holds mu.
func (k *consumer) wake() {
	if k.waking || k.ready.head == nil {
		return
	}
	if n := len(k.idle); n > 0 {
		w := k.idle[n-1]
		k.idle = k.idle[:n-1]
		k.waking = true
		w.woken <- struct{}{}
		return
	}
	if !k.pulls && k.workers < k.concurrency {
		k.workers++
		k.waking = true
		go k.work(&waiter{make(chan struct{}, 1)})
	}
}

// mostIdle is how many workers of a consumer wait for a message; further ones end.
const mostIdle = 8

// errStopping: no more messages are given out, to this worker or at all.
var errStopping = flow.NewError(flow.TypeCancelled, errors.New("the connector stops"))

// give returns the next job that fits, waiting for one until ctx is done. arrived is set if the
// caller was woken.
func (k *consumer) give(ctx context.Context, w *waiter, arrived bool, fits func(*job) bool) (*job, error) {
	k.mu.Lock()
	for {
		if arrived {
			k.waking, arrived = false, false
		}
		if !k.pulls && k.workers > k.concurrency {
			k.workers--
			k.wake()
			k.mu.Unlock()
			return nil, errStopping
		}
		if j := k.grab(fits); j != nil {
			number := j.number
			k.wake()
			k.mu.Unlock()
			if k.begin(j, number) {
				return j, nil
			}
			k.mu.Lock()
			continue
		}
		if k.stopping || !k.pulls && len(k.idle) >= mostIdle {
			if !k.pulls {
				k.workers--
			}
			k.mu.Unlock()
			return nil, errStopping
		}
		k.idle = append(k.idle, w)
		k.mu.Unlock()
		select {
		case <-w.woken:
			arrived = true
			k.mu.Lock()
		case <-ctx.Done():
			k.mu.Lock()
			k.resign(w)
			k.mu.Unlock()
			return nil, context.Cause(ctx)
		}
	}
}

// grab removes and returns the next ready job that fits, for a run. The caller holds mu.
func (k *consumer) grab(fits func(*job) bool) *job {
	j := k.ready.take(func(j *job) bool { return fits(j) && !k.waitsForTrial(j) && k.mayRun(j) })
	if j == nil {
		return nil
	}
	j.state = jobRunning
	j.trial = j.suspect && !k.pulls
	k.trying = k.trying || j.trial
	j.number++
	if k.pulls {
		k.pulled[j] = struct{}{}
	}
	return j
}

// giveMore returns further ready jobs, up to most. Their runs begin together, so that the ledger
// syncs only once for all.
func (k *consumer) giveMore(most int) []*job {
	type begun struct {
		job    *job
		number uint32
		ok     bool
	}
	var all []begun
	k.mu.Lock()
	for len(all) < most {
		j := k.grab(notSingle)
		if j == nil {
			break
		}
		all = append(all, begun{job: j, number: j.number})
	}
	k.wake()
	k.mu.Unlock()
	var writing sync.WaitGroup
	for i := range all {
		b := &all[i]
		if b.job.entry == nil {
			b.ok = k.begin(b.job, b.number)
		} else {
			writing.Go(func() { b.ok = k.begin(b.job, b.number) })
		}
	}
	writing.Wait()
	var given []*job
	for _, b := range all {
		if b.ok {
			given = append(given, b.job)
		}
	}
	return given
}

// resign removes a waiter. If it was woken, another one is woken instead. The caller holds mu.
func (k *consumer) resign(w *waiter) {
	for i, o := range k.idle {
		if o == w {
			k.idle = append(k.idle[:i], k.idle[i+1:]...)
			return
		}
	}
	<-w.woken
	k.waking = false
	k.wake()
}

// mayRun reports whether the gate, if the message is in the ledger, lets it run.
func (k *consumer) mayRun(j *job) bool { return j.entry == nil || k.conn.gate.enter(j) }

// waitsForTrial reports whether a suspect must wait for another one. Flows of suspects run one at a
// time; those that wait do not occupy workers of the consumer. The caller holds mu.
func (k *consumer) waitsForTrial(j *job) bool { return j.suspect && k.trying && !k.pulls }

// begin starts a run of a job that was taken from ready. If it cannot, it leaves the job.
func (k *consumer) begin(j *job, number uint32) bool {
	j.attempt++
	if j.over() {
		if j.taken.params.AckMode == Immediately {
			k.conn.leave(j.arrival) // not acknowledged yet, as leave below assumes it is
		}
		if k.takeBack(j, number) {
			k.tried(j)
			k.leave(j)
		}
		return false
	}
	if j.entry != nil && k.conn.ledger.Load().begin(j.entry, j.alone) != nil { // the failure ends the connector
		if k.takeBack(j, number) {
			k.tried(j)
			k.leave(j)
		}
		return false
	}
	j.alone = false
	if j.taken.params.AckMode == Immediately {
		k.conn.settle(j.arrival)
	}
	k.conn.stats.running.Add(1)
	j.began = k.conn.clock()
	return true
}

// takeBack ends the run with a number, and reports whether it had not ended before.
func (k *consumer) takeBack(j *job, number uint32) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if j.state != jobRunning || j.number != number {
		return false
	}
	j.state = jobDeciding
	if j.timer != nil {
		j.timer.Stop()
		j.timer = nil
	}
	if k.pulls {
		delete(k.pulled, j)
	}
	return true
}

// tried allows the next suspect to run.
func (k *consumer) tried(j *job) {
	if !j.trial {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	j.trial, k.trying = false, false
	k.wake()
}

// settle ends the run with a number with err. It returns ErrStale if that has ended before.
func (k *consumer) settle(j *job, number uint32, err error, timedOut bool) error {
	if !k.takeBack(j, number) {
		return client.ErrStale
	}
	k.ended(j, err, timedOut)
	return nil
}

// ended decides what to do with a job whose run ended with err.
func (k *consumer) ended(j *job, err error, timedOut bool) {
	s := &k.conn.stats
	s.running.Add(-1)
	k.tried(j)
	k.left(j)
	k.conn.numbers.flowEnded(k.conn.clock()-j.began, err, timedOut)
	if err == nil {
		s.succeeded.Add(1)
	} else {
		s.failed.Add(1)
		k.logFailure(j, err)
	}
	switch {
	case j.isReplayed(): // whoever asked for it decides, and no policy
		j.fed.replayed <- err
		k.finish(j)
	case j.taken.params.AckMode == Immediately:
		k.finish(j)
	case err == nil:
		k.done(j)
	case k.conn.flowContext.Err() != nil:
		k.leave(j) // interrupted by Stop, which is not a failure of the flow
	case j.over():
		k.leave(j)
	default:
		policy := &k.now().params.OnFailure
		k.failed(j, policy.judge(j, err), policy.Then, err)
	}
}

func (k *consumer) logFailure(j *job, err error) {
	attrs := []any{"topic", j.d.Topic, "id", j.d.PacketID, "attempt", j.attempt, "error", err.Error()}
	if j.isReplayed() {
		attrs = append(attrs, "replayed", true)
	}
	if flow.IsUncharged(err) {
		attrs = append(attrs, "charged", false)
	}
	var p *flow.PanicError
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	k.log.Warn("flow failed", attrs...)
}

// left leaves the gate.
func (k *consumer) left(j *job) {
	if j.entry != nil && k.conn.gate.leave(j) {
		k.conn.nudge()
	}
}

// nudge makes consumers try again to run what the gate refused.
func (c *Connector) nudge() {
	for _, k := range c.everyConsumer() {
		k.mu.Lock()
		k.wake()
		k.mu.Unlock()
	}
}

// A verdict is the consequence of a failed run for its message: see judge.
type verdict struct {
	charged bool // it counts against the retries
	final   bool // the message is not run again
	suspect bool // from now on the message is a suspect: see flow.Suspect
}

// judge decides whether a failure counts against the message; docs/connector.md has a table of
// this.
func (policy *OnFailure) judge(j *job, err error) verdict {
	switch {
	case flow.IsSuspect(err):
		return verdict{suspect: true}
	case flow.IsUncharged(err):
		return verdict{}
	case flow.IsPermanent(err):
		return verdict{charged: true, final: true}
	}
	e := flow.AsError(err)
	final := e.Type == flow.TypePublishRefused || !e.Matches(policy.RetryOn...)
	return verdict{charged: true, final: final || policy.exhausted(j)}
}

// exhausted reports whether the run that just failed was the last one allowed by the retries. Runs
// during which a process died while others ran too do not count.
func (policy *OnFailure) exhausted(j *job) bool {
	retries := deref(policy.Retries, -1)
	charged := j.attempt
	if j.entry != nil {
		charged -= int(j.entry.accused)
	}
	return retries >= 0 && charged > retries
}

// failed schedules another run of a job after a pause, or gives the job up.
func (k *consumer) failed(j *job, v verdict, then Disposition, err error) {
	givenUp := v.final && then != Hold
	if j.entry != nil && k.conn.ledger.Load().failed(j.entry, v.charged, givenUp && then == DeadLetter) != nil {
		k.leave(j) // the store failed, which ends the connector
		return
	}
	if v.charged {
		j.uncharged = 0
	} else {
		j.attempt--
		j.uncharged++
		k.conn.stats.uncharged.Add(1)
	}
	if v.suspect {
		j.suspect, j.single = true, true
	}
	switch {
	case !givenUp:
		k.pause(j)
	case then == DeadLetter: // which may take long
		k.mu.Lock()
		j.state = jobAway
		k.mu.Unlock()
		go k.dispose(j, then, err)
	default:
		k.dispose(j, then, err)
	}
}

// mostUnchargedDelay limits the pause of a message after a failure that it did not cause.
const mostUnchargedDelay = 5 * time.Second

// pauses returns the limits of the pauses between attempts.
func (f *OnFailure) pauses() (first, most time.Duration) {
	return cmp.Or(deref(f.InitialDelay, 0), defaultInitialDelay), cmp.Or(deref(f.MaxDelay, 0), defaultMaxDelay)
}

// pause makes a job wait for its next attempt.
func (k *consumer) pause(j *job) {
	first, most := k.now().params.OnFailure.pauses()
	n := j.attempt
	if j.uncharged > 0 {
		n, most = int(j.uncharged), min(most, mostUnchargedDelay)
	}
	k.conn.stats.retries.Add(1)
	k.mu.Lock()
	if k.stopping || j.over() { // leaveOver may have run before
		k.mu.Unlock()
		k.leave(j)
		return
	}
	j.state = jobPaused
	k.paused[j] = struct{}{}
	j.timer = time.AfterFunc(jitter(n, first, most), func() { k.resume(j) })
	k.mu.Unlock()
}

// resume makes a job ready whose pause is over.
func (k *consumer) resume(j *job) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.paused[j]; !ok {
		return // it was left
	}
	delete(k.paused, j)
	j.timer = nil
	j.state = jobWaiting
	k.ready.insert(j)
	k.wake()
}

// leaveOver leaves the jobs that wait for another attempt and whose Context is done.
func (k *consumer) leaveOver() {
	var left []*job
	k.mu.Lock()
	for j := range k.paused {
		if j.over() {
			j.timer.Stop()
			j.state = jobDeciding
			delete(k.paused, j)
			left = append(left, j)
		}
	}
	k.mu.Unlock()
	k.leaveAll(left)
}

// release takes back a job that a program has pulled, as if it had not been given out.
func (k *consumer) release(j *job, number uint32) error {
	if !k.takeBack(j, number) {
		return client.ErrStale
	}
	k.conn.stats.running.Add(-1)
	k.left(j)
	switch {
	case j.taken.params.AckMode == Immediately:
		k.finish(j)
		return nil
	case j.entry != nil && k.conn.ledger.Load().failed(j.entry, false, false) != nil:
		k.leave(j)
		return nil
	}
	j.attempt--
	k.mu.Lock()
	left := k.admit(j)
	k.mu.Unlock()
	if left {
		k.leave(j)
	}
	return nil
}

// dispose applies the failure policy to a message that is not run again.
func (k *consumer) dispose(j *job, then Disposition, err error) {
	switch then {
	case Drop:
		k.conn.stats.dropped.Add(1)
		k.log.Warn("message dropped", "topic", j.d.Topic, "id", j.d.PacketID, "attempts", j.attempt)
		k.done(j)
	case DeadLetter:
		k.putAway(j, err)
	case Halt:
		k.leave(j)
		k.conn.halt(fmt.Errorf("connector: consumer %s: the flow failed %d times: %w", k.name, j.attempt, err))
	}
}

// putAway puts a dead letter away, retrying until that succeeds; the flow does not run again.
func (k *consumer) putAway(j *job, cause error) {
	policy := k.now().params.OnFailure
	for n := 1; ; n++ {
		if p := &k.now().params.OnFailure; p.Then == DeadLetter {
			policy = *p // or its former place
		}
		err := k.deadLetter(j, &policy, cause)
		if err == nil {
			k.conn.stats.deadLettered.Add(1)
			k.log.Warn("message put away as a dead letter", "topic", j.d.Topic, "id", j.d.PacketID, "attempts", j.attempt)
			k.done(j)
			return
		}
		k.conn.numbers.deadLettersRefused.Add(1)
		first, most := policy.pauses()
		delay := jitter(n, first, most)
		k.log.Error("dead letter not written; the message is held", "topic", j.d.Topic, "error", err.Error(), "again_in", delay)
		t := time.NewTimer(delay)
		select {
		case <-t.C:
			continue
		case <-j.wantedBack():
		case <-k.conn.stopping:
		}
		t.Stop()
		k.leave(j)
		return
	}
}

// done acknowledges the message of a job that is finished.
func (k *consumer) done(j *job) {
	if j.entry != nil {
		k.conn.ledger.Load().finish(j.entry)
	}
	k.conn.settle(j.arrival)
	k.finish(j)
}

// leave gives up a job without acknowledging its message.
func (k *consumer) leave(j *job) {
	k.left(j)
	if j.taken.params.AckMode == AfterFlowSuccess || j.number == 0 { // otherwise it was acknowledged before
		k.conn.leave(j.arrival)
	}
	k.finish(j)
}

// finish makes room for another job and starts the next one of the lane.
func (k *consumer) finish(j *job) {
	k.mu.Lock()
	j.state = jobSettled
	k.inFlight--
	k.bytes -= j.size
	k.makeRoom()
	var left *job
	if l := j.lane; j.holds {
		l.busy, j.holds = false, false
		if next := l.waiting.take(anyJob); next == nil {
			if l != k.line {
				delete(k.lanes, l.name)
			}
		} else if k.admit(next) {
			left = next
		}
	}
	var others []*job
	switch {
	case j.behind: // it was left
		k.nBehind--
	case k.draining > 0:
		if k.draining--; k.draining == 0 {
			others = k.endDraining()
		}
	}
	k.mu.Unlock()
	k.jobs.Done()
	if left != nil {
		k.leave(left)
	}
	k.leaveAll(others)
}

// makeRoom makes one of those that wait in take look whether there is room, and it the next one. The caller holds mu.
func (k *consumer) makeRoom() {
	if k.taking == 0 {
		return
	}
	select {
	case k.room <- struct{}{}:
	default: // one of them will look
	}
}

func (k *consumer) leaveAll(left []*job) {
	for _, j := range left {
		k.leave(j)
	}
}

// apply puts settings into effect for future decisions. Messages taken with another order stay in
// their lanes. If the new order has lanes, new messages wait until all earlier ones are settled, so
// that a lane never has two messages in progress, nor processes them out of order. It returns the
// jobs that the caller must leave.
func (k *consumer) apply(s *settings) (left []*job) {
	k.mu.Lock()
	defer k.mu.Unlock()
	reordered := k.ordered != s.ordered
	k.live.Store(s)
	k.limits = s.limits
	if reordered {
		k.keepLine()
		k.draining = k.inFlight - k.nBehind
		if k.ordered == OrderNone {
			k.draining = 0
		}
		if k.draining == 0 {
			left = k.endDraining()
		}
	}
	k.makeRoom()
	k.wake()
	return left
}

// endDraining enters the jobs that waited for a change of the order, and returns the jobs that the
// caller must leave. The caller holds mu.
func (k *consumer) endDraining() (left []*job) {
	for j := k.behind.take(anyJob); j != nil; j = k.behind.take(anyJob) {
		j.behind = false
		k.nBehind--
		if k.enter(j) {
			left = append(left, j)
		}
	}
	return left
}

// stop leaves the jobs that have not started or wait for another attempt, if the Server keeps them.
// The others still run, until cut is called.
func (k *consumer) stop() { k.stopAll(k.kept) }

// cut leaves all jobs that are not running, and takes back those that programs have pulled, because
// the ctx of Stop is done.
func (k *consumer) cut() {
	k.mu.Lock()
	k.over = true
	k.mu.Unlock()
	k.stopAll(anyJob)
}

func (k *consumer) stopAll(fits func(*job) bool) {
	var left []*job
	take := func(l *jobs) {
		for j := l.take(fits); j != nil; j = l.take(fits) {
			left = append(left, j)
		}
	}
	k.mu.Lock()
	k.stopping = true
	for _, l := range k.lanes {
		take(&l.waiting)
	}
	take(&k.ready)
	take(&k.behind)
	for j := range k.paused {
		j.timer.Stop()
		left = append(left, j)
	}
	clear(k.paused)
	if k.over {
		for j := range k.pulled {
			if j.timer != nil {
				j.timer.Stop()
			}
			k.conn.stats.running.Add(-1)
			left = append(left, j)
		}
		clear(k.pulled)
	}
	for _, j := range left {
		j.state = jobDeciding
	}
	for _, w := range k.idle {
		w.woken <- struct{}{}
	}
	k.idle = nil
	k.wake()
	k.mu.Unlock()
	k.leaveAll(left)
}
