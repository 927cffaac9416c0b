package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// aloneFor is how long the process for suspects waits for the next one.
const aloneFor = 10 * time.Second

// mostLost bounds what a process remembers of messages that ran out of time in it.
const mostLost = 1024

// A pipeProcess is one life of a process. It is judged by its pipes and by its exit: when it exits, closes its
// standard output, or closes its standard input and answers no more, it is over.
type pipeProcess struct {
	step  *pipeStep
	jobs  <-chan *pipeJob
	alone bool     // it has one message at a time
	first *pipeJob // what it gets first; nil: nothing
	child *child

	answered atomic.Uint64
	settled  chan struct{} // if alone: receives a value when the message is settled
	closing  chan struct{} // closed when the process gets no more messages

	mu      sync.Mutex
	hands   map[string]*held // its unanswered messages, by id
	lost    int              // how many of them have a caller that no longer waits
	written int64            // bytes
	closed  bool             // closing is
	shut    bool             // its standard input is
	over    error            // why it was ended

	// After run.
	read int64 // how many bytes it has read
	left int   // messages that it had not answered
	idle bool  // it ended because there was nothing to do
	deaf bool  // it had closed its standard input and run on
}

// held is a message that a process has.
type held struct {
	job     *pipeJob // nil: the caller no longer waits
	from    int64    // offset of its line in all that was written
	gave    uint64   // how much the process had answered when it got it
	company bool     // another message was there at some time
}

func (s *pipeStep) newProcess(jobs <-chan *pipeJob) *pipeProcess {
	return &pipeProcess{step: s, jobs: jobs, hands: make(map[string]*held), settled: make(chan struct{}, 1), closing: make(chan struct{})}
}

// run runs the process until it ends, and returns why.
func (p *pipeProcess) run() error {
	c, err := startChild(shell(p.step.command), p.step.errs)
	if err != nil {
		if p.first != nil {
			p.take(p.first)
		}
		return p.leave(fmt.Errorf("pipe: %w", err))
	}
	p.child = c
	silent := make(chan struct{})
	var around sync.WaitGroup
	around.Go(func() {
		defer close(silent)
		p.answers(c.out)
	})
	around.Go(p.write)
	p.watch(silent)
	kill(c.cmd) // stop what the process has left running
	c.forget()
	p.close()
	c.in.SetWriteDeadline(time.Now())
	c.cut(5 * linger)
	around.Wait()
	p.mu.Lock()
	p.read = p.written
	if !p.shut {
		p.read -= int64(unread(c.in))
	}
	p.mu.Unlock()
	c.in.Close()
	c.close()
	if c.err != nil {
		return p.leave(fmt.Errorf("pipe: the process ended: %w", c.err))
	}
	return p.leave(errors.New("pipe: the process ended"))
}

// watch waits until the process has exited. One that can get no message, or give no answer, has grace to exit.
func (p *pipeProcess) watch(silent <-chan struct{}) {
	c, look := p.child, time.NewTicker(250*time.Millisecond)
	defer look.Stop()
	var why error
	for why == nil {
		select {
		case <-c.exited:
			return
		case <-silent:
			why = errors.New("pipe: the process closed its standard output and ran on")
		case <-p.closing:
			why = errors.New("pipe: the process closed its standard input and ran on")
		case <-p.step.stop:
			why = errors.New("pipe: the process was stopped")
		case <-look.C:
			if deaf(c.in) {
				p.close()
			}
		}
	}
	p.close()
	select {
	case <-c.exited: // the pipe has no reader because the process is gone
		return
	case <-time.After(min(linger, grace)):
		p.deaf = deaf(c.in)
	}
	for {
		answered := p.answered.Load()
		select {
		case <-c.exited:
			return
		case <-time.After(grace):
			if p.step.stopped() || p.answered.Load() == answered {
				p.end(why)
				<-c.exited
				return
			}
		}
	}
}

// close makes the process get no further message.
func (p *pipeProcess) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.closing)
	}
}

// end ends the process because of err.
func (p *pipeProcess) end(err error) {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over == nil {
		p.over = err
		kill(p.child.cmd)
	}
}

// useless reports whether the process never came up, as far as can be known.
func (p *pipeProcess) useless() bool { return p.answered.Load() == 0 && p.read == 0 }

// leave settles what the process has not answered, and returns why it ended.
func (p *pipeProcess) leave(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over == nil {
		p.over = err
	}
	had := 0
	for _, h := range p.hands {
		if p.has(h) {
			had++
		}
	}
	p.left = had
	first := p.oldest()
	for _, h := range p.hands {
		switch {
		case h.job == nil:
		case h == first && p.deaf && p.useless() && !p.step.stopped():
			h.job.answers <- pipeAnswer{err: p.over}
		default:
			h.job.answers <- pipeAnswer{err: p.blame(h, had)}
		}
	}
	p.hands = nil
	return p.over
}

// oldest returns the message that the process got first, of those that it has. The caller holds mu.
func (p *pipeProcess) oldest() (first *held) {
	for _, h := range p.hands {
		if first == nil || h.from < first.from {
			first = h
		}
	}
	return first
}

// has reports whether the process has read any of a message. The caller holds mu.
func (p *pipeProcess) has(h *held) bool { return h.from < p.read }

// blame says what the end of the process means for a message, where it had so many. The caller holds mu.
func (p *pipeProcess) blame(h *held, had int) error {
	switch {
	case p.step.stopped():
		return flow.Uncharged(p.over)
	case !p.has(h) && p.useless():
		return flow.Uncharged(p.over)
	case !p.has(h):
		return errNotRead
	case had > 1:
		return flow.Suspect(fmt.Errorf("%w, with %d messages in it, each of which now runs alone", p.over, had))
	}
	return p.over
}

// write hands messages over until the process gets no more.
func (p *pipeProcess) write() {
	defer p.closeInput()
	if p.first != nil && !p.give(p.first) {
		return
	}
	idle := time.NewTimer(aloneFor)
	defer idle.Stop()
	for {
		var wait <-chan time.Time
		if p.alone {
			idle.Reset(aloneFor)
			wait = idle.C
		}
		select {
		case j := <-p.jobs:
			if !p.give(j) {
				return
			}
		case <-wait:
			p.idle = true
			p.close()
			return
		case <-p.step.stop:
			p.close()
			return
		case <-p.closing:
			return
		}
	}
}

// closeInput ends the standard input of a process that reads it. How much one has read that reads no more can still
// be told while it is open.
func (p *pipeProcess) closeInput() {
	var soon time.Duration
	if !p.idle && !p.step.stopped() {
		soon = linger // a process that closes its output is often about to exit
	}
	select {
	case <-p.child.exited:
		return
	case <-time.After(soon):
	}
	if deaf(p.child.in) {
		return
	}
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	p.child.in.Close()
}

// give hands a message over, and waits until it is settled if the process is to have one at a time. It is false
// if the process gets no more.
func (p *pipeProcess) give(j *pipeJob) bool {
	if !p.take(j) {
		return false
	}
	n, err := p.child.in.Write(j.line)
	p.mu.Lock()
	p.written += int64(n)
	if err != nil && n == 0 && (p.written > 0 || p.answered.Load() > 0) { // leave settles the first message
		p.drop(j.id, errNotRead)
	}
	p.mu.Unlock()
	if err != nil {
		p.close()
		return false
	}
	if p.alone {
		select {
		case <-p.settled:
		case <-p.closing:
			return false
		}
	}
	return true
}

// take notes that the process has a message; false if it gets no more.
func (p *pipeProcess) take(j *pipeJob) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.taken <- p
	if p.closed {
		j.answers <- pipeAnswer{err: errNotRead}
		return false
	}
	if len(p.hands) == 1 { // the first message is no longer alone
		for _, h := range p.hands {
			h.company = true
		}
	}
	p.hands[j.id] = &held{job: j, from: p.written, gave: p.answered.Load(), company: len(p.hands) > 0}
	return true
}

// drop settles a message that the process has not got. The caller holds mu.
func (p *pipeProcess) drop(id string, err error) {
	if h := p.hands[id]; h != nil && h.job != nil {
		h.job.answers <- pipeAnswer{err: err}
	}
	delete(p.hands, id)
}

// abandon gives up waiting for an answer, unless there is one. A message that had the process for itself is charged. A
// process that has answered nothing since it got the message is ended.
func (p *pipeProcess) abandon(j *pipeJob, why error) (pipeAnswer, error) {
	p.mu.Lock()
	h := p.hands[j.id]
	if h == nil {
		p.mu.Unlock()
		return <-j.answers, nil
	}
	if h.job = nil; p.lost < mostLost {
		p.lost++
	} else {
		delete(p.hands, j.id)
	}
	silent, company := h.gave == p.answered.Load(), h.company
	p.mu.Unlock()
	if silent || p.alone {
		p.end(errors.New("pipe: the process did not answer in time"))
	}
	err := fmt.Errorf("pipe: no answer: %w", why)
	if company {
		return pipeAnswer{}, flow.Suspect(err)
	}
	return pipeAnswer{}, err
}

// answers passes answers on until there is none any more.
func (p *pipeProcess) answers(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, mostOutput)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		a, ok := parseAnswer(lines.Bytes())
		if !ok {
			p.step.stray(n)
			continue
		}
		p.answered.Add(1)
		p.answer(a)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		p.end(fmt.Errorf("pipe: an answer has more than %d bytes", mostOutput))
	}
}

func (p *pipeProcess) answer(a pipeAnswer) {
	p.mu.Lock()
	h := p.hands[a.id]
	delete(p.hands, a.id)
	if h != nil && h.job == nil {
		p.lost--
	}
	p.mu.Unlock()
	if h == nil || h.job == nil {
		p.step.log.Debug("late answer", "id", a.id)
		return
	}
	h.job.answers <- a
	select {
	case p.settled <- struct{}{}:
	default:
	}
}
