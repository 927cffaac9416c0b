package connector

import (
	"sync"
	"time"
)

// unacked has what was taken from the connection and is not settled, in the order of arrival.
type unacked struct {
	mu     sync.Mutex
	oldest *arrival
	newest *arrival
	n      int
}

func (u *unacked) add(a *arrival) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.newest == nil {
		u.oldest = a
	} else {
		u.newest.after, a.before = a, u.newest
	}
	u.newest = a
	u.n++
}

func (u *unacked) remove(a *arrival) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a.before == nil {
		u.oldest = a.after
	} else {
		a.before.after = a.after
	}
	if a.after == nil {
		u.newest = a.before
	} else {
		a.after.before = a.before
	}
	a.before, a.after = nil, nil
	u.n--
}

// first returns the message that is here for the longest time; nil if there is none.
func (u *unacked) first() *arrival {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.oldest
}

// count returns how many there are, and how long the oldest has been here.
func (u *unacked) count(now time.Time) (n int, age time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.oldest != nil {
		age = max(0, now.Sub(u.oldest.at))
	}
	return u.n, age
}
