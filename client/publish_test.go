package client_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The outcomes of Publish: nil only when the promise of the QoS is kept, otherwise an error that
// says whether the message may have been sent.

func TestPublishQoS0IsDoneWhenWritten(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 0, "x")) })
		d.expect(`PUBLISH "t" qos=0 size=1`)
		require.NoError(t, done())
	})
}

func TestPublishQoS1IsDoneAtPuback(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		r, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
		require.NoError(t, err)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		synctest.Wait()
		select {
		case <-r.Done():
			t.Fatal("done before PUBACK")
		default:
		}
		d.send(&packets.Puback{PacketID: 1})
		<-r.Done()
		require.NoError(t, r.Err())
	})
}

// Hazard 12: a publish succeeds only when its own identifier is acknowledged, also across
// reconnects.
func TestHazard12ResultSurvivesReconnect(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 2, "x")) })
		d.expect(`PUBLISH "t" qos=2 id=1 dup=0 size=1`)
		d.cut()
		d.accept(true)
		d.expect(`PUBLISH "t" qos=2 id=1 dup=1 size=1`)
		d.send(&packets.Pubrec{PacketID: 1})
		d.expect("PUBREL id=1")
		d.cut()
		d.accept(true)
		d.expect("PUBREL id=1")
		d.send(&packets.Pubcomp{PacketID: 1})
		require.NoError(t, done())
	})
}

// Hazard 13: QoS 0 without a connection is an error, never a silent loss.
func TestHazard13QoS0Offline(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		d.cut()
		err := d.client.Publish(d.ctx, message("t", 0, "x"))
		require.ErrorIs(t, err, client.ErrNotConnected)
		require.True(t, client.SafeToRetry(err))
	})
}

func TestPublishOfflineIsQueued(t *testing.T) {
	connected(t, client.Config{QueueMessages: 2}, func(d *dialogue) {
		d.cut()
		a, err := d.client.PublishAsync(d.ctx, message("t", 1, "a"))
		require.NoError(t, err)
		b, err := d.client.PublishAsync(d.ctx, message("t", 1, "b"))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(d.ctx, time.Millisecond)
		defer cancel()
		_, err = d.client.PublishAsync(ctx, message("t", 1, "c"))
		require.ErrorIs(t, err, client.ErrQueueFull)
		require.ErrorIs(t, err, client.ErrNotSent)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		d.accept(true)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`, `PUBLISH "t" qos=1 id=2 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1}, &packets.Puback{PacketID: 2})
		<-a.Done()
		<-b.Done()
		require.NoError(t, a.Err())
		require.NoError(t, b.Err())
	})
}

// When ctx ends before the message was sent, it is withdrawn and never sent.
func TestPublishWithdrawn(t *testing.T) {
	connected(t, client.Config{MaxInflight: 1}, func(d *dialogue) {
		_, err := d.client.PublishAsync(d.ctx, message("t", 1, "first"))
		require.NoError(t, err)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=5`)
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		err = d.client.Publish(ctx, message("t", 1, "second"))
		require.ErrorIs(t, err, client.ErrNotSent)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = d.client.PublishAsync(d.ctx, message("t", 1, "thirds"))
		require.NoError(t, err)
		d.send(&packets.Puback{PacketID: 1})
		d.expect(`PUBLISH "t" qos=1 id=3 dup=0 size=6`)
	})
}

// When ctx ends after bytes may have left, the outcome is unknown, and the message continues with a
// copy of the payload.
func TestPublishUnknownGoesOn(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		payload := []byte("x")
		done := d.start(func() error {
			return d.client.Publish(ctx, client.Message{Topic: "t", QoS: 1, Payload: payload})
		})
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		err := done()
		require.ErrorIs(t, err, client.ErrUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, client.SafeToRetry(err))
		payload[0] = 'y' // the caller's again
		d.cut()
		d.accept(true)
		p, err := d.conn.Receive()
		require.NoError(t, err)
		require.Equal(t, "x", string(p.(*packets.Publish).Payload))
	})
}

// Hazard 26: the error of an interrupted write says that the message may have left.
func TestHazard26WriteBreaksOff(t *testing.T) {
	connected(t, client.Config{NoReconnect: true}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 0, "long enough")) })
		var b [3]byte
		_, err := d.conn.Read(b[:])
		require.NoError(t, err)
		d.cut()
		require.ErrorIs(t, done(), client.ErrUnknown)
	})
}

// An unknown outcome gives the reason why the connection ended, even if the client reconnects.
func TestUnknownNamesTheCause(t *testing.T) {
	for qos, packet := range []string{`PUBLISH "t" qos=0 dup=0 size=1`, `PUBLISH "t" qos=1 id=1 dup=0 size=1`, `PUBLISH "t" qos=2 id=1 dup=0 size=1`} {
		for _, once := range []bool{false, true} {
			if qos < 2 && !once {
				continue // over when it is written, or published again
			}
			connected(t, client.Config{CleanSession: true, NoReconnect: once}, func(d *dialogue) {
				done := d.start(func() error { return d.client.Publish(d.ctx, message("t", packets.QoS(qos), "x")) })
				if qos == 0 { // cut off within the packet
					_, err := d.conn.Read(make([]byte, 3))
					require.NoError(t, err)
				} else {
					d.expect(packet)
				}
				d.cut()
				err := done()
				require.ErrorIs(t, err, client.ErrUnknown)
				require.ErrorIs(t, err, client.ErrConnectionLost)
				require.Contains(t, err.Error(), "connection lost: ")
			})
		}
	}
}

func TestPublishDowngraded(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 2, "x")) })
		d.expect(`PUBLISH "t" qos=2 id=1 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		require.ErrorIs(t, done(), client.ErrDowngraded)
	})
}

func TestPublishInvalid(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		var wrong *packets.EncodeError
		require.ErrorAs(t, d.client.Publish(d.ctx, message("a/#", 1, "x")), &wrong)
		require.Equal(t, "MQTT-3.3.2-2", wrong.Spec)
		d.expectNothing(time.Second)
	})
}

// Hazard 5: every call returns exactly once, whatever happens.
func TestHazard5CloseEndsEverything(t *testing.T) {
	connected(t, client.Config{MaxInflight: 1}, func(d *dialogue) {
		sent := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		waiting := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "y")) })
		subscribing := d.start(func() error {
			_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"})
			return err
		})
		d.expect(`SUBSCRIBE id=32768 "a":0`)
		synctest.Wait()
		d.client.Abort()
		err := sent()
		require.ErrorIs(t, err, client.ErrUnknown)
		require.ErrorIs(t, err, client.ErrClosed)
		err = waiting()
		require.ErrorIs(t, err, client.ErrNotSent)
		require.ErrorIs(t, err, client.ErrClosed)
		require.ErrorIs(t, subscribing(), client.ErrClosed)
		require.ErrorIs(t, d.client.Publish(d.ctx, message("t", 1, "z")), client.ErrClosed)
		require.ErrorIs(t, d.client.Err(), client.ErrClosed)
	})
}

// Hazard 16: order, identifiers and DUP of messages queued while offline.
func TestHazard16OrderAfterReconnect(t *testing.T) {
	connected(t, client.Config{MaxInflight: 20}, func(d *dialogue) {
		for range 3 {
			_, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
			require.NoError(t, err)
		}
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`, `PUBLISH "t" qos=1 id=2 dup=0 size=1`, `PUBLISH "t" qos=1 id=3 dup=0 size=1`)
		d.cut()
		for range 2 {
			_, err := d.client.PublishAsync(d.ctx, message("t", 1, "y"))
			require.NoError(t, err)
		}
		d.accept(true)
		// A close after a PUBLISH makes it a suspect: it goes alone until it is answered.
		d.expect(`PUBLISH "t" qos=1 id=1 dup=1 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		d.expect(
			`PUBLISH "t" qos=1 id=2 dup=1 size=1`, `PUBLISH "t" qos=1 id=3 dup=1 size=1`,
			`PUBLISH "t" qos=1 id=4 dup=0 size=1`, `PUBLISH "t" qos=1 id=5 dup=0 size=1`,
		)
	})
}

// A message of which no byte was written is later sent with DUP 0, even if the message before it,
// in the same write, left completely.
func TestFirstCopyBehindAWholePiece(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		const piece = 64 << 10
		whole := message("t", 1, strings.Repeat("x", piece-1-3-3-2)) // header, topic, identifier
		for _, m := range []client.Message{message("t", 1, "first"), whole, message("t", 1, "never left")} {
			_, err := d.client.PublishAsync(d.ctx, m)
			require.NoError(t, err)
			synctest.Wait() // the first write blocks with the first message
		}
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=5`)
		_, err := io.ReadFull(d.conn, make([]byte, piece-1))
		require.NoError(t, err)
		d.cut()
		d.accept(true)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=1 size=5`)
		d.send(&packets.Puback{PacketID: 1})
		d.expect(fmt.Sprintf(`PUBLISH "t" qos=1 id=2 dup=1 size=%d`, len(whole.Payload)))
		d.send(&packets.Puback{PacketID: 2})
		d.expect(`PUBLISH "t" qos=1 id=3 dup=0 size=10`)
	})
}
