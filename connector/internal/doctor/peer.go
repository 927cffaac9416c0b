package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// A peer is a connection that sends nothing on its own, so that the server's behaviour shows. Only one goroutine at a time
// may use it.
type peer struct {
	d      *doctor
	id     string
	conn   net.Conn
	in     chan packets.Packet // closed when the server closes
	done   chan struct{}       // closed by us
	last   uint16              // last Packet Identifier used
	resume bool                // Session Present of CONNACK
	kept   []*packets.Publish  // messages that arrived while something else was awaited
}

// writing is for how long the server may accept no data.
const writing = 10 * time.Second

// connect opens a connection. Without an id it makes a new one. A refusal by the server is a client.RefusedError.
func (d *doctor) connect(ctx context.Context, id string, clean bool, will *packets.Will) (*peer, error) {
	if id == "" {
		id = d.newID()
	}
	c := &packets.Connect{ClientID: id, CleanSession: clean, KeepAlive: 60, Will: will}
	user, password := d.o.Client.UserName, d.o.Client.Password
	if d.o.Client.Credentials != nil {
		var err error
		if user, password, err = d.o.Client.Credentials(ctx); err != nil {
			return nil, err
		}
	}
	c.UserName, c.HasUserName = user, user != "" || password != nil
	c.Password, c.HasPassword = password, password != nil
	within, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	conn, err := d.o.Client.Dial(within)
	if err != nil {
		return nil, err
	}
	p := &peer{d: d, id: id, conn: conn, in: make(chan packets.Packet, 4096), done: make(chan struct{})}
	go p.read()
	if !clean {
		d.keep(id)
	}
	if err := p.send(c); err != nil {
		p.cut()
		return nil, err
	}
	if !clean {
		// Wait for CONNACK even after an interrupt, so that the removal comes after the session was made.
		within = context.WithoutCancel(within)
	}
	answer, err := p.until(within, packets.CONNACK, 0, answering*d.o.Patience)
	if err != nil {
		p.cut()
		return nil, fmt.Errorf("CONNECT: %w", err)
	}
	a := answer.(*packets.Connack)
	if a.Code != packets.Accepted {
		p.cut()
		return nil, &client.RefusedError{Code: a.Code}
	}
	p.resume = a.SessionPresent
	return p, nil
}

// connecting is how long connecting may take.
const connecting = 10 * time.Second

// newID returns a client id of at most 23 letters and digits, which every server accepts
// [MQTT-3.1.3-5].
func (d *doctor) newID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	return fmt.Sprintf("%s%d", d.name[:6]+d.name[7:], d.count)
}

// Limits on what a server may send, in bytes: for one packet, and for a connection. The doctor never requests nearly as much,
// so a server that exceeds them is hostile, and must not fill the memory.
const (
	mostIncoming    = 1 << 20
	mostIncomingAll = 16 << 20
)

// read passes on packets. If a server sends too much, the connection is treated as closed.
func (p *peer) read() {
	defer close(p.in)
	r := packets.NewReader(p.conn, packets.ReaderOptions{
		Max: mostIncoming, Tolerate: packets.TolerateSubackCodes | packets.TolerateOverlongLength,
	})
	for all := 0; ; {
		v, err := r.ReadPacket()
		if all += r.Size(); err != nil || all > mostIncomingAll {
			return
		}
		select {
		case p.in <- packets.Clone(v):
		case <-p.done:
			return
		}
	}
}

func (p *peer) send(v packets.Packet) error {
	b, err := v.AppendBinary(nil)
	if err != nil {
		return err
	}
	p.conn.SetWriteDeadline(time.Now().Add(writing))
	if _, err := p.conn.Write(b); err != nil {
		return errClosed
	}
	return nil
}

// next returns the next packet, or errSilent if none arrives in time.
func (p *peer) next(ctx context.Context, patience time.Duration) (packets.Packet, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v, ok := <-p.in:
		if !ok {
			return nil, errClosed
		}
		return v, nil
	case <-timer.C:
		return nil, errSilent
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// until waits for a packet of a type, with the given Packet Identifier unless that is 0; it keeps messages that
// arrive before it.
func (p *peer) until(ctx context.Context, t packets.Type, id uint16, patience time.Duration) (packets.Packet, error) {
	for end := time.Now().Add(patience); ; {
		v, err := p.next(ctx, time.Until(end))
		if err != nil {
			return nil, err
		}
		if v.Type() == t && (id == 0 || identifier(v) == id) {
			return v, nil
		}
		if m, ok := v.(*packets.Publish); ok {
			p.kept = append(p.kept, m)
		}
	}
}

// identifier returns the Packet Identifier of an acknowledgement.
func identifier(v packets.Packet) uint16 {
	switch v := v.(type) {
	case *packets.Puback:
		return v.PacketID
	case *packets.Pubrec:
		return v.PacketID
	case *packets.Pubcomp:
		return v.PacketID
	case *packets.Suback:
		return v.PacketID
	}
	return 0
}

// answering is by which factor an answer may take longer than patience: servers that write to disk first
// are slow.
const answering = 5

// message returns the next message, which it acknowledges if ack is true.
func (p *peer) message(ctx context.Context, ack bool, patience time.Duration) (*packets.Publish, error) {
	for {
		var m *packets.Publish
		if len(p.kept) > 0 {
			m, p.kept = p.kept[0], p.kept[1:]
		} else {
			v, err := p.next(ctx, patience)
			if err != nil {
				return nil, err
			}
			if rel, ok := v.(*packets.Pubrel); ok {
				p.send(&packets.Pubcomp{PacketID: rel.PacketID})
			}
			if m, _ = v.(*packets.Publish); m == nil {
				continue
			}
		}
		if ack {
			p.acknowledge(m)
		}
		return m, nil
	}
}

func (p *peer) acknowledge(m *packets.Publish) {
	switch m.QoS {
	case packets.AtLeastOnce:
		p.send(&packets.Puback{PacketID: m.PacketID})
	case packets.ExactlyOnce:
		p.send(&packets.Pubrec{PacketID: m.PacketID})
	}
}

// messages returns messages until there are n of them, or the server is silent or closes.
func (p *peer) messages(ctx context.Context, n int, ack bool, patience time.Duration) (all []*packets.Publish, err error) {
	for len(all) < n {
		m, err := p.message(ctx, ack, patience)
		switch {
		case errors.Is(err, errSilent):
			return all, nil
		case err != nil:
			return all, err
		}
		all = append(all, m)
	}
	return all, nil
}

// subscribe subscribes to filters at a QoS and returns the codes.
func (p *peer) subscribe(ctx context.Context, qos packets.QoS, filters ...string) ([]packets.SubscribeCode, error) {
	p.last++
	s := &packets.Subscribe{PacketID: p.last}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, packets.Subscription{Filter: f, QoS: qos})
	}
	if err := p.send(s); err != nil {
		return nil, err
	}
	v, err := p.until(ctx, packets.SUBACK, p.last, answering*p.d.o.Patience)
	if err != nil {
		return nil, fmt.Errorf("SUBSCRIBE: %w", err)
	}
	return v.(*packets.Suback).Codes, nil
}

// listen connects a peer with a clean session and subscribes it.
func (d *doctor) listen(ctx context.Context, qos packets.QoS, filters ...string) (*peer, error) {
	p, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return nil, err
	}
	codes, err := p.subscribe(ctx, qos, filters...)
	for _, c := range codes {
		if err == nil && c >= packets.SubscribeFailure {
			err = errRefused
		}
	}
	if err != nil {
		p.leave()
		return nil, err
	}
	return p, nil
}

// publish publishes a message of QoS 0 or 1; at QoS 1 it waits for PUBACK.
func (p *peer) publish(ctx context.Context, m *packets.Publish) error {
	if m.QoS > 0 {
		p.last++
		m.PacketID = p.last
	}
	if err := p.send(m); err != nil {
		return err
	}
	if m.QoS == 0 {
		return nil
	}
	onItsWay := time.Duration(m.Size()) * time.Second / slowest
	if _, err := p.until(ctx, packets.PUBACK, m.PacketID, answering*p.d.o.Patience+onItsWay); err != nil {
		return fmt.Errorf("PUBLISH: %w", err)
	}
	return nil
}

// slowest is the slowest network for which a large packet is awaited, in bytes per second.
const slowest = 64 << 10

// publishMany publishes numbered QoS 1 messages, ten at a time.
func (d *doctor) publishMany(ctx context.Context, topic string, n int) error {
	p, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return err
	}
	defer p.leave()
	for done := 0; done < n; {
		batch := min(10, n-done)
		for i := range batch {
			if err := p.send(&packets.Publish{Topic: topic, QoS: 1, PacketID: uint16(i + 1), Payload: fmt.Append(nil, done+i)}); err != nil {
				return err
			}
		}
		for range batch {
			if _, err := p.until(ctx, packets.PUBACK, 0, answering*d.o.Patience); err != nil {
				return fmt.Errorf("PUBLISH: %w", err)
			}
		}
		done += batch
	}
	return nil
}

// leave ends the connection with DISCONNECT.
func (p *peer) leave() {
	if p.send(&packets.Disconnect{}) == nil {
		// Let the server close [MQTT-3.14.4-1]: a reset before it has read DISCONNECT would trigger the will.
		deadline := time.After(p.d.o.Patience)
		for {
			select {
			case _, ok := <-p.in:
				if ok {
					continue
				}
			case <-deadline:
			}
			break
		}
	}
	p.cut()
}

// cut ends the connection without DISCONNECT.
func (p *peer) cut() {
	close(p.done)
	p.conn.Close()
}
