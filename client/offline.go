package client

import (
	"slices"
	"time"
)

// An offlineQueue keeps QoS 0 messages while there is no connection. The session does not, because
// they are not part of the Session state (section 4.1).
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

// sendOfflineLocked publishes the queued messages when a connection is up.
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

// withdraw removes the message of r, if it is still queued.
func (q *offlineQueue) withdraw(r *Receipt) bool {
	i := slices.IndexFunc(q.items, func(m offlineMessage) bool { return m.r == r })
	if i < 0 {
		return false
	}
	q.bytes -= len(q.items[i].m.Topic) + len(q.items[i].m.Payload)
	q.items = slices.Delete(q.items, i, i+1)
	return true
}

// abandonOfflineLocked fails the queued messages, because the client has ended.
func (c *Client) abandonOfflineLocked(err error) {
	for _, item := range c.offline0.items {
		c.endLocked(item.r, &callError{call: "publish", about: quoted(item.m.Topic), kind: ErrNotSent, cause: err}, nil)
	}
	c.offline0 = offlineQueue{}
}
