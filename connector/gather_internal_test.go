package connector

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// All connections gather reads, or none.
func TestOptionsGather(t *testing.T) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	dial := func(context.Context) (net.Conn, error) { return a, nil }
	cfg := Config{
		General:     General{BrokerURL: "127.0.0.1:1883", ClientID: "near"},
		Connections: map[string]Connection{"far": {General: General{BrokerURL: "127.0.0.1:1883", ClientID: "far"}}},
	}
	for _, gather := range []time.Duration{0, time.Millisecond} {
		c, err := New(cfg, Options{Dial: dial, Dials: map[string]func(context.Context) (net.Conn, error){"far": dial}, Gather: gather})
		require.NoError(t, err)
		for _, n := range []*connection{c.conn, c.others["far"]} {
			conn, err := n.cfg.Dial(t.Context())
			require.NoError(t, err)
			below, ok := conn.(interface{ NetConn() net.Conn })
			require.Equal(t, gather > 0, ok)
			if ok {
				require.Equal(t, a, below.NetConn())
			}
		}
	}
}
