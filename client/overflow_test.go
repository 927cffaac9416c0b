package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// consume starts and ends a loop, after which the client expects messages to be taken.
func (d *dialogue) consume() {
	for range d.client.Messages(timeout(d.ctx, time.Millisecond)) {
	}
}

// take takes n messages and acknowledges them.
func (d *dialogue) take(n int) {
	d.Helper()
	for m, err := range d.client.Messages(timeout(d.ctx, time.Second)) {
		require.NoError(d, err)
		if n--; n == 0 {
			require.NoError(d, m.Ack())
			return
		}
	}
}

// After a full inbox was emptied, the next overflow begins with a pause again.
func TestFullInboxPausesEachTime(t *testing.T) {
	connected(t, client.Config{InboxMessages: 4, KeepAlive: time.Minute}, func(d *dialogue) {
		d.consume()
		for range 2 {
			start, dropped := time.Now(), d.client.Stats().Dropped
			for range 6 {
				require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t"}))
			}
			require.Equal(t, 8*time.Second, time.Since(start))
			synctest.Wait()
			require.EqualValues(t, 2, d.client.Stats().Dropped-dropped)
			d.take(4)
		}
	})
}

// The overflow policies for QoS 0 at the end of a pause: which messages are dropped.
func TestOverflowPolicies(t *testing.T) {
	for policy, want := range map[client.OverflowPolicy]string{client.OverflowDropOldest: "3 4 5 6 ", client.OverflowDropNewest: "1 2 3 4 "} {
		connected(t, client.Config{InboxMessages: 4, KeepAlive: time.Minute, QoS0Overflow: policy}, func(d *dialogue) {
			d.consume()
			for i := range 6 {
				require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t", Payload: fmt.Append(nil, i+1)}))
			}
			synctest.Wait()
			var got string
			for m, err := range d.client.Messages(timeout(d.ctx, time.Second)) {
				if err == nil {
					got += string(m.Payload) + " "
				}
			}
			require.Equal(t, want, got)
			require.EqualValues(t, 2, d.client.Stats().Dropped)
		})
	}
}

// Messages left to the Server for lack of room are sent again: the client closes the connection as
// soon as its own request is answered, even if the inbox is empty by then.
func TestSheddingEndsWithTheRequest(t *testing.T) {
	for _, clean := range []bool{false, true} {
		t.Run(fmt.Sprint("clean session ", clean), func(t *testing.T) {
			connected(t, client.Config{InboxMessages: 2, InboxBytes: 1024, CleanSession: clean, KeepAlive: time.Minute}, func(d *dialogue) {
				d.consume()
				done := d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) })
				d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
				for id := range uint16(7) {
					d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}})
				}
				require.EqualValues(t, 3, d.client.Stats().Session.Shed)
				require.Equal(t, 1, count(d.events, client.Shedding), "told once")
				d.take(4)
				d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
				d.send(&packets.Puback{PacketID: 1})
				require.NoError(t, done())
				d.expect("DISCONNECT")
				d.expectEnd()
				start := time.Now()
				d.accept(!clean)
				require.Less(t, time.Since(start), 2*time.Second, "it is not parked: there is room")
				for id := range uint16(3) {
					d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 5, Payload: []byte{byte(id)}, Dup: true})
					d.take(1)
					d.expect(fmt.Sprintf("PUBACK id=%d", id+5))
				}
			})
		})
	}
}

func count(events []client.Event, kind client.EventKind) (n int) {
	for _, e := range events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// Parking ends when there is room, after half a minute, or when the client has a request of its
// own. Requests made before parking do not count.
func TestParkingEnds(t *testing.T) {
	parked := func(t *testing.T, f func(d *dialogue)) {
		var log strings.Builder
		cfg := client.Config{InboxMessages: 2, InboxBytes: 1024, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		connected(t, cfg, func(d *dialogue) {
			d.consume()
			for range 2 { // requests and room of before
				done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 0, "x")) })
				d.expect(`PUBLISH "t" qos=0 size=1`)
				require.NoError(t, done())
				d.send(&packets.Publish{Topic: "t"})
				d.take(1)
			}
			for id := range uint16(5) {
				d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}})
				if id == 2 { // past the pause
					done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 0, "x")) })
					d.expect(`PUBLISH "t" qos=0 size=1`)
					require.NoError(t, done())
				}
			}
			d.expect("DISCONNECT")
			d.expectEnd()
			synctest.Wait()
			require.Equal(t, client.Parked, d.client.State())
			require.Contains(t, log.String(), `msg="disconnected until the application has taken messages" messages=`)
			f(d)
		})
	}
	t.Run("time", func(t *testing.T) {
		parked(t, func(d *dialogue) {
			start := time.Now()
			d.accept(true)
			require.Equal(t, 30*time.Second, time.Since(start))
		})
	})
	t.Run("request", func(t *testing.T) {
		parked(t, func(d *dialogue) {
			_, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
			require.NoError(t, err)
			start := time.Now()
			d.accept(true)
			require.Zero(t, time.Since(start))
			d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		})
	})
	t.Run("room", func(t *testing.T) {
		parked(t, func(d *dialogue) {
			time.Sleep(time.Second)
			d.take(3)
			start := time.Now()
			d.accept(true)
			require.Zero(t, time.Since(start))
		})
	})
	t.Run("close", func(t *testing.T) {
		parked(t, func(d *dialogue) {
			start := time.Now()
			require.NoError(t, d.client.Close(d.ctx))
			require.Zero(t, time.Since(start))
		})
	})
}

// A handler publishes ten thousand messages to its own topic, with the windows of both ends full
// and an inbox much smaller than either. It returns, and every message arrives.
func TestHandlerPublishesToItsOwnTopic(t *testing.T) {
	const messages = 10_000
	inBubble(t, client.Config{InboxMessages: 8, InboxBytes: 4096, MaxInflight: 16, MaxReconnectInterval: 10 * time.Millisecond}, func(d *dialogue) {
		got := make(map[string]bool)
		all := make(chan struct{})
		require.NoError(t, d.client.Handle("t", func(ctx context.Context, m *client.Delivery) {
			if string(m.Payload) != "go" {
				got[string(m.Payload)] = true
				if len(got) == messages {
					close(all)
				}
				return
			}
			for i := range messages {
				if err := d.client.Publish(ctx, message("t", 1, fmt.Sprint(i))); err != nil {
					panic(err)
				}
			}
		}))
		b := newEcho(100)
		go b.serve(d.ctx, d.server)
		require.NoError(t, d.client.Connect(d.ctx))
		b.publish("t", []byte("go"), 1)
		select {
		case <-all:
		case <-time.After(time.Hour):
			t.Fatalf("%d messages after an hour", len(got))
		}
		require.NoError(t, d.client.Close(d.ctx))
		b.close()
	})
}

// A message that the session holds back, because the Server closed over it twice, counts as an own
// request: a client with a full inbox stays connected until it is answered. Otherwise the message
// would wait for a lasting connection, the flow that publishes it would wait for the message, and
// the inbox for the flow.
func TestMessageHeldBackIsOutstanding(t *testing.T) {
	connected(t, client.Config{InboxMessages: 2}, func(d *dialogue) {
		d.consume()
		done := d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) })
		d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
		d.cut()
		d.accept(true)
		d.expect(`PUBLISH "out" qos=1 id=1 dup=1 size=1`)
		d.cut()
		d.accept(true)
		for id := range uint16(7) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1})
		}
		d.expect("PINGREQ")
		d.send(&packets.Pingresp{})
		d.expect(`PUBLISH "out" qos=1 id=1 dup=1 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
	})
}

// Reading pauses for at most the keep alive interval: a server whose writer is blocked may not see
// a PINGREQ, and disconnects the client after one and a half intervals.
func TestPauseWithinKeepAlive(t *testing.T) {
	connected(t, client.Config{InboxMessages: 2, KeepAlive: 3 * time.Second}, func(d *dialogue) {
		d.consume()
		start := time.Now()
		for range 3 {
			require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t"}))
		}
		require.LessOrEqual(t, time.Since(start), 3*time.Second)
		require.EqualValues(t, 1, d.client.Stats().Pauses)
	})
}

// With SkipOversize, a message that is too large is skipped: acknowledged, counted and reported.
// Messages behind it are received.
func TestSkipOversize(t *testing.T) {
	connected(t, client.Config{MaxPacketSize: 1 << 20, SkipOversize: true}, func(d *dialogue) {
		large := make([]byte, 5<<20)
		for qos := range uint16(3) {
			p := &packets.Publish{Topic: "large", Payload: large, QoS: packets.QoS(qos)}
			if qos > 0 {
				p.PacketID = qos
			}
			d.send(p)
		}
		d.expect("PUBACK id=1", "PUBREC id=2")
		p := &packets.Publish{Topic: "large", Payload: large, QoS: 2, PacketID: 2, Dup: true}
		d.send(p, &packets.Pubrel{PacketID: 2}, &packets.Publish{Topic: "small", QoS: 1, PacketID: 3, Payload: []byte("x")})
		d.expect("PUBREC id=2", "PUBCOMP id=2")
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			require.Equal(t, "small", m.Topic)
			break
		}
		s := d.client.Stats()
		require.EqualValues(t, 3, s.Skipped)
		require.EqualValues(t, 1, s.Session.Redelivered)
		require.Equal(t, 3, count(d.events, client.MessageSkipped))
		require.Equal(t, client.Connected, d.client.State())

		// Only a PUBLISH may be so large.
		d.conn.Write([]byte{0x90, 0xff, 0xff, 0xff, 0x7f})
		d.expectEnd()
	})
}

// The first bytes of a message that is too large may arrive together with a message before it.
func TestSkipOversizeInABatch(t *testing.T) {
	connected(t, client.Config{MaxPacketSize: 1 << 20, SkipOversize: true}, func(d *dialogue) {
		var in []byte
		for _, p := range []*packets.Publish{
			{Topic: "small", QoS: 1, PacketID: 1, Payload: []byte("x")},
			{Topic: "large", QoS: 1, PacketID: 2, Payload: make([]byte, 5<<20)},
			{Topic: "large", Payload: make([]byte, 5<<20)},
			{Topic: "last", QoS: 1, PacketID: 3, Payload: []byte("y")},
		} {
			var err error
			in, err = p.AppendBinary(in)
			require.NoError(t, err)
		}
		go d.conn.Write(in)
		var topics []string
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			if topics = append(topics, m.Topic); m.Topic == "last" {
				require.NoError(t, m.Ack())
				break
			}
		}
		require.Equal(t, []string{"small", "last"}, topics)
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		require.EqualValues(t, 2, d.client.Stats().Skipped)
	})
}

// While an own request is outstanding, small messages are kept beyond twice InboxMessages as long
// as they fit in InboxBytes: the answer may be behind a whole window. Leaving them to the Server
// would cost a reconnect, and all of them would be sent again.
func TestReadsOnToTheAnswer(t *testing.T) {
	connected(t, client.Config{InboxMessages: 4}, func(d *dialogue) {
		d.consume()
		done := d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) })
		d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
		for id := range uint16(1024) {
			require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: make([]byte, 1024)}))
		}
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		n, _ := d.client.Backlog()
		require.Equal(t, 1024, n)
		require.Zero(t, d.client.Stats().Session.Shed)
		d.take(1)
		d.expect("PUBACK id=1")
	})
}

// A client that reconnects with a full inbox takes no new message, but recognises those that it
// has, and acknowledges them when they are done.
func TestFullInboxKnowsWhatComesAgain(t *testing.T) {
	connected(t, client.Config{InboxMessages: 2, InboxBytes: 1024, ManualAck: true}, func(d *dialogue) {
		var taken []*client.Delivery
		publish := func(dup bool, ids ...uint16) {
			for _, id := range ids {
				d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id, Payload: []byte{byte(id)}, Dup: dup})
			}
		}
		publish(false, 1, 2)
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			if taken = append(taken, m); len(taken) == 2 {
				break
			}
		}
		publish(false, 3, 4, 5, 6, 7)
		d.expect("DISCONNECT")
		d.expectEnd()
		require.NoError(t, taken[0].Ack())
		d.accept(true)
		publish(true, 1, 2, 3, 4)
		require.NoError(t, taken[1].Ack())
		d.expect("PUBACK id=1", "PUBACK id=2")
		publish(true, 5, 6)
		d.expectNothing(time.Second)
		require.EqualValues(t, 5, d.client.Stats().Session.Adopted)
		publish(true, 7)
		d.expect("DISCONNECT")
		d.expectEnd()
	})
}

// A client that left messages to the Server because of an own request stays connected until it has
// room for them: meanwhile its requests are answered at once.
func TestSheddingEndsWithRoom(t *testing.T) {
	connected(t, client.Config{InboxMessages: 2, InboxBytes: 1024}, func(d *dialogue) {
		d.consume()
		publish := func(id uint16) {
			done := d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) })
			d.expect(fmt.Sprintf(`PUBLISH "out" qos=1 id=%d dup=0 size=1`, id))
			for i := range uint16(5) {
				d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 5*id + i, Payload: []byte{byte(i)}})
			}
			d.send(&packets.Puback{PacketID: id})
			require.NoError(t, done())
		}
		publish(1)
		publish(2)
		publish(3)
		require.EqualValues(t, 11, d.client.Stats().Session.Shed)
		require.Equal(t, 1, count(d.events, client.Shedding))
		d.take(2)
		d.expect("PUBACK id=5", "PUBACK id=6")
		publish(4)
		d.take(1) // one is left, which is half the inbox
		d.expect("DISCONNECT")
		d.expectEnd()
		start := time.Now()
		d.accept(true)
		require.Less(t, time.Since(start), 2*time.Second, "it is not parked: there is room")
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 7, Payload: []byte{2}, Dup: true})
		d.expect("PUBACK id=7")
	})
}

// A continuous series of own requests does not keep a client from fetching messages that it left to
// the Server: when there is room, new requests wait for the next connection.
func TestSheddingEndsThoughRequestsDoNot(t *testing.T) {
	connected(t, client.Config{InboxMessages: 2, InboxBytes: 1024}, func(d *dialogue) {
		d.consume()
		var done []func() error
		publish := func() {
			done = append(done, d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) }))
			synctest.Wait()
		}
		publish()
		d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
		for id := range uint16(5) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}})
		}
		require.EqualValues(t, 1, d.client.Stats().Session.Shed)
		publish()
		d.expect(`PUBLISH "out" qos=1 id=2 dup=0 size=1`)
		d.take(4)
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
		publish()
		d.send(&packets.Puback{PacketID: 1})
		publish()
		d.send(&packets.Puback{PacketID: 2})
		d.expect("DISCONNECT")
		d.expectEnd()
		start := time.Now()
		d.accept(true)
		require.Zero(t, time.Since(start))
		d.expect(`PUBLISH "out" qos=1 id=3 dup=0 size=1`, `PUBLISH "out" qos=1 id=4 dup=0 size=1`)
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 5, Payload: []byte{4}, Dup: true}, &packets.Puback{PacketID: 3}, &packets.Puback{PacketID: 4})
		d.take(1)
		d.expect("PUBACK id=5")
		for _, done := range done {
			require.NoError(t, done())
		}
	})
}

// While a client that left messages to the Server has no room, its own requests are sent, because the
// application may need their answers to make room. They once waited for the next connection, because there had
// been room for a moment, and the next connection waited for room.
func TestSheddingGoesOnWithoutRoom(t *testing.T) {
	type request struct {
		ask    func(d *dialogue) error
		text   string
		answer packets.Packet
	}
	requests := map[string]request{
		"publish": {
			func(d *dialogue) error { return d.client.Publish(d.ctx, message("out", 1, "x")) },
			`PUBLISH "out" qos=1 id=2 dup=0 size=1`, &packets.Puback{PacketID: 2},
		},
		"publish at QoS 2": {
			func(d *dialogue) error { return d.client.Publish(d.ctx, message("out", 2, "x")) },
			`PUBLISH "out" qos=2 id=2 dup=0 size=1`, &packets.Pubrec{PacketID: 2},
		},
		"subscribe": {
			func(d *dialogue) error {
				_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "t", QoS: 1})
				return err
			},
			`SUBSCRIBE id=32768 "t":1`, &packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{1}},
		},
	}
	for name, r := range requests {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", after the answer ", late), func(t *testing.T) {
				connected(t, client.Config{InboxMessages: 2, InboxBytes: 1024, NoScrub: true}, func(d *dialogue) {
					d.consume()
					first := d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) })
					d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
					for id := range uint16(5) {
						d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}})
					}
					d.take(4) // there is room
					d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
					for range 2 {
						d.send(&packets.Publish{Topic: "t"}) // there is none any more
					}
					var second func() error
					if !late {
						second = d.start(func() error { return r.ask(d) })
						synctest.Wait()
					}
					d.send(&packets.Puback{PacketID: 1})
					require.NoError(t, first())
					if late {
						second = d.start(func() error { return r.ask(d) })
					}
					d.expect(r.text)
					d.send(r.answer)
					if _, ok := r.answer.(*packets.Pubrec); ok {
						d.expect("PUBREL id=2")
						d.send(&packets.Pubcomp{PacketID: 2})
					}
					require.NoError(t, second())
					d.take(2)
					d.expect("DISCONNECT")
					d.expectEnd()
					d.accept(true)
					d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 5, Payload: []byte{4}, Dup: true})
					d.take(1)
					d.expect("PUBACK id=5")
				})
			})
		}
	}
}

// Close completes accepted messages, including those that wait for the next connection because
// messages were left to the Server.
func TestCloseWhileShedding(t *testing.T) {
	connected(t, client.Config{InboxMessages: 2, InboxBytes: 1024}, func(d *dialogue) {
		d.consume()
		first := d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) })
		d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
		for id := range uint16(5) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}})
		}
		d.take(4)
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
		second := d.start(func() error { return d.client.Publish(d.ctx, message("out", 1, "x")) })
		synctest.Wait()
		closed := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect(`PUBLISH "out" qos=1 id=2 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		d.send(&packets.Puback{PacketID: 2})
		d.expect("DISCONNECT")
		d.conn.Close()
		require.NoError(t, first())
		require.NoError(t, second())
		require.NoError(t, closed())
	})
}

// A server whose window is larger than the inbox stops when its window is full: a client with a
// slow application stays connected as long as the window fits in InboxBytes.
func TestWindowWiderThanTheInbox(t *testing.T) {
	connected(t, client.Config{InboxMessages: 4, KeepAlive: time.Minute}, func(d *dialogue) {
		d.consume()
		const window = 1024
		for id := range uint16(window) {
			require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: make([]byte, 1024)}))
		}
		d.expectNothing(30 * time.Second)
		for id := range uint16(window) {
			d.take(1)
			d.expect(fmt.Sprintf("PUBACK id=%d", id+1))
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: window + id + 1, Payload: make([]byte, 1024)})
		}
		require.Equal(t, client.Connected, d.client.State())
		require.EqualValues(t, 1, d.client.Stats().Pauses)
	})
}
