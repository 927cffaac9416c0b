package client

import (
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 250 * time.Millisecond
	afterStable  = time.Second      // the pause after a stable connection, at most
	stableAfter  = 30 * time.Second // a connection that held so long resets the back-off
)

// backoff is the pause before the next attempt to connect: full jitter, so that a
// thousand clients of a Server that restarts do not come back together.
type backoff struct {
	failures int // since the last stable connection
	atCap    bool
}

// lost notes that a connection ended after it had been up for so long.
func (b *backoff) lost(held time.Duration) {
	if held >= stableAfter {
		b.failures, b.atCap = 0, false
		return
	}
	b.failures++
}

// failed notes an attempt that did not get as far as CONNACK.
func (b *backoff) failed() { b.failures++ }

// toCap makes the next pauses as long as they get: somebody has to change something
// before another attempt makes sense.
func (b *backoff) toCap() { b.atCap = true }

// bound is the longest that the next pause may be.
func (b *backoff) bound(most time.Duration) time.Duration {
	switch {
	case b.atCap:
		return most
	case b.failures == 0:
		return min(afterStable, most)
	case b.failures > 20:
		return most
	}
	return min(firstBackoff<<(b.failures-1), most)
}

func (b *backoff) next(most time.Duration) time.Duration {
	bound := b.bound(most)
	if b.atCap {
		return bound/2 + rand.N(bound/2+1)
	}
	return rand.N(bound + 1)
}
