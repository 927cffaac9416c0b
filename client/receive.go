package client

import (
	"bytes"
	"context"
	"iter"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A Delivery is an incoming Application Message.
type Delivery struct {
	Topic    string
	Payload  []byte // owned by the application, unless Config.LendPayloads is set
	QoS      packets.QoS
	Retain   bool   // a retained message, sent because of a new subscription [MQTT-3.3.1-8]
	Dup      bool   // the DUP flag; it does not mean that the application has seen the message [MQTT-4.3.2-2]
	PacketID uint16 // 0 at QoS 0

	// Session numbers the sessions of this client: it increments, modulo 65,536, whenever the
	// Server has not kept the session [MQTT-3.2.2-3]. Messages of an earlier session are not
	// redelivered.
	Session uint16

	client *Client
	token  session.Token
}

// Ack acknowledges the message, with PUBACK at QoS 1 and PUBREC at QoS 2: the Server will not send
// it again. Acknowledgements are sent in the order in which the messages arrived [MQTT-4.6.0-2]
// [MQTT-4.6.0-3], so an unacknowledged message delays those of later ones. Ack does not wait for
// the network. At QoS 0 it does nothing.
//
// Ack returns ErrStale if the message was acknowledged before or its session was lost, and
// ErrClosed if the client is closed. Nothing was sent then, and the Server may deliver the message
// again.
func (d *Delivery) Ack() error {
	if d.token == 0 {
		return nil
	}
	d.client.mu.Lock()
	defer d.client.mu.Unlock()
	return d.ackLocked()
}

func (d *Delivery) ackLocked() error {
	c := d.client
	if d.token == 0 {
		return nil
	}
	if c.err != nil {
		return c.err
	}
	err := c.sess.Ack(d.token)
	c.driveLocked()
	c.kickLocked()
	if err != nil {
		return &callError{call: "acknowledge", about: quoted(d.Topic), kind: err}
	}
	return nil
}

// Recycle calls Ack and lets the client reuse the memory of the Payload, even if Ack fails. It sets
// Payload to nil; the caller must not keep any reference to it. The other fields stay valid.
// Recycle is meant for Config.ManualAck and must be called only once.
func (d *Delivery) Recycle() error {
	d.client.mu.Lock()
	defer d.client.mu.Unlock()
	err := d.ackLocked()
	d.client.delivery.inbox.recycle(d.Payload)
	d.Payload = nil
	return err
}

// Unacked reports whether Ack would succeed: the message was not acknowledged and its session was
// not lost. At QoS 0 it is false.
func (d *Delivery) Unacked() bool {
	if d.token == 0 {
		return false
	}
	d.client.mu.Lock()
	defer d.client.mu.Unlock()
	return d.client.err == nil && d.client.sess.Unacked(d.token)
}

// Messages returns an iterator over incoming messages. It ends when ctx is done or the client is
// closed, and yields the reason as its last error. Several loops may run at once; each message goes
// to one of them. While handlers are registered, the iterator yields only ErrHandling.
//
// Unless Config.ManualAck is set, a message is acknowledged when the loop advances to the next. A
// loop that is left by break, return or panic does not acknowledge its last message: unless Ack was
// called, the next loop yields it again.
func (c *Client) Messages(ctx context.Context) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		l := loop{client: c, ctx: ctx}
		if err := l.enter(); err != nil {
			yield(nil, err)
			return
		}
		defer l.leave()
		for {
			d, err := l.next()
			if err != nil {
				yield(nil, err)
				return
			}
			l.held = true
			if !yield(d, nil) {
				return
			}
			l.held = false
			if !c.cfg.ManualAck {
				d.Ack() // if stale, the Server sends it again and the next loop gets it
			}
		}
	}
}

// A loop is a loop over Messages. It takes messages in batches, to avoid locking for each.
type loop struct {
	client *Client
	ctx    context.Context
	space  [mostTaken]*Delivery
	batch  []*Delivery
	at     int  // index of the next one in batch
	held   bool // the one before at is being processed
}

// next returns the next message, waiting for one.
func (l *loop) next() (*Delivery, error) {
	c := l.client
	for l.at == len(l.batch) && l.ctx.Err() == nil {
		c.mu.Lock()
		if c.cfg.LendPayloads && !c.cfg.ManualAck {
			c.delivery.inbox.takeBack(l.batch)
		}
		l.batch, l.at = c.delivery.inbox.fill(l.space[:0], c.delivery.loops == 1), 0
		c.delivery.consumed = true
		c.takenLocked()
		if c.delivery.ready == nil {
			c.delivery.ready = make(chan struct{}, 1)
		}
		over := c.err
		c.mu.Unlock()
		if len(l.batch) > 0 {
			break
		}
		if over != nil {
			return nil, over
		}
		select {
		case <-c.delivery.ready:
		case <-l.ctx.Done():
		case <-c.done:
		}
	}
	if l.ctx.Err() != nil {
		return nil, context.Cause(l.ctx)
	}
	l.at++
	return l.batch[l.at-1], nil
}

func (l *loop) enter() error {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.delivery.router.empty() {
		return &callError{call: "messages", cause: ErrHandling}
	}
	c.delivery.loops++
	return nil
}

// leave puts back the messages that the loop took and did not finish.
func (l *loop) leave() {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivery.loops--
	rest := l.batch[l.at:]
	if l.held {
		d := l.batch[l.at-1]
		if d.token != 0 && !c.cfg.ManualAck && c.sess.Unacked(d.token) {
			rest = l.batch[l.at-1:]
			if c.cfg.LendPayloads { // the next loop gets another Delivery
				again := *d
				again.Payload = bytes.Clone(d.Payload)
				rest[0] = &again
			}
		}
	}
	c.delivery.inbox.unpop(rest)
	c.announceLocked() // this loop may have consumed the signal
}
