package client

import (
	"slices"

	"github.com/mqtt311/mqtt311/packets"
)

// An inbox holds the messages that were received and not yet taken by the application. Client.mu
// guards it.
type inbox struct {
	items     []*Delivery
	head      int // index of the oldest
	bytes     int // of topics and payloads
	mostItems int
	mostBytes int
	free      []*Delivery // lent before, for reuse
	kept      int         // capacity of their payloads and of spare, in bytes
	spare     [][]byte    // recycled payloads
	slab      []Delivery  // not used yet
}

func (b *inbox) init(items, bytes int) {
	b.mostItems, b.mostBytes = items, bytes
}

func (b *inbox) len() int { return len(b.items) - b.head }

const (
	mostKept  = 1 << 20 // bytes of payloads kept for reuse
	mostSlab  = 64      // Deliveries that are allocated together
	mostTaken = 32      // messages that a loop takes at a time

	// messageCost is roughly the memory that a message needs besides its content, here and in the
	// session.
	messageCost = 768
)

// blank returns an empty Delivery. When many messages wait, Deliveries are allocated together.
func (b *inbox) blank() *Delivery {
	if n := len(b.free); n > 0 {
		d := b.free[n-1]
		b.free = b.free[:n-1]
		b.kept -= cap(d.Payload)
		return d
	}
	if len(b.slab) == 0 {
		b.slab = make([]Delivery, min(b.len()+1, mostSlab))
	}
	d := &b.slab[0]
	b.slab = b.slab[1:]
	return d
}

// recycle keeps the memory of a payload for reuse.
func (b *inbox) recycle(payload []byte) {
	if n := cap(payload); n > 0 && len(b.spare) < b.mostItems && b.kept+n <= mostKept {
		b.kept += n
		b.spare = append(b.spare, payload[:0])
	}
}

// room returns memory for a payload. Recycled memory is used only if it is not much larger than
// size, and dropped otherwise, because limits count the lengths of payloads, not their capacities.
func (b *inbox) room(size int) []byte {
	for n := len(b.spare); n > 0; n = len(b.spare) {
		payload := b.spare[n-1]
		b.spare[n-1], b.spare = nil, b.spare[:n-1]
		b.kept -= cap(payload)
		if size <= cap(payload) && cap(payload) <= 2*size+64 {
			return payload
		}
	}
	return make([]byte, 0, size)
}

// takeBack takes lent Deliveries back for reuse, within limits.
func (b *inbox) takeBack(ds []*Delivery) {
	for _, d := range ds {
		payload := d.Payload[:0]
		if len(b.free) >= b.mostItems+mostTaken || b.kept+cap(payload) > mostKept {
			return
		}
		b.kept += cap(payload)
		*d = Delivery{Payload: payload}
		b.free = append(b.free, d)
	}
}

// fill moves messages to the empty batch of a loop: more than one only if it is the only loop, and
// few compared to the size of the inbox.
func (b *inbox) fill(batch []*Delivery, alone bool) []*Delivery {
	n := 1
	if alone {
		n = max(1, min(cap(batch), b.mostItems/8))
	}
	for len(batch) < n {
		d, ok := b.pop()
		if !ok {
			break
		}
		batch = append(batch, d)
	}
	return batch
}

// full reports whether reading should pause. An empty inbox is never full, so that any valid packet
// fits.
func (b *inbox) full() bool {
	return b.len() >= b.mostItems || b.len() > 0 && b.bytes >= b.mostBytes
}

// hard reports whether even messages of QoS 1 and 2 must not be added. Above twice the number of
// messages only the bytes count, so that a whole window of small messages fits.
func (b *inbox) hard() bool {
	return b.len() >= 2*b.mostItems && b.bytes+messageCost*b.len() >= b.mostBytes ||
		b.len() > 0 && b.bytes >= 2*b.mostBytes
}

// low reports whether reading should resume after a pause.
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

// unpop puts messages back to the front.
func (b *inbox) unpop(ds []*Delivery) {
	if len(ds) == 0 {
		return
	}
	b.items = append(slices.Clone(ds), b.items[b.head:]...)
	b.head = 0
	for _, d := range ds {
		b.bytes += size(d)
	}
}

// makeWay makes room for a new QoS 0 message by dropping the oldest one, and reports whether the
// new one can be added.
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
