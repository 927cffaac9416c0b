package jetstream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A message lost on its way to a worker would come after later ones. The worker notices that its number is missing,
// and reads the partition again before it runs any of them. In this test another reader takes the message.
func TestGap(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	start(t, p.task("gateway", "gateway"))
	start(t, p.task("worker", "one"))
	p.subscribed()
	p.publish(0, 10, 1, 0)
	p.arrives(10, time.Minute)

	nc, err := nats.Connect(p.stream)
	require.NoError(t, err)
	defer nc.Close()
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), "TEST")
	require.NoError(t, err)
	// used returns the name of the consumer that has given messages; there is one, because there is one device.
	used := func() (name string) {
		list := stream.ListConsumers(t.Context())
		for info := range list.Info() {
			if info.Delivered.Consumer > 0 {
				name = info.Name
			}
		}
		return name
	}
	before := used()
	c, err := stream.Consumer(t.Context(), before)
	require.NoError(t, err)
	thief, err := c.Fetch(1, natsjs.FetchMaxWait(time.Minute))
	require.NoError(t, err)
	p.waits("the thief asks", func() bool {
		info, err := c.Info(t.Context())
		return err == nil && info.NumWaiting >= 2
	})
	p.publish(10, 20, 1, 0)
	stolen := 0
	for range thief.Messages() {
		stolen++
	}
	require.Equal(t, 1, stolen)
	got := p.arrives(30, time.Minute)
	require.Empty(t, got.disorder)
	require.NotEqual(t, before, used())
}
