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

// crowded tells whether the reader has to do something about a full inbox before it goes on.
// The caller holds mu.
func (c *Client) crowded() bool {
	b := &c.inbox
	return b.full() && (!b.overflowing || b.hard() && !c.mayPark() && !c.sess.Outstanding())
}

// mayPark tells whether the client may leave messages to the Server of its own accord: a
// session that ends with the connection would lose them. The caller holds mu.
func (c *Client) mayPark() bool { return !c.cfg.CleanSession && c.inbox.consumed }

// makeRoom is what the reader does about a full inbox. Acknowledgements are withheld
// by nature, which bounds QoS 1 and 2 by the Server's window. Reading pauses, but only
// while no own request is outstanding: its answer would never be read, and the
// application may wait for it before it takes the next message. When the pause is
// over, QoS 0 gives way, and QoS 1 and 2 go on until there are too many.
func (c *Client) makeRoom(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.crowded() {
		return
	}
	if !c.inbox.overflowing {
		c.emit(Event{Kind: InboxFull})
		if !c.inbox.consumed {
			c.emit(Event{Kind: NobodyConsumes})
		}
	}
	if !c.pauseReading(l) {
		c.inbox.overflowing = true
	}
}

// tooMany tells whether messages of QoS 1 and 2 that are new are left to the Server. The caller
// holds mu.
func (c *Client) tooMany() bool {
	return c.inbox.hard() && (c.sess.Outstanding() || c.mayPark())
}

// fetchShed says goodbye when something was left to the Server, to come back for it: on this
// connection nothing behind it can be acknowledged, on the next it is sent again. Without an own
// request that is parking. With one the client stays until it is answered and there is room:
// sooner it would be sent what it has. A clean session does not wait for room, because what
// was left is lost. The caller holds mu.
func (c *Client) fetchShed(l *link) {
	if l == nil || l.bye || l.err != nil || c.leaving || !c.sess.HasShed() {
		return
	}
	if l.shedding && c.inbox.low() {
		c.sess.Hold(time.Now(), true) // requests may never cease
	}
	if c.sess.Outstanding() {
		if !l.shedding {
			l.shedding = true
			c.emit(Event{Kind: Shedding})
		}
		return
	}
	if l.shedding && !c.inbox.low() && !c.cfg.CleanSession {
		return
	}
	l.park, c.parkedAt = true, c.asked
	c.sess.Disconnect()
	c.drive()
	c.kick()
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
		return c.inbox.low() || c.asked != c.parkedAt || c.sess.Outstanding() || c.cfg.CleanSession
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
