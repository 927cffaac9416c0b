package command

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An evenReader is a connection on which a byte arrives after each gap, but never more than window bytes wait to be
// read.
type evenReader struct {
	net.Conn
	gap    time.Duration
	window int
	last   time.Time
}

func (r *evenReader) Read(b []byte) (int, error) {
	if r.last.IsZero() {
		r.last = time.Now()
	}
	if d := time.Until(r.last.Add(r.gap)); d > 0 {
		time.Sleep(d)
	}
	n := min(int(time.Since(r.last)/r.gap), r.window)
	r.last = time.Now()
	return n, nil
}

// floodReadsOf makes n reads and returns how long they took, and how many bytes were read.
func floodReadsOf(t *testing.T, c net.Conn, n int) (took time.Duration, bytes int) {
	start := time.Now()
	for range n {
		got, err := c.Read(make([]byte, 10))
		require.NoError(t, err)
		bytes += got
	}
	return time.Since(start), bytes
}

// Only a flood is read with pauses, not data that arrives with pauses of its own.
func TestFloodConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gap, pause = 10 * time.Microsecond, time.Millisecond
		r := &evenReader{gap: gap, window: 1000}
		c := &floodConn{Conn: r, pause: pause, from: time.Now(), judged: fewestPauses}
		const first = int(floodLeast / gap)
		took, bytes := floodReadsOf(t, c, first)
		require.Equal(t, floodLeast, took)
		require.Equal(t, first, bytes)
		took, bytes = floodReadsOf(t, c, 10000)
		require.Greater(t, took, 3000*pause, "nearly as long as it lasts")
		require.Greater(t, bytes, 3000*int(pause/gap))

		r.gap = time.Second
		took, _ = floodReadsOf(t, c, 10)
		require.LessOrEqual(t, took, 10*time.Second)
		r.gap = gap
		took, _ = floodReadsOf(t, c, first)
		require.Equal(t, floodLeast, took, "a flood begins anew")
	})
}

// If the other end sends at most a window without an answer, pauses would slow it down, and are
// given up.
func TestFloodConnInAWindow(t *testing.T) {
	t.Parallel()
	for _, window := range []int{1, 5, 20, 75} {
		synctest.Test(t, func(t *testing.T) {
			const gap, pause = 10 * time.Microsecond, time.Millisecond
			c := &floodConn{Conn: &evenReader{gap: gap, window: window}, pause: pause, from: time.Now(), judged: fewestPauses}
			const rounds = 10
			took, bytes := floodReadsOf(t, c, rounds*restReads)
			require.Less(t, took, time.Duration(bytes)*gap*21/20, "a window of %d", window)
		})
	}
	synctest.Test(t, func(t *testing.T) { // 95 messages arrive in each pause; 100 would arrive without one
		const gap, pause = 10 * time.Microsecond, time.Millisecond
		c := &floodConn{Conn: &evenReader{gap: gap, window: 95}, pause: pause, from: time.Now(), judged: fewestPauses}
		_, bytes := floodReadsOf(t, c, 10000)
		require.Greater(t, bytes, 3000*95)
	})
}
