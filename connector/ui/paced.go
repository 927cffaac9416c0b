package ui

import (
	"context"
	"net"
	"time"
)

const (
	pause         = 30 * time.Millisecond  // between turns
	waited        = 200 * time.Microsecond // a read that takes longer had to wait
	leastTurn     = 1 << 10                // bytes
	mostTurn      = 16 << 20               // more than systems keep of a connection
	waitedBriefly = 20 * time.Microsecond  // one that takes longer and brings less than leastTurn may have had to
	mostWaiting   = time.Millisecond       // of such, in a turn
	pacedBuffer   = 128 << 10
)

// A paced connection is read in turns with a pause between them, in which messages gather: at many messages a second, waking up
// for each is most of what it costs to count them. A turn ends when it got as much as gathers in a pause, which the turns before
// tell, or when nothing more was there: a read had to wait, or several that brought little did for a moment each. (That it brought little does
// not tell: over TLS a read brings a record.)
type paced struct {
	net.Conn
	buffer []byte
	rest   []byte // of buffer

	late    bool          // a read had to wait
	waiting time.Duration // of reads that brought little, in the turn
	got     int           // bytes, in the turn
	enough  int           // bytes of a turn
	more    int           // a turn gets more than the last by this part of 32
}

// pacedDial makes the connections of dial paced.
func pacedDial(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &paced{Conn: c, buffer: make([]byte, pacedBuffer), enough: leastTurn, more: 1}, nil
	}
}

// Read implements [net.Conn]. It is called by one goroutine at a time.
func (p *paced) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		p.turn()
		begun := time.Now()
		n, err := p.Conn.Read(p.buffer)
		took := time.Since(begun)
		p.rest, p.got, p.late = p.buffer[:n], p.got+n, took > waited
		if took > waitedBriefly && n < leastTurn {
			p.waiting += took
			p.late = p.late || p.waiting > mostWaiting
		}
		if n == 0 {
			return 0, err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// turn pauses if the turn is over, and begins another one.
func (p *paced) turn() {
	switch {
	case p.late: // the last of it came while the turn waited: that much does not gather
		p.enough, p.more = max(p.got*7/8, leastTurn), 1
	case p.got >= p.enough: // there may be more, and then soon very much more
		p.enough, p.more = min(p.enough+p.enough*p.more/32, mostTurn), min(p.more*2, 32)
	default:
		return
	}
	time.Sleep(pause)
	p.got, p.waiting = 0, 0
}
