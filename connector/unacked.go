package connector

import (
	"sync"
	"time"
)

// unacked lists the messages that were taken and are not settled, in the order of arrival.
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

// first returns the oldest message, or nil.
func (u *unacked) first() *arrival {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.oldest
}

// count returns the number of messages and the age of the oldest.
func (u *unacked) count(now time.Time) (n int, age time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.oldest != nil {
		age = max(0, now.Sub(u.oldest.at))
	}
	return u.n, age
}
