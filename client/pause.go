package client

import (
	"errors"
	"log/slog"
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

// crowdedLocked reports whether the reader has to do something about a full inbox before it goes on.
func (c *Client) crowdedLocked() bool {
	b := &c.delivery.inbox
	return b.full() && (!c.delivery.overflowing || b.hard() && !c.mayParkLocked() && !c.sess.Outstanding())
}

// mayParkLocked reports whether the client may leave messages to the Server of its own accord: a
// session that ends with the connection would lose them.
func (c *Client) mayParkLocked() bool { return !c.cfg.CleanSession && c.delivery.consumed }

// makeRoom is what the reader does about a full inbox. Acknowledgements are withheld
// by nature, which bounds QoS 1 and 2 by the Server's window. Reading pauses, but only
// while no own request is outstanding: its answer would never be read, and the
// application may wait for it before it takes the next message. When the pause is
// over, QoS 0 gives way, and QoS 1 and 2 go on until there are too many.
func (c *Client) makeRoom(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.crowdedLocked() {
		return
	}
	if !c.delivery.overflowing {
		c.emit(Event{Kind: InboxFull})
		if !c.delivery.consumed {
			c.emit(Event{Kind: NobodyConsumes})
		}
	}
	if !c.pauseReadingLocked(l) {
		c.delivery.overflowing = true
	}
}

// tooManyLocked reports whether new messages of QoS 1 and 2 are left to the Server.
func (c *Client) tooManyLocked() bool {
	return c.delivery.inbox.hard() && (c.sess.Outstanding() || c.mayParkLocked())
}

// fetchShedLocked disconnects when messages were left to the Server, so that the Server sends them
// again: on this connection nothing behind them can be acknowledged. Without an own request that is
// parking. With one the client stays until it is answered and there is room: sooner it would be sent
// what it has, and new requests go on until there is room. A clean session does not wait for room, because
// what was left is lost.
func (c *Client) fetchShedLocked(l *link) {
	if l == nil || l.bye || l.err != nil || c.leaving || !c.sess.HasShed() {
		return
	}
	if low := c.delivery.inbox.low(); l.shedding && (low || !c.cfg.CleanSession) {
		c.sess.Hold(time.Now(), low) // requests may never cease; without room whoever makes it may wait for one
		c.driveLocked()
		c.kickLocked()
	}
	if c.sess.Outstanding() {
		if !l.shedding {
			l.shedding = true
			c.emit(Event{Kind: Shedding})
		}
		return
	}
	if l.shedding && !c.delivery.inbox.low() && !c.cfg.CleanSession {
		return
	}
	l.park, c.delivery.parkedAt = true, c.delivery.asked
	c.sess.Disconnect()
	c.driveLocked()
	c.kickLocked()
}

// pauseReadingLocked waits for room, for an own request or for as long as is safe, and reports whether
// there is room. It lets mu go meanwhile.
func (c *Client) pauseReadingLocked(l *link) bool {
	most := mostPause
	if k := c.sess.Limits().KeepAlive; k > 0 {
		most = min(most, k)
	}
	until := time.NewTimer(most)
	defer until.Stop()
	wake := c.attempts.waiting()
	defer c.attempts.woken()
	gone := make(chan struct{})
	l.gone = gone
	if !c.delivery.inbox.low() && !c.sess.Outstanding() {
		c.stats.Pauses++
	}
	began, over := time.Now(), false
	for l.err == nil && !l.bye && !over && !c.delivery.inbox.low() && !c.sess.Outstanding() {
		c.sess.Paused()
		c.armLocked()
		c.mu.Unlock()
		select {
		case <-wake:
		case <-gone:
		case <-until.C:
			over = true
		}
		c.mu.Lock()
		c.sess.Resumed(time.Now())
		c.armLocked()
	}
	l.gone = nil
	c.stats.PausedFor += time.Since(began)
	return c.delivery.inbox.low()
}

// awaitWriter stops reading until the Server has taken its answers: it asks for more than it reads.
// What it does not take at all ends the connection after WriteTimeout.
func (c *Client) awaitWriter(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	roomy, gone := make(chan struct{}, 1), make(chan struct{})
	l.roomy, l.gone = roomy, gone
	for l.err == nil && !l.bye && l.answers > mostAnswers/2 {
		c.sess.Paused()
		c.armLocked()
		c.mu.Unlock()
		select {
		case <-roomy:
		case <-gone:
		}
		c.mu.Lock()
		c.sess.Resumed(time.Now())
		c.armLocked()
	}
	l.roomy, l.gone = nil, nil
}

// waitParked stays away until the inbox has room, an own request comes, or it is time
// to look again.
func (c *Client) waitParked() {
	c.mu.Lock()
	c.state = Parked
	c.emit(Event{Kind: ClientParked})
	c.cfg.Logger.Info("disconnected until the application has taken messages", slog.Int("messages", c.delivery.inbox.len()))
	c.mu.Unlock()
	c.sleep(mostParked, func() bool {
		return c.delivery.inbox.low() || c.delivery.asked != c.delivery.parkedAt || c.sess.Outstanding() || c.cfg.CleanSession
	})
}
