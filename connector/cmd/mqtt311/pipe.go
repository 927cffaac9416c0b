package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
)

// A pipeStep gives messages to processes that keep running, as JSON lines on their standard
// input, and waits for the answer with the same id on their standard output:
//
//	{"id":"1","consumer":"in","attribute":{...},"payload":"21"}
//	{"id":"1","ok":true,"payload":"result"}
//	{"id":"1","ok":false,"error":"no such line","permanent":true}
//
// Answers come in any order. A process that ends fails the messages that it has in work,
// and is started again after a pause. One that does not read holds up nobody but the
// messages that wait for it; one that lets a message run out of time and has answered
// nothing since it got it is ended.
type pipeStep struct {
	command string
	errs    io.Writer // their standard error
	log     *slog.Logger

	jobs   chan *pipeJob // no buffer: a process takes one when it can write it
	last   atomic.Uint64 // id
	stop   chan struct{}
	ended  sync.WaitGroup
	unfit  sync.Mutex // guards failed
	failed chan struct{}
	why    error
}

// A pipeJob is a message on its way through a process.
type pipeJob struct {
	id      string
	line    []byte
	answers chan pipeAnswer   // has room for one
	taken   chan *pipeProcess // the same
}

type pipeAnswer struct {
	ID        string `json:"id"`
	OK        *bool  `json:"ok"`
	Error     string `json:"error"`
	Permanent bool   `json:"permanent"`
	content

	err error // instead of an answer
}

func newPipe(command string, processes int, errs io.Writer, log *slog.Logger) *pipeStep {
	s := &pipeStep{command: command, errs: errs, log: log, jobs: make(chan *pipeJob), stop: make(chan struct{}), failed: make(chan struct{})}
	for range processes {
		s.ended.Go(s.keepRunning)
	}
	return s
}

func (s *pipeStep) flow(consumer string) connector.Flow {
	return connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		j := &pipeJob{id: strconv.FormatUint(s.last.Add(1), 10), answers: make(chan pipeAnswer, 1), taken: make(chan *pipeProcess, 1)}
		l := lineOf(consumer, m)
		l.ID = j.id
		var err error
		if j.line, err = jsonText(l); err != nil {
			return nil, err
		}
		a, err := s.ask(ctx, j)
		if err != nil {
			return nil, err
		}
		return a.message(m)
	})
}

// ask gives a message to the process that takes it first and waits for its answer.
func (s *pipeStep) ask(ctx context.Context, j *pipeJob) (pipeAnswer, error) {
	s.unfit.Lock()
	failed := s.failed
	s.unfit.Unlock()
	select {
	case s.jobs <- j:
	case <-failed:
		s.unfit.Lock()
		defer s.unfit.Unlock()
		return pipeAnswer{}, s.why
	case <-ctx.Done():
		return pipeAnswer{}, fmt.Errorf("pipe: no process took the message: %w", context.Cause(ctx))
	}
	select {
	case a := <-j.answers:
		return a, a.err
	case <-ctx.Done():
		(<-j.taken).abandon(j)
		return pipeAnswer{}, fmt.Errorf("pipe: no answer: %w", context.Cause(ctx))
	}
}

// message is what an answer makes of a message.
func (a *pipeAnswer) message(m *connector.Message) (*connector.Message, error) {
	switch {
	case !*a.OK && a.Error == "":
		a.Error = "the process gave no reason"
		fallthrough
	case !*a.OK:
		err := errors.New("pipe: " + firstLine(a.Error))
		if a.Permanent {
			return nil, connector.Permanent(err)
		}
		return nil, err
	}
	switch payload, mimeType, given, err := a.bytes(); {
	case err != nil:
		return nil, fmt.Errorf("pipe: the answer: %w", err)
	case !given:
		return m, nil
	default:
		return with(m, payload, mimeType), nil
	}
}

// keepRunning starts the process again whenever it ends.
func (s *pipeStep) keepRunning() {
	delay := 100 * time.Millisecond
	for {
		began := time.Now()
		p := &pipeProcess{step: s, work: make(map[string]*pipeJob)}
		err := p.run()
		select {
		case <-s.stop:
			return
		default:
		}
		if p.answered.Load() > 0 || time.Since(began) > 10*time.Second {
			delay = 100 * time.Millisecond // it was of use: the pause grows for one that is not
		}
		s.log.Warn("process ended", "error", err.Error(), "answers", p.answered.Load(), "again_in", delay)
		if p.answered.Load() == 0 {
			s.unfitFor(err) // it may never come up: what waits should not wait for that
		}
		select {
		case <-time.After(delay):
		case <-s.stop:
			return
		}
		delay = min(2*delay, 30*time.Second)
	}
}

// unfitFor fails what waits for a process.
func (s *pipeStep) unfitFor(err error) {
	s.unfit.Lock()
	defer s.unfit.Unlock()
	s.why = err
	close(s.failed)
	s.failed = make(chan struct{})
}

// close ends the processes: their standard input ends, and after grace they are killed. The
// flows have ended.
func (s *pipeStep) close() error {
	close(s.stop)
	s.ended.Wait()
	return nil
}

// A pipeProcess is one life of a process.
type pipeProcess struct {
	step     *pipeStep
	cmd      *exec.Cmd
	answered atomic.Uint64
	late     atomic.Uint64 // answers to nothing that waits

	mu   sync.Mutex
	work map[string]*pipeJob // what it has, by id
	gave map[string]uint64   // and how much it had answered when it got it
	over error               // why it ends
}

// run runs the process until it ends, and returns why.
func (p *pipeProcess) run() error {
	p.cmd, p.gave = shell(p.step.command), make(map[string]uint64)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = theirs, p.step.errs
	p.cmd.WaitDelay = grace
	err = p.cmd.Start()
	theirs.Close()
	if err != nil {
		in.Close()
		return fmt.Errorf("pipe: %w", err)
	}
	dead, silent := make(chan struct{}), make(chan struct{})
	var around sync.WaitGroup
	around.Go(func() {
		defer close(dead)
		err = p.cmd.Wait()
		kill(p.cmd) // what it left behind, which would keep its output open
	})
	around.Go(func() { p.write(in, dead) })
	around.Go(func() {
		select {
		case <-dead:
			return
		case <-silent: // there will be no further answer
		case <-p.step.stop:
		}
		select {
		case <-dead:
		case <-time.After(grace):
			kill(p.cmd)
		}
	})
	p.read(out)
	close(silent)
	around.Wait()
	return p.leave(err)
}

// leave fails what the process has in work.
func (p *pipeProcess) leave(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over != nil:
	case err != nil:
		p.over = fmt.Errorf("pipe: the process ended: %w", err)
	default:
		p.over = errors.New("pipe: the process ended")
	}
	for _, j := range p.work {
		j.answers <- pipeAnswer{err: p.over}
	}
	p.work = nil
	return p.over
}

// end makes the process end because of err.
func (p *pipeProcess) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over == nil {
		p.over = err
		kill(p.cmd)
	}
}

// write hands messages over until the step is closed or the process is dead.
func (p *pipeProcess) write(in io.WriteCloser, dead <-chan struct{}) {
	defer in.Close()
	for {
		select {
		case j := <-p.step.jobs:
			if !p.took(j) {
				return
			}
			if _, err := in.Write(j.line); err != nil {
				return // it does not read any more: reading tells that it ended
			}
		case <-p.step.stop:
			return
		case <-dead:
			return
		}
	}
}

// took notes that the process has a message; false if it is over.
func (p *pipeProcess) took(j *pipeJob) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.taken <- p
	if p.over != nil || p.work == nil {
		j.answers <- pipeAnswer{err: errors.New("pipe: the process ended")}
		return false
	}
	p.work[j.id], p.gave[j.id] = j, p.answered.Load()
	return true
}

// abandon gives up waiting for an answer.
func (p *pipeProcess) abandon(j *pipeJob) {
	p.mu.Lock()
	silent := p.work[j.id] == j && p.gave[j.id] == p.answered.Load()
	delete(p.work, j.id)
	delete(p.gave, j.id)
	p.mu.Unlock()
	if silent {
		p.end(errors.New("pipe: the process did not answer in time"))
	}
}

// read passes answers on until there is none any more.
func (p *pipeProcess) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, mostOutput)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var a pipeAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil || a.ID == "" || a.OK == nil {
			p.end(fmt.Errorf(`pipe: line %d of the process is no answer: write {"id": ..., "ok": true} to standard output, and everything else to standard error`, n))
			return
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
	j := p.work[a.ID]
	delete(p.work, a.ID)
	delete(p.gave, a.ID)
	p.mu.Unlock()
	if j == nil {
		p.late.Add(1)
		p.step.log.Debug("late answer", "id", a.ID)
		return
	}
	j.answers <- a
}
