package interop

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

// A real server closes over three of sixty messages: those are given up within seconds, and the
// others arrive, at QoS 2 once.
func TestInteropRefusedMessages(t *testing.T) {
	t.Parallel()
	b := mosquitto.Start(t, mosquitto.Options{Config: "max_packet_size 1000"})
	for _, qos := range []packets.QoS{packets.AtLeastOnce, packets.ExactlyOnce} {
		t.Run(fmt.Sprint(qos), func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			dial, err := transport.Dialer(b.TCP, nil)
			require.NoError(t, err)
			open := func(id string) *client.Client {
				c, err := client.New(client.Config{Dial: dial, ClientID: fmt.Sprint(id, qos), MaxPacketSize: 4096})
				require.NoError(t, err)
				require.NoError(t, c.Connect(ctx))
				t.Cleanup(c.Abort)
				return c
			}
			topic := fmt.Sprint("refused/", qos)
			watcher, publisher := open("watcher"), open("publisher")
			_, err = watcher.Subscribe(ctx, packets.Subscription{Filter: topic, QoS: qos})
			require.NoError(t, err)
			begun := time.Now()
			receipts := make(map[int]*client.Receipt)
			for i := range 60 {
				m := client.Message{Topic: topic, QoS: qos, Payload: []byte{byte(i)}}
				if i%20 == 10 {
					m.Payload = make([]byte, 2000)
				}
				receipts[i], err = publisher.PublishAsync(ctx, m)
				require.NoError(t, err)
			}
			for i, r := range receipts {
				err := r.Wait(ctx)
				require.Equal(t, i%20 == 10, errors.Is(err, client.ErrPoison), "%d: %v", i, err)
			}
			t.Logf("%v, %d connections", time.Since(begun).Round(time.Millisecond), publisher.Stats().Connects)
			got := make(map[byte]int)
			for m, err := range watcher.Messages(ctx) {
				require.NoError(t, err)
				got[m.Payload[0]]++
				if len(got) == 57 {
					break
				}
			}
			for payload, n := range got {
				require.True(t, n == 1 || qos == packets.AtLeastOnce, "%d came %d times", payload, n)
			}
		})
	}
}
