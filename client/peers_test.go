package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// What other clients were seen to do, by the numbers of docs/hazards.md. The scenarios
// that are hazards as well have their tests under those names.

// T4: a CONNACK with a reserved code is a refusal, with its number.
func TestT4ReservedConnackCode(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		d.conn = conn
		_, err = conn.Receive()
		require.NoError(t, err)
		conn.Write([]byte{0x20, 2, 0, 6})
		var refused *client.RefusedError
		require.ErrorAs(t, up(), &refused)
		require.EqualValues(t, 6, refused.Code)
		synctest.Wait()
		require.NotContains(t, kinds(d.events), client.ConnectionUp)
	})
}

// T5 and T6: a time-out of zero is the default, not at once.
func TestT5T6ZeroTimeouts(t *testing.T) {
	connected(t, client.Config{ConnectTimeout: 0, PingTimeout: 0, KeepAlive: 20 * time.Second}, func(d *dialogue) {
		d.expect("PINGREQ")
		time.Sleep(9 * time.Second)
		require.Equal(t, client.Connected, d.client.State())
		d.send(&packets.Pingresp{})
		time.Sleep(5 * time.Second)
		require.Equal(t, client.Connected, d.client.State())
	})
}

// T7: a SUBACK with a code too many, or too few, ends the connection and nothing else.
func TestT7SubackWithWrongNumberOfCodes(t *testing.T) {
	for _, codes := range [][]packets.SubscribeCode{{0}, {0, 0, 0}} {
		connected(t, client.Config{}, func(d *dialogue) {
			done := d.start(func() error {
				_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"}, packets.Subscription{Filter: "b"})
				return err
			})
			d.expect(`SUBSCRIBE id=32768 "a":0 "b":0`)
			d.send(&packets.Suback{PacketID: 32768, Codes: codes})
			d.expectEnd()
			d.accept(true)
			d.expect(`SUBSCRIBE id=32769 "a":0 "b":0`)
			d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{0, 0}})
			require.NoError(t, done())
		})
	}
}

// T8: without a will no bit of it is set.
func TestT8NoWillNoBits(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		d.conn = conn
		var b [64]byte
		_, err = conn.Read(b[:])
		require.NoError(t, err)
		require.Equal(t, byte(0), b[9], "connect flags of a kept session without anything else")
		d.send(&packets.Connack{})
		require.NoError(t, up())
	})
}

// T9: QoS 0 before the first connection is an error at once, and never waits for ever.
func TestT9QoS0BeforeTheFirstConnection(t *testing.T) {
	inBubble(t, client.Config{ConnectRetry: true}, func(d *dialogue) {
		d.server.Refuse(errors.New("not yet"))
		up := d.start(func() error { return d.client.Connect(timeout(d.ctx, time.Minute)) })
		synctest.Wait()
		require.ErrorIs(t, d.client.Publish(d.ctx, message("t", 0, "x")), client.ErrNotConnected)
		require.Error(t, up())
	})
}

// T16: nothing is re-sent into a clean session; what is published anew is new.
func TestT16CleanSessionResendsNothing(t *testing.T) {
	connected(t, client.Config{CleanSession: true}, func(d *dialogue) {
		one := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		two := d.start(func() error { return d.client.Publish(d.ctx, message("t", 2, "x")) })
		d.expect(`PUBLISH "t" qos=2 id=2 dup=0 size=1`)
		d.cut()
		require.ErrorIs(t, two(), client.ErrUnknown)
		d.accept(false)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, one())
		d.expectNothing(time.Second)
	})
}

// T23: a keep alive below a second does not become 0, and too long a one is an error.
func TestT23KeepAliveIsRoundedUp(t *testing.T) {
	inBubble(t, client.Config{KeepAlive: 900 * time.Millisecond}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		require.EqualValues(t, 1, d.accept(false).KeepAlive)
		require.NoError(t, up())
	})
	_, err := client.New(client.Config{ClientID: "c", KeepAlive: 65536 * time.Second})
	require.ErrorContains(t, err, "KeepAlive")
}

// T25: what no Server takes is refused at the call, and never sent.
func TestT25WildcardIsRefusedAtTheCall(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		require.Error(t, d.client.Publish(d.ctx, message("a/#", 1, "x")))
		require.Zero(t, d.client.Stats().Unfinished)
	})
}

// T27: with two handlers for a message the acknowledgement leaves after the last.
func TestT27AcknowledgedAfterTheLastHandler(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		for _, f := range []string{"t", "#"} {
			require.NoError(t, d.client.Handle(f, func(context.Context, *client.Delivery) { time.Sleep(time.Second) }))
		}
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		start := time.Now()
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 1})
		d.expect("PUBACK id=1")
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

// T30: what is published before the first connection is sent on it, clean session or not.
func TestT30PublishBeforeTheFirstConnection(t *testing.T) {
	inBubble(t, client.Config{ConnectRetry: true, CleanSession: true}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		synctest.Wait()
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
	})
}

// T31: without reconnecting, everything ends when the connection does.
func TestT31NoReconnectEndsEverything(t *testing.T) {
	connected(t, client.Config{NoReconnect: true}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		d.cut()
		err := done()
		require.ErrorIs(t, err, client.ErrUnknown)
		require.ErrorIs(t, err, client.ErrConnectionLost)
	})
}
