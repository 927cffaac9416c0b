package command

import (
	"context"
	"errors"
	"net"
	"time"
)

// inFloods returns a dial function whose connections read a flood in larger pieces. Where a server writes each message by
// itself, a few microseconds after the one before, waking up for each costs more than all the rest. So after 64 reads
// or more that came 200 microseconds or less apart, and brought little, a connection pauses before each further read, and that read
// brings many. What comes now and then is not delayed. Where pauses slow the flood down, because the other end waits for
// answers to what was not read yet, there are soon none.
func inFloods(pause time.Duration, dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &floodConn{Conn: conn, pause: pause, from: time.Now(), judged: fewestPauses}, nil
	}
}

const (
	floodReads = 64                     // so many reads,
	floodLeast = 5 * time.Millisecond   // in no less than that,
	floodGap   = 200 * time.Microsecond // one each such time at least, are a flood
	floodSmall = 4 << 10                // if none brings as much as that
	floodEnd   = 10 * time.Millisecond  // ends it, if a read has to wait for so long

	fewestPauses = 8       // after so many it is judged what they do,
	mostPauses   = 1024    // after twice as many the next time, up to that, when the flood has been measured anew
	leastRate    = 0.8     // of the flood without pauses: if they make it slower,
	restReads    = 1 << 14 // so many reads follow without one
)

// floodConn is a connection of [inFloods]. Its fields are the reader's alone.
type floodConn struct {
	net.Conn
	pause time.Duration

	quick int  // small reads that are counted, to see whether it is a flood
	flood bool // it is one: there are pauses
	rest  int  // reads to come without a pause

	from   time.Time // what follows is counted from here on
	bytes  int
	pauses int

	rate   float64 // of the flood without pauses, in bytes a second
	judged int     // after so many pauses
}

func (c *floodConn) Read(b []byte) (int, error) {
	paused := c.flood && c.rest == 0
	if paused {
		time.Sleep(c.pause)
	}
	start := time.Now()
	n, err := c.Conn.Read(b)
	end := time.Now()
	c.bytes += n
	switch {
	case end.Sub(start) >= floodEnd, !c.flood && n >= floodSmall:
		c.flood, c.quick, c.rest = false, 0, 0
		c.count(end)
	case c.rest > 0:
		if c.rest--; c.rest == 0 {
			c.flood, c.quick = false, 0
			c.count(end)
		}
	case paused:
		if c.pauses++; c.pauses < c.judged {
			break
		}
		if c.count(end) < leastRate*c.rate {
			c.rest, c.judged = restReads, fewestPauses
		} else {
			c.flood, c.quick, c.judged = false, 0, min(2*c.judged, mostPauses)
		}
	default:
		took := end.Sub(c.from)
		if c.quick++; c.quick < floodReads || took < floodLeast {
			break
		}
		c.flood, c.quick, c.rate = took <= time.Duration(c.quick)*floodGap, 0, c.count(end)
	}
	return n, err
}

// count returns the rate since it was called before, and begins to count anew.
func (c *floodConn) count(now time.Time) float64 {
	rate := float64(c.bytes) / max(now.Sub(c.from), 1).Seconds()
	c.from, c.bytes, c.pauses = now, 0, 0
	return rate
}

// CloseWrite ends our direction, if the connection can.
func (c *floodConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
