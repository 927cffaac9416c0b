package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/connector/lint"
)

// A status is a line of progress on a terminal: as much of it as fits, drawn again when the width
// changes. All other output to standard error must go through it, so that the two do not mix.
type status struct {
	on     bool
	w      io.Writer
	screen *terminal.Screen // nil: w is no terminal
	period time.Duration
	stop   chan struct{}
	ended  sync.WaitGroup

	mu    sync.Mutex
	shown int // columns of the line that is shown
	last  uint64
}

// progress returns the status, which shows nothing if standard error is not a terminal or wanted is
// false.
func (p *Program) progress(wanted bool) *status {
	s := &status{w: p.Stderr, period: 500 * time.Millisecond, stop: make(chan struct{})}
	if s.screen, _ = p.Stderr.(*terminal.Screen); s.screen != nil {
		s.w, s.on = s.screen.Raw(), wanted
	}
	if s.on {
		p.line.Store(s)
	}
	return s
}

// every shows what text returns, periodically until end. text is called under the lock.
func (s *status) every(text func() string) {
	if !s.on {
		return
	}
	s.ended.Go(func() {
		resized, stop := terminal.Resized()
		defer stop()
		tick := time.NewTicker(s.period)
		defer tick.Stop()
		line := ""
		for {
			select {
			case <-tick.C:
				s.lock(func() {
					line = text()
					s.draw(line)
				})
			case <-resized:
				s.lock(func() {
					if s.shown > 0 {
						s.draw(line)
					}
				})
			case <-s.stop:
				return
			}
		}
	})
}

// draw replaces the line that is shown.
func (s *status) draw(line string) {
	line = terminal.Cut(terminal.EscapeLine(line), s.screen.Width()-1) // some terminals wrap after the last column
	io.WriteString(s.w, s.over()+line)
	s.shown = terminal.Columns(line)
}

// over returns the sequence that erases the line that is shown. A terminal that has become narrower
// may have wrapped it into several.
func (s *status) over() string {
	if broken := (s.shown - 1) / max(1, s.screen.Width()); s.shown > 0 && broken > 0 {
		return fmt.Sprintf("\r\x1b[%dA\x1b[J", broken)
	}
	return "\r\x1b[K"
}

// lock runs f while text is not running.
func (s *status) lock(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// rate returns by how much n has grown per second since the previous call.
func (s *status) rate(n uint64) uint64 {
	grown := n - s.last
	s.last = n
	return grown * uint64(time.Second) / uint64(s.period)
}

// Write clears the line and writes b in its place; the line is drawn again later.
func (s *status) Write(b []byte) (n int, err error) {
	s.lock(func() {
		s.clear()
		n, err = s.w.Write(b)
	})
	return n, err
}

func (s *status) clear() {
	if s.shown > 0 {
		io.WriteString(s.w, s.over())
		s.shown = 0
	}
}

// end erases the line.
func (s *status) end() {
	close(s.stop)
	s.ended.Wait()
	s.lock(s.clear)
}

// health returns the line of run.
func (p *Program) health(show *status, h connector.Health) string {
	line := fmt.Sprintf(p.Say("%s  %d received (%d/s)", "%s  已接收 %d（%d/秒）"), p.state(h), h.Received, show.rate(h.Received))
	for _, part := range []struct {
		n      uint64
		en, zh string
	}{
		{uint64(h.Running), "%d running", "运行中 %d"}, {uint64(h.Unacked), "%d unacknowledged", "未确认 %d"},
		{h.Retries, "%d retries", "重试 %d"}, {h.DeadLettered, "%d dead letters", "死信 %d"}, {uint64(h.Stored), "%d stored", "已存储 %d"},
	} {
		if part.n > 0 {
			line += fmt.Sprintf("  "+p.Say(part.en, part.zh), part.n)
		}
	}
	if old := h.OldestUnacked.Round(time.Second); old > 0 {
		line += fmt.Sprintf(p.Say("  oldest %s", "  最久 %s"), old)
	}
	for _, name := range slices.Sorted(maps.Keys(h.Connections)) {
		n := h.Connections[name]
		line += fmt.Sprintf(p.Say("  %s %s, %d waiting", "  %s %s，待发 %d"), lint.Show(name), p.stateName(n.State), n.Waiting)
	}
	return line
}

func (p *Program) state(h connector.Health) string { return p.stateName(h.State) }

func (p *Program) stateName(s client.State) string {
	return p.Say(s.String(), map[string]string{
		"idle": "空闲", "connecting": "连接中", "connected": "已连接", "waiting": "等待重连", "parked": "暂离", "closed": "已关闭",
	}[s.String()])
}

// size formats a number of bytes with a unit.
func size(n uint64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 1<<10 {
			return fmt.Sprint(n, " ", unit)
		}
		n >>= 10
	}
	return fmt.Sprint(n, " GiB")
}

// grouped formats a number with a comma every three digits.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
