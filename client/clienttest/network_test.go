package clienttest_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/stretchr/testify/require"
)

// through runs a test with both ends of a connection through a Network.
func through(t *testing.T, test func(t *testing.T, n *clienttest.Network, client, server net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.NewServer()
		n := clienttest.NewNetwork(s.Dial)
		accepted := make(chan *clienttest.Conn)
		go func() {
			c, _ := s.Accept(t.Context())
			accepted <- c
		}()
		client, err := n.Dial(t.Context())
		require.NoError(t, err)
		server := <-accepted
		test(t, n, client, server)
		client.Close()
		server.Close()
	})
}

func read(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	return string(b)
}

func TestNetworkDelays(t *testing.T) {
	through(t, func(t *testing.T, n *clienttest.Network, client, server net.Conn) {
		n.Delay(time.Second)
		start := time.Now()
		io.WriteString(client, "one")
		synctest.Wait()
		n.Delay(0)
		io.WriteString(client, "two")
		require.Equal(t, "onetwo", read(t, server, 6), "bytes do not overtake each other")
		require.Equal(t, time.Second, time.Since(start))
		io.WriteString(server, "back")
		require.Equal(t, "back", read(t, client, 4))
		require.Equal(t, time.Second, time.Since(start))
	})
}

// A stalled network ends no connection: only deadlines do, until it resumes.
func TestNetworkStalls(t *testing.T) {
	through(t, func(t *testing.T, n *clienttest.Network, client, server net.Conn) {
		n.Stall()
		n.Stall()
		client.SetWriteDeadline(time.Now().Add(time.Second))
		sent := 0
		for {
			k, err := client.Write(make([]byte, 1000))
			if sent += k; err != nil {
				require.ErrorContains(t, err, "timeout")
				break
			}
		}
		require.Less(t, sent, 100<<10, "the way has some room, not any")
		n.Resume()
		n.Resume()
		read(t, server, sent)
	})
}

func TestNetworkCuts(t *testing.T) {
	through(t, func(t *testing.T, n *clienttest.Network, client, server net.Conn) {
		n.Cut()
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		_, err = server.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestNetworkCutsAfterAByte(t *testing.T) {
	for _, size := range []int{0, 1, 4, 5} {
		through(t, func(t *testing.T, n *clienttest.Network, client, server net.Conn) {
			n.CutAfter(clienttest.ToServer, size)
			io.WriteString(server, "not this way")
			read(t, client, len("not this way"))
			go io.WriteString(client, "12345678")
			got, err := io.ReadAll(server)
			require.NoError(t, err)
			require.Equal(t, "12345678"[:size], string(got))
		})
	}
}

// Bytes that a client wrote before it closed the connection arrive.
func TestNetworkDeliversBeforeTheEnd(t *testing.T) {
	through(t, func(t *testing.T, n *clienttest.Network, client, server net.Conn) {
		n.Delay(time.Minute)
		io.WriteString(client, "the end")
		client.Close()
		got, err := io.ReadAll(server)
		require.NoError(t, err)
		require.Equal(t, "the end", string(got))
	})
}

func TestNetworkPassesOnRefusals(t *testing.T) {
	s := clienttest.NewServer()
	s.Refuse(clienttest.ErrRefused)
	_, err := clienttest.NewNetwork(s.Dial).Dial(context.Background())
	require.ErrorIs(t, err, clienttest.ErrRefused)
}
