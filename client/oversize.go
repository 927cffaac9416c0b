package client

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// offer passes the payload of a message that is too large to Config.TakeOversize, unless the
// message was received before. An error ends the connection.
func (c *Client) offer(l *link, p *packets.Publish, bad *IncomingError, payload *packets.Payload) error {
	gone := make(chan struct{})
	c.mu.Lock()
	c.sess.Shed(c.tooManyLocked())
	awaited := c.sess.Awaits(p)
	if l.err == nil {
		l.gone = gone
	} else {
		close(gone)
	}
	c.mu.Unlock()
	if !awaited {
		return nil
	}
	ctx, over := context.WithCancel(context.Background())
	go func() {
		defer over()
		select {
		case <-gone:
		case <-ctx.Done():
		}
	}()
	r := &offered{c: c, payload: payload}
	bad.Taken, bad.TakeErr = c.cfg.TakeOversize(ctx, bad, r)
	over()
	c.mu.Lock()
	defer c.mu.Unlock()
	l.gone = nil
	r.goOnLocked()
	switch {
	case r.err != nil:
		return r.err
	case bad.TakeErr != nil && bad.QoS > packets.AtMostOnce && !c.cfg.CleanSession:
		return fmt.Errorf("client: Config.TakeOversize: %w", bad.TakeErr)
	}
	return nil
}

// offered is the payload passed to Config.TakeOversize, which may read it slowly: the ping timeout
// is suspended while it does not read.
type offered struct {
	c       *Client
	payload *packets.Payload
	err     error // error of the connection
}

// Read fills b unless the payload ends, because only many bytes count as a sign of life, not a
// single one.
func (r *offered) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.c.mu.Lock()
	r.goOnLocked()
	r.c.mu.Unlock()
	n, err := io.ReadFull(r.payload, b)
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.sess.Paused()
	r.c.armLocked()
	if err != nil && r.payload.Len() == 0 {
		return n, io.EOF
	}
	r.err = err
	return n, err
}

// goOnLocked reports to the session that reading goes on.
func (r *offered) goOnLocked() {
	r.c.sess.Resumed(time.Now())
	r.c.armLocked()
}
