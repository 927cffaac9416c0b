package crowd_test

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/mqtt311/mqtt311/connector/internal/crowd"
	"github.com/stretchr/testify/require"
)

// served accepts connections and echoes their bytes until the test ends.
func served(t *testing.T, most int) (dial func() net.Conn, ping func(net.Conn) bool) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := crowd.Limit(inner, most)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	dial = func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	ping = func(c net.Conn) bool {
		c.Write([]byte{1})
		_, err := c.Read(make([]byte, 1))
		return err == nil
	}
	return dial, ping
}

// The newest connections are served, whatever the older ones do.
func TestOldestGivesWay(t *testing.T) {
	dial, ping := served(t, 3)
	var conns []net.Conn
	for range 10 {
		c := dial()
		require.True(t, ping(c))
		conns = append(conns, c)
	}
	for i, c := range conns {
		require.Equal(t, i >= 7, ping(c), "connection %d", i)
	}
}

// A connection that has ended frees its place.
func TestPlacesComeBack(t *testing.T) {
	dial, ping := served(t, 2)
	stays := dial()
	require.True(t, ping(stays))
	for range 20 {
		c := dial()
		require.True(t, ping(c))
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c) // until the other end has closed
	}
	require.True(t, ping(stays))
}

// A poor listener has no file descriptor for a while.
type poor struct {
	net.Listener
	failures int
}

func (l *poor) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// If no file descriptor is left for a new connection, the oldest is closed to free one.
func TestNoDescriptor(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	short := &poor{Listener: inner}
	l := crowd.Limit(short, 10)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = l.Accept()
	require.NoError(t, err)

	short.failures = 2
	for range 2 { // the second time there is no connection to close
		_, err = l.Accept()
		require.ErrorIs(t, err, syscall.EMFILE)
	}
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, l.Close())
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}
