package client_test

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Stats counts what happens to connections, and the packets on them.
func TestStatsCountConnectionsAndPackets(t *testing.T) {
	cfg := client.Config{ConnectRetry: true, ConnectRetryInterval: time.Second, KeepAlive: -1, MaxReconnectInterval: time.Second}
	inBubble(t, cfg, func(d *dialogue) {
		connected := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(d, err)
		_, err = conn.Receive()
		require.NoError(d, err)
		require.NoError(d, conn.Send(&packets.Connack{Code: packets.NotAuthorized}))
		conn.Close()
		d.accept(false)
		require.NoError(d, connected())

		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 7, Payload: []byte("hello")})
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(d, err)
			require.NoError(d, m.Ack())
			break
		}
		d.expect("PUBACK id=7")
		d.cut()
		d.accept(true)

		s := d.client.Stats()
		require.EqualValues(d, 3, s.Attempts)
		require.EqualValues(d, 1, s.Failures)
		require.EqualValues(d, 1, s.Refused)
		require.EqualValues(d, 2, s.Connects)
		require.EqualValues(d, 1, s.Reconnects)
		require.EqualValues(d, 1, s.Resumed)
		require.EqualValues(d, 3, s.PacketsSent[packets.CONNECT])
		require.EqualValues(d, 1, s.PacketsSent[packets.PUBACK])
		require.EqualValues(d, 3, s.PacketsReceived[packets.CONNACK])
		require.EqualValues(d, 1, s.PacketsReceived[packets.PUBLISH])
		require.EqualValues(d, 3*4+12, s.BytesReceived, "CONNACK is 4 bytes, the PUBLISH 12")
		require.EqualValues(d, 3*15+4, s.BytesSent, "CONNECT is 15 bytes, PUBACK 4")
	})
}
