package client_test

import (
	"context"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/stretchr/testify/require"
)

// A quiet is a Network Connection whose Server sends CONNACK and nothing else. It has next to no
// memory of its own, so that the client's is measured.
type quiet struct {
	net.Conn
	connack []byte
	end     chan struct{}
	once    sync.Once
}

func (q *quiet) Read(b []byte) (int, error) {
	if n := copy(b, q.connack); n > 0 {
		q.connack = q.connack[n:]
		return n, nil
	}
	<-q.end
	return 0, net.ErrClosed
}

func (q *quiet) Write(b []byte) (int, error)      { return len(b), nil }
func (q *quiet) SetReadDeadline(time.Time) error  { return nil }
func (q *quiet) SetWriteDeadline(time.Time) error { return nil }
func (q *quiet) Close() error                     { q.once.Do(func() { close(q.end) }); return nil }

// TestFootprint limits an idle connected client with keep alive to one goroutine, 4.75 KiB of heap,
// and 8 KiB of heap and stack: 6.4 KiB, and what the runtime keeps of goroutines that have ended.
// The reader's stack has the smallest size there is: see Client.rest. The first 500 clients are not
// measured, because the runtime sizes new stacks by the average of those it has scanned. The best
// of several rounds counts: on a busy machine goroutines that dial end late, and the runtime keeps
// a record of each that existed at the same time.
func TestFootprint(t *testing.T) {
	const clients, rounds = 500, 6
	memory := func() (heap, stack int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), int(m.StackInuse)
	}
	all, goroutines := make([]*client.Client, 0, (1+rounds)*clients), runtime.NumGoroutine()
	connect := func() {
		for range clients {
			c, err := client.New(client.Config{ClientID: "idle", Dial: func(context.Context) (net.Conn, error) {
				return &quiet{connack: []byte{0x20, 2, 0, 0}, end: make(chan struct{})}, nil
			}})
			require.NoError(t, err)
			require.NoError(t, c.Connect(t.Context()))
			all = append(all, c)
		}
		require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+len(all)+2 }, time.Minute, time.Millisecond)
	}
	connect()
	leastHeap, leastStack := 1<<20, 1<<20
	for range rounds {
		heap, stack := memory()
		connect()
		heap2, stack2 := memory()
		heap, stack = (heap2-heap)/clients, (stack2-stack)/clients
		t.Logf("%d bytes of heap, %d of stack and one goroutine a client", heap, stack)
		if heap+stack < leastHeap+leastStack {
			leastHeap, leastStack = heap, stack
		}
		if leastHeap <= 4864 && leastHeap+leastStack <= 8<<10 {
			break
		}
	}
	if !raceEnabled {
		require.LessOrEqual(t, leastHeap, 4864)
		require.LessOrEqual(t, leastHeap+leastStack, 8<<10)
	}
	for _, c := range all {
		c.Abort()
	}
}

// A closed client can be collected at once: its pools, which the runtime keeps for two more collections, do
// not refer to it. Otherwise a program that opens and closes many clients would hold all the latest ones in
// memory.
func TestEndedClientIsGarbage(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // so that there is one collection
	const clients = 100
	var kept atomic.Int64
	for range clients {
		func() {
			c, err := client.New(client.Config{ClientID: "c", Dial: benchServer(t, nil)})
			require.NoError(t, err)
			kept.Add(1)
			runtime.AddCleanup(c, func(struct{}) { kept.Add(-1) }, struct{}{})
			require.NoError(t, c.Connect(t.Context()))
			require.NoError(t, c.Publish(t.Context(), message("t", 1, "x")))
			r, err := c.PublishAsync(t.Context(), message("t", 1, "x"))
			require.NoError(t, err)
			require.NoError(t, r.Wait(t.Context()))
			c.Abort()
		}()
	}
	runtime.GC()
	require.Eventually(t, func() bool { return kept.Load() <= clients/10 }, 10*time.Second, time.Millisecond, // the last ones may stand on stacks
		"more than a tenth of %d clients are kept", clients)
}
