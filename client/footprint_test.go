package client_test

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/stretchr/testify/require"
)

// A quiet is a Network Connection whose Server accepts and then says nothing. It has next to
// no memory of its own, so that what is measured is the client's.
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

// TestFootprint holds an idle connected client with keep alive to one goroutine, and to 8 KiB
// of heap and stack: 6.5, and what the runtime keeps of goroutines that have ended. The
// reader's stack is the smallest there is: see Client.rest.
func TestFootprint(t *testing.T) {
	const clients = 500
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	var all []*client.Client
	before, goroutines := memory(), runtime.NumGoroutine()
	for range clients {
		c, err := client.New(client.Config{ClientID: "idle", Dial: func(context.Context) (net.Conn, error) {
			return &quiet{connack: []byte{0x20, 2, 0, 0}, end: make(chan struct{})}, nil
		}})
		require.NoError(t, err)
		require.NoError(t, c.Connect(t.Context()))
		all = append(all, c)
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+clients+2 }, 5*time.Second, time.Millisecond)
	each := (memory() - before) / clients
	t.Logf("%d bytes and one goroutine a client", each)
	if !raceEnabled {
		require.LessOrEqual(t, each, uint64(8<<10))
	}
	for _, c := range all {
		c.Abort()
	}
}
