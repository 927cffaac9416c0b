package client_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A loop that breaks leaves the messages that it has not yielded to the next loop, in order, with
// LendPayloads or without.
func TestMessagesBreakKeepsTheOrder(t *testing.T) {
	for _, lend := range []bool{false, true} {
		connected(t, client.Config{LendPayloads: lend}, func(d *dialogue) {
			for i := range 100 {
				p := &packets.Publish{Topic: "t", QoS: packets.QoS(i % 2), Payload: fmt.Append(nil, i)}
				if p.QoS > 0 {
					p.PacketID = uint16(i)
				}
				d.send(p)
			}
			go func() {
				for {
					if _, err := d.conn.Receive(); err != nil {
						return
					}
				}
			}()
			next := 0
			for next < 100 {
				n := 0
				for m, err := range d.client.Messages(timeout(d.ctx, time.Second)) {
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint(next), string(m.Payload))
					next++
					if n++; n == 7 || next == 100 {
						require.NoError(t, m.Ack())
						break
					}
				}
			}
		})
	}
}

// Loops share the incoming messages: none holds messages that another could process.
func TestMessagesAreShared(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		took := make([]int, 2)
		for i := range took {
			go func() {
				for _, err := range d.client.Messages(d.ctx) {
					if err != nil {
						return
					}
					took[i]++
					time.Sleep(time.Second)
				}
			}()
		}
		synctest.Wait()
		for range 20 {
			d.send(&packets.Publish{Topic: "t"})
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(t, []int{10, 10}, took)
	})
}

// A loop ends with its context, however many messages wait.
func TestMessagesEndWithTheContext(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		for range 20 {
			d.send(&packets.Publish{Topic: "t"})
		}
		ctx, cancel := context.WithCancel(d.ctx)
		defer cancel()
		n := 0
		for _, err := range d.client.Messages(ctx) {
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				break
			}
			n++
			cancel()
		}
		require.Equal(t, 1, n)
		left, _ := d.client.Backlog()
		require.Equal(t, 19, left)
	})
}

// Lent memory is reused, by handlers as well, and received payloads are still right.
func TestLentPayloads(t *testing.T) {
	inBubble(t, client.Config{LendPayloads: true}, func(d *dialogue) {
		seen := make(map[*client.Delivery]bool)
		n := 0
		require.NoError(t, d.client.Handle("#", func(_ context.Context, m *client.Delivery) {
			require.Equal(t, fmt.Sprint("payload ", n), string(m.Payload))
			seen[m] = true
			n++
		}))
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		for i := range 50 {
			d.send(&packets.Publish{Topic: "t", Payload: fmt.Append(nil, "payload ", i)})
		}
		require.Equal(t, 50, n)
		require.Len(t, seen, 1)
	})
}

// Recycle acknowledges a message and reuses its memory for the next one of about its size. Other messages
// keep their memory.
func TestRecycle(t *testing.T) {
	connected(t, client.Config{ManualAck: true}, func(d *dialogue) {
		id := uint16(0)
		receive := func(qos packets.QoS, payload string) *client.Delivery {
			p := &packets.Publish{Topic: "t", QoS: qos, Payload: []byte(payload)}
			if qos > 0 {
				id++
				p.PacketID = id
			}
			d.send(p)
			for m, err := range d.client.Messages(d.ctx) {
				require.NoError(t, err)
				require.Equal(t, payload, string(m.Payload))
				return m
			}
			return nil
		}
		long := strings.Repeat("x", 1000)
		kept, first := receive(1, "kept "+long), receive(1, long)
		memory := unsafe.SliceData(first.Payload)
		require.NoError(t, first.Recycle())
		require.Nil(t, first.Payload)
		require.Equal(t, "t", first.Topic)
		d.expectNothing(time.Second)
		require.NoError(t, kept.Ack())
		d.expect("PUBACK id=1", "PUBACK id=2")
		require.ErrorIs(t, first.Recycle(), client.ErrStale)
		require.Equal(t, "kept "+long, string(kept.Payload))

		second := receive(0, long[1:])
		require.Same(t, memory, unsafe.SliceData(second.Payload), "of about the same size")
		require.NoError(t, second.Recycle())
		require.NotSame(t, memory, unsafe.SliceData(receive(0, "short").Payload), "a short one would hold a lot of memory")

		last := receive(1, long)
		d.client.Abort()
		require.ErrorIs(t, last.Recycle(), client.ErrClosed)
	})
}

// Payloads of all sizes are right while others are recycled.
func TestRecycleMany(t *testing.T) {
	connected(t, client.Config{ManualAck: true, InboxMessages: 8}, func(d *dialogue) {
		random := rand.New(rand.NewPCG(1, 2))
		content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1+i*i%400) }
		go func() {
			for i := range 2000 {
				if d.conn.Send(&packets.Publish{Topic: "t", Payload: content(i)}) != nil {
					return
				}
			}
		}()
		var out []*client.Delivery
		i := 0
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			out = append(out, m)
			if len(out) == 20 || i+len(out) == 2000 {
				for n, m := range out {
					require.Equal(t, content(i+n), m.Payload)
				}
				random.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
				for _, m := range out {
					require.NoError(t, m.Recycle())
				}
				i += len(out)
				out = out[:0]
			}
			if i == 2000 {
				break
			}
		}
	})
}

// Enqueue sends like any other call; later failures are only counted.
func TestEnqueue(t *testing.T) {
	connected(t, client.Config{QueueQoS0: true}, func(d *dialogue) {
		for qos := range 3 {
			require.NoError(t, d.client.Enqueue(d.ctx, message("t", packets.QoS(qos), "x")))
		}
		d.expect(`PUBLISH "t" qos=0 size=1`, `PUBLISH "t" qos=1 id=1 dup=0 size=1`, `PUBLISH "t" qos=2 id=2 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		var wrong *packets.EncodeError
		require.ErrorAs(t, d.client.Enqueue(d.ctx, message("a/#", 1, "x")), &wrong)
		d.cut()
		require.NoError(t, d.client.Enqueue(d.ctx, message("t", 0, "kept")))
		d.client.Abort()
		require.EqualValues(t, 2, d.client.Stats().Unheard, "that of QoS 2, and the one that was kept")
		require.ErrorIs(t, d.client.Enqueue(d.ctx, message("t", 1, "x")), client.ErrClosed)
	})
}

// An endingContext reports its end by Err before its Done channel is closed.
type endingContext struct {
	context.Context
	over atomic.Bool
}

func (c *endingContext) Err() error {
	if c.over.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

// A loop whose context ends just as it is woken for a message wakes another loop.
func TestMessagesEndTellsTheOthers(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		ending := &endingContext{Context: d.ctx}
		for _, err := range d.client.Messages(timeout(d.ctx, time.Second)) {
			require.Error(t, err)
		}
		go func() {
			for range d.client.Messages(ending) {
			}
		}()
		synctest.Wait() // it is the first in the row
		took := 0
		go func() {
			for _, err := range d.client.Messages(d.ctx) {
				if err == nil {
					took++
				}
			}
		}()
		synctest.Wait()
		ending.over.Store(true)
		d.send(&packets.Publish{Topic: "t"})
		synctest.Wait()
		require.Equal(t, 1, took)
	})
}

// A payload lent to a loop that broke is not overwritten, although the next loop yields the message
// again.
func TestLentPayloadOfABrokenLoop(t *testing.T) {
	connected(t, client.Config{LendPayloads: true}, func(d *dialogue) {
		var kept *client.Delivery
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 1, Payload: []byte("first")})
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			kept = m
			break
		}
		again := 0
		go func() {
			for _, err := range d.client.Messages(d.ctx) {
				if err == nil {
					again++
				}
			}
		}()
		d.expect("PUBACK id=1")
		d.send(&packets.Publish{Topic: "t", Payload: []byte("other")})
		require.Equal(t, 2, again)
		require.Equal(t, "first", string(kept.Payload))
	})
}

// A QoS 0 message queued for the next connection is accepted as soon as it is in the queue.
func TestAcceptedOffline(t *testing.T) {
	connected(t, client.Config{QueueQoS0: true}, func(d *dialogue) {
		d.cut()
		r, err := d.client.PublishAsync(d.ctx, message("t", 0, "x"))
		require.NoError(t, err)
		select {
		case <-r.Accepted():
		default:
			t.Error("not accepted")
		}
		d.client.Abort()
		require.ErrorIs(t, r.Err(), client.ErrNotSent)
	})
}
