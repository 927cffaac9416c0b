package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// A pipeStep gives messages to processes that keep running, as JSON lines on their standard
// input, and waits for the answer with the same id on their standard output:
//
//	{"id":"1","consumer":"in","attribute":{...},"payload":"21"}
//	{"id":"1","ok":true,"payload":"result"}
//	{"id":"1","ok":false,"error":"no such line","permanent":true}
//
// Answers may come in any order. A process that ends is started again. If it had several messages, each of them is a
// suspect and runs again alone, in a separate process. A message is charged only if it was alone in a process that
// ended, or ran out of time there. A message that no process has read goes to the next one.
type pipeStep struct {
	command string
	errs    io.Writer // standard error of the processes
	log     *slog.Logger

	jobs     chan *pipeJob // unbuffered: a process takes a job when it can write it
	suspects chan *pipeJob // the same, for the process that has one message at a time
	last     atomic.Uint64 // id of the last message
	restarts atomic.Uint64
	strays   seldom
	stop     chan struct{}
	ended    sync.WaitGroup
	unfit    sync.Mutex // guards failed and why
	failed   chan struct{}
	why      error
}

// A pipeJob is a message that a process is working on.
type pipeJob struct {
	id      string
	line    []byte
	answers chan pipeAnswer   // capacity 1
	taken   chan *pipeProcess // capacity 1
}

func newPipe(command string, processes int, errs io.Writer, log *slog.Logger) *pipeStep {
	s := &pipeStep{
		command: command, errs: errs, log: log,
		jobs: make(chan *pipeJob), suspects: make(chan *pipeJob), stop: make(chan struct{}), failed: make(chan struct{}),
	}
	for range processes {
		s.ended.Go(s.keepRunning)
	}
	s.ended.Go(s.tryAlone)
	return s
}

func (s *pipeStep) flow(consumer string) flow.Flow {
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		j := &pipeJob{id: strconv.FormatUint(s.last.Add(1), 10), answers: make(chan pipeAnswer, 1), taken: make(chan *pipeProcess, 1)}
		var err error
		if j.line, err = lineOf(consumer, j.id, m); err != nil {
			return nil, err
		}
		a, err := s.ask(ctx, j)
		if err != nil {
			return nil, err
		}
		return a.message(m)
	})
}

// errNotRead stands for an answer when no process has read the message: the next process gets it.
var errNotRead = errors.New("pipe: no process has read the message")

// ask passes a message to the first process that takes it, and waits for its answer.
func (s *pipeStep) ask(ctx context.Context, j *pipeJob) (pipeAnswer, error) {
	jobs := s.jobs
	if flow.Suspected(ctx) {
		jobs = s.suspects
	}
	for {
		s.unfit.Lock()
		failed := s.failed
		s.unfit.Unlock()
		select {
		case jobs <- j:
		case <-failed:
			s.unfit.Lock()
			defer s.unfit.Unlock()
			return pipeAnswer{}, flow.Uncharged(s.why)
		case <-s.stop:
			return pipeAnswer{}, flow.Uncharged(errNotRead)
		case <-ctx.Done():
			return pipeAnswer{}, flow.Uncharged(fmt.Errorf("pipe: no process took the message: %w", context.Cause(ctx)))
		}
		var a pipeAnswer
		select {
		case a = <-j.answers:
			<-j.taken
		case <-ctx.Done():
			var err error
			if a, err = (<-j.taken).abandon(j, context.Cause(ctx)); err != nil {
				return a, err
			}
		}
		if a.err != errNotRead {
			return a, a.err
		}
	}
}

// keepRunning restarts the process whenever it ends: at once if it has answered anything, otherwise after
// increasing pauses.
func (s *pipeStep) keepRunning() {
	for delay := time.Duration(0); ; {
		began := time.Now()
		p := s.newProcess(s.jobs)
		err := p.run()
		if s.stopped() {
			return
		}
		switch most := 30 * time.Second; {
		case p.answered.Load() > 0:
			delay = 0
		case time.Since(began) > 10*time.Second:
			delay = 100 * time.Millisecond
		case p.read > 0: // it started properly
			most = time.Second
			fallthrough
		default:
			delay = min(max(2*delay, 100*time.Millisecond), most)
		}
		if !s.again(p, err, delay) {
			return
		}
	}
}

// tryAlone runs suspects one at a time, in a process that is started when there is a suspect.
func (s *pipeStep) tryAlone() {
	for delay := time.Duration(0); ; {
		p := s.newProcess(s.suspects)
		p.alone = true
		select {
		case p.first = <-s.suspects:
		case <-s.stop:
			return
		}
		err := p.run()
		switch {
		case s.stopped():
			return
		case p.idle:
			continue
		case p.useless():
			delay = min(max(2*delay, 100*time.Millisecond), 30*time.Second)
		default:
			delay = 0 // the message was charged, so no pause is needed
		}
		if !s.again(p, err, delay) {
			return
		}
	}
}

// again logs that a process ended, and waits until the next one may start. It returns false if none
// may.
func (s *pipeStep) again(p *pipeProcess, err error, delay time.Duration) bool {
	s.restarts.Add(1)
	attrs := []any{"error", err.Error(), "answers", p.answered.Load(), "unanswered", p.left, "again_in", delay}
	if p.alone {
		attrs = append(attrs, "alone", true)
	}
	s.log.Warn("process ended", attrs...)
	if p.useless() && !p.alone {
		s.unfitFor(err) // fail what waits: the process may never come up
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
		return false
	}
}

func (s *pipeStep) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// unfitFor fails the messages that wait for a process with err.
func (s *pipeStep) unfitFor(err error) {
	s.unfit.Lock()
	defer s.unfit.Unlock()
	s.why = err
	close(s.failed)
	s.failed = make(chan struct{})
}

// close closes the standard input of the processes, and kills them after grace. It is called after
// the flows have ended.
func (s *pipeStep) close() error {
	close(s.stop)
	s.ended.Wait()
	return nil
}

const strayLine = `the process wrote a line that is no answer, which was passed over: write {"id": ..., "ok": true} to standard output, and everything else to standard error`

// stray logs, at a limited rate, that a process has written a line that is not an answer.
func (s *pipeStep) stray(line int) {
	if n, ok := s.strays.tell(10 * time.Second); ok {
		s.log.Warn(strayLine, "line", line, "lines", n)
	}
}

// A seldom limits how often something is reported.
type seldom struct {
	mu   sync.Mutex
	next time.Time
	n    int
}

// tell counts an event, and returns the number since the last report if another report is due.
func (s *seldom) tell(every time.Duration) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	now := time.Now()
	if now.Before(s.next) {
		return 0, false
	}
	n, s.n, s.next = s.n, 0, now.Add(every)
	return n, true
}
