package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/aedes"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// TestInteropScrub leaves a QoS 2 message under identifier 1 at the server, like a process that
// dies before PUBREL and loses its store. A new process with the same ClientID starts at 1 again.
// Unless identifiers are released first, its first message is acknowledged and never arrives; if
// they are, both messages arrive, or at least the new one.
func TestInteropScrub(t *testing.T) {
	m, err := broker.Start()
	require.NoError(t, err)
	defer m.Close()
	addrs := map[string]string{
		"mosquitto": mosquitto.Start(t, mosquitto.Options{}).Addr(),
		"aedes":     strings.TrimPrefix(aedes.Start(t).TCP, "mqtt://"),
		"mochi":     m.Addr,
		"nats":      nats.Start(t, nats.Options{}).Addr(),
	}
	for name, addr := range addrs {
		for _, scrub := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/scrub=%v", name, scrub), func(t *testing.T) {
				arrived := publishOverALeftover(t, addr, fmt.Sprintf("scrub-%v", scrub), !scrub)
				if scrub {
					require.Contains(t, arrived, "new", "the message that Publish called done has arrived")
				}
				t.Logf("arrived: %v", arrived)
			})
		}
	}
}

func publishOverALeftover(t *testing.T, addr, id string, noScrub bool) []string {
	ctx := within(t)
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
	observer, err := client.New(client.Config{Dial: dial, CleanSession: true})
	require.NoError(t, err)
	require.NoError(t, observer.Connect(ctx))
	defer observer.Abort()
	_, err = observer.Subscribe(ctx, packets.Subscription{Filter: id + "/#", QoS: 2})
	require.NoError(t, err)

	leaveBehind(t, dial, id)
	c, err := client.New(client.Config{Dial: dial, ClientID: id, NoScrub: noScrub})
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	require.NoError(t, c.Publish(ctx, client.Message{Topic: id + "/t", Payload: []byte("new"), QoS: 2}))
	require.NoError(t, c.Publish(ctx, client.Message{Topic: id + "/end", Payload: []byte("end"), QoS: 2}))
	require.NoError(t, c.Close(ctx))

	var arrived []string
	for m, err := range observer.Messages(ctx) {
		require.NoError(t, err)
		if string(m.Payload) == "end" {
			return arrived
		}
		arrived = append(arrived, string(m.Payload))
	}
	return nil
}

// leaveBehind publishes at QoS 2 packet by packet, and leaves after PUBREC.
func leaveBehind(t *testing.T, dial func(context.Context) (net.Conn, error), id string) {
	conn, err := dial(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	var b []byte
	for _, p := range []packets.Packet{
		&packets.Connect{ClientID: id, KeepAlive: 60},
		&packets.Publish{Topic: id + "/t", Payload: []byte("old"), QoS: 2, PacketID: 1},
	} {
		b, err = p.AppendBinary(b)
		require.NoError(t, err)
	}
	_, err = conn.Write(b)
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 4+4)) // CONNACK and PUBREC
	require.NoError(t, err)
}
