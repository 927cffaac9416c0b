package clienttest

import (
	"context"
	"net"
	"sync"
	"time"
)

// A Direction is the direction of bytes through a Network.
type Direction int

// The directions through a Network.
const (
	ToServer Direction = iota
	ToClient
)

// A Network carries the bytes of a client and simulates network failures: it can delay bytes, stop
// carrying them, and cut connections after any byte. It is safe for concurrent use and works in a
// testing/synctest bubble. Its goroutines end with the connections.
type Network struct {
	dial func(context.Context) (net.Conn, error)

	mu      sync.Mutex
	wires   map[*wire]struct{}
	delay   time.Duration
	stalled chan struct{} // closed when bytes pass again; nil while they do
	limits  [2]limit
}

// A limit is the number of bytes that pass in a direction before a cut.
type limit struct {
	on    bool
	bytes int
}

// chunk is the maximum number of bytes carried together.
const chunk = 4096

// NewNetwork returns a Network to the server that dial connects to: by [Server.Dial], or a real
// one.
func NewNetwork(dial func(context.Context) (net.Conn, error)) *Network {
	return &Network{dial: dial, wires: make(map[*wire]struct{})}
}

// Dial opens a connection through the Network, for client.Config.Dial.
func (n *Network) Dial(ctx context.Context) (net.Conn, error) {
	far, err := n.dial(ctx)
	if err != nil {
		return nil, err
	}
	client, near := net.Pipe()
	w := &wire{network: n, near: near, far: far, over: make(chan struct{})}
	n.mu.Lock()
	n.wires[w] = struct{}{}
	n.mu.Unlock()
	go w.carry(ToServer, near, far)
	go w.carry(ToClient, far, near)
	return client, nil
}

// Delay delays every byte that enters the Network from now on by d. Bytes stay in order.
func (n *Network) Delay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// Stall stops carrying bytes, as if a cable were unplugged: connections stay open, and writes block
// when the buffers are full.
func (n *Network) Stall() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stalled == nil {
		n.stalled = make(chan struct{})
	}
}

// Resume ends Stall. Bytes that were held up are delivered.
func (n *Network) Resume() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stalled != nil {
		close(n.stalled)
		n.stalled = nil
	}
}

// Cut closes every connection at once; bytes in transit are lost.
func (n *Network) Cut() {
	n.mu.Lock()
	var wires []*wire
	for w := range n.wires {
		wires = append(wires, w)
	}
	n.mu.Unlock()
	for _, w := range wires {
		w.cut()
	}
}

// CutAfter cuts one connection after the given number of further bytes has passed in direction d:
// the connection that carried the last of them or, if bytes is zero, the one on which the next byte
// is written.
func (n *Network) CutAfter(d Direction, bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limits[d] = limit{true, bytes}
}

// allow returns how many of size bytes may pass now, and whether to cut after them.
func (n *Network) allow(d Direction, size int) (pass int, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &n.limits[d]
	if !l.on {
		return size, false
	}
	pass = min(size, l.bytes)
	l.bytes -= pass
	if l.bytes > 0 {
		return pass, false
	}
	l.on = false
	return pass, true
}

// A wire is one connection through a Network.
type wire struct {
	network   *Network
	near, far net.Conn // the ends inside of the Network
	over      chan struct{}
	once      sync.Once
}

// cut ends both ends.
func (w *wire) cut() {
	w.once.Do(func() {
		close(w.over)
		w.near.Close()
		w.far.Close()
		w.network.mu.Lock()
		defer w.network.mu.Unlock()
		delete(w.network.wires, w)
	})
}

// A parcel is some bytes on their way.
type parcel struct {
	due   time.Time
	bytes []byte
}

// carry reads bytes from one end and passes them to deliver, until that end is closed.
func (w *wire) carry(d Direction, from, to net.Conn) {
	way := make(chan parcel, 16)
	go w.deliver(d, to, way)
	defer close(way)
	for {
		b := make([]byte, chunk)
		n, err := from.Read(b)
		if err != nil {
			return
		}
		w.network.mu.Lock()
		due := time.Now().Add(w.network.delay)
		w.network.mu.Unlock()
		select {
		case way <- parcel{due, b[:n]}:
		case <-w.over:
			return
		}
	}
}

// deliver writes bytes to the other end, and cuts the wire when there are no more.
func (w *wire) deliver(d Direction, to net.Conn, way <-chan parcel) {
	defer w.cut()
	for p := range way {
		if !w.wait(p.due) {
			return
		}
		pass, cut := w.network.allow(d, len(p.bytes))
		if _, err := to.Write(p.bytes[:pass]); err != nil || cut {
			return
		}
	}
}

// wait waits until bytes are due and may pass. It returns false if the wire was cut.
func (w *wire) wait(due time.Time) bool {
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.over:
		return false
	}
	for {
		w.network.mu.Lock()
		stalled := w.network.stalled
		w.network.mu.Unlock()
		if stalled == nil {
			return true
		}
		select {
		case <-stalled:
		case <-w.over:
			return false
		}
	}
}
