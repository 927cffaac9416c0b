package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"golang.org/x/term"
)

// A status is a line on a terminal that tells how it goes. What else is written to standard
// error meanwhile goes through it, so that the two do not mix.
type status struct {
	on     bool
	w      io.Writer
	period time.Duration
	stop   chan struct{}
	ended  sync.WaitGroup

	mu    sync.Mutex
	shown bool
	last  uint64 // of rate
}

// progress returns the line, which shows nothing where standard error is no terminal.
func (p *program) progress(wanted bool) *status {
	return &status{on: wanted && terminal(p.stderr), w: p.stderr, period: 500 * time.Millisecond, stop: make(chan struct{})}
}

func terminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// every shows what text returns, again and again until end. It is called under the lock.
func (s *status) every(text func() string) {
	if !s.on {
		return
	}
	s.ended.Go(func() {
		tick := time.NewTicker(s.period)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.lock(func() {
					fmt.Fprintf(s.w, "\r\x1b[K%s", text())
					s.shown = true
				})
			case <-s.stop:
				return
			}
		}
	})
}

// lock runs f while no text is made.
func (s *status) lock(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// rate returns how much n grew per second since it was asked before.
func (s *status) rate(n uint64) uint64 {
	grown := n - s.last
	s.last = n
	return grown * uint64(time.Second) / uint64(s.period)
}

// Write clears the line and writes b in its place; the line comes back by itself.
func (s *status) Write(b []byte) (n int, err error) {
	s.lock(func() {
		s.clear()
		n, err = s.w.Write(b)
	})
	return n, err
}

func (s *status) clear() {
	if s.shown {
		io.WriteString(s.w, "\r\x1b[K")
		s.shown = false
	}
}

// end takes the line away.
func (s *status) end() {
	close(s.stop)
	s.ended.Wait()
	s.lock(s.clear)
}

// health is the line of run.
func (p *program) health(show *status, h connector.Health) string {
	return fmt.Sprintf(p.say("%s  %d received (%d/s)  %d running  %d unacknowledged, oldest %s  %d retries  %d dead letters",
		"%s  已接收 %d（%d/秒）  运行中 %d  未确认 %d，最久 %s  重试 %d  死信 %d"),
		p.state(h), h.Received, show.rate(h.Received), h.Running, h.Unacked, h.OldestUnacked.Round(time.Second), h.Retries, h.DeadLettered)
}

func (p *program) state(h connector.Health) string {
	return p.say(h.State.String(), map[string]string{
		"idle": "空闲", "connecting": "连接中", "connected": "已连接", "waiting": "等待重连", "parked": "暂离", "closed": "已关闭",
	}[h.State.String()])
}
