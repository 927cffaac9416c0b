package client

import "github.com/mqtt311/mqtt311/packets"

// An inbox holds what was received and not yet taken by the application. Client.mu
// guards it.
type inbox struct {
	ready       chan struct{} // something may be there
	items       []*Delivery
	head        int
	bytes       int
	mostItems   int
	mostBytes   int
	consumed    bool // somebody took something, once
	overflowing bool // reading goes on though it is full: QoS 0 gives way
}

func (b *inbox) init(items, bytes int) {
	b.ready = make(chan struct{}, 1)
	b.mostItems, b.mostBytes = items, bytes
}

func (b *inbox) len() int { return len(b.items) - b.head }

// full tells whether reading should pause. An empty inbox is never full, so that any
// legal packet finds a place.
func (b *inbox) full() bool {
	return b.len() >= b.mostItems || b.len() > 0 && b.bytes >= b.mostBytes
}

// hard tells whether not even a message of QoS 1 or 2 may be added.
func (b *inbox) hard() bool {
	return b.len() >= 2*b.mostItems || b.len() > 0 && b.bytes >= 2*b.mostBytes
}

// low tells whether reading should go on after it paused.
func (b *inbox) low() bool {
	return b.len() <= b.mostItems/2 && (b.bytes <= b.mostBytes/2 || b.len() == 0)
}

func size(d *Delivery) int { return len(d.Topic) + len(d.Payload) }

func (b *inbox) push(d *Delivery) {
	b.items = append(b.items, d)
	b.bytes += size(d)
}

func (b *inbox) pop() (*Delivery, bool) {
	if b.len() == 0 {
		return nil, false
	}
	d := b.items[b.head]
	b.items[b.head] = nil
	b.head++
	if b.head == len(b.items) {
		b.items, b.head = b.items[:0], 0
	} else if b.head > 256 && b.head > len(b.items)/2 {
		b.items = b.items[:copy(b.items, b.items[b.head:])]
		b.head = 0
	}
	b.bytes -= size(d)
	return d, true
}

// unpop puts a message back to the front.
func (b *inbox) unpop(d *Delivery) {
	if b.head == 0 {
		b.items = append([]*Delivery{nil}, b.items...)
		b.head = 1
	}
	b.head--
	b.items[b.head] = d
	b.bytes += size(d)
	poke(b.ready)
}

// makeWay frees a place for a new QoS 0 message by dropping the oldest one, and tells
// whether the new one may come in.
func (b *inbox) makeWay(policy OverflowPolicy) bool {
	if policy == OverflowDropNewest {
		return false
	}
	for i := b.head; i < len(b.items); i++ {
		if d := b.items[i]; d.QoS == packets.AtMostOnce {
			b.bytes -= size(d)
			b.items = append(b.items[:i], b.items[i+1:]...)
			return true
		}
	}
	return false
}
