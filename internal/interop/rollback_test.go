package interop

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/program"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A mosquitto returns four times to its folder of a second ago, which has QoS 2 Packet Identifiers that the
// client has finished with. Half of the throughput is back within minutes, and messages published from then on
// arrive. mosquitto 2.0.11 has no quota that such identifiers fill, and recognises a new message by its content.
// A server that does neither is simulated in TestServerIsRolledBack of package session.
func TestInteropRollbacks(t *testing.T) {
	thorough.Only(t)
	p := newSetBack(t)
	time.Sleep(time.Second)
	before := p.rate(3 * time.Second)
	for range 4 {
		p.setBack()
	}
	back := time.Now()
	after := p.rate(time.Second)
	for after < before/2 && time.Since(back) < 3*time.Minute {
		after = p.rate(time.Second)
	}
	t.Logf("%.0f messages a second before, %.0f after %v", before, after, time.Since(back).Round(time.Second/10))
	require.GreaterOrEqual(t, after, before/2)
	require.Zero(t, p.lost(), "messages that were acknowledged since")
}

// A setBack publishes at QoS 2 to a mosquitto that is rolled back.
type setBack struct {
	t      *testing.T
	b      *mosquitto.Broker
	c      *client.Client
	ctx    context.Context
	copies string

	next, done atomic.Int64
	mu         sync.Mutex
	since      int64 // messages from this number on are kept in acked
	acked      []int64
}

// A far connection delays writes like one to a distant server, so that messages are always in flight.
type far struct{ net.Conn }

func (c far) Write(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return c.Conn.Write(b)
}

func newSetBack(t *testing.T) *setBack {
	ctx, cancel := context.WithCancel(t.Context())
	p := &setBack{
		t: t, ctx: ctx, copies: t.TempDir(), since: 1 << 62,
		b: mosquitto.Start(t, mosquitto.Options{
			Config: "autosave_on_changes false\nmax_queued_messages 0\nmax_queued_bytes 0\nlog_type none\nlog_type error",
		}),
	}
	var err error
	p.c, err = client.New(client.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			conn, err := dialer(p.b.Addr())(ctx)
			return far{conn}, err
		},
		ClientID: "set-back", MaxReconnectInterval: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	require.NoError(t, p.c.Connect(ctx))
	var all sync.WaitGroup
	for range 32 { // more than the QoS 2 window
		all.Go(p.publish)
	}
	t.Cleanup(func() { cancel(); p.c.Abort(); all.Wait() })
	return p
}

func dialer(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
}

// publish publishes numbers until the context ends.
func (p *setBack) publish() {
	for p.ctx.Err() == nil {
		n := p.next.Add(1)
		m := client.Message{Topic: "a", QoS: packets.ExactlyOnce, Payload: strconv.AppendInt(nil, n, 10)}
		if p.c.Publish(p.ctx, m) != nil {
			continue
		}
		p.done.Add(1)
		p.mu.Lock()
		if n >= p.since {
			p.acked = append(p.acked, n)
		}
		p.mu.Unlock()
	}
}

// rate returns how many messages are published per second.
func (p *setBack) rate(d time.Duration) float64 {
	begin, n := time.Now(), p.done.Load()
	time.Sleep(d)
	return float64(p.done.Load()-n) / time.Since(begin).Seconds()
}

// setBack rolls the broker back to its folder of a second ago. It then waits until the broker, which saves
// every second, has saved another state for the next copy.
func (p *setBack) setBack() {
	copied := filepath.Join(p.copies, strconv.FormatInt(time.Now().UnixNano(), 10))
	p.b.Pause()
	err := program.CopyFolder(copied, p.b.Folder())
	p.b.Resume()
	require.NoError(p.t, err)
	time.Sleep(time.Second)
	p.b.Kill()
	require.NoError(p.t, program.ReplaceFolder(p.b.Folder(), copied))
	p.b.Restart()
	time.Sleep(2500 * time.Millisecond)
}

// lost returns how many of the next two thousand acknowledged messages do not reach a subscriber.
func (p *setBack) lost() int {
	var mu sync.Mutex
	got := make(map[int64]bool)
	subscriber, err := client.New(client.Config{Dial: dialer(p.b.Addr()), CleanSession: true})
	require.NoError(p.t, err)
	require.NoError(p.t, subscriber.Handle("a", func(_ context.Context, d *client.Delivery) {
		n, _ := strconv.ParseInt(string(d.Payload), 10, 64)
		mu.Lock()
		got[n] = true
		mu.Unlock()
	}))
	require.NoError(p.t, subscriber.Connect(p.ctx))
	defer subscriber.Abort()
	_, err = subscriber.Subscribe(p.ctx, packets.Subscription{Filter: "a", QoS: 1})
	require.NoError(p.t, err)
	p.mu.Lock()
	p.since = p.next.Load() + 1
	p.mu.Unlock()
	var acked []int64
	require.Eventually(p.t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		acked = p.acked
		return len(acked) > 2000
	}, 3*time.Minute, 10*time.Millisecond)
	lost := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, number := range acked {
			if !got[number] {
				n++
			}
		}
		return n
	}
	for begin := time.Now(); lost() > 0 && time.Since(begin) < time.Minute; {
		time.Sleep(10 * time.Millisecond)
	}
	return lost()
}
