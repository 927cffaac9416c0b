package client_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// An echo is a server for one client with a persistent session. It sends each message back at the
// same QoS, with at most window messages unanswered.
type echo struct {
	window int
	wake   chan struct{}

	mu    sync.Mutex
	taken map[uint16]bool // QoS 2 identifiers between PUBLISH and PUBREL
	queue []*echoed       // not finished, oldest first
	id    uint16
	known bool // a session exists
	conn  *clienttest.Conn
	out   []byte
	saw   map[string]int       // if not nil: how often each payload was published
	lag   func() time.Duration // if not nil: the delay before each received packet
}

// An echoed is a message on its way back to the client.
type echoed struct {
	p        packets.Publish
	released bool
	sent     bool // on this connection
}

func newEcho(window int) *echo {
	return &echo{window: window, taken: make(map[uint16]bool), wake: make(chan struct{}, 1)}
}

// serve serves one connection after another.
func (e *echo) serve(ctx context.Context, server *clienttest.Server) {
	for {
		conn, err := server.Accept(ctx)
		if err != nil {
			return
		}
		conn.Raw = true
		e.session(conn)
		conn.Close()
	}
}

func (e *echo) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		e.conn.Close()
	}
}

// unfinished returns the messages on their way back.
func (e *echo) unfinished() []*echoed {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queue
}

func (e *echo) session(conn *clienttest.Conn) {
	e.mu.Lock()
	known := e.known
	e.known, e.conn, e.out = true, conn, nil
	e.mu.Unlock()
	if _, err := conn.Handshake(known); err != nil {
		return
	}
	e.mu.Lock()
	for _, m := range e.queue {
		m.p.Dup = m.p.Dup || m.sent && m.p.QoS > 0
		m.sent = false
	}
	e.pump()
	e.mu.Unlock()
	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { e.write(conn, over) })
	for {
		p, err := conn.Receive()
		if err != nil {
			break
		}
		if e.lag != nil {
			time.Sleep(e.lag())
		}
		e.mu.Lock()
		e.receive(p)
		e.pump()
		e.mu.Unlock()
	}
	close(over)
	conn.Close()
	writer.Wait()
}

func (e *echo) write(conn *clienttest.Conn, over chan struct{}) {
	for {
		e.mu.Lock()
		out := e.out
		e.out = nil
		e.mu.Unlock()
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return
			}
			continue
		}
		select {
		case <-e.wake:
		case <-over:
			return
		}
	}
}

func (e *echo) send(p packets.Packet) {
	e.out, _ = p.AppendBinary(e.out)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *echo) receive(p packets.Packet) {
	switch p := p.(type) {
	case *packets.Publish:
		switch {
		case p.QoS == packets.AtLeastOnce:
			e.send(&packets.Puback{PacketID: p.PacketID})
		case p.QoS == packets.ExactlyOnce:
			e.send(&packets.Pubrec{PacketID: p.PacketID})
			if e.taken[p.PacketID] {
				return
			}
			e.taken[p.PacketID] = true
		}
		if e.saw != nil {
			e.saw[strings.TrimSpace(string(p.Payload))]++
		}
		e.add(p.Topic, p.Payload, p.QoS)
	case *packets.Pubrel:
		delete(e.taken, p.PacketID)
		e.send(&packets.Pubcomp{PacketID: p.PacketID})
	case *packets.Puback:
		e.finish(p.PacketID)
	case *packets.Pubrec:
		for _, m := range e.queue {
			if m.p.PacketID == p.PacketID {
				m.released = true
			}
		}
		e.send(&packets.Pubrel{PacketID: p.PacketID})
	case *packets.Pubcomp:
		e.finish(p.PacketID)
	case *packets.Subscribe:
		codes := make([]packets.SubscribeCode, len(p.Subscriptions))
		for i, s := range p.Subscriptions {
			codes[i] = packets.SubscribeCode(s.QoS)
		}
		e.send(&packets.Suback{PacketID: p.PacketID, Codes: codes})
	case *packets.Unsubscribe:
		e.send(&packets.Unsuback{PacketID: p.PacketID})
	case *packets.Pingreq:
		e.send(&packets.Pingresp{})
	}
}

func (e *echo) finish(id uint16) {
	e.queue = slices.DeleteFunc(e.queue, func(m *echoed) bool { return m.p.PacketID == id })
}

func (e *echo) add(topic string, payload []byte, qos packets.QoS) {
	p := packets.Publish{Topic: topic, Payload: slices.Clone(payload), QoS: qos}
	if qos == packets.AtMostOnce {
		e.send(&p)
		return
	}
	e.id = max(1, e.id+1)
	p.PacketID = e.id
	e.queue = append(e.queue, &echoed{p: p})
}

// publish sends a message that originates at the server.
func (e *echo) publish(topic string, payload []byte, qos packets.QoS) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(topic, payload, qos)
	e.pump()
}

func (e *echo) pump() {
	for _, m := range e.queue[:min(e.window, len(e.queue))] {
		switch {
		case m.sent:
			continue
		case m.released:
			e.send(&packets.Pubrel{PacketID: m.p.PacketID})
		default:
			e.send(&m.p)
		}
		m.sent = true
	}
}

// A frail connection breaks after a number of bytes in one direction; the last byte still arrives.
type frail struct {
	net.Conn
	mu          sync.Mutex
	read, write int // bytes left before it breaks; negative: no limit
	nread, sent int
}

func (f *frail) Read(b []byte) (int, error) {
	f.mu.Lock()
	left := f.read
	f.mu.Unlock()
	if left == 0 {
		f.Conn.Close()
		return 0, net.ErrClosed
	}
	if left > 0 && len(b) > left {
		b = b[:left]
	}
	n, err := f.Conn.Read(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nread += n
	if left > 0 {
		f.read -= n
	}
	return n, err
}

func (f *frail) Write(b []byte) (int, error) {
	f.mu.Lock()
	left := f.write
	f.mu.Unlock()
	if left < 0 || len(b) < left {
		n, err := f.Conn.Write(b)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sent += n
		if left >= 0 {
			f.write -= n
		}
		return n, err
	}
	n, _ := f.Conn.Write(b[:left])
	f.Conn.Close()
	return n, net.ErrClosed
}

// TestCutAtEveryByte runs a scenario at all three QoS against a server with a persistent session,
// and cuts the first connection after each byte of either direction. Messages come back in order,
// at QoS 1 at least once and at QoS 2 exactly once. Every call returns, and the result at QoS 0 is
// true.
func TestCutAtEveryByte(t *testing.T) {
	nread, sent := cutAfter(t, -1, -1)
	require.Greater(t, nread, 100)
	require.Greater(t, sent, 100)
	for k := range nread {
		cutAfter(t, k, -1)
	}
	for k := range sent {
		cutAfter(t, -1, k)
	}
}

// cutAfter runs the scenario and returns the number of bytes in each direction on the first
// connection.
func cutAfter(t *testing.T, read, write int) (nread, sent int) {
	var first *frail
	server := clienttest.NewServer()
	where := fmt.Sprintf("cut after %d bytes read or %d written", read, write)
	synctest.Test(t, func(t *testing.T) {
		server = clienttest.NewServer()
		first = nil
		c, err := client.New(client.Config{
			ClientID: "c", NoScrub: true, ConnectRetry: true, MaxReconnectInterval: time.Second,
			Dial: func(ctx context.Context) (net.Conn, error) {
				conn, err := server.Dial(ctx)
				if first == nil && err == nil {
					first = &frail{Conn: conn, read: read, write: write}
					conn = first
				}
				return conn, err
			},
		})
		require.NoError(t, err)
		e := newEcho(4)
		go e.serve(t.Context(), server)
		got := make(map[string]int)
		var order [3]string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for m, err := range c.Messages(t.Context()) {
				if err != nil {
					return
				}
				got[string(m.Payload)]++
				if got[string(m.Payload)] == 1 {
					order[m.QoS] += string(m.Payload) + " "
				}
			}
		}()
		require.NoError(t, c.Connect(t.Context()), where)
		_, err = c.Subscribe(t.Context(), packets.Subscription{Filter: "t", QoS: 2})
		require.NoError(t, err, where)
		var receipts []*client.Receipt
		var zero error
		for i, qos := range []packets.QoS{1, 2, 0, 2, 1, 2} {
			m := message("t", qos, fmt.Sprintf("%d%d", qos, i))
			if qos == 0 {
				zero = c.Publish(t.Context(), m)
				continue
			}
			r, err := c.PublishAsync(t.Context(), m)
			require.NoError(t, err, where)
			receipts = append(receipts, r)
		}
		for _, r := range receipts {
			require.NoError(t, r.Wait(t.Context()), where)
		}
		time.Sleep(time.Minute)
		require.NoError(t, c.Close(t.Context()), where)
		<-done
		require.Equal(t, "10 14 ", order[1], where)
		require.Equal(t, "21 23 25 ", order[2], where)
		for payload, n := range got {
			require.True(t, n == 1 || payload[0] == '1', "%s: %s came %d times", where, payload, n)
		}
		if client.SafeToRetry(zero) {
			require.Zero(t, got["02"], where)
		}
		e.close()
	})
	return first.nread, first.sent
}
