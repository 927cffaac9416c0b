package connector

import "sync"

// A gate allows the runs of messages in the ledger either concurrently, or one alone. It never
// blocks: a caller that is refused tries again when leave reports that.
type gate struct {
	mu      sync.Mutex
	running int
	alone   int // jobs that run alone or wait for that
}

// enter reports whether a message may run now. From the first call for a message that must run
// alone, others are refused.
func (g *gate) enter(j *job) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j.alone && !j.claims {
		j.claims = true
		g.alone++
	}
	if j.claims && g.running > 0 || !j.claims && g.alone > 0 {
		return false
	}
	g.running++
	j.inside = true
	return true
}

// leave must be called when a message has run, or will never run. It reports whether others that
// were refused may enter now.
func (g *gate) leave(j *job) (opened bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j.inside {
		g.running--
	}
	opened = g.alone > 0
	if j.claims {
		g.alone--
	}
	j.inside, j.claims = false, false
	return opened
}
