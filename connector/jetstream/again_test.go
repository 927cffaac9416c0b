package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A wire is a proxy between a gateway and the Server. It decodes each packet before passing it on, records which
// messages the Server sends again after PUBREL, which it must not do, and treats each packet as the test decides.
type wire struct {
	ln     net.Listener
	target string
	fate   func(conn int, up bool, p packets.Packet) fate

	mu       sync.Mutex
	conns    int
	live     map[net.Conn]struct{}
	of       map[uint16]string // the newest message under a Packet Identifier
	released map[string]bool   // its PUBREL was passed to the gateway, and it was not sent again since
	again    map[string]bool   // published after PUBREL [MQTT-4.3.3-1]
	taken    map[string]bool   // another message had its identifier before its PUBREL
	most     int               // the most messages between PUBLISH and PUBREL at a time
	wait     sync.WaitGroup
}

// A fate is what a wire does with a packet.
type fate byte

const (
	passes fate = iota
	isLost      // the packet is dropped, and the connection continues
	isCut       // the connection is cut instead of passing the packet
	isLast      // the connection is cut after the packet
)

func newWire(t *testing.T, target string, f func(conn int, up bool, p packets.Packet) fate) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{
		ln: ln, target: target, fate: f, live: make(map[net.Conn]struct{}), of: make(map[uint16]string),
		released: make(map[string]bool), again: make(map[string]bool), taken: make(map[string]bool),
	}
	w.wait.Go(w.serve)
	t.Cleanup(func() {
		ln.Close()
		w.cut()
		w.wait.Wait()
	})
	return w
}

func (w *wire) addr() string { return w.ln.Addr().String() }

// cut ends the open connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.live {
		c.Close()
	}
}

func (w *wire) serve() {
	for {
		client, err := w.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.target)
		if err != nil {
			client.Close()
			continue
		}
		w.mu.Lock()
		w.conns++
		n := w.conns
		w.live[client], w.live[server] = struct{}{}, struct{}{}
		w.mu.Unlock()
		end := sync.OnceFunc(func() {
			client.Close()
			server.Close()
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.live, client)
			delete(w.live, server)
		})
		for _, way := range []struct {
			from, to net.Conn
			up       bool
		}{{client, server, true}, {server, client, false}} {
			w.wait.Go(func() {
				defer end()
				w.pump(n, way.from, way.to, way.up)
			})
		}
	}
}

func (w *wire) pump(conn int, from, to net.Conn, up bool) {
	var held []byte
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		held = append(held, b[:n]...)
		for {
			p, n, err := packets.Parse(held)
			if errors.Is(err, packets.ErrShort) {
				break
			}
			if err != nil {
				return
			}
			what := w.fate(conn, up, p)
			if what == isCut {
				return
			}
			if !up && what != isLost {
				w.note(p)
			}
			if what != isLost {
				if _, err := to.Write(held[:n]); err != nil {
					return
				}
			}
			if what == isLast {
				return
			}
			held = held[n:]
		}
	}
}

// note records a packet of the Server that is about to be passed to the gateway.
func (w *wire) note(p packets.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch p := p.(type) {
	case *packets.Publish:
		name := string(p.Payload)
		if w.released[name] {
			w.again[name] = true
			delete(w.released, name)
		}
		if before, ok := w.of[p.PacketID]; ok && before != name {
			w.taken[before] = true
		}
		w.of[p.PacketID] = name
		w.most = max(w.most, len(w.of))
	case *packets.Pubrel:
		if name, ok := w.of[p.PacketID]; ok {
			w.released[name] = true
			delete(w.of, p.PacketID)
		}
	}
}

// keys returns the idempotency keys in the stream, by payload.
func (p *plant) keys(nc *nats.Conn, n int) map[string]map[string]bool {
	p.Helper()
	js, err := natsjs.New(nc)
	require.NoError(p, err)
	stream, err := js.Stream(p.Context(), "TEST")
	require.NoError(p, err)
	c, err := stream.OrderedConsumer(p.Context(), natsjs.OrderedConsumerConfig{})
	require.NoError(p, err)
	messages, err := c.Messages()
	require.NoError(p, err)
	defer messages.Stop()
	all := make(map[string]map[string]bool)
	for {
		m, err := messages.Next(natsjs.NextMaxWait(time.Minute))
		require.NoError(p, err, "%d of %d", len(all), n)
		name := string(m.Data())
		if all[name] == nil {
			all[name] = make(map[string]bool)
		}
		all[name][m.Headers().Get(natsjs.MsgIDHeader)] = true
		if meta, err := m.Metadata(); err == nil && meta.NumPending == 0 && len(all) >= n {
			return all
		}
	}
}

// gateway runs a gateway in this process, with a stream that keeps its messages. id is the template of a message
// id, or empty.
func (p *plant) gateway(nc *nats.Conn, server, id string) *jetstream.Gateway {
	p.Helper()
	stream, err := jetstream.Open(p.Context(), nc, jetstream.Config{Name: "TEST", Partitions: streamPartitions, Keep: time.Hour})
	require.NoError(p, err)
	return p.gatewayInto(stream, server, id)
}

// gatewayInto is gateway with another stream.
func (p *plant) gatewayInto(stream *jetstream.Stream, server, id string) *jetstream.Gateway {
	p.Helper()
	job := task{Role: "gateway", Name: "gateway", MQTT: server, QoS: packets.ExactlyOnce, Ledger: true, Store: p.TempDir()}
	conn, err := connector.New(job.config(), connector.Options{})
	require.NoError(p, err)
	opts := jetstream.GatewayOptions{Order: jetstream.OrderStrict}
	if id != "" {
		opts.MessageID, err = flow.ParseTemplate(id)
		require.NoError(p, err)
	}
	g := jetstream.NewGateway(stream, conn, "in", opts)
	require.NoError(p, conn.Start(p.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(p.Context())
	}()
	p.Cleanup(func() {
		<-ended
		conn.Stop(context.Background())
	})
	p.subscribed()
	return g
}

// twice returns the messages that the stream has under more than one key. It fails the test if the Server did not
// publish them again after their PUBREL: then the gateway, or its session, has made two messages of one.
func (p *plant) twice(w *wire, nc *nats.Conn, n int) (twice []string) {
	p.Helper()
	for name, keys := range p.keys(nc, n) {
		if len(keys) > 1 {
			twice = append(twice, name)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range twice {
		require.True(p, w.again[name], "%s is twice in the stream, and was not published again after PUBREL", name)
	}
	return twice
}

// mosquitto 2.0 forgets that it has sent PUBREL when a connection ends after CONNECT and before the repeated
// PUBREL, and publishes again on the next connection, which [MQTT-4.3.3-1] forbids. By then the gateway has
// released the Packet Identifier, so it sees a new message. The stream has exactly these messages twice. If the
// messages have an id from their sender, it has none twice.
func TestAgainAfterPubrel(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{"key of the gateway": "", "id of the sender": "${payload.id}"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t)
			nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
			require.NoError(t, err)
			t.Cleanup(nc.Close)
			released := 0
			stage := make(chan int, 2)
			w := newWire(t, p.mqtt.Addr(), func(conn int, up bool, p packets.Packet) fate {
				switch {
				case conn == 1 && up && p.Type() == packets.PUBCOMP: // the Server goes on to wait for it
					if released++; released == serverWindow {
						stage <- 1
					}
					return isLost
				case conn == 2 && up && p.Type() == packets.CONNECT:
					stage <- 2
					return isLast
				}
				return passes
			})
			g := p.gateway(nc, w.addr(), id)
			publish := func(from, n int) {
				for i := from; i < from+n; i++ {
					_, err := p.pub.PublishAsync(t.Context(), client.Message{Topic: "in/a", Payload: fmt.Appendf(nil, `{"id": %d}`, i), QoS: packets.ExactlyOnce})
					require.NoError(t, err)
				}
			}
			publish(0, serverWindow)
			require.Equal(t, 1, <-stage)
			p.mqtt.Pause() // so that it finds CONNECT and the end of the connection together
			w.cut()
			require.Equal(t, 2, <-stage)
			p.mqtt.Resume()
			const n = serverWindow + 100
			publish(serverWindow, n-serverWindow)
			again := func() int {
				w.mu.Lock()
				defer w.mu.Unlock()
				return len(w.again)
			}
			p.waits("all is in the stream", func() bool { return len(p.keys(nc, n)) == n && g.Stats().Stored == n+uint64(again()) })
			twice := len(p.twice(w, nc, n))
			t.Logf("of %d messages between PUBREL and PUBCOMP the Server published %d again, and the stream has %d twice", serverWindow, again(), twice)
			if id != "" {
				require.Zero(t, twice)
				require.EqualValues(t, again(), g.Stats().Duplicates)
				return
			}
			require.Equal(t, again(), twice)
			require.Zero(t, g.Stats().Duplicates)
		})
	}
}

// Connections end at any moment, even twice in a row: nothing is lost, and the stream has twice exactly the
// messages that the Server has published again after PUBREL.
func TestCuts(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	var double atomic.Bool
	w := newWire(t, p.mqtt.Addr(), func(_ int, up bool, p packets.Packet) fate {
		if up && p.Type() == packets.CONNECT && double.Swap(false) {
			return isLast
		}
		return passes
	})
	p.gateway(nc, w.addr(), "")
	n := scale(1000, 20_000)
	published := make(chan struct{})
	go func() {
		defer close(published)
		p.publish(0, n, 50, 400)
	}()
	cuts := 0
	for going := true; going; {
		select {
		case <-published:
			going = false
		case <-time.After(time.Duration(100+rand.IntN(300)) * time.Millisecond):
			double.Store(cuts%3 == 2)
			w.cut()
			cuts++
		}
	}
	double.Store(false)
	twice := p.twice(w, nc, n)
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d messages, %d cuts: the Server had up to %d on the way before PUBREL, published %d again after PUBREL, and the stream has %d twice", n, cuts, w.most, len(w.again), len(twice))
}

// mosquitto 2.0.11 sends more than max_inflight_messages when it has a queue, eventually all of it. If that is more
// than there are Packet Identifiers, it assigns one in use to another message, which the session reports as
// "session mismatch". The gateway gets both messages, and the stream gets each once.
func TestIdentifiersInUse(t *testing.T) {
	if !*long {
		t.Skip("takes more than 65,535 messages: -jetstream.long")
	}
	p := newPlant(t)
	nc, err := nats.Connect(p.stream, nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	w := newWire(t, p.mqtt.Addr(), func(int, bool, packets.Packet) fate { return passes })
	p.gateway(nc, w.addr(), "")
	const n = 72_000
	p.nats.Pause()
	p.publish(0, n, 50, 0)
	p.nats.Resume()
	twice := p.twice(w, nc, n)
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("the Server had up to %d messages on the way before PUBREL; %d had an identifier that another one got before that; the stream has %d twice", w.most, len(w.taken), len(twice))
}

// The id of a message's sender is the idempotency key: the stream stores the first message with each id. A message
// without an id, or with one that does not identify it, gets a key of its own.
func TestMessageID(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	nc, err := nats.Connect(p.stream)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	g := p.gateway(nc, p.mqtt.Addr(), "${payload.device}/${payload.id}")
	long := strings.Repeat("x", 200)
	payloads := []string{
		`{"device": "a", "id": 7}`, `{"device": "b", "id": 7}`, `{"device": "a", "id": 7, "again": true}`,
		`{"device": "a", "id": "` + long + `"}`, `{"device": "a", "id": "` + long + `", "again": true}`,
		`no id`, `{"device": "a"}`, `{"device": "a", "again": false}`,
		`{"device": "a", "id": null}`, `{"device": "a", "id": null, "again": false}`,
		`{"device": "a", "id": ""}`, `{"device": "a", "id": "", "again": false}`,
	}
	for _, payload := range payloads {
		require.NoError(t, p.pub.Publish(t.Context(), client.Message{Topic: "in/a", Payload: []byte(payload), QoS: packets.AtLeastOnce}))
	}
	p.waits("all settled", func() bool { return g.Stats().Stored == uint64(len(payloads)) })
	require.EqualValues(t, 2, g.Stats().Duplicates)
	keys := p.keys(nc, len(payloads)-2)
	for _, payload := range payloads {
		require.Equal(t, strings.Contains(payload, `"again": true`), keys[payload] == nil, payload)
	}
	require.Contains(t, keys[payloads[0]], "a/7")
	for key := range keys[payloads[3]] {
		require.Len(t, key, 64)
	}
}
