package torture

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// An observer counts what the child publishes and publishes what it consumes, over one
// connection that nobody cuts. It has no session code: it answers each packet as it comes.
type observer struct {
	conn net.Conn

	mu     sync.Mutex
	seen   [3]map[int]int // how often a number came, by the QoS of its topic
	open   int            // own messages that are not at their end
	ending chan struct{}  // closed when the last message came
	moved  chan struct{}  // capacity 1
	err    error
}

const endTopic = "out/end"

// observe connects and subscribes.
func observe(addr string) (*observer, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	o := &observer{
		conn: conn, seen: [3]map[int]int{nil, {}, {}},
		ending: make(chan struct{}), moved: make(chan struct{}, 1),
	}
	r := packets.NewReader(conn, packets.ReaderOptions{})
	err = o.send(
		&packets.Connect{ClientID: "observer", CleanSession: true},
		&packets.Subscribe{PacketID: 1, Subscriptions: []packets.Subscription{{Filter: "out/#", QoS: 2}}},
	)
	for range 2 { // CONNACK and SUBACK
		if err == nil {
			_, err = r.ReadPacket()
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	go o.read(r)
	return o, nil
}

func (o *observer) send(ps ...packets.Packet) error {
	var b []byte
	var err error
	for _, p := range ps {
		if b, err = p.AppendBinary(b); err != nil {
			return err
		}
	}
	_, err = o.conn.Write(b)
	return err
}

func (o *observer) read(r *packets.Reader) {
	for {
		p, err := r.ReadPacket()
		if err == nil {
			err = o.receive(p)
		}
		if err != nil {
			o.mu.Lock()
			o.err = err
			o.mu.Unlock()
			o.poke()
			return
		}
	}
}

func (o *observer) poke() {
	select {
	case o.moved <- struct{}{}:
	default:
	}
}

func (o *observer) receive(p packets.Packet) error {
	switch p := p.(type) {
	case *packets.Publish:
		if err := o.count(p); err != nil {
			return err
		}
		switch p.QoS {
		case packets.AtLeastOnce:
			return o.send(&packets.Puback{PacketID: p.PacketID})
		case packets.ExactlyOnce:
			return o.send(&packets.Pubrec{PacketID: p.PacketID})
		}
	case *packets.Pubrel:
		return o.send(&packets.Pubcomp{PacketID: p.PacketID})
	case *packets.Pubrec:
		return o.send(&packets.Pubrel{PacketID: p.PacketID})
	case *packets.Puback, *packets.Pubcomp:
		o.mu.Lock()
		o.open--
		o.mu.Unlock()
		o.poke()
	}
	return nil
}

// count counts a PUBLISH. The connection is never cut, so each is another message.
func (o *observer) count(p *packets.Publish) error {
	if p.Topic == endTopic {
		close(o.ending)
		return nil
	}
	qos := 1
	if p.Topic == OutTopic(2) {
		qos = 2
	}
	n, err := Number(p.Payload)
	if err != nil || p.Topic != OutTopic(byte(qos)) || string(p.Payload) != string(Payload(n)) {
		return fmt.Errorf("the observer got what nobody published on %q", p.Topic)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[qos][n]++
	return nil
}

// feed publishes the numbers from first for the child, at each QoS, and returns when the Server
// has them.
func (o *observer) feed(first, count int) error {
	var ps []packets.Packet
	for i := range count {
		for q := byte(1); q <= 2; q++ {
			ps = append(ps, &packets.Publish{
				Topic: inTopic(q), QoS: packets.QoS(q), Payload: Payload(first + i), PacketID: uint16(len(ps) + 1),
			})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return o.publish(ctx, ps...)
}

// flush publishes a last message and waits until it came: behind everything before it.
func (o *observer) flush(ctx context.Context) error {
	if err := o.publish(ctx, &packets.Publish{Topic: endTopic, QoS: packets.ExactlyOnce, PacketID: 1}); err != nil {
		return err
	}
	select {
	case <-o.ending:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *observer) publish(ctx context.Context, ps ...packets.Packet) error {
	o.mu.Lock()
	o.open = len(ps)
	o.mu.Unlock()
	if err := o.send(ps...); err != nil {
		return err
	}
	for {
		o.mu.Lock()
		open, err := o.open, o.err
		o.mu.Unlock()
		if err != nil || open == 0 {
			return err
		}
		select {
		case <-o.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
