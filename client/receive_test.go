package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

func TestMessagesAcknowledgesWhenTheLoopStepsOn(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		ctx, cancel := context.WithCancel(d.ctx)
		step := make(chan struct{})
		done := d.start(func() error {
			for m, err := range d.client.Messages(ctx) {
				if err != nil {
					return err
				}
				_ = m
				<-step
			}
			return nil
		})
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 7}, &packets.Publish{Topic: "t", QoS: 2, PacketID: 8})
		d.expectNothing(time.Second)
		step <- struct{}{}
		d.expect("PUBACK id=7")
		step <- struct{}{}
		d.expect("PUBREC id=8")
		d.send(&packets.Pubrel{PacketID: 8})
		d.expect("PUBCOMP id=8")
		cancel()
		require.ErrorIs(t, done(), context.Canceled)
	})
}

// A loop that breaks has not processed its message: the next loop gets it again.
func TestMessagesBreakGivesBack(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 7})
		for range d.client.Messages(d.ctx) {
			break
		}
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			require.Equal(t, uint16(7), m.PacketID)
			ack := d.start(m.Ack)
			d.expect("PUBACK id=7")
			require.NoError(t, ack())
			break
		}
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		for _, err := range d.client.Messages(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
	})
}

// Hazard 22: acknowledgements leave in the order of arrival; a stale one is an error and sends
// nothing.
func TestHazard22ManualAck(t *testing.T) {
	connected(t, client.Config{ManualAck: true}, func(d *dialogue) {
		var ms []*client.Delivery
		for id := range uint16(3) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 1, Payload: []byte{byte(id)}})
		}
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			if ms = append(ms, m); len(ms) == 3 {
				break
			}
		}
		require.NoError(t, ms[2].Ack())
		d.expectNothing(time.Second)
		require.NoError(t, ms[0].Ack())
		d.expect("PUBACK id=1")
		require.NoError(t, ms[1].Ack())
		d.expect("PUBACK id=2", "PUBACK id=3")
		require.ErrorIs(t, ms[1].Ack(), client.ErrStale)

		// Lost and resumed: what comes again is adopted, and no second delivery.
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 9})
		var running *client.Delivery
		for m := range d.client.Messages(d.ctx) {
			running = m
			break
		}
		d.cut()
		d.accept(true)
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 9, Dup: true})
		require.NoError(t, running.Ack())
		d.expect("PUBACK id=9")
		n, _ := d.client.Backlog()
		require.Zero(t, n)

		// Lost with the session: stale.
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 10})
		for m := range d.client.Messages(d.ctx) {
			running = m
			break
		}
		d.cut()
		d.accept(false)
		require.ErrorIs(t, running.Ack(), client.ErrStale)
		d.expectNothing(time.Second)
	})
}

// Hazard 1: a handler may publish and wait, subscribe, unsubscribe and close, while more messages
// wait behind the one that it handles.
func TestHazard1HandlersMayBlock(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		results := make(chan error, 3)
		calls := 0
		require.NoError(t, d.client.Handle("in/#", func(ctx context.Context, m *client.Delivery) {
			calls++
			switch calls {
			case 1:
				results <- d.client.Publish(ctx, message("out", 1, "x"))
			case 2:
				_, err := d.client.Subscribe(ctx, packets.Subscription{Filter: "more"})
				results <- err
			case 3:
				results <- d.client.Unsubscribe(ctx, "more")
			case 4:
				results <- d.client.Close(ctx)
			}
		}))
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		for id := range uint16(4) {
			d.send(&packets.Publish{Topic: "in/x", QoS: 1, PacketID: id + 1})
		}
		d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBACK id=1")
		require.NoError(t, <-results)
		d.expect(`SUBSCRIBE id=32768 "more":0`)
		d.send(&packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{0}})
		d.expect("PUBACK id=2")
		require.NoError(t, <-results)
		d.expect(`UNSUBSCRIBE id=32769 "more"`)
		d.send(&packets.Unsuback{PacketID: 32769})
		d.expect("PUBACK id=3")
		require.NoError(t, <-results)
		d.expect("DISCONNECT")
		d.expectEnd()
		require.NoError(t, <-results)
	})
}

// Hazard 21: messages that follow CONNACK at once reach their handlers, and those that match none
// are acknowledged and counted.
func TestHazard21UnmatchedIsAcknowledged(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		var got []string
		require.NoError(t, d.client.Handle("a/+", func(_ context.Context, m *client.Delivery) { got = append(got, m.Topic) }))
		require.NoError(t, d.client.Handle("#", func(_ context.Context, m *client.Delivery) {
			if m.Topic == "a/b" {
				got = append(got, "#")
			}
		}))
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		d.conn = conn
		_, err = conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Connack{SessionPresent: true}, &packets.Publish{Topic: "a/b", QoS: 1, PacketID: 1}, &packets.Publish{Topic: "$SYS/x", QoS: 1, PacketID: 2})
		d.expect("PUBACK id=1", "PUBACK id=2")
		require.NoError(t, up())
		require.ElementsMatch(t, []string{"a/b", "#"}, got)
		require.EqualValues(t, 1, d.client.Stats().Unmatched)
	})
}

// Hazard 20: a refused filter gives an error that names it, and the other filters are granted.
func TestHazard20RefusedFilter(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		var granted []packets.QoS
		done := d.start(func() (err error) {
			granted, err = d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a", QoS: 2}, packets.Subscription{Filter: "b"})
			return err
		})
		d.expect(`SUBSCRIBE id=32768 "a":2 "b":0`)
		d.send(&packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{1, 0x80}})
		err := done()
		var refused *client.FilterError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "b", refused.Filter)
		require.Equal(t, []packets.QoS{1, 0}, granted)
		var all *client.SubscribeError
		require.ErrorAs(t, err, &all)
		require.NoError(t, all.Results[0].Err)

		// Refused when it is asked for again: an event, and it stays wanted.
		d.cut()
		d.accept(false)
		d.expect(`SUBSCRIBE id=32769 "a":2`)
		d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{0x80}})
		last := d.events[len(d.events)-1]
		require.ErrorAs(t, last.Err, &refused)
		require.Equal(t, "a", refused.Filter)
		d.cut()
		d.accept(true)
		d.expectNothing(time.Second)
		d.cut()
		d.accept(false)
		d.expect(`SUBSCRIBE id=32770 "a":2`)
	})
}

// Hazard 18: wanted subscriptions are made again when the Server has lost them.
func TestHazard18Resubscribes(t *testing.T) {
	for name, cfg := range map[string]client.Config{"kept": {}, "lost": {}, "clean": {CleanSession: true}} {
		t.Run(name, func(t *testing.T) {
			sp := name == "kept"
			connected(t, cfg, func(d *dialogue) {
				done := d.start(func() error {
					_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a", QoS: 1})
					return err
				})
				d.expect(`SUBSCRIBE id=32768 "a":1`)
				d.send(&packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{1}})
				require.NoError(t, done())
				d.cut()
				d.accept(sp)
				if sp {
					d.expectNothing(time.Second)
				} else {
					d.expect(`SUBSCRIBE id=32769 "a":1`)
				}
			})
		})
	}
}

// A full inbox pauses reading for at most eight seconds; then QoS 0 messages are dropped and the
// connection continues.
func TestFullInboxPausesThenDropsQoS0(t *testing.T) {
	connected(t, client.Config{InboxMessages: 4, KeepAlive: 20 * time.Second}, func(d *dialogue) {
		for range d.client.Messages(timeout(d.ctx, time.Millisecond)) {
		}
		start := time.Now()
		for range 10 {
			require.NoError(t, d.conn.Send(&packets.Publish{Topic: "t"}))
		}
		require.Equal(t, 8*time.Second, time.Since(start))
		synctest.Wait()
		n, _ := d.client.Backlog()
		require.Equal(t, 4, n)
		require.EqualValues(t, 6, d.client.Stats().Dropped)
		require.Equal(t, 8*time.Second, d.client.Stats().PausedFor)
	})
}

// Reading never pauses while an own request is outstanding: a handler that publishes and waits gets
// its answer behind any number of messages.
func TestNoDeadlockWithFullWindows(t *testing.T) {
	inBubble(t, client.Config{InboxMessages: 4, MaxInflight: 2, CleanSession: true}, func(d *dialogue) {
		published := make(chan error, 1)
		require.NoError(t, d.client.Handle("#", func(ctx context.Context, m *client.Delivery) {
			if m.PacketID == 1 {
				published <- d.client.Publish(ctx, message("out", 1, "x"))
			}
		}))
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 1})
		d.expect(`PUBLISH "out" qos=1 id=1 dup=0 size=1`)
		for id := range uint16(7) {
			d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: id + 2})
		}
		d.send(&packets.Puback{PacketID: 1})
		for id := range 8 {
			d.expect(fmt.Sprintf("PUBACK id=%d", id+1))
		}
		require.NoError(t, <-published)
	})
}

func timeout(ctx context.Context, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(ctx, d, errors.New("time is up"))
	context.AfterFunc(ctx, cancel)
	return ctx
}
