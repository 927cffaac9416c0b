package benthos

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// A message is done when the promise of its QoS is kept.
func TestDoneWhenTheQoSIsKept(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.output("qos: 1\nretained: true\n")
		done := d.write("a", "b")
		d.expect("PUBLISH t/a qos=1 id=1 dup=false retain=true payload=a", "PUBLISH t/b qos=1 id=2 dup=false retain=true payload=b")
		d.send(&packets.Puback{PacketID: 1})
		d.expectNothing(time.Second)
		d.send(&packets.Puback{PacketID: 2})
		require.NoError(t, done())
	})
	inBubble(t, func(d *dialogue) {
		d.output("qos: 2\nretained_interpolated: '${! content() == \"kept\" }'\n")
		done := d.write("kept")
		d.expect("PUBLISH t/kept qos=2 id=1 dup=false retain=true payload=kept")
		d.send(&packets.Pubrec{PacketID: 1})
		d.expect("PUBREL id=1")
		d.send(&packets.Pubcomp{PacketID: 1})
		require.NoError(t, done())
	})
	inBubble(t, func(d *dialogue) {
		d.output("qos: 0\n")
		done := d.write("a")
		d.expect("PUBLISH t/a qos=0 id=0 dup=false retain=false payload=a")
		require.NoError(t, done())
	})
}

// Errors say what became of the message, and whether it caused the failure.
func TestOutputErrors(t *testing.T) {
	t.Run("the message's own", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			d.output("")
			err := d.write("#")()
			require.ErrorContains(t, err, "the message did not arrive")
			require.True(t, flow.IsPermanent(err))
		})
	})
	t.Run("one of a batch", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			d.output("")
			batch := service.MessageBatch{service.NewMessage([]byte("a")), service.NewMessage([]byte("#"))}
			index := batch.Index()
			done := d.begin(func() error { return d.out.WriteBatch(d.Context(), batch) })
			d.expect("PUBLISH t/a qos=1 id=1 dup=false retain=false payload=a")
			d.send(&packets.Puback{PacketID: 1})
			var failed *service.BatchError
			require.ErrorAs(t, done(), &failed)
			outcomes := make(map[int]bool)
			failed.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
				outcomes[i] = err == nil
				return true
			})
			require.Equal(t, map[int]bool{0: true, 1: false}, outcomes)
		})
	})
	t.Run("retained is neither", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			d.output("retained_interpolated: '${! content() }'\n")
			require.ErrorContains(t, d.write("perhaps")(), "retained_interpolated")
		})
	})
	t.Run("no answer", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			d.output("ack_timeout: 10s\n")
			begin := time.Now()
			done := d.write("a", "b")
			d.expect("PUBLISH t/a qos=1 id=1 dup=false retain=false payload=a", "PUBLISH t/b qos=1 id=2 dup=false retain=false payload=b")
			err := done()
			require.ErrorContains(t, err, "the server did not answer within 10s: the message may have arrived")
			require.True(t, flow.IsUncharged(err))
			require.Equal(t, 10*time.Second, time.Since(begin), "not once for each")
		})
	})
	t.Run("the engine ends", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			d.output("")
			ctx, cancel := context.WithCancel(d.Context())
			done := d.begin(func() error {
				return d.out.WriteBatch(ctx, service.MessageBatch{service.NewMessage([]byte("a"))})
			})
			d.expect("PUBLISH t/a qos=1 id=1 dup=false retain=false payload=a")
			cancel()
			require.ErrorContains(t, done(), "the message may have arrived")
		})
	})
	t.Run("the connection is away", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			d.output("")
			d.conn.Close()
			synctest.Wait()
			require.ErrorIs(t, d.write("a")(), service.ErrNotConnected)
			connected := d.begin(func() error { return d.out.Connect(d.Context()) })
			d.accept(false)
			require.NoError(t, connected())
			done := d.write("a")
			d.expect("PUBLISH t/a qos=1 id=1 dup=false retain=false payload=a")
			d.send(&packets.Puback{PacketID: 1})
			require.NoError(t, done())
		})
	})
	t.Run("before Connect", func(t *testing.T) {
		out, _, inFlight, err := newOutput(parsed(t, outputSpec(), "{urls: [tcp://127.0.0.1:1883], topic: t}"), service.MockResources())
		require.NoError(t, err)
		require.Equal(t, 64, inFlight)
		require.ErrorIs(t, out.WriteBatch(t.Context(), service.MessageBatch{service.NewMessage(nil)}), service.ErrNotConnected)
		require.NoError(t, out.Close(t.Context()))
	})
}

// The connection is lost while messages are in flight: they are sent again, however long the outage, which
// does not count towards the timeout.
func TestOutputThroughAnOutage(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.output("ack_timeout: 10s\n")
		done := d.write("a")
		d.expect("PUBLISH t/a qos=1 id=1 dup=false retain=false payload=a")
		d.server.Refuse(errSink)
		d.conn.Close()
		time.Sleep(10 * time.Minute)
		d.server.Refuse(nil)
		d.accept(false)
		d.expect("PUBLISH t/a qos=1 id=1 dup=false retain=false payload=a") // in a new session it is a new message
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
	})
}
