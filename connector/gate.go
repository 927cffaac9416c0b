package connector

import "sync"

// A gate lets flows run beside each other, or one while no other runs.
type gate struct {
	mu      sync.Mutex
	changed sync.Cond
	running int
	alone   int // run alone, or wait for that
}

func newGate() *gate {
	g := new(gate)
	g.changed.L = &g.mu
	return g
}

// enter waits for a turn, and returns what to call at its end.
func (g *gate) enter(alone bool) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !alone {
		for g.alone > 0 {
			g.changed.Wait()
		}
		g.running++
		return func() { g.leave(0) }
	}
	g.alone++
	for g.running > 0 {
		g.changed.Wait()
	}
	g.running++
	return func() { g.leave(1) }
}

func (g *gate) leave(alone int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.alone -= alone
	g.changed.Broadcast()
}
