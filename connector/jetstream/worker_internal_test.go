package jetstream

import (
	"context"
	"testing"
	"time"

	internalnats "github.com/mqtt311/mqtt311/internal/nats"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// An owner whose work was interrupted continues under its lease: its own earlier consumer does not
// block it.
func TestOwnAgain(t *testing.T) {
	b := internalnats.Start(t, internalnats.Options{})
	nc, err := nats.Connect(b.Client)
	require.NoError(t, err)
	defer nc.Close()
	for name, keep := range map[string]time.Duration{"queue": 0, "kept": time.Hour} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := Open(ctx, nc, Config{Name: name, Prefix: name, Keep: keep})
			require.NoError(t, err)
			w := &Worker{stream: s, opts: WorkerOptions{Group: "flows", MaxInFlight: 10}}
			publish := func() {
				_, err := s.js.Publish(ctx, name+".0.t", nil)
				require.NoError(t, err)
			}
			lease := func(epoch uint64) *Lease { return newLease(ctx, 0, epoch, 1, time.Now().Add(time.Minute)) }
			publish()
			first, err := w.own(lease(1))
			require.NoError(t, err)
			m, err := first.Next()
			require.NoError(t, err)
			require.NoError(t, m.DoubleAck(ctx))
			publish()
			l := lease(2)
			_, err = w.own(l)
			require.NoError(t, err)
			c, err := w.own(l)
			require.NoError(t, err)
			m, err = c.Next()
			require.NoError(t, err)
			meta, err := m.Metadata()
			require.NoError(t, err)
			require.EqualValues(t, 2, meta.Sequence.Stream)
			publish()
			c, err = w.own(l) // the message is not settled
			require.NoError(t, err)
			m, err = c.Next()
			require.NoError(t, err)
			meta, err = m.Metadata()
			require.NoError(t, err)
			require.EqualValues(t, 2, meta.Sequence.Stream, "in the order of the stream")
			require.EqualValues(t, 1, meta.Sequence.Consumer)
			_, err = w.own(lease(1))
			require.ErrorIs(t, err, ErrLeaseLost, "a former owner")
		})
	}
}

// Finished messages are remembered, as many as the server can redeliver.
func TestPast(t *testing.T) {
	p := new(past)
	for i := range uint64(100) {
		p.add(i, 10)
		for n := range min(i+1, 10) {
			require.True(t, p.has(i-n))
		}
		require.LessOrEqual(t, len(p[0])+len(p[1]), 20)
	}
	require.False(t, p.has(50))
}

// Names of consumers for other groups and partitions are ignored.
func TestOwnerOf(t *testing.T) {
	epoch, n, ok := ownerOf("flows-3-17-2", "flows-3-")
	require.True(t, ok)
	require.EqualValues(t, 17, epoch)
	require.EqualValues(t, 2, n)
	for _, name := range []string{"flows-3-17", "flows-3-5-17-0", "flows-30-17-2", "flow-3-17-2", "flows-3-x-2", "flows-3-17-", ""} {
		_, _, ok := ownerOf(name, "flows-3-")
		require.False(t, ok, name)
	}
}
