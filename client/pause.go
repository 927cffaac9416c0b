package client

import (
	"errors"
	"log/slog"
	"time"
)

// errParked ends a connection because the application does not keep up.
var errParked = errors.New("client: parked")

const (
	// mostPause is the longest pause of reading, which is also limited by keep alive: some servers
	// disconnect a client that does not read for ten seconds, or for one and a half keep alives.
	mostPause = 8 * time.Second

	// mostParked is how long a parked client stays disconnected at most.
	mostParked = 30 * time.Second
)

// crowdedLocked reports whether the reader must call makeRoom because the inbox is full.
func (c *Client) crowdedLocked() bool {
	b := &c.delivery.inbox
	return b.full() && (!c.delivery.overflowing || b.hard() && !c.mayParkLocked() && !c.sess.Outstanding())
}

// mayParkLocked reports whether the client may disconnect and leave messages to the Server. A clean
// session would lose them.
func (c *Client) mayParkLocked() bool { return !c.cfg.CleanSession && c.delivery.consumed }

// makeRoom handles a full inbox. Messages in it are not acknowledged, so the Server's window limits
// those of QoS 1 and 2. Reading pauses, but only while none of our requests is outstanding: its
// answer would not be read, and the application may wait for it before it takes the next message.
// When the pause is over, QoS 0 messages are dropped, and QoS 1 and 2 are received until there are
// too many.
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

// tooManyLocked reports whether new messages of QoS 1 and 2 are shed, that is, left to the Server.
func (c *Client) tooManyLocked() bool {
	return c.delivery.inbox.hard() && (c.sess.Outstanding() || c.mayParkLocked())
}

// fetchShedLocked disconnects after messages were shed, so that the Server sends them again: on
// this connection nothing after them can be acknowledged. If none of our requests is outstanding,
// the client parks. Otherwise it stays connected until they are answered and there is room, since
// an earlier reconnect would only bring messages that it cannot take; new requests are sent until there is room. A clean session does not wait
// for room, because the shed messages are lost.
func (c *Client) fetchShedLocked(l *link) {
	if l == nil || l.bye || l.err != nil || c.leaving || !c.sess.HasShed() {
		return
	}
	if low := c.delivery.inbox.low(); l.shedding && (low || !c.cfg.CleanSession) {
		c.sess.Hold(time.Now(), low) // requests may never cease; and without room, whoever makes room may be waiting for one
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

// pauseReadingLocked waits for room, for one of our requests, or for as long as is safe, and
// reports whether there is room. It releases mu meanwhile.
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

// awaitWriter stops reading until the Server has read enough of the acknowledgements that wait to
// be written. If it reads none, WriteTimeout ends the connection.
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

// waitParked stays disconnected until the inbox has room, there is a request of ours, or mostParked
// has passed.
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
