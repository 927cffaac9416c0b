package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// docs/hazards.md lists the problems that users of MQTT clients have; each row names its test.

// Hazard 4: after sleep, the client sends one more PINGREQ before it gives up the connection. The
// session has the test, in session/testdata/07_keep_alive.txt.

// Hazard 8: calls in any order from any goroutine while connections are cut cause no panic and no
// race, and every call returns.
func TestHazard8Stress(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 8))
		synctest.Test(t, func(t *testing.T) {
			server := clienttest.NewServer()
			ctx, cancel := context.WithCancel(t.Context())
			go hospitable(ctx, server, r)
			c, err := client.New(client.Config{Dial: server.Dial, ClientID: "c", ConnectRetry: true, MaxReconnectInterval: 10 * time.Millisecond})
			require.NoError(t, err)
			var all sync.WaitGroup
			started, ended := 0, 0
			var mu sync.Mutex
			for i := range 8 {
				calls := rand.New(rand.NewPCG(seed, uint64(i)))
				all.Add(1)
				go func() {
					defer all.Done()
					for range 20 {
						opCtx, opCancel := context.WithTimeout(ctx, time.Duration(calls.IntN(50))*time.Millisecond)
						mu.Lock()
						started++
						mu.Unlock()
						switch calls.IntN(6) {
						case 0, 1, 2:
							c.Publish(opCtx, message("t", packets.QoS(calls.IntN(3)), "x"))
						case 3:
							c.Subscribe(opCtx, packets.Subscription{Filter: fmt.Sprint(calls.IntN(3))})
						case 4:
							c.Unsubscribe(opCtx, fmt.Sprint(calls.IntN(3)))
						case 5:
							for range c.Messages(opCtx) {
							}
						}
						mu.Lock()
						ended++
						mu.Unlock()
						opCancel()
					}
				}()
			}
			c.Connect(ctx)
			all.Wait()
			c.Close(ctx)
			require.Equal(t, started, ended)
			cancel()
			synctest.Wait()
		})
	}
}

// hospitable is a server that answers every packet, and cuts connections at random.
func hospitable(ctx context.Context, server *clienttest.Server, r *rand.Rand) {
	for {
		conn, err := server.Accept(ctx)
		if err != nil {
			return
		}
		conn.Handshake(r.IntN(2) == 0)
		for range r.IntN(40) {
			conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			p, err := conn.Receive()
			if err != nil {
				break
			}
			answer(conn, p)
		}
		conn.Close()
	}
}

func answer(conn *clienttest.Conn, p packets.Packet) {
	switch p := p.(type) {
	case *packets.Publish:
		switch p.QoS {
		case packets.AtLeastOnce:
			conn.Send(&packets.Puback{PacketID: p.PacketID})
		case packets.ExactlyOnce:
			conn.Send(&packets.Pubrec{PacketID: p.PacketID})
		}
	case *packets.Pubrel:
		conn.Send(&packets.Pubcomp{PacketID: p.PacketID})
	case *packets.Subscribe:
		conn.Send(&packets.Suback{PacketID: p.PacketID, Codes: make([]packets.SubscribeCode, len(p.Subscriptions))})
	case *packets.Unsubscribe:
		conn.Send(&packets.Unsuback{PacketID: p.PacketID})
	case *packets.Pingreq:
		conn.Send(&packets.Pingresp{})
	}
}

// Hazard 10: one state, and events with reasons.
func TestHazard10States(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		require.Equal(t, client.Idle, d.client.State())
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		synctest.Wait()
		require.Equal(t, client.Connecting, d.client.State())
		d.accept(false)
		require.NoError(t, up())
		require.Equal(t, client.Connected, d.client.State())
		d.server.Refuse(clienttest.ErrRefused)
		d.cut()
		require.Equal(t, client.Waiting, d.client.State())
		d.client.Abort()
		require.Equal(t, client.Closed, d.client.State())
		synctest.Wait()
		require.Equal(t, []client.EventKind{
			client.Attempting, client.ConnectionUp, client.ConnectionLost, client.WaitingToReconnect, client.ClientClosed,
		}, kinds(d.events)[:5])
	})
}

// Hazard 11: the loss of a connection is reported while a handler blocks.
func TestHazard11LossIsToldWhileAHandlerBlocks(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		require.NoError(t, d.client.Handle("#", func(ctx context.Context, _ *client.Delivery) { <-ctx.Done() }))
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		d.send(&packets.Publish{Topic: "t"})
		d.cut()
		require.Contains(t, kinds(d.events), client.ConnectionLost)
	})
}

// Hazard 14: PUBREC is followed by PUBREL, never by PUBLISH, whatever Session Present says.
func TestHazard14PublishIsNotReplayed(t *testing.T) {
	for _, sp := range []bool{true, false} {
		connected(t, client.Config{}, func(d *dialogue) {
			done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 2, "x")) })
			d.expect(`PUBLISH "t" qos=2 id=1 dup=0 size=1`)
			d.send(&packets.Pubrec{PacketID: 1})
			d.cut()
			d.accept(sp)
			d.expect("PUBREL id=1")
			d.send(&packets.Pubcomp{PacketID: 1})
			require.NoError(t, done())
		})
	}
}

// Hazards 15 and 23: a QoS 2 message is delivered once, and PUBREC waits for its acknowledgement by
// the application.
func TestHazard15Hazard23IncomingQoS2(t *testing.T) {
	connected(t, client.Config{ManualAck: true}, func(d *dialogue) {
		first := &packets.Publish{Topic: "t", QoS: 2, PacketID: 5, Payload: []byte("x")}
		again := &packets.Publish{Topic: "t", QoS: 2, PacketID: 5, Payload: []byte("x"), Dup: true}
		d.send(first, again)
		var m *client.Delivery
		for m = range d.client.Messages(d.ctx) {
			break
		}
		d.expectNothing(time.Second)
		require.NoError(t, m.Ack())
		d.expect("PUBREC id=5")
		d.send(again)
		d.expect("PUBREC id=5")
		d.send(&packets.Pubrel{PacketID: 5})
		d.expect("PUBCOMP id=5")
		n, _ := d.client.Backlog()
		require.Zero(t, n)
		require.EqualValues(t, 2, d.client.Stats().Session.Redelivered)
	})
}

// Hazard 17: an acknowledgement of the wrong kind completes nothing.
func TestHazard17WrongAcknowledgement(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		subscribed := d.start(func() error {
			_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"})
			return err
		})
		d.expect(`SUBSCRIBE id=32768 "a":0`)
		d.send(&packets.Puback{PacketID: 32768}, &packets.Unsuback{PacketID: 32768}, &packets.Pubcomp{PacketID: 32768})
		require.EqualValues(t, 3, d.client.Stats().Session.UnexpectedAcks)
		d.send(&packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{0}})
		require.NoError(t, subscribed())
	})
}

// Hazard 19: after a lost session, old incoming identifiers have no meaning.
func TestHazard19SessionLost(t *testing.T) {
	connected(t, client.Config{ManualAck: true}, func(d *dialogue) {
		d.send(&packets.Publish{Topic: "t", QoS: 2, PacketID: 5, Payload: []byte("x")})
		var m *client.Delivery
		for m = range d.client.Messages(d.ctx) {
			break
		}
		require.NoError(t, m.Ack())
		d.expect("PUBREC id=5")
		d.cut()
		d.accept(false)
		d.send(&packets.Publish{Topic: "t", QoS: 2, PacketID: 5, Payload: []byte("x")})
		n, _ := d.client.Backlog()
		require.Equal(t, 1, n, "a new message under an old identifier")
		require.Contains(t, kinds(d.events), client.EventKind("session lost"))
	})
}

// Hazard 24: messages sent again after a reconnect respect the window, and pings are not delayed by
// them.
func TestHazard24ResumeKeepsToTheWindow(t *testing.T) {
	connected(t, client.Config{MaxInflight: 4, KeepAlive: 10 * time.Second, QueueMessages: -1}, func(d *dialogue) {
		d.cut()
		for range 100 {
			_, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
			require.NoError(t, err)
		}
		d.accept(true)
		for id := range 4 {
			d.expect(fmt.Sprintf(`PUBLISH "t" qos=1 id=%d dup=0 size=1`, id+1))
		}
		d.expectNothing(8 * time.Second)
		d.expect("PINGREQ")
		d.send(&packets.Pingresp{}, &packets.Puback{PacketID: 1})
		d.expect(`PUBLISH "t" qos=1 id=5 dup=0 size=1`)
	})
}

// Hazard 28: the queue is bounded in messages and bytes, and its depth can be seen.
func TestHazard28QueueIsBounded(t *testing.T) {
	connected(t, client.Config{QueueBytes: 10}, func(d *dialogue) {
		d.cut()
		_, err := d.client.PublishAsync(d.ctx, message("t", 1, "12345"))
		require.NoError(t, err)
		_, err = d.client.PublishAsync(timeout(d.ctx, time.Second), message("t", 1, "12345"))
		require.ErrorIs(t, err, client.ErrQueueFull)
		s := d.client.Stats()
		require.Equal(t, 1, s.Unfinished)
		require.Equal(t, 6, s.UnfinishedBytes)
	})
}

// Hazard 30: a message over which the Server keeps closing the connection is given up; the others
// are delivered.
func TestHazard30PoisonOutgoing(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		bad := d.start(func() error { return d.client.Publish(d.ctx, message("bad", 1, "x")) })
		d.expect(`PUBLISH "bad" qos=1 id=1 dup=0 size=1`)
		good := d.start(func() error { return d.client.Publish(d.ctx, message("good", 1, "x")) })
		d.expect(`PUBLISH "good" qos=1 id=2 dup=0 size=1`)
		d.cut()
		d.accept(true)
		d.expect(`PUBLISH "bad" qos=1 id=1 dup=1 size=1`)
		d.cut()
		d.accept(true)
		d.expect("PINGREQ")
		d.send(&packets.Pingresp{})
		d.expect(`PUBLISH "bad" qos=1 id=1 dup=1 size=1`)
		d.cut()
		err := bad()
		require.ErrorIs(t, err, client.ErrPoison)
		require.False(t, client.SafeToRetry(err))
		d.accept(true)
		d.expect(`PUBLISH "good" qos=1 id=2 dup=1 size=1`)
		d.send(&packets.Puback{PacketID: 2})
		require.NoError(t, good())
	})
}

// A message that makes the Server close costs three connections, but no growing pauses: each further one
// is given up as fast as the first.
func TestPoisonCostsNoPauses(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		var took []time.Duration
		for id := range 10 {
			start := time.Now()
			bad := d.start(func() error { return d.client.Publish(d.ctx, message("bad", 1, "x")) })
			for dup := range 3 {
				if dup == 2 { // it stands alone
					d.expect("PINGREQ")
					d.send(&packets.Pingresp{})
				}
				d.expect(fmt.Sprintf(`PUBLISH "bad" qos=1 id=%d dup=%d size=1`, id+1, min(dup, 1)))
				d.cut()
				if dup < 2 {
					d.accept(true)
				}
			}
			require.ErrorIs(t, bad(), client.ErrPoison)
			d.accept(true)
			took = append(took, time.Since(start))
		}
		require.Less(t, slices.Max(took), 5*time.Second, "%v", took)
	})
}

// Hazard 33: each attempt sends one CONNECT, for 3.1.1 and no other version.
func TestHazard33OneConnectPerAttempt(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		d.conn = conn
		_, err = conn.Receive() // a Reader that takes 3.1.1 only
		require.NoError(t, err)
		require.NoError(t, conn.Send(&packets.Connack{Code: packets.BadUserNameOrPassword}))
		d.expectEnd()
		require.Error(t, up())
		require.Equal(t, 1, d.server.Dials())
	})
}

// Hazards 40 and 41: messages are routed by matching filters, not by subscription, and shared
// subscriptions are supported.
func TestHazard40Hazard41Routing(t *testing.T) {
	got := make(map[string][]string)
	inBubble(t, client.Config{}, func(d *dialogue) {
		for _, f := range []string{"#", "a/#", "a/+", "+/b", "a", "/", "+", "$share/g/a/+", "$SYS/#", "$SYS/+",
			"$queue/q/+", "$exclusive/a/b", "$share:g:q/#", "$local/$SYS/x"} {
			require.NoError(t, d.client.Handle(f, func(_ context.Context, m *client.Delivery) {
				got[m.Topic] = append(got[m.Topic], f)
			}))
		}
		require.ErrorContains(t, d.client.Handle("a#", nil), "MQTT-4.7.1-2")
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		for _, topic := range []string{"a", "a/b", "a/", "/", "$SYS/x", "c/d/e", "q/1", "$queue/q/1", "$local/$SYS/x"} {
			d.send(&packets.Publish{Topic: topic})
		}
	})
	for topic, want := range map[string][]string{
		"a":      {"#", "a/#", "a", "+"},
		"a/b":    {"#", "a/#", "a/+", "+/b", "$share/g/a/+", "$exclusive/a/b"},
		"a/":     {"#", "a/#", "a/+", "$share/g/a/+"},
		"/":      {"#", "/"},
		"$SYS/x": {"$SYS/#", "$SYS/+", "$local/$SYS/x"},
		"c/d/e":  {"#"},

		"q/1":           {"#", "$queue/q/+", "$share:g:q/#"},
		"$queue/q/1":    {"$queue/q/+"}, // of a server that does not know the decoration
		"$local/$SYS/x": nil,
	} {
		require.ElementsMatch(t, want, got[topic], topic)
	}
}

// Hazard 42: a packet has at most FiltersPerPacket filters.
func TestHazard42FiltersPerPacket(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		var subs []packets.Subscription
		for i := range 20 {
			subs = append(subs, packets.Subscription{Filter: fmt.Sprint(i)})
		}
		done := d.start(func() error { _, err := d.client.Subscribe(d.ctx, subs...); return err })
		for i, n := range []int{8, 8, 4} {
			p, err := d.conn.Receive()
			require.NoError(t, err)
			require.Len(t, p.(*packets.Subscribe).Subscriptions, n)
			d.send(&packets.Suback{PacketID: uint16(32768 + i), Codes: make([]packets.SubscribeCode, n)})
		}
		require.NoError(t, done())
	})
}

// Hazard 47: packets that accumulate during a write share the next one.
func TestHazard47WritesAreCoalesced(t *testing.T) {
	connected(t, client.Config{MaxInflight: 100}, func(d *dialogue) {
		before := d.client.Stats().Writes
		for range 50 {
			_, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
			require.NoError(t, err)
		}
		for id := range 50 {
			d.expect(fmt.Sprintf(`PUBLISH "t" qos=1 id=%d dup=0 size=1`, id+1))
		}
		synctest.Wait()
		require.LessOrEqual(t, d.client.Stats().Writes-before, uint64(2))
	})
}

// A client whose application does not keep up parks before the Server cuts it off: it sends
// DISCONNECT, keeps the session, and reconnects when there is room. Nothing is lost.
func TestParking(t *testing.T) {
	connected(t, client.Config{InboxMessages: 4, InboxBytes: 1024}, func(d *dialogue) {
		for range d.client.Messages(timeout(d.ctx, time.Millisecond)) {
		}
		for id := range uint16(9) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}})
		}
		d.expect("DISCONNECT")
		d.expectEnd()
		synctest.Wait()
		require.Equal(t, client.Parked, d.client.State())
		consumed := d.start(func() error {
			n := 0
			for m, err := range d.client.Messages(d.ctx) {
				if err != nil || int(m.Payload[0]) != n {
					return fmt.Errorf("message %d: %v, %w", n, m, err)
				}
				if n++; n == 9 {
					return m.Ack()
				}
			}
			return nil
		})
		d.accept(true)
		for id := range uint16(9) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}, Dup: true})
		}
		for id := range 9 {
			d.expect(fmt.Sprintf("PUBACK id=%d", id+1))
		}
		require.NoError(t, consumed())
	})
}

// A write that makes no progress ends the connection, even without keep alive.
func TestWriteTimeout(t *testing.T) {
	connected(t, client.Config{KeepAlive: -1, WriteTimeout: 5 * time.Second, NoReconnect: true}, func(d *dialogue) {
		start := time.Now()
		_, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
		require.NoError(t, err)
		<-d.client.Done()
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}

// Target P13: an idle connected client has at most two goroutines.
func TestIdleGoroutines(t *testing.T) {
	b := listen(t)
	before := goroutines()
	var clients []*client.Client
	for range 50 {
		c, err := client.New(client.Config{Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", b)
		}, CleanSession: true})
		require.NoError(t, err)
		require.NoError(t, c.Connect(t.Context()))
		clients = append(clients, c)
	}
	// One on the server's side for each, in this process as well, and two of Eventually.
	require.Eventually(t, func() bool { return goroutines()-before <= 50*(1+1)+2 }, time.Minute, time.Millisecond)
	for _, c := range clients {
		c.Abort()
	}
}
