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
	waitedBriefly = 20 * time.Microsecond  // a read that takes longer and brings less than leastTurn may have waited
	mostWaiting   = time.Millisecond       // maximum total time of such reads in a turn
	pacedBuffer   = 128 << 10
)

// A paced connection is read in turns with pauses in which messages gather: at many messages per
// second, waking up for each is most of the cost of counting them. A turn ends when it has read as
// much as gathers in a pause, estimated from earlier turns, or when nothing more was there: a read
// had to wait, or several reads that brought little waited for a moment each. (A read that brings
// little says nothing by itself: over TLS a read brings one record.)
type paced struct {
	net.Conn
	buffer []byte
	rest   []byte // of buffer

	late    bool          // a read had to wait
	waiting time.Duration // of reads that brought little, in the turn
	got     int           // bytes read in the turn
	enough  int           // bytes to read in a turn
	more    int           // the next turn reads more by this part of 32
}

// pacedDial returns a dial function whose connections are paced.
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

// turn pauses if the turn is over, and starts another one.
func (p *paced) turn() {
	switch {
	case p.late: // the last bytes arrived while the turn waited: less gathers in a pause
		p.enough, p.more = max(p.got*7/8, leastTurn), 1
	case p.got >= p.enough: // there may be more, possibly much more
		p.enough, p.more = min(p.enough+p.enough*p.more/32, mostTurn), min(p.more*2, 32)
	default:
		return
	}
	time.Sleep(pause)
	p.got, p.waiting = 0, 0
}
