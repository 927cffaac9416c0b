package client_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Hazard 36: of several servers, one that works is used and kept; the client pauses only after
// trying all of them.
func TestHazard36SeveralServers(t *testing.T) {
	dead := clienttest.NewServer()
	dead.Refuse(clienttest.ErrRefused)
	inBubble(t, client.Config{Dial: dead.Dial}, func(d *dialogue) {}) // one dead server: Dial is used
	synctest.Test(t, func(t *testing.T) {
		server := clienttest.NewServer()
		c, err := client.New(client.Config{
			Dial: dead.Dial, Fallbacks: []func(context.Context) (net.Conn, error){dead.Dial, server.Dial}, ClientID: "c",
		})
		require.NoError(t, err)
		d := &dialogue{T: t, ctx: t.Context(), server: server, client: c}
		start := time.Now()
		up := d.start(func() error { return c.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		require.Zero(t, time.Since(start), "no pause within a round")
		before := dead.Dials()
		d.cut()
		d.accept(true)
		require.Equal(t, before, dead.Dials(), "the server that worked comes first")
		c.Abort()
		d.conn.Close()
		synctest.Wait()
	})
}

// Hazard 13, the other policy: QoS 0 messages are queued while offline, within limits, and sent in
// order. An outcome is never invented.
func TestHazard13QoS0Queued(t *testing.T) {
	connected(t, client.Config{QueueQoS0: true, QueueMessages: 2}, func(d *dialogue) {
		d.server.Refuse(clienttest.ErrRefused)
		d.cut()
		gone := d.start(func() error { return d.client.Publish(timeout(d.ctx, time.Second), message("t", 0, "gone")) })
		require.ErrorIs(t, gone(), client.ErrNotSent)
		var receipts []*client.Receipt
		for _, payload := range []string{"1", "22"} {
			r, err := d.client.PublishAsync(d.ctx, message("t", 0, payload))
			require.NoError(t, err)
			receipts = append(receipts, r)
		}
		_, err := d.client.PublishAsync(timeout(d.ctx, time.Second), message("t", 0, "333"))
		require.ErrorIs(t, err, client.ErrQueueFull)
		d.server.Refuse(nil)
		d.accept(true)
		d.expect(`PUBLISH "t" qos=0 size=1`, `PUBLISH "t" qos=0 size=2`)
		for _, r := range receipts {
			<-r.Done()
			require.NoError(t, r.Err())
		}
		d.server.Refuse(clienttest.ErrRefused)
		d.cut()
		r, err := d.client.PublishAsync(d.ctx, message("t", 0, "x"))
		require.NoError(t, err)
		d.client.Abort()
		<-r.Done()
		require.ErrorIs(t, r.Err(), client.ErrNotSent)
		require.ErrorIs(t, r.Err(), client.ErrClosed)
	})
}

// The policies of a full queue: the caller waits (TestPublishOfflineIsQueued), the new message
// fails, or the oldest unsent one is dropped.
func TestHazard28QueuePolicies(t *testing.T) {
	for _, qos := range []packets.QoS{0, 1, 2} {
		connected(t, client.Config{QueueMessages: 2, QueueQoS0: true, WhenFull: client.QueueFail}, func(d *dialogue) {
			d.server.Refuse(clienttest.ErrRefused)
			d.cut()
			for range 2 {
				require.NoError(t, d.client.Enqueue(d.ctx, message("t", qos, "x")))
			}
			start := time.Now()
			err := d.client.Enqueue(d.ctx, message("t", qos, "x"))
			require.ErrorIs(t, err, client.ErrQueueFull)
			require.True(t, client.SafeToRetry(err))
			require.Zero(t, time.Since(start))
		})
		connected(t, client.Config{QueueMessages: 2, QueueQoS0: true, NoScrub: true, WhenFull: client.QueueDropOldest}, func(d *dialogue) {
			d.server.Refuse(clienttest.ErrRefused)
			d.cut()
			var results []func() error
			for i := range 4 {
				results = append(results, d.start(func() error { return d.client.Publish(d.ctx, message("t", qos, strings.Repeat("x", i))) }))
				synctest.Wait()
			}
			require.ErrorIs(t, results[0](), client.ErrQueueFull)
			require.ErrorIs(t, results[1](), client.ErrQueueFull)
			d.server.Refuse(nil)
			d.accept(true)
			for i := range 2 {
				p, err := d.conn.Receive()
				require.NoError(t, err)
				require.Len(t, p.(*packets.Publish).Payload, 2+i, "the newest two, in order")
			}
		})
	}
}

// Trace reports every packet in order, and no payload, user name or password.
func TestTrace(t *testing.T) {
	var lines []string
	connected(t, client.Config{
		UserName: "canary", Password: []byte("canary"),
		Trace: func(p client.Packet) { lines = append(lines, fmt.Sprint(p.Sent, " ", p.Text)) },
	}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "canary")) })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=6`)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		synctest.Wait()
		require.Equal(t, []string{
			`true CONNECT client="c" clean=false keepalive=30s user=yes password=yes`,
			`false CONNACK sp=0 code=0`,
			`true PUBLISH "t" qos=1 id=1 dup=0 size=6`,
			`false PUBACK id=1`,
		}, lines)
	})
}

// After Close, Ack reports that no acknowledgement was sent.
func TestAckAfterClose(t *testing.T) {
	connected(t, client.Config{ManualAck: true}, func(d *dialogue) {
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 1})
		var m *client.Delivery
		for m = range d.client.Messages(d.ctx) {
			break
		}
		d.client.Abort()
		require.ErrorIs(t, m.Ack(), client.ErrClosed)
	})
}

// Hazard 9, memory: reconnects leave nothing on the heap.
func TestHazard9HeapIsFlat(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			clienttest.NewConn(conn).Handshake(false)
			conn.Close()
		}
	}()
	c, err := client.New(client.Config{
		CleanSession: true, MaxReconnectInterval: time.Microsecond,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		},
	})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	defer c.Abort()
	reconnects := func(n uint64) {
		require.Eventually(t, func() bool { return c.Stats().Reconnects >= n }, time.Minute, time.Millisecond)
	}
	reconnects(200)
	before := heap()
	least := uint64(math.MaxUint64) // at the moment of one look, connections may be half made or half gone
	for n := uint64(3200); n < 4200; n += 100 {
		reconnects(n)
		least = min(least, heap())
	}
	require.Less(t, least, before+256<<10)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Target P14 and hazard 48: what a minimal program over TCP links.
func TestHazard48Footprint(t *testing.T) {
	const source = "./testdata/minimal"
	program := filepath.Join(t.TempDir(), "minimal")
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, source).CombinedOutput()
	require.NoError(t, err, "%s", out)
	list, err := exec.Command("go", "list", "-deps", source).Output()
	require.NoError(t, err)
	info, err := os.Stat(program)
	require.NoError(t, err)
	n := len(strings.Fields(string(list)))
	t.Logf("%.2f MB, %d packages", float64(info.Size())/1e6, n)
	require.LessOrEqual(t, info.Size(), int64(3_000_000*115/100), "15 % for other versions of Go")
	require.LessOrEqual(t, n, 95)
}
