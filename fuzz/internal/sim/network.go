package sim

import "math/rand/v2"

// A link is one Network Connection: two streams of bytes in flight.
type link struct {
	up, down []byte // to the broker, to the client
	dead     bool   // it accepts no more bytes; those in flight still arrive
	hole     bool   // nothing arrives any more, and neither end notices
	byPeer   bool   // the broker closed
}

func (l *link) toBroker(b []byte) {
	if !l.dead && !l.hole {
		l.up = append(l.up, b...)
	}
}

func (l *link) toClient(b []byte) {
	if !l.dead && !l.hole {
		l.down = append(l.down, b...)
	}
}

// cut drops everything after a random byte, in both directions.
func (l *link) cut(r *rand.Rand) {
	l.up = l.up[:r.IntN(len(l.up)+1)]
	l.down = l.down[:r.IntN(len(l.down)+1)]
	l.dead = true
}

// blackhole drops everything from now on.
func (l *link) blackhole() {
	l.up, l.down = nil, nil
	l.hole = true
}

// take removes bytes that have arrived from the stream: all of them, or a random number.
func take(r *rand.Rand, stream *[]byte) []byte {
	n := len(*stream)
	if n > 1 && chance(r, 30) {
		n = 1 + r.IntN(n)
	}
	b := (*stream)[:n]
	*stream = (*stream)[n:]
	return b
}
