package client

import (
	"bytes"
	"context"
	"iter"
	"strconv"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A Delivery is an incoming Application Message.
type Delivery struct {
	Topic    string
	Payload  []byte // belongs to the application, unless Config.LendPayloads is set
	QoS      packets.QoS
	Retain   bool   // it was kept by the Server and came because of a new subscription [MQTT-3.3.1-8]
	Dup      bool   // the Server may have sent it before; it says nothing about this client [MQTT-4.3.2-2]
	PacketID uint16 // 0 at QoS 0

	// Session tells sessions apart: it is one more, modulo 65,536, each time that the Server had
	// kept none [MQTT-3.2.2-3]. What came before that does not come again.
	Session uint16

	client *Client
	token  session.Token
}

// Ack says that the application is responsible for the message: PUBACK at QoS 1 and
// PUBREC at QoS 2 may leave. They leave in the order in which the messages arrived
// [MQTT-4.6.0-2] [MQTT-4.6.0-3], so one that is not acknowledged holds those behind
// it back. It does not wait for the network. At QoS 0 it does nothing.
//
// The error is ErrStale if it was acknowledged before, or if the session that it came
// in is lost, and ErrClosed if the client is closed: nothing was sent then, and the Server
// may deliver the message again.
func (d *Delivery) Ack() error {
	if d.token == 0 {
		return nil
	}
	c := d.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	err := c.sess.Ack(d.token)
	c.drive()
	c.kick()
	return err
}

// Unacked tells whether Ack would be taken: it was not called, and the session that the
// message came in goes on. At QoS 0 it is false.
func (d *Delivery) Unacked() bool {
	if d.token == 0 {
		return false
	}
	d.client.mu.Lock()
	defer d.client.mu.Unlock()
	return d.client.err == nil && d.client.sess.Unacked(d.token)
}

// Messages yields incoming messages until the loop ends, ctx ends or the client is
// closed; the last step then yields the reason as an error. Several loops may run at
// once: each message goes to one of them. It must not be used together with
// [Client.Handle].
//
// Unless Config.ManualAck is set, a message is acknowledged when the loop steps on to
// the next. A loop that breaks off, or panics, does not acknowledge its last message: unless
// Ack was called, the next loop yields it again.
func (c *Client) Messages(ctx context.Context) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		l := loop{client: c, ctx: ctx}
		c.enterLoop()
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
				d.Ack() // stale means that the Server sends it again, which the next loop sees
			}
		}
	}
}

// A loop is one over Messages. It takes messages in batches, so that the lock is not taken for
// each.
type loop struct {
	client *Client
	ctx    context.Context
	space  [mostTaken]*Delivery
	batch  []*Delivery
	at     int  // next of batch
	held   bool // the one before at is being worked on
}

// next returns the next message, waiting for one.
func (l *loop) next() (*Delivery, error) {
	c := l.client
	for l.at == len(l.batch) && l.ctx.Err() == nil {
		c.mu.Lock()
		if c.cfg.LendPayloads && !c.cfg.ManualAck {
			c.inbox.takeBack(l.batch)
		}
		l.batch, l.at = c.inbox.fill(l.space[:0]), 0
		c.inbox.consumed = true
		c.afterTake()
		if c.inbox.ready == nil {
			c.inbox.ready = make(chan struct{}, 1)
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
		case <-c.inbox.ready:
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

func (c *Client) enterLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox.loops++
}

// leave puts back what the loop took and did not finish.
func (l *loop) leave() {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox.loops--
	rest := l.batch[l.at:]
	if l.held {
		d := l.batch[l.at-1]
		if d.token != 0 && !c.cfg.ManualAck && c.sess.Unacked(d.token) {
			rest = l.batch[l.at-1:]
			if c.cfg.LendPayloads { // the next loop is lent another
				again := *d
				again.Payload = bytes.Clone(d.Payload)
				rest[0] = &again
			}
		}
	}
	c.inbox.unpop(rest)
	if c.inbox.len() > 0 {
		poke(c.inbox.ready) // this loop may be the one that was told
	}
}

// afterTake tells the others what a smaller inbox means. The caller holds mu.
func (c *Client) afterTake() {
	if c.inbox.len() > 0 {
		poke(c.inbox.ready)
	}
	if c.inbox.low() {
		c.inbox.overflowing = false
		poke(c.wake)
		c.fetchShed(c.link)
	}
}

// deliver puts an incoming message into the inbox. The caller holds mu.
func (c *Client) deliver(p *packets.Publish, token session.Token) {
	c.stats.Received++
	if c.link.skip {
		c.skip(p, token)
		return
	}
	if p.QoS == packets.AtMostOnce && c.inbox.full() && c.inbox.overflowing {
		c.stats.Dropped++
		if !c.inbox.makeWay(c.cfg.QoS0Overflow) {
			return
		}
	}
	d := c.inbox.blank()
	if d.Payload == nil {
		d.Payload = make([]byte, 0, len(p.Payload))
	}
	*d = Delivery{
		Topic:    p.Topic,
		Payload:  append(d.Payload, p.Payload...),
		QoS:      p.QoS,
		Retain:   p.Retain,
		Dup:      p.Dup,
		PacketID: p.PacketID,
		Session:  c.session,
		client:   c,
		token:    token,
	}
	c.inbox.push(d)
}

// skip acknowledges a message that is too large to be kept. The caller holds mu.
func (c *Client) skip(p *packets.Publish, token session.Token) {
	c.stats.Skipped++
	c.cfg.Logger.Warn("message is too large; acknowledged and counted", "topic", p.Topic)
	c.emit(Event{Kind: MessageSkipped, Err: &skipped{p.Topic}})
	if token != 0 {
		c.sess.Ack(token)
	}
}

type skipped struct{ topic string }

func (s *skipped) Error() string {
	return "client: a message on " + strconv.Quote(s.topic) + " is larger than Config.MaxPacketSize"
}

// delivered tells that there are messages. The caller holds mu.
func (c *Client) delivered() {
	switch {
	case c.inbox.len() == 0:
	case c.router == nil:
		poke(c.inbox.ready)
	default:
		c.dispatch()
	}
}
