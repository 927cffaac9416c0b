package clientsim

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
)

// A slowStore is a Store with delays. The disk below it has none: while a goroutine waits for a
// mutex of the log, the clock of the bubble would stand still.
type slowStore struct {
	client.Store
	w *world
	d *durable

	mu    sync.Mutex
	r     *rand.Rand
	calls int           // that are in progress
	idle  chan struct{} // closed when none is in progress; nil: nobody waits for that
}

// begin counts the start of a call, and end its end.
func (s *slowStore) begin() { s.count(1) }
func (s *slowStore) end()   { s.count(-1) }

func (s *slowStore) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls += n
	if s.calls == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// busy reports whether a call is in progress.
func (s *slowStore) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls > 0
}

// settle waits until no call is in progress and none follows at once. It looks at the end of a
// millisecond.
func (s *slowStore) settle() {
	for began := time.Now(); ; {
		time.Sleep(time.Millisecond - time.Since(began)%time.Millisecond)
		s.mu.Lock()
		if s.calls == 0 {
			s.mu.Unlock()
			return
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		<-idle
	}
}

func (s *slowStore) pause() {
	s.mu.Lock()
	d := upTo(s.r, s.w.profile.store)
	if chance(s.r, s.w.profile.stall) {
		d = upTo(s.r, 20*time.Second)
	}
	s.mu.Unlock()
	time.Sleep(d)
}

// Load implements client.Store.
func (s *slowStore) Load(add func(key, value []byte) error) error {
	return s.Store.Load(func(key, value []byte) error {
		s.w.mu.Lock()
		err := s.d.set(key, value)
		s.w.mu.Unlock()
		if err != nil {
			return err
		}
		return add(key, value)
	})
}

// Room implements client.Store.
func (s *slowStore) Room(bytes int) error {
	s.begin()
	defer s.end()
	s.pause()
	return s.Store.Room(bytes)
}

// Commit implements client.Store.
func (s *slowStore) Commit(changes []client.Change) error {
	s.begin()
	defer s.end()
	s.pause()
	err := s.Store.Commit(changes)
	if err == nil {
		s.w.mu.Lock()
		s.w.committed(s.d, changes)
		s.w.mu.Unlock()
	}
	s.pause()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.active = time.Now()
	return err
}
