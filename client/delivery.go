package client

import (
	"context"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// delivery is what was received and the way it takes to the application: into the inbox, and out of
// it to a loop over Messages or to handlers. Client.mu guards it.
type delivery struct {
	inbox       inbox
	session     uint16 // counts the sessions that began: see Delivery.Session
	consumed    bool   // somebody took something, once
	overflowing bool   // reading goes on though the inbox is full: QoS 0 gives way
	skipLogged  int64  // when a message that was skipped was logged last, in ns since 1970; 0: never

	// Own requests, whose answers come the same way: reading must not pause for long before them.
	asked    uint64 // those that need an answer
	parkedAt uint64 // asked, when the client decided to park

	// Loops over Messages.
	ready chan struct{} // has one place: something may be there; nil: no loop has waited yet
	loops int

	// Handlers.
	router   *router         // nil: there never was a handler
	handling chan struct{}   // closed when the goroutine that runs them ends; nil: none runs
	life     context.Context // of handlers; nil: none was called yet
	lifeOver context.CancelCauseFunc
}

// deliverLocked puts an incoming message into the inbox.
func (c *Client) deliverLocked(p *packets.Publish, token session.Token) {
	c.stats.Received++
	if c.link.bad != nil {
		c.skipLocked(c.link.bad, token)
		return
	}
	b := &c.delivery.inbox
	if p.QoS == packets.AtMostOnce && b.full() && c.delivery.overflowing {
		c.stats.Dropped++
		if !b.makeWay(c.cfg.QoS0Overflow) {
			return
		}
	}
	d := b.blank()
	if d.Payload == nil {
		d.Payload = b.room(len(p.Payload))
	}
	*d = Delivery{
		Topic:    p.Topic,
		Payload:  append(d.Payload, p.Payload...),
		QoS:      p.QoS,
		Retain:   p.Retain,
		Dup:      p.Dup,
		PacketID: p.PacketID,
		Session:  c.delivery.session,
		client:   c,
		token:    token,
	}
	b.push(d)
}

// skipLocked acknowledges a message that is not accepted.
func (c *Client) skipLocked(bad *IncomingError, token session.Token) {
	if bad.oversize() {
		c.stats.Skipped++
	} else {
		c.stats.Malformed++
	}
	if d, now := &c.delivery, time.Now().UnixNano(); d.skipLogged == 0 || now-d.skipLogged >= int64(unmatchedEvery) {
		d.skipLogged = now
		c.cfg.Logger.Warn("message skipped", "reason", bad, "too_large", c.stats.Skipped, "malformed", c.stats.Malformed)
	}
	c.emit(Event{Kind: MessageSkipped, Err: bad})
	if token != 0 {
		c.sess.Ack(token)
	}
}

// announceLocked tells whoever takes messages that there are some. Without a handler they wait for a
// loop.
func (c *Client) announceLocked() {
	switch d := &c.delivery; {
	case d.inbox.len() == 0:
	case d.router.empty():
		poke(d.ready)
	default:
		c.dispatchLocked()
	}
}

// takenLocked tells the others what a smaller inbox means.
func (c *Client) takenLocked() {
	d := &c.delivery
	if d.inbox.len() > 0 {
		poke(d.ready)
	}
	if d.inbox.low() {
		d.overflowing = false
		poke(c.attempts.wake)
		c.fetchShedLocked(c.link)
	}
}

// Backlog returns the number of messages in the inbox and the total size of their topics and
// payloads in bytes.
func (c *Client) Backlog() (messages, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.delivery.inbox.len(), c.delivery.inbox.bytes
}
