package client_test

import (
	"testing"
	"testing/synctest"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Filters subscribed to before Connect are requested once, right after CONNACK. Filters from the
// Store may be replaced or unsubscribed in the same way.
func TestSubscribeBeforeConnect(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk}, func(d *dialogue) {
		done := d.start(func() error {
			_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"}, packets.Subscription{Filter: "b"})
			return err
		})
		p, err := d.conn.Receive()
		require.NoError(t, err)
		require.NoError(t, d.conn.Send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{0, 0}}))
		require.NoError(t, done())
	})
	inBubble(t, client.Config{Store: disk.crashed()}, func(d *dialogue) {
		require.ElementsMatch(t, []packets.Subscription{{Filter: "a"}, {Filter: "b"}}, d.client.Wanted())
		_, err := d.client.UnsubscribeAsync("a")
		require.NoError(t, err)
		r, err := d.client.SubscribeAsync(packets.Subscription{Filter: "b", QoS: 1}, packets.Subscription{Filter: "c", QoS: 2})
		require.NoError(t, err)
		connecting := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(true)
		require.NoError(t, connecting())
		p, err := d.conn.Receive()
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, p.(*packets.Unsubscribe).Filters)
		require.NoError(t, d.conn.Send(&packets.Unsuback{PacketID: p.(*packets.Unsubscribe).PacketID}))
		p, err = d.conn.Receive()
		require.NoError(t, err)
		require.Equal(t, []packets.Subscription{{Filter: "b", QoS: 1}, {Filter: "c", QoS: 2}}, p.(*packets.Subscribe).Subscriptions)
		require.NoError(t, d.conn.Send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{1, packets.SubscribeFailure}}))
		<-r.Done()
		granted, err := r.Granted()
		require.Equal(t, []packets.QoS{1, 0}, granted)
		require.ErrorContains(t, err, `"c"`)
	})
}

// AskAgain sends an unanswered SUBSCRIBE again: an answer to either copy counts.
func TestAskAgain(t *testing.T) {
	inBubble(t, client.Config{FiltersPerPacket: 1}, func(d *dialogue) {
		require.Zero(t, d.client.AskAgain(), "there is no connection")
		r, err := d.client.SubscribeAsync(packets.Subscription{Filter: "a", QoS: 1}, packets.Subscription{Filter: "b"})
		require.NoError(t, err)
		connecting := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, connecting())
		d.expect(`SUBSCRIBE id=32768 "a":1`, `SUBSCRIBE id=32769 "b":0`)
		d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{0}})
		require.Equal(t, []string{"a"}, d.client.Ungranted())
		require.Equal(t, 1, d.client.AskAgain())
		d.expect(`SUBSCRIBE id=32770 "a":1`)
		d.send(&packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{1}})
		require.Empty(t, d.client.Ungranted())
		<-r.Done()
		granted, err := r.Granted()
		require.NoError(t, err)
		require.Equal(t, []packets.QoS{1, 0}, granted)
		require.Zero(t, d.client.AskAgain())
	})
}

// Unacked is true until Ack, and false once the session is over.
func TestUnacked(t *testing.T) {
	connected(t, client.Config{ManualAck: true}, func(d *dialogue) {
		require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 7}, &packets.Publish{Topic: "t", QoS: 1, PacketID: 8}, &packets.Publish{Topic: "t"}))
		var got []*client.Delivery
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			if got = append(got, m); len(got) == 3 {
				break
			}
		}
		require.True(t, got[0].Unacked())
		require.NoError(t, got[0].Ack())
		d.expect("PUBACK id=7")
		require.False(t, got[0].Unacked())
		require.True(t, got[1].Unacked())
		require.False(t, got[2].Unacked(), "QoS 0")
		d.conn.Close()
		synctest.Wait()
		require.True(t, got[1].Unacked())
		d.accept(false)
		require.False(t, got[1].Unacked())
	})
}
