package command

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A slowReader brings a byte after a time.
type slowReader struct {
	net.Conn
	after time.Duration
}

func (s *slowReader) Read(b []byte) (int, error) {
	time.Sleep(s.after)
	return 1, nil
}

// Only what comes in a flood is read with pauses; one that pauses itself is not.
func TestFloodConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowReader{after: time.Microsecond}
		const pause = time.Millisecond
		c := &floodConn{Conn: s, pause: pause}
		took := func() time.Duration {
			start := time.Now()
			n, err := c.Read(make([]byte, 10))
			require.NoError(t, err)
			require.Equal(t, 1, n)
			return time.Since(start)
		}
		for range floodReads {
			require.Equal(t, time.Microsecond, took())
		}
		require.Equal(t, pause+time.Microsecond, took())
		require.Equal(t, pause+time.Microsecond, took(), "as long as it lasts")
		s.after = time.Second
		require.Equal(t, pause+time.Second, took())
		require.Equal(t, time.Second, took())
		s.after = time.Microsecond
		require.Equal(t, time.Microsecond, took())
	})
}
