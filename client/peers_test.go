package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Faults observed in other clients, under the numbers of docs/hazards.md. Those that are hazards as
// well have their tests under those names.

// T4: a CONNACK with a reserved code is a refusal with that code.
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

// T5 and T6: a timeout of zero means the default, not an immediate timeout.
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

// T8: without a will, none of its bits is set.
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

// T9: publishing QoS 0 before the first connection fails at once and never waits.
func TestT9QoS0BeforeTheFirstConnection(t *testing.T) {
	inBubble(t, client.Config{ConnectRetry: true}, func(d *dialogue) {
		d.server.Refuse(errors.New("not yet"))
		up := d.start(func() error { return d.client.Connect(timeout(d.ctx, time.Minute)) })
		synctest.Wait()
		require.ErrorIs(t, d.client.Publish(d.ctx, message("t", 0, "x")), client.ErrNotConnected)
		require.Error(t, up())
	})
}

// T16: nothing is sent again in a clean session; a message that is published anew is new.
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

// T23: a keep alive below a second does not become 0, and one that is too long is an error.
func TestT23KeepAliveIsRoundedUp(t *testing.T) {
	inBubble(t, client.Config{KeepAlive: 900 * time.Millisecond}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		require.EqualValues(t, 1, d.accept(false).KeepAlive)
		require.NoError(t, up())
	})
	_, err := client.New(client.Config{ClientID: "c", KeepAlive: 65536 * time.Second})
	require.ErrorContains(t, err, "KeepAlive")
}

// T25: a topic that no Server accepts is refused by the call and never sent.
func TestT25WildcardIsRefusedAtTheCall(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		require.Error(t, d.client.Publish(d.ctx, message("a/#", 1, "x")))
		require.Zero(t, d.client.Stats().Unfinished)
	})
}

// T27: with two handlers for a message, the acknowledgement is sent after the last has returned.
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

// T30: a message published before the first connection is sent on it, in a clean session or not.
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

// T31: without reconnecting, every call ends when the connection does.
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

// T1, T2, T3, T10: results, PUBREL, copies and order across reconnects, all in one conversation.
// Hazards 12, 14, 15 and 16 test them one by one.
func TestT1T2T3T10AcrossReconnects(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		var results []func() error
		for _, qos := range []packets.QoS{2, 1, 1, 2} {
			results = append(results, d.start(func() error { return d.client.Publish(d.ctx, message("t", qos, "x")) }))
			synctest.Wait()
		}
		d.expect(`PUBLISH "t" qos=2 id=1 dup=0 size=1`, `PUBLISH "t" qos=1 id=2 dup=0 size=1`,
			`PUBLISH "t" qos=1 id=3 dup=0 size=1`, `PUBLISH "t" qos=2 id=4 dup=0 size=1`)
		d.send(&packets.Pubrec{PacketID: 1}, &packets.Publish{Topic: "in", QoS: 2, PacketID: 9})
		d.expect("PUBREL id=1")
		n, _ := d.client.Backlog()
		require.Equal(t, 1, n)
		d.cut()
		d.accept(true)
		d.expect("PUBREL id=1", `PUBLISH "t" qos=1 id=2 dup=1 size=1`, `PUBLISH "t" qos=1 id=3 dup=1 size=1`, `PUBLISH "t" qos=2 id=4 dup=1 size=1`)
		d.send(&packets.Publish{Topic: "in", QoS: 2, PacketID: 9, Dup: true})
		n, _ = d.client.Backlog()
		require.Equal(t, 1, n, "the copy is known")
		d.send(&packets.Pubcomp{PacketID: 1}, &packets.Puback{PacketID: 2}, &packets.Puback{PacketID: 3}, &packets.Pubrec{PacketID: 4})
		d.expect("PUBREL id=4")
		d.send(&packets.Pubcomp{PacketID: 4})
		for _, result := range results {
			require.NoError(t, result())
		}
	})
}

// T11: the refusal of one server does not change the CONNECT that the next one gets.
func TestT11TheSecondServerGetsTheSameConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := clienttest.NewServer(), clienttest.NewServer()
		c, err := client.New(client.Config{
			ClientID: "c", Dial: first.Dial, Fallbacks: []func(context.Context) (net.Conn, error){second.Dial},
		})
		require.NoError(t, err)
		var hellos []string
		for _, s := range []*clienttest.Server{first, second} {
			go func() {
				conn, err := s.Accept(t.Context())
				if err != nil {
					return
				}
				defer conn.Close()
				p, err := conn.Receive() // a Reader that takes 3.1.1 only
				if err != nil {
					return
				}
				hellos = append(hellos, p.String())
				if s == first {
					conn.Send(&packets.Connack{Code: packets.BadUserNameOrPassword})
					return
				}
				conn.Send(&packets.Connack{})
				conn.Receive()
			}()
		}
		require.NoError(t, c.Connect(t.Context()))
		require.Len(t, hellos, 2)
		require.Equal(t, hellos[0], hellos[1])
		c.Abort()
	})
}

// T14 and T15: one goroutine per connection (TestIdleGoroutines), and one read for many messages.
func TestT15OneReadForManyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := clienttest.NewServer()
		reads := 0
		c, err := client.New(client.Config{ClientID: "c", Dial: func(ctx context.Context) (net.Conn, error) {
			conn, err := server.Dial(ctx)
			return &counted{conn, &reads}, err
		}})
		require.NoError(t, err)
		d := &dialogue{T: t, ctx: t.Context(), server: server, client: c}
		up := d.start(func() error { return c.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		reads = 0
		batch := make([]packets.Packet, 100)
		for i := range batch {
			batch[i] = &packets.Publish{Topic: "a/topic", Payload: make([]byte, 50)}
		}
		d.send(batch...)
		require.EqualValues(t, 100, c.Stats().Received)
		require.Less(t, reads, 10)
		c.Abort()
	})
}

// A counted connection counts its reads.
type counted struct {
	net.Conn
	reads *int
}

func (c *counted) Read(b []byte) (int, error) {
	*c.reads++
	return c.Conn.Read(b)
}

// T20: messages from the Store are sent before those that the program publishes as soon as it is
// connected, and are not replaced by them.
func TestT20StoredBeforeNew(t *testing.T) {
	disk := newDisk()
	connected(t, client.Config{Store: disk, NoScrub: true}, func(d *dialogue) {
		_, err := d.client.PublishAsync(d.ctx, message("old", 1, "x"))
		require.NoError(t, err)
		d.expect(`PUBLISH "old" qos=1 id=1 dup=0 size=1`)
	})
	var c *client.Client
	inBubble(t, client.Config{Store: disk.crashed(), NoScrub: true, OnEvent: func(e client.Event) {
		if e.Kind == client.ConnectionUp {
			c.PublishAsync(context.Background(), message("new", 1, "y"))
		}
	}}, func(d *dialogue) {
		c = d.client
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(true)
		require.NoError(t, up())
		d.expect(`PUBLISH "old" qos=1 id=1 dup=1 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		p, err := d.conn.Receive()
		require.NoError(t, err)
		require.Equal(t, "new", p.(*packets.Publish).Topic)
	})
}
