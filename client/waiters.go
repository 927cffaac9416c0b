package client

import (
	"fmt"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// waiters are the calls that wait for room in the queue of outgoing messages, first come, first
// served, and for the answers to SUBSCRIBE and UNSUBSCRIBE. Client.mu guards them.
type waiters struct {
	qos0     line // behind more than enoughQueue bytes, or a full offline queue
	stored   line // at QoS 1 and 2: behind a full queue, or a Store without room
	requests map[session.Token]request
	changed  chan struct{} // closed when a request may have finished; nil unless Close waits for that
}

func (w *waiters) line(qos packets.QoS) *line {
	if qos == packets.AtMostOnce {
		return &w.qos0
	}
	return &w.stored
}

// A request is a SUBSCRIBE or UNSUBSCRIBE of a caller.
type request struct {
	r           *Receipt
	call, about string // for errors
}

// errInLine says that a message waits behind others, or for the Store.
var errInLine = fmt.Errorf("%w: there was no room yet", ErrNotSent)

// A waiter is a message whose publisher waits for room. The goroutine that makes room passes the
// message to the session itself, so that no publisher is woken only to wait again.
type waiter struct {
	m          Message
	r          *Receipt
	token      session.Token // of the session, once the message is accepted
	asked      bool          // the caller waits for r, not for admitted
	admitted   chan error    // capacity 1; receives the result
	why        error         // why it waits
	inLine     bool
	prev, next *waiter
}

func (c *Client) newWaiter(m *Message, r *Receipt, asked bool, why error) *waiter {
	w, ok := c.pools.waiters.Get().(*waiter)
	if !ok {
		w = &waiter{admitted: make(chan error, 1)}
	}
	w.m, w.r, w.asked, w.why = *m, r, asked, why // each other field is zero
	return w
}

// freeWaiter returns a waiter that is in no line to the pool.
func (c *Client) freeWaiter(w *waiter) {
	select {
	case <-w.admitted:
	default:
	}
	*w = waiter{admitted: w.admitted}
	c.pools.waiters.Put(w)
}

// A line is a queue of waiters.
type line struct{ first, last *waiter }

func (q *line) empty() bool { return q.first == nil }

func (q *line) join(w *waiter) {
	w.inLine, w.prev = true, q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
}

func (q *line) leave(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.inLine, w.prev, w.next = false, nil, nil
}

// admitLocked accepts the messages of all waiters for which there is room, in the order of the
// lines.
func (c *Client) admitLocked() {
	for _, q := range [...]*line{&c.waiters.stored, &c.waiters.qos0} {
		for w := q.first; w != nil && !c.leaving; w = q.first {
			t, err := c.acceptLocked(&w.m, w.r)
			if c.mayWait(err) {
				w.why = err
				break
			}
			q.leave(w)
			w.token = t
			c.tellLocked(w, err)
			c.driveLocked()
		}
	}
	c.askRoomLocked() // the first in line may need more room
}

// tellLocked reports the result to a waiter that has left its line.
func (c *Client) tellLocked(w *waiter, err error) {
	switch {
	case !w.asked:
		w.admitted <- err
	case err != nil:
		w.r.end(err, nil)
	}
}

// refuseAllLocked refuses the messages of all waiters, because the client is closed.
func (c *Client) refuseAllLocked() {
	for _, q := range []*line{&c.waiters.stored, &c.waiters.qos0} {
		for w := q.first; w != nil; w = q.first {
			q.leave(w)
			c.tellLocked(w, c.closedLocked())
		}
	}
}
