package client

import (
	"context"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// delivery is the path of received messages to the application: into the inbox, and from there to
// loops over Messages or to handlers. Client.mu guards it.
type delivery struct {
	inbox       inbox
	session     uint16 // counts the sessions that began: see Delivery.Session
	consumed    bool   // whether a message was ever taken
	overflowing bool   // reading goes on although the inbox is full; QoS 0 messages are dropped
	skipLogged  int64  // when a skipped message was last logged, in ns since 1970; 0: never

	// Our requests, whose answers come over the same connection: reading must not pause for long
	// before them.
	asked    uint64 // number of requests that need an answer
	parkedAt uint64 // the value of asked when the client parked

	// Loops over Messages.
	ready chan struct{} // capacity 1; signals that there may be a message; nil until a loop waits
	loops int

	// Handlers.
	router   *router         // nil until the first handler is registered
	handling chan struct{}   // closed when the goroutine that runs handlers ends; nil if there is none
	life     context.Context // the context of handlers; nil until one is called
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

// skipLocked counts, logs and acknowledges a message that is not accepted.
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

// announceLocked wakes a handler or a loop because there are messages. Without handlers they wait
// for a loop.
func (c *Client) announceLocked() {
	switch d := &c.delivery; {
	case d.inbox.len() == 0:
	case d.router.empty():
		poke(d.ready)
	default:
		c.dispatchLocked()
	}
}

// takenLocked wakes those that wait for room in the inbox.
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
