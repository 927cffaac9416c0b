package client

import (
	"fmt"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// waiters are the calls that wait: for room in the queue of outgoing messages, first come, first
// served, and for the answers to SUBSCRIBE and UNSUBSCRIBE. Client.mu guards them.
type waiters struct {
	qos0     line // behind more than enoughQueue bytes, or a full offline queue
	stored   line // at QoS 1 and 2: behind a full queue, or a Store without room
	requests map[session.Token]request
	changed  chan struct{} // closed when something may be finished; nil unless Close waits for that
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

// errInLine says that a message waits: behind others, or for the Store to answer.
var errInLine = fmt.Errorf("%w: there was no room yet", ErrNotSent)

// A waiter is a message whose publisher waits for room. Whoever makes room lets in the first one
// itself, so that an answer wakes nobody who has to wait on.
type waiter struct {
	m          Message
	r          *Receipt
	token      session.Token // what the session calls it, once it is let in
	asked      bool          // r tells its end; nobody waits for admitted
	admitted   chan error    // has one place: what became of it
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

// freeWaiter takes a waiter back that is in no line.
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

// admitLocked lets in everybody for whom there is room, in the order of the lines.
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
	c.askRoomLocked() // whoever is first now may need more of it
}

// tellLocked tells a waiter that has left its line what became of it.
func (c *Client) tellLocked(w *waiter, err error) {
	switch {
	case !w.asked:
		w.admitted <- err
	case err != nil:
		w.r.end(err, nil)
	}
}

// refuseAllLocked ends the wait of everybody, because nothing is accepted any more.
func (c *Client) refuseAllLocked() {
	for _, q := range []*line{&c.waiters.stored, &c.waiters.qos0} {
		for w := q.first; w != nil; w = q.first {
			q.leave(w)
			c.tellLocked(w, c.closedLocked())
		}
	}
}
