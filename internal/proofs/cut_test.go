package proofs

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// often makes the client reconnect quickly.
const often = ", max_reconnect_interval: 20ms"

// The link is cut again and again while flows run. At QoS 2 it is cut at any moment, also between
// an acknowledgement and its answer. Each message runs once.
func TestProofCutQoS2(t *testing.T) {
	messages, cuts := pick(2000, 50_000), pick(30, 500)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	ctx := within(t)
	rnd := random(t)
	var mu sync.Mutex
	until, done := 20, 0
	var runs tally
	// Cut after a random number of packets in either direction.
	w := newWire(t, b.Addr(), func(s sight) bool {
		mu.Lock()
		defer mu.Unlock()
		if until--; until > 0 || done == cuts || s.kind == packets.CONNECT {
			return false
		}
		done++
		until = 1 + rnd.IntN(4*messages/cuts)
		return true
	})
	c := open(t, ctx, settings{
		addr: w.addr, id: "cut", advanced: often, consumer: `topics: ["n/#"], qos: Exactly Once`,
	}, connector.Options{}, lasting(&runs, 40*time.Millisecond))
	p := publisher(t, ctx, b.Addr())
	require.NoError(t, publish(ctx, p, 0, messages, numbered("n/x", packets.ExactlyOnce)))
	eventually(t, ctx, func() (int, bool) {
		_, n := runs.counts()
		mu.Lock()
		defer mu.Unlock()
		return n, n >= messages && done == cuts
	})
	h := c.Health()
	halt(t, c)
	ran, total := runs.counts()
	t.Logf("%d messages, %d cuts, %d redelivered while their flow ran, %d runs", messages, done, h.Client.Session.Adopted, total)
	require.Equal(t, messages, ran, "messages are lost")
	require.Equal(t, messages, total, "runs are messages")
	require.NotZero(t, h.Client.Session.Adopted, "the cuts hit nothing")
}

// At QoS 1 the link is cut while flows run and no acknowledgement is in flight. (With one in flight
// the message has to run again: the server may have used its identifier for the next message
// [MQTT-4.3.2-2].) Each message runs once.
func TestProofCutQoS1(t *testing.T) {
	messages, cuts := pick(2000, 50_000), pick(30, 500)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	ctx := within(t)
	rnd := random(t)
	var runs tally
	var finish sync.RWMutex // while it is held for writing, no flow ends
	ended := make(map[uint16]bool)
	var mu sync.Mutex
	var lost atomic.Int32
	w := newWire(t, b.Addr(), nil)
	c := open(t, ctx, settings{
		addr: w.addr, id: "cut", advanced: often, consumer: `topics: ["n/#"], qos: At Least Once`,
	}, connector.Options{OnEvent: func(e client.Event) {
		if e.Kind == client.ConnectionLost || e.Kind == client.ConnectFailed {
			lost.Add(1)
		}
	}}, func(*connector.Connector) flow.Flow {
		return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			runs.add(m)
			time.Sleep(rand.N(20 * time.Millisecond))
			finish.RLock()
			defer finish.RUnlock()
			mu.Lock()
			defer mu.Unlock()
			ended[m.Attribute["messageID"].(uint16)] = true
			return m, nil
		})
	})
	p := publisher(t, ctx, b.Addr())
	published := make(chan error, 1)
	done := func() int { return int(c.Health().Acknowledged) }
	go func() { published <- stream(ctx, p, messages, 100, done, numbered("n/x", packets.AtLeastOnce)) }()

	dead := 0 // the newest connection that was cut

	// quiet reports whether nothing is in transit: there is a connection, it has carried every message that is unacknowledged
	// at the broker, and every acknowledgement that may leave has passed the wire. Those behind the first message whose flow is
	// still running may not.
	quiet := func() bool {
		mu.Lock()
		defer mu.Unlock()
		n := w.newest()
		here := func(fits func(sight) bool) func(sight) bool {
			return func(s sight) bool { return s.conn == n && fits(s) }
		}
		open := make(map[uint16]bool)
		for _, id := range w.ids(to(packets.PUBLISH, 1)) {
			open[id] = true
		}
		for _, id := range w.ids(from(packets.PUBACK)) {
			delete(open, id)
		}
		owed, first := 0, true
		for _, id := range w.ids(here(to(packets.PUBLISH, 1))) {
			delete(open, id)
			first = first && ended[id]
			if first {
				owed++
			}
		}
		return n > dead && len(open) == 0 && w.count(here(from(packets.PUBACK))) == owed
	}
	interrupted := 0
	for i := range cuts {
		eventually(t, ctx, func() (int, bool) {
			_, n := runs.counts()
			return n, n > messages/(cuts+1)*i+rnd.IntN(20)
		})
		finish.Lock()
		eventually(t, ctx, func() (int, bool) { return i, quiet() })
		interrupted += int(c.Health().Running)
		before := lost.Load()
		dead = w.cut()
		eventually(t, ctx, func() (int, bool) { return i, lost.Load() > before })
		finish.Unlock()
	}
	require.NoError(t, <-published)
	eventually(t, ctx, func() (int, bool) {
		return done(), done() >= messages
	})
	h := c.Health()
	halt(t, c)
	ran, total := runs.counts()
	t.Logf("%d messages, %d cuts amid %d flows, %d redelivered while their flow ran, %d runs", messages, cuts, interrupted, h.Client.Session.Adopted, total)
	require.Equal(t, messages, ran, "messages are lost")
	require.Equal(t, messages, total, "runs are messages")
	require.Greater(t, interrupted, cuts, "the cuts hit nothing")
	require.NotZero(t, h.Client.Session.Adopted)
}
