package command

import (
	"context"
	"errors"
	"net"
	"time"
)

// inFloods returns a dial function whose connections read a flood in larger pieces. If a server writes each message
// separately, a few microseconds apart, waking up for each costs more than everything else. So after at least 64 short reads
// that came at most 200 microseconds apart, a connection pauses before each further read, which then returns many messages.
// Occasional messages are not delayed. If pauses slow the flood down, because the server waits for acknowledgements
// of messages that were not read yet, the connection soon stops pausing.
func inFloods(pause time.Duration, dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &floodConn{Conn: conn, pause: pause, from: time.Now(), judged: fewestPauses}, nil
	}
}

// A flood is floodReads reads that took at least floodLeast, and at most floodGap each on average, if each returned
// less than floodSmall. A read that waits for floodEnd ends the flood.
const (
	floodReads = 64
	floodLeast = 5 * time.Millisecond
	floodGap   = 200 * time.Microsecond
	floodSmall = 4 << 10
	floodEnd   = 10 * time.Millisecond
)

// Pauses are judged after fewestPauses. If they have reduced the rate below leastRate of that without pauses, restReads
// reads follow without any. Otherwise the rate without pauses is measured again, and the next pauses are judged after
// twice as many, at most mostPauses.
const (
	fewestPauses = 8
	mostPauses   = 1024
	leastRate    = 0.8
	restReads    = 1 << 14
)

// floodConn is a connection of [inFloods]. Only the reading goroutine uses its fields.
type floodConn struct {
	net.Conn
	pause time.Duration

	quick int  // small reads so far, which may become a flood
	flood bool // it is a flood, and reads pause
	rest  int  // further reads without a pause

	from   time.Time // bytes and pauses are counted from then on
	bytes  int
	pauses int

	rate   float64 // of the flood without pauses, in bytes a second
	judged int     // the pauses are judged after so many
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

// count returns the rate since the previous call, and starts again.
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
