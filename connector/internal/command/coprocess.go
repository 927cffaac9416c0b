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

// aloneFor is for how long the process for suspects waits for the next one.
const aloneFor = 10 * time.Second

// mostLost limits how many messages that ran out of time a process remembers.
const mostLost = 1024

// A pipeProcess is one run of a co-process. It ends when the process exits, closes its standard output, or
// closes its standard input and no longer answers.
type pipeProcess struct {
	step  *pipeStep
	jobs  <-chan *pipeJob
	alone bool     // it gets one message at a time
	first *pipeJob // its first message; nil: none yet
	child *child

	answered atomic.Uint64
	settled  chan struct{} // if alone: receives a value when the message is settled
	closing  chan struct{} // closed when the process is to get no more messages

	mu      sync.Mutex
	hands   map[string]*held // its unanswered messages, by id
	lost    int              // how many of those have a caller that no longer waits
	written int64            // bytes written to its standard input
	closed  bool             // closing is closed
	shut    bool             // its standard input is closed
	over    error            // why it was ended

	// Valid after run.
	read int64 // how many bytes it has read
	left int   // messages that it has read and not answered
	idle bool  // it ended for lack of messages
	deaf bool  // it closed its standard input and kept running
}

// A held is a message that a process has.
type held struct {
	job     *pipeJob // nil: the caller no longer waits
	from    int64    // offset of its line in all bytes written
	gave    uint64   // number of answers when the process got it
	company bool     // another message was with the process at the same time
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

// watch waits until the process has exited. A process that can no longer get messages, or give answers, has
// grace to exit.
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

// useless reports whether the process, as far as can be known, never worked.
func (p *pipeProcess) useless() bool { return p.answered.Load() == 0 && p.read == 0 }

// leave settles the messages that the process has not answered, and returns why it ended.
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

// oldest returns the message that the process got first among those that it has. The caller holds
// mu.
func (p *pipeProcess) oldest() (first *held) {
	for _, h := range p.hands {
		if first == nil || h.from < first.from {
			first = h
		}
	}
	return first
}

// has reports whether the process has read any byte of a message. The caller holds mu.
func (p *pipeProcess) has(h *held) bool { return h.from < p.read }

// blame returns the error for a message that the process, which had read had messages, did not answer.
// The caller holds mu.
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

// write passes messages to the process until it gets no more.
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

// closeInput closes the standard input of the process, unless the process has closed its end: while ours is open,
// the system still tells how much was read.
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

// give passes a message to the process. If the process gets one at a time, give waits until the message is
// settled. It returns false if the process gets no more.
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

// take registers a message with the process; it returns false if the process gets no more.
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

// drop settles a message that the process did not get. The caller holds mu.
func (p *pipeProcess) drop(id string, err error) {
	if h := p.hands[id]; h != nil && h.job != nil {
		h.job.answers <- pipeAnswer{err: err}
	}
	delete(p.hands, id)
}

// abandon stops waiting for an answer, unless it has arrived. A message that was alone with the process is charged.
// A process that has answered nothing since it got the message is ended.
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

// answers passes answers on until the output ends.
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
