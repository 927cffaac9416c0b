package client

import (
	"errors"
	"time"
)

// errParked ends a connection that is given up because the application does not keep
// up.
var errParked = errors.New("client: parked")

const (
	// mostPause is how long reading pauses, within keep alive: some servers cut a client
	// that does not read for ten seconds, or for one and a half keep alives.
	mostPause = 8 * time.Second

	// mostParked is how long a client stays away before it looks again.
	mostParked = 30 * time.Second
)

// makeRoom is what the reader does about a full inbox. Acknowledgements are withheld
// by nature, which bounds QoS 1 and 2 by the Server's window. Reading pauses, but only
// while no own request is outstanding: its answer would never be read, and the
// application may wait for it before it takes the next message. When the pause is
// over, QoS 0 gives way, and QoS 1 and 2 go on up to twice the inbox. Beyond that the
// client parks, or leaves the messages to the Server.
func (c *Client) makeRoom(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.inbox.full() {
		return
	}
	if !c.inbox.overflowing {
		c.emit(Event{Kind: InboxFull})
		if !c.inbox.consumed {
			c.emit(Event{Kind: NobodyConsumes})
		}
		if c.pauseReading(l) {
			return
		}
		c.inbox.overflowing = true
	}
	if !c.inbox.hard() {
		return
	}
	switch {
	case l.bye || l.shedding:
	case c.sess.Outstanding():
		l.shedding = true
		c.sess.Shed(true)
		c.emit(Event{Kind: Shedding})
	case c.cfg.CleanSession || !c.inbox.consumed:
		// A session that ends with the connection would lose what was not taken.
		c.pauseReading(l)
	default:
		c.leaveToReturn(l)
		c.kick()
	}
}

// leaveToReturn says goodbye to come back when there is room: the Server then sends again what
// was not acknowledged. The caller holds mu.
func (c *Client) leaveToReturn(l *link) {
	l.park, c.parkedAt = true, c.asked
	c.sess.Disconnect()
	c.drive()
}

// pauseReading waits for room, for an own request or for as long as is safe, and
// tells whether there is room. The caller holds mu.
func (c *Client) pauseReading(l *link) bool {
	most := mostPause
	if k := c.sess.Limits().KeepAlive; k > 0 {
		most = min(most, k)
	}
	until := time.NewTimer(most)
	defer until.Stop()
	wake := c.wait()
	defer c.woken()
	gone := make(chan struct{})
	l.gone = gone
	if !c.inbox.low() && !c.sess.Outstanding() {
		c.stats.Pauses++
	}
	began, over := time.Now(), false
	for l.err == nil && !l.bye && !over && !c.inbox.low() && !c.sess.Outstanding() {
		c.sess.Paused()
		c.arm()
		c.mu.Unlock()
		select {
		case <-wake:
		case <-gone:
		case <-until.C:
			over = true
		}
		c.mu.Lock()
		c.sess.Resumed(time.Now())
		c.arm()
	}
	l.gone = nil
	c.stats.PausedFor += time.Since(began)
	return c.inbox.low()
}

// waitParked stays away until the inbox has room, an own request comes, or it is time
// to look again.
func (c *Client) waitParked() {
	c.mu.Lock()
	c.state = Parked
	c.emit(Event{Kind: ClientParked})
	c.mu.Unlock()
	c.sleep(mostParked, func() bool {
		return c.inbox.low() || c.asked != c.parkedAt || c.cfg.CleanSession
	})
}

// sleep waits for d, or until it may go on, or until no further attempt is to be made.
func (c *Client) sleep(d time.Duration, goOn func() bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := c.wait()
	defer c.woken()
	for over := false; !over && c.cause == nil && !goOn(); {
		c.mu.Unlock()
		select {
		case <-wake:
		case <-t.C:
			over = true
		}
		c.mu.Lock()
	}
}

// Backlog returns what was received and not yet taken.
func (c *Client) Backlog() (messages, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inbox.len(), c.inbox.bytes
}
