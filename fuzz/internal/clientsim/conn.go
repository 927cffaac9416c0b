package clientsim

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// A conn is the client's end of a connection. It checks the packets in both directions, and the
// process may die in every Read and Write.
type conn struct {
	*end
	w      *world
	p      *process
	peer   *peer
	number int

	// world.mu guards these.
	written []byte // not a whole packet yet
	read    []byte
	up      bool      // CONNACK has been read
	sentAt  time.Time // when the newest Write ended
	writing bool
	readAt  time.Time // when the newest Read began
	reading bool
	failed  bool                   // a Read or a Write has failed
	bye     bool                   // DISCONNECT has been written
	open    map[uint16]packets.QoS // identifiers of PUBLISHes whose final acknowledgement has not been read
	over    bool
}

var errRefused = &net.OpError{Op: "dial", Net: "sim", Err: syscall.ECONNREFUSED}

// dial is Config.Dial of a process.
func (p *process) dial(ctx context.Context) (net.Conn, error) {
	w := p.w
	w.mu.Lock()
	w.stats.Connections++
	number := w.stats.Connections
	r := w.random(partConn + number)
	calm := w.calm
	w.mu.Unlock()
	if !calm && chance(r, w.profile.refuse) {
		return nil, errRefused
	}
	wait := upTo(r, w.profile.delay)
	if !calm && chance(r, w.profile.mute) {
		wait = time.Hour // the server never answers SYN
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c := w.connect(p, r, number)
	if c == nil {
		return nil, errRefused
	}
	return p.mutateConn(c), nil
}

// connect opens a connection and decides how it will end.
func (w *world) connect(p *process, r *rand.Rand, number int) *conn {
	up, down := newStream(delays(w, number, 0)), newStream(delays(w, number, 1))
	c := &conn{end: &end{in: down, out: up}, w: w, p: p, number: number, open: make(map[uint16]packets.QoS)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return nil
	}
	w.logf("client  opens connection %d", number)
	c.sentAt = time.Now()
	far := &end{in: up, out: down}
	if !w.calm {
		w.spoil(c, r)
	}
	p.conns = append(p.conns, c)
	c.peer = w.accept(far, number)
	return c
}

// delays returns a function that draws how long bytes take.
func delays(w *world, number, direction int) func() time.Duration {
	r := w.random(2*partConn + 2*number + direction)
	return func() time.Duration { return upTo(r, w.profile.delay) }
}

// spoil decides whether and how a connection fails.
func (w *world) spoil(c *conn, r *rand.Rand) {
	broken := error(errCut)
	if w.profile.reset {
		broken = syscall.ECONNRESET
	}
	cut := sync.OnceFunc(func() {
		for _, s := range []*stream{c.in, c.out} {
			s.lose(func(n int) int { return r.IntN(n + 1) })
			s.end(broken, broken)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.logf("network cuts connection %d", c.number)
		if w.profile.reset {
			w.server.closed++
		}
	})
	side := some(r, c.in, c.out)
	switch {
	case chance(r, w.profile.cut):
		side.left, side.cut = 1+r.IntN(some(r, 30, 300, 3000)), cut
	case chance(r, w.profile.hole):
		time.AfterFunc(upTo(r, 10*time.Second), func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.calm {
				return
			}
			side.change(func() { side.hole = true })
			w.logf("network: connection %d goes dead in a direction", c.number)
		})
	}
}

// mend removes the faults ahead: all bytes that have not left yet will arrive.
func (c *conn) mend() {
	for _, s := range []*stream{c.in, c.out} {
		s.change(func() { s.left, s.hole = -1, false })
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	alive, last := c.p.operation()
	if !alive || !c.leaving(b) {
		return 0, net.ErrClosed
	}
	n, err := c.end.Write(b)
	if last {
		c.p.kill("in a write")
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.writing, c.sentAt = false, time.Now()
	c.failed = c.failed || err != nil
	return n, err
}

// leaving checks bytes that are about to be sent. It reports false if the process is dead.
func (c *conn) leaving(b []byte) bool {
	w := c.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.p.dead {
		return false
	}
	c.checkPing()
	c.writing = true
	c.written = append(c.written, b...)
	for len(c.written) > 0 {
		pkt, n, err := packets.Parse(c.written)
		if err != nil {
			if !errors.Is(err, packets.ErrShort) {
				w.failf("[MQTT-4.8.0-1] the client wrote what is not a packet: %v", err)
			}
			break
		}
		w.stats.Packets++
		w.logPacket(clientSends, c.number, pkt)
		w.left(c, pkt)
		c.written = c.written[n:]
	}
	return true
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	w := c.w
	w.mu.Lock()
	c.reading, c.readAt = true, time.Now()
	w.mu.Unlock()
	n, err := c.end.Read(b)
	alive, last := c.p.operation()
	if last {
		c.p.kill("in a read")
	}
	if !alive || last {
		return 0, net.ErrClosed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c.reading = false
	if err != nil {
		w.logf("client %d reads: %v", c.number, err)
		c.failed = true
		return n, err
	}
	c.read = append(c.read, b[:n]...)
	for len(c.read) > 0 {
		pkt, n, err := packets.Parse(c.read)
		if err != nil {
			break
		}
		w.logPacket(clientReads, c.number, pkt)
		w.received(c, pkt)
		c.read = c.read[n:]
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	w := c.w
	w.mu.Lock()
	if !c.over && !c.p.dead {
		w.logf("client %d closes", c.number)
		c.checkPing()
		c.checkSilence()
	}
	c.over = true
	c.p.conns = slices.DeleteFunc(c.p.conns, func(x *conn) bool { return x == c })
	w.mu.Unlock()
	return c.end.Close()
}

// freeze ends a connection whose process is dead: the kernel sends the bytes that it has, or a part of them.
func (c *conn) freeze(r *rand.Rand) {
	if chance(r, 50) {
		c.out.lose(func(n int) int { return r.IntN(n + 1) })
	}
	c.end.Close()
}
