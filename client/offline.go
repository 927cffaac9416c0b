package client

import (
	"slices"
	"time"
)

// An offlineQueue keeps QoS 0 messages while no connection is up. The session does not:
// QoS 0 is no part of its state, section 4.1.
type offlineQueue struct {
	items []offlineMessage
	bytes int
}

type offlineMessage struct {
	m Message
	r *Receipt
}

// queueOfflineLocked keeps m, within the limits.
func (c *Client) queueOfflineLocked(m Message, r *Receipt) error {
	q, size := &c.offline0, len(m.Topic)+len(m.Payload)
	limits := c.sess.Limits()
	if limits.QueueMessages > 0 && len(q.items) >= limits.QueueMessages ||
		limits.QueueBytes > 0 && len(q.items) > 0 && q.bytes+size > limits.QueueBytes {
		return ErrQueueFull
	}
	m.Payload = slices.Clone(m.Payload)
	q.items = append(q.items, offlineMessage{m, r})
	q.bytes += size
	return nil
}

// sendOfflineLocked publishes what was kept, once a connection is up.
func (c *Client) sendOfflineLocked() {
	if len(c.offline0.items) == 0 || !c.sess.Up() {
		return
	}
	items := c.offline0.items
	c.offline0 = offlineQueue{}
	for _, item := range items {
		if _, err := c.sess.PublishFor(time.Time{}, item.m, item.r); err != nil {
			c.endLocked(item.r, publishError(&item.m, err), nil)
			continue
		}
		c.performLocked()
	}
	c.admitLocked()
}

// withdraw takes the message of r out, if it is still there.
func (q *offlineQueue) withdraw(r *Receipt) bool {
	i := slices.IndexFunc(q.items, func(m offlineMessage) bool { return m.r == r })
	if i < 0 {
		return false
	}
	q.bytes -= len(q.items[i].m.Topic) + len(q.items[i].m.Payload)
	q.items = slices.Delete(q.items, i, i+1)
	return true
}

// abandonOfflineLocked ends what is kept, because the client is over.
func (c *Client) abandonOfflineLocked(err error) {
	for _, item := range c.offline0.items {
		c.endLocked(item.r, &callError{call: "publish", about: quoted(item.m.Topic), kind: ErrNotSent, cause: err}, nil)
	}
	c.offline0 = offlineQueue{}
}
