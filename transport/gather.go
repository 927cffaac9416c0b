package transport

import (
	"context"
	"net"
	"time"
)

// Gather returns a dial function whose connections read a flood in larger pieces. Where a server writes each message by
// itself, a few microseconds after the one before, waking up for each costs more than all the rest. So after 64 reads
// that hardly had to wait and brought little, a connection pauses before each further read, and that read
// brings many. What comes now and then is not delayed, and where a pause gathers nothing, as with one message on its way
// at a time, there is soon none. A millisecond is a good pause for a program that can wait that long for a message.
func Gather(pause time.Duration, dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &gatherConn{Conn: conn, pause: pause}, nil
	}
}

const (
	floodReads = 64                     // so many quick reads in a row are a flood
	floodGap   = 200 * time.Microsecond // one that takes longer had to wait
	floodSmall = 4 << 10                // one that brings as much needs no pause

	vainPauses = 8       // so many pauses in a row that gathered nothing
	restReads  = 1 << 14 // are followed by so many reads without one
	gathered   = 4       // times what a read of the flood brought: as much has to come for a pause to be of use
)

// gatherConn is a connection of [Gather]. Its fields are the reader's alone.
type gatherConn struct {
	net.Conn
	pause time.Duration
	quick int // reads in a row of a flood, up to floodReads
	bytes int // what they brought
	vain  int // pauses in a row that gathered nothing
	rest  int // reads to come without a pause
}

func (c *gatherConn) Read(b []byte) (int, error) {
	paused := c.quick >= floodReads && c.rest == 0
	if paused {
		time.Sleep(c.pause)
	}
	if c.rest > 0 {
		c.rest--
	}
	start := time.Now()
	n, err := c.Conn.Read(b)
	switch gap := time.Since(start); {
	case gap > floodGap:
		c.quick, c.bytes, c.vain = 0, 0, 0
	case paused && n < gathered*c.bytes/floodReads:
		if c.vain++; c.vain == vainPauses {
			c.vain, c.rest = 0, restReads
		}
	case paused:
		c.vain = 0
	case n < floodSmall && c.quick < floodReads:
		c.quick++
		c.bytes += n
	}
	return n, err
}

func (c *gatherConn) CloseWrite() error { return closeWrite(c.Conn) }

func (c *gatherConn) NetConn() net.Conn { return c.Conn }
