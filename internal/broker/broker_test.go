package broker

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	mochipackets "github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// A lateHook extends the time between an acknowledgement and what follows, and between the copying of a session and
// its use.
type lateHook struct{ mochi.HookBase }

func (*lateHook) Provides(b byte) bool { return b == mochi.OnPacketSent || b == mochi.OnQosDropped }

func (*lateHook) OnQosDropped(*mochi.Client, mochipackets.Packet) { time.Sleep(10 * time.Millisecond) }

func (*lateHook) OnPacketSent(_ *mochi.Client, p mochipackets.Packet, _ []byte) {
	if p.FixedHeader.Type == mochipackets.Puback {
		time.Sleep(5 * time.Millisecond)
	}
}

// An acknowledged message is not lost when its session is taken over by another connection at that
// moment.
func TestTakeover(t *testing.T) {
	b, err := Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	require.NoError(t, b.Server.AddHook(new(lateHook), nil))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	connect := func(id string, clean bool) *client.Client {
		c, err := client.New(client.Config{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", b.Addr)
			},
			ClientID: id, CleanSession: clean,
		})
		require.NoError(t, err)
		require.NoError(t, c.Connect(ctx))
		return c
	}
	c := connect("session", false)
	_, err = c.Subscribe(ctx, packets.Subscription{Filter: "a", QoS: packets.AtLeastOnce})
	require.NoError(t, err)
	require.NoError(t, c.Close(ctx))
	from := connect("publisher", true)
	defer from.Close(ctx)
	for n := range 30 {
		want := strconv.Itoa(n)
		require.NoError(t, from.Publish(ctx, client.Message{Topic: "a", Payload: []byte(want), QoS: packets.AtLeastOnce}))
		c := connect("session", false)
		for m, err := range c.Messages(ctx) {
			require.NoError(t, err)
			if string(m.Payload) == want { // the previous message comes again: it was not acknowledged
				break
			}
		}
		require.NoError(t, c.Close(ctx))
	}
}
