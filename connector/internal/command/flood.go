package command

import (
	"context"
	"errors"
	"net"
	"time"
)

// A floodConn reads a flood in larger pieces. Where each message comes alone, a few microseconds after
// the one before, waking up for each costs more than all the rest: after some of them it waits a
// moment before it reads on, so that the next read brings many. What comes now and then is not delayed.
type floodConn struct {
	net.Conn
	pause time.Duration
	quick int // reads in a row that hardly had to wait, and brought little
}

const (
	floodReads = 64
	floodGap   = 200 * time.Microsecond
	floodSmall = 4 << 10
)

func (c *floodConn) Read(b []byte) (int, error) {
	if c.quick >= floodReads {
		time.Sleep(c.pause)
	}
	start := time.Now()
	n, err := c.Conn.Read(b)
	switch gap := time.Since(start); {
	case gap > floodGap:
		c.quick = 0
	case n < floodSmall && c.quick < floodReads:
		c.quick++
	}
	return n, err
}

// CloseWrite ends our direction, if the connection can.
func (c *floodConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// inFloods makes connections that read floods in larger pieces, which come with that pause between them.
func inFloods(pause time.Duration, dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &floodConn{Conn: conn, pause: pause}, nil
	}
}
