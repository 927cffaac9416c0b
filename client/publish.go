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

// Publish publishes m and returns nil when the guarantee of its QoS is met: the message was written
// to the Network Connection (QoS 0), or PUBACK (QoS 1) or PUBCOMP (QoS 2) was received, across any
// number of reconnects. It waits for room in the queue, unless Config.WhenFull says otherwise, and
// for the Server until ctx is done. The caller may reuse the payload after Publish returns.
//
// Otherwise the error names the topic and wraps one of these, which say whether the message was
// published:
//
//   - ErrNotSent: nothing was sent. It is wrapped together with the reason: a [*packets.EncodeError]
//     for a message that no packet can carry, ErrNotStarted before Connect, ErrNotConnected at QoS 0,
//     ErrQueueFull if there was no room or the message was dropped for a newer one, ErrClosed, or the
//     cause of a ctx that is done.
//   - ErrUnknown: the message may have been sent when ctx was done or the client was closed. Unless
//     the client was closed, a message of QoS 1 or 2 stays in flight. ErrPoison is an ErrUnknown, too.
//     So is the error for a message that was not sent while the Store did not respond: a crash may bring
//     it back. Publish gives the Store half a second to forget the message after ctx is done.
//   - ErrDowngraded: the Server has the message at QoS 1 only.
func (c *Client) Publish(ctx context.Context, m Message) error {
	r := c.lendReceipt()
	ctx, started := c.awaitingConnect(ctx)
	defer started()
	t, w, err := c.submit(ctx, &m, r, true)
	if err == nil {
		err = c.await(ctx, r, t, w)
		if !r.recorded && r.over() { // with a Store, or unfinished, others may refer to it
			c.takeBack(r)
		}
	}
	if w != nil {
		c.freeWaiter(w)
	}
	return publishError(&m, err)
}

// PublishAsync queues m and returns a Receipt for the result. It waits only for room in the queue.
// If it returns an error, the message was not accepted and will not be sent; the error wraps
// ErrNotSent and a reason as in [Client.Publish]. Messages of QoS 1 and 2 are accepted before
// Connect as well and are sent after CONNACK. The caller must not modify the payload until the
// Receipt is done.
func (c *Client) PublishAsync(ctx context.Context, m Message) (*Receipt, error) {
	r := &Receipt{pools: c.pools}
	if err := c.start(ctx, &m, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Enqueue is like PublishAsync, for callers that do not need the result; it does not allocate.
// Messages that fail after Enqueue returned nil are counted in Stats.Unheard. At QoS 1 and 2 the
// caller must not modify the payload until the client is closed; at QoS 0 it may be reused when
// Enqueue returns.
func (c *Client) Enqueue(ctx context.Context, m Message) error { return c.start(ctx, &m, nil) }

// start passes m to the session, waiting for room until ctx is done. r may be nil.
func (c *Client) start(ctx context.Context, m *Message, r *Receipt) error {
	_, w, err := c.submit(ctx, m, r, false)
	if err != nil || w == nil {
		return publishError(m, err)
	}
	select {
	case err = <-w.admitted:
	case <-ctx.Done():
		if err = c.giveUpWait(ctx, w); err == nil {
			err = <-w.admitted // in the same moment
		}
	}
	c.freeWaiter(w)
	return publishError(m, err)
}

// submit passes m to the session and returns its token, or queues it behind those that wait for
// room and returns a waiter, which the caller must free. If asked is set, the caller waits for r
// instead of the waiter.
func (c *Client) submit(ctx context.Context, m *Message, r *Receipt, asked bool) (session.Token, *waiter, error) {
	if ctx.Err() != nil {
		return 0, nil, &callError{kind: ErrNotSent, cause: context.Cause(ctx)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving {
		return 0, nil, c.closedLocked()
	}
	q := c.waiters.line(m.QoS)
	err := errInLine
	if q.empty() {
		var t session.Token
		if t, err = c.acceptLocked(m, r); err == nil {
			c.driveLocked()
			c.sendLocked()
			return t, nil, nil
		}
	}
	if !c.mayWait(err) {
		return 0, nil, err
	}
	w := c.newWaiter(m, r, asked, err)
	q.join(w)
	c.askRoomLocked()
	return 0, w, nil
}

// giveUpWait removes a waiter from its line because ctx is done. It returns nil if the waiter is no
// longer in a line.
func (c *Client) giveUpWait(ctx context.Context, w *waiter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.inLine {
		return nil
	}
	c.waiters.line(w.m.QoS).leave(w)
	c.admitLocked() // the next in line may need less room
	c.sendLocked()
	e := &callError{kind: w.why, cause: context.Cause(ctx)}
	if errors.Is(w.why, errInLine) {
		e.kind = ErrQueueFull
	}
	if full := c.saver.full; full != nil && w.m.QoS > packets.AtMostOnce {
		e.kind, e.cause = ErrQueueFull, fmt.Errorf("%w (%w)", e.cause, full)
	}
	return e
}

// mayWait reports whether a caller should wait for room after err.
func (c *Client) mayWait(err error) bool {
	return errors.Is(err, errInLine) || errors.Is(err, ErrStoreFull) ||
		errors.Is(err, ErrQueueFull) && c.cfg.WhenFull != QueueFail
}

// acceptLocked passes m to the session if there is room for it, and returns its token. r may be
// nil.
func (c *Client) acceptLocked(m *Message, r *Receipt) (session.Token, error) {
	for {
		t, err := c.acceptOnceLocked(m, r)
		if err == nil || !errors.Is(err, ErrQueueFull) || c.cfg.WhenFull != QueueDropOldest || !c.dropOldestLocked(m.QoS) {
			return t, err
		}
	}
}

func (c *Client) acceptOnceLocked(m *Message, r *Receipt) (session.Token, error) {
	if m.QoS == packets.AtMostOnce {
		return c.accept0Locked(m, r)
	}
	if err := c.roomLocked(m); err != nil {
		return 0, err
	}
	t, err := c.sess.PublishFor(c.nowLocked(), *m, r)
	if err != nil {
		return 0, err
	}
	c.saver.spend(m)
	if r != nil {
		c.awaitRecordLocked(r)
	}
	c.askLocked()
	return t, nil
}

// accept0Locked passes a QoS 0 message to the session, unless too much waits to be written; no
// window limits QoS 0 otherwise. Without a connection it may queue the message for the next one.
func (c *Client) accept0Locked(m *Message, r *Receipt) (session.Token, error) {
	if c.link != nil && len(c.link.out) > enoughQueue {
		return 0, ErrQueueFull
	}
	t, err := c.sess.PublishFor(time.Time{}, *m, r) // the time has no meaning at QoS 0
	if errors.Is(err, ErrNotConnected) && c.cfg.QueueQoS0 {
		t, err = 0, c.queueOfflineLocked(*m, r)
	}
	if err == nil && r != nil {
		r.durable = true // no Store has it, and nobody else has r yet
	}
	return t, err
}

// dropOldestLocked makes room in the queue for a message and reports whether it did.
func (c *Client) dropOldestLocked(qos packets.QoS) bool {
	q := &c.offline0
	switch {
	case qos > packets.AtMostOnce && c.sess.DropOldest():
		c.performLocked()
	case qos == packets.AtMostOnce && len(q.items) > 0:
		oldest := q.items[0]
		q.bytes -= len(oldest.m.Topic) + len(oldest.m.Payload)
		q.items = slices.Delete(q.items, 0, 1)
		c.endLocked(oldest.r, ErrQueueFull, nil)
	default:
		return false
	}
	return true
}

// askLocked records a request that needs an answer, for which reading must go on.
func (c *Client) askLocked() {
	c.delivery.asked++
	poke(c.attempts.wake)
}

// awaitRecordLocked makes r report when its message is durable. It must be called before the
// session is driven after it has accepted the message.
func (c *Client) awaitRecordLocked(r *Receipt) {
	if c.saver.store == nil {
		r.durable = true // nobody else has r yet
		return
	}
	r.recorded = c.sess.Tail() > 0
	c.saver.next.accepted = append(c.saver.next.accepted, r)
}

// await waits until the message t, or that of w if not nil, is finished or ctx is done.
func (c *Client) await(ctx context.Context, r *Receipt, t session.Token, w *waiter) error {
	select {
	case <-r.ending():
		return r.Err()
	case <-ctx.Done():
	}
	if w != nil {
		if err := c.giveUpWait(ctx, w); err != nil {
			r.end(err, nil)
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w != nil {
		t = w.token
	}
	return c.withdrawLocked(ctx, r, t)
}

// withdrawLocked removes a message whose caller no longer waits, if it was not sent. The error says
// whether it was removed.
func (c *Client) withdrawLocked(ctx context.Context, r *Receipt, t session.Token) error {
	notSent := &callError{kind: ErrNotSent, cause: context.Cause(ctx)}
	if c.offline0.withdraw(r) {
		r.end(notSent, nil)
		return notSent
	}
	withdrawn := c.sess.Withdraw(t)
	c.driveLocked()
	c.admitLocked()
	if withdrawn && !r.over() {
		c.awaitForgetting(r)
	}
	c.sendLocked()
	if r.over() {
		if err := r.Err(); !errors.Is(err, ErrNotSent) {
			return err // it finished at the same moment
		}
		return notSent
	}
	c.sess.Keep(t)
	return &callError{kind: ErrUnknown, cause: context.Cause(ctx)}
}

// awaitForgetting waits until the Store has removed the message of r, for at most callPatience.
// The caller holds mu, which is released meanwhile.
func (c *Client) awaitForgetting(r *Receipt) {
	c.mu.Unlock()
	defer c.mu.Lock()
	t := time.NewTimer(callPatience)
	defer t.Stop()
	select {
	case <-r.ending():
	case <-t.C:
	}
}

// publishError returns the error of a call that publishes m, with the name of the call and the
// topic.
func publishError(m *Message, err error) error {
	if err == nil {
		return nil
	}
	e := &callError{call: "publish", about: quoted(m.Topic)}
	var refused *packets.EncodeError
	var inner *callError
	switch {
	case errors.As(err, &refused): // nothing happened
		e.kind, e.cause = ErrNotSent, err
	case errors.As(err, &inner):
		e.kind, e.cause = inner.kind, inner.cause
	default:
		e.kind = err
	}
	return e
}

// quoted returns external text, such as a Topic Name, for use in an error: quoted, escaped and
// truncated.
func quoted(s string) string {
	const most = 128
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q... (%d bytes)", s[:most], len(s))
}
