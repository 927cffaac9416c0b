package connector

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/mqtt311/mqtt311/client"
)

// slots limit how many messages of a producer are in flight. The limit may change; waiters get
// slots in order.
type slots struct {
	mu    sync.Mutex
	most  int // 0: no limit
	taken int
	line  []chan struct{} // each closed when it gets a slot
}

// limit sets the limit.
func (s *slots) limit(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = most
	s.advance()
}

// take waits for a slot.
func (s *slots) take(ctx context.Context) error {
	s.mu.Lock()
	if s.free() && len(s.line) == 0 {
		s.taken++
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.line = append(s.line, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.line, turn); i >= 0 {
		s.line = slices.Delete(s.line, i, i+1)
	} else { // it just got a slot
		s.taken--
		s.advance()
	}
	return fmt.Errorf("%w: %w", client.ErrNotSent, context.Cause(ctx))
}

// release gives a slot back.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.advance()
}

// advance gives free slots to waiters. The caller holds mu.
func (s *slots) advance() {
	for s.free() && len(s.line) > 0 {
		s.taken++
		close(s.line[0])
		s.line = slices.Delete(s.line, 0, 1)
	}
}

func (s *slots) free() bool { return s.most <= 0 || s.taken < s.most }
