package connector

import "sync"

// A gate lets the runs of messages that are in the ledger go on beside each other, or one while no other
// does. It never waits: whoever finds it closed asks again when leave says so.
type gate struct {
	mu      sync.Mutex
	running int
	alone   int // run alone, or wait for that
}

// enter reports whether a message may run now. One that is to run alone keeps others from beginning from
// the first time that it asks.
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

// leave is called when a message does not run any more, or never will, and reports whether others may
// find the gate open that did not before.
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
