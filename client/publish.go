package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A Message is an Application Message to be published: Topic, Payload, QoS and Retain.
type Message = session.Message

// Publish publishes m and returns nil only when the promise of its QoS is kept:
// written to the Network Connection (QoS 0), PUBACK received (1), PUBCOMP received
// (2), across any number of reconnects. It waits for room in the queue, unless
// Config.WhenFull says otherwise, and for the Server until ctx ends. The payload may be used again when it returns.
//
// Otherwise the error says whether it happened: [*packets.EncodeError] for a message
// that no packet can carry; ErrQueueFull when there was no room for it, or it was dropped from
// the queue for another; ErrNotSent (also ErrNotConnected for QoS 0, and ErrClosed) when no byte
// left; ErrUnknown when bytes may have left and ctx or the client ended
// first, in which case a message of QoS 1 or 2 stays in flight; ErrDowngraded;
// ErrPoison.
func (c *Client) Publish(ctx context.Context, m Message) error {
	r := c.lendReceipt()
	if err := c.start(ctx, &m, r); err != nil {
		return err
	}
	err := c.await(ctx, r, "publish")
	if !r.recorded && r.over() { // with a Store, or unfinished, others may refer to it
		c.takeBack(r)
	}
	return err
}

// PublishAsync queues m and returns a receipt for its outcome. An error means that
// nothing was accepted and nothing will be sent: the errors of [Client.Publish], and
// ErrQueueFull instead of waiting when ctx has ended already. The payload belongs to
// the client until the receipt is done.
func (c *Client) PublishAsync(ctx context.Context, m Message) (*Receipt, error) {
	r := new(Receipt)
	if err := c.start(ctx, &m, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Enqueue is PublishAsync for who does not ask for the outcome: it allocates nothing. Errors
// that come after it returned nil are counted in Stats.Unheard. The payload of a message of
// QoS 1 or 2 belongs to the client until Close; at QoS 0 it may be used again.
func (c *Client) Enqueue(ctx context.Context, m Message) error { return c.start(ctx, &m, nil) }

// start hands m to the session, waiting for room as long as ctx allows. r may be nil.
func (c *Client) start(ctx context.Context, m *Message, r *Receipt) error {
	for {
		c.mu.Lock()
		if c.leaving {
			defer c.mu.Unlock()
			return c.refused("publish")
		}
		var t session.Token
		err := ErrQueueFull
		if !c.congested(m.QoS) {
			t, err = c.accept(m, r)
		}
		if errors.Is(err, ErrNotConnected) && c.cfg.QueueQoS0 {
			if err = c.queueOffline(*m, r); err == nil {
				if r != nil {
					r.accept()
				}
				c.mu.Unlock()
				return nil
			}
		}
		if err == nil {
			if r != nil {
				r.token = t
				c.awaitRecord(m.QoS, r)
			}
			if m.QoS > packets.AtMostOnce {
				c.ask()
			}
			c.drive()
			c.send()
			c.mu.Unlock()
			return nil
		}
		if !errors.Is(err, ErrQueueFull) && !errors.Is(err, ErrStoreFull) {
			c.mu.Unlock()
			return err
		}
		switch {
		case !errors.Is(err, ErrQueueFull):
		case c.cfg.WhenFull == QueueFail:
			c.mu.Unlock()
			return err
		case c.cfg.WhenFull == QueueDropOldest && c.dropOldest(m.QoS):
			c.mu.Unlock()
			continue
		}
		space := c.spaceMade()
		c.mu.Unlock()
		var again <-chan time.Time
		if errors.Is(err, ErrStoreFull) { // nobody tells when somebody else frees the disk
			again = time.After(storeRetry)
		}
		select {
		case <-space:
		case <-again:
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(err, ErrStoreFull) {
				cause = fmt.Errorf("%w (%w)", cause, err)
			}
			return &outcome{"publish", ErrQueueFull, cause}
		}
	}
}

// dropOldest makes room in the queue for a message, and tells whether it could. The caller holds mu.
func (c *Client) dropOldest(qos packets.QoS) bool {
	q := &c.offline0
	switch {
	case qos > packets.AtMostOnce && c.sess.DropOldest():
		c.drive()
	case qos == packets.AtMostOnce && len(q.items) > 0:
		oldest := q.items[0]
		q.bytes -= len(oldest.m.Topic) + len(oldest.m.Payload)
		q.items = slices.Delete(q.items, 0, 1)
		c.end(oldest.r, ErrQueueFull, nil)
	default:
		return false
	}
	return true
}

// ask notes a request that needs an answer: reading has to go on. The caller holds mu.
func (c *Client) ask() {
	c.asked++
	poke(c.wake)
}

// accept hands m to the session if the Store has room for it. The caller holds mu.
func (c *Client) accept(m *Message, r *Receipt) (session.Token, error) {
	if m.QoS == packets.AtMostOnce {
		return c.sess.PublishFor(time.Time{}, *m, r) // the time means nothing to it
	}
	if err := c.storeRoom(len(m.Topic) + len(m.Payload)); err != nil {
		if errors.Is(err, ErrStoreFailed) {
			err = &outcome{"publish", ErrNotSent, err}
		}
		return 0, err
	}
	return c.sess.PublishFor(c.now(), *m, r)
}

// awaitRecord makes r tell when its message is durable. The caller holds mu and has not
// driven the session since it accepted the message.
func (c *Client) awaitRecord(qos packets.QoS, r *Receipt) {
	if qos == packets.AtMostOnce || c.saver.store == nil {
		r.durable = true // nobody else has it yet
		return
	}
	r.recorded = c.sess.Tail() > 0
	c.saver.next.accepted = append(c.saver.next.accepted, r)
}

// congested tells whether so much waits to be written that a QoS 0 message, which no
// window holds back, has to wait.
func (c *Client) congested(qos packets.QoS) bool {
	return qos == packets.AtMostOnce && c.link != nil && len(c.link.out) > enoughQueue
}

// refused is the error of a request after the end. The caller holds mu.
func (c *Client) refused(what string) error {
	err := c.err
	if err == nil {
		err = ErrClosed
	}
	return &outcome{what, ErrNotSent, err}
}
