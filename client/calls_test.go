package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A call whose context has ended sends nothing, and its error says so.
func TestCallsWithAContextThatIsOver(t *testing.T) {
	connected(t, client.Config{Store: newDisk()}, func(d *dialogue) {
		over, cancel := context.WithCancelCause(d.ctx)
		why := errors.New("the shift is over")
		cancel(why)
		m := message("t", 1, "x")
		for call, do := range map[string]func() error{
			"publish":      func() error { return d.client.Publish(over, m) },
			"publish at 0": func() error { return d.client.Publish(over, message("t", 0, "x")) },
			"async":        func() error { _, err := d.client.PublishAsync(over, m); return err },
			"enqueue":      func() error { return d.client.Enqueue(over, m) },
			"subscribe":    func() error { _, err := d.client.Subscribe(over, packets.Subscription{Filter: "a"}); return err },
			"unsubscribe":  func() error { return d.client.Unsubscribe(over, "a") },
			"note":         func() error { return d.client.SaveNote(over, "n", nil) },
		} {
			err := do()
			require.ErrorIs(t, err, client.ErrNotSent, call)
			require.ErrorIs(t, err, why, call)
			require.True(t, client.SafeToRetry(err), call)
			require.True(t, strings.HasPrefix(err.Error(), "client: "+strings.Fields(strings.ReplaceAll(strings.ReplaceAll(call, "async", "publish"), "enqueue", "publish"))[0]), err)
		}
		d.expectNothing(20 * time.Second)
		require.Zero(t, d.client.Stats().Unfinished)
	})
	inBubble(t, client.Config{}, func(d *dialogue) {
		over, cancel := context.WithCancel(d.ctx)
		cancel()
		require.ErrorIs(t, d.client.Connect(over), context.Canceled)
		require.Zero(t, d.server.Dials())
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
	})
}

// A call that waits for the Server before Connect was called says so, and ends if Connect is not
// called.
func TestCallsBeforeConnect(t *testing.T) {
	inBubble(t, client.Config{ConnectTimeout: 20 * time.Second}, func(d *dialogue) {
		begun := time.Now()
		publish := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		subscribe := d.start(func() error {
			_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"})
			return err
		})
		for _, result := range []func() error{publish, subscribe} {
			err := result()
			require.ErrorIs(t, err, client.ErrNotStarted)
			require.True(t, client.SafeToRetry(err), err)
		}
		require.Equal(t, 20*time.Second, time.Since(begun))
		synctest.Wait()
		told := 0
		for _, e := range d.events {
			if e.Kind == client.ConnectAwaited {
				told++
			}
		}
		require.Equal(t, 1, told)
		require.Zero(t, d.client.Stats().Unfinished)
	})
}

// A waiting call continues when Connect is called in time. It waits for 30 seconds if attempts have no
// time limit.
func TestConnectInTime(t *testing.T) {
	inBubble(t, client.Config{ConnectTimeout: 20 * time.Second}, func(d *dialogue) {
		publish := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		subscribe := d.start(func() error {
			_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"})
			return err
		})
		time.Sleep(19 * time.Second)
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		time.Sleep(19 * time.Second) // the Server takes its time
		d.accept(false)
		require.NoError(t, up())
		for range 2 {
			p, err := d.conn.Receive()
			require.NoError(t, err)
			switch p := p.(type) {
			case *packets.Publish:
				d.send(&packets.Puback{PacketID: p.PacketID})
			case *packets.Subscribe:
				d.send(&packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{0}})
			}
		}
		require.NoError(t, publish())
		require.NoError(t, subscribe())
	})
	inBubble(t, client.Config{ConnectTimeout: -1}, func(d *dialogue) {
		begun := time.Now()
		require.ErrorIs(t, d.client.Publish(d.ctx, message("t", 1, "x")), client.ErrNotStarted)
		require.Equal(t, 30*time.Second, time.Since(begun))
	})
	inBubble(t, client.Config{}, func(d *dialogue) { // Close comes instead
		publish := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		time.Sleep(time.Second)
		require.NoError(t, d.client.Close(d.ctx))
		err := publish()
		require.ErrorIs(t, err, client.ErrClosed)
		require.True(t, client.SafeToRetry(err), err)
	})
}

// A message refused before it was accepted was not sent: the error names the call and the topic.
func TestRefusedMessages(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		for _, m := range []client.Message{
			{Topic: "a/#", QoS: 1}, {Topic: ""}, {Topic: "a\x00b", QoS: 2}, {Topic: "\xff"}, {Topic: "t", QoS: 3},
			{Topic: strings.Repeat("a", 65536)}, {Topic: "t", QoS: 1, Payload: make([]byte, packets.MaxRemainingLength)},
		} {
			_, async := d.client.PublishAsync(d.ctx, m)
			for _, err := range []error{d.client.Publish(d.ctx, m), async, d.client.Enqueue(d.ctx, m)} {
				require.True(t, client.SafeToRetry(err), err)
				var refused *packets.EncodeError
				require.ErrorAs(t, err, &refused)
				require.True(t, strings.HasPrefix(err.Error(), `client: publish "`), err)
				require.Contains(t, err.Error(), ": not sent: PUBLISH: ")
				require.Less(t, len(err.Error()), 400)
			}
		}
		require.ErrorContains(t, d.client.Publish(d.ctx, client.Message{Topic: "a/#"}), `client: publish "a/#": not sent: `)
		_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a#"})
		require.ErrorContains(t, err, `client: subscribe "a#": not sent: `)
		require.ErrorContains(t, d.client.Unsubscribe(d.ctx, "a#", "b"), `client: unsubscribe "a#" and 1 more: not sent: `)
		d.expectNothing(20 * time.Second)
	})
}

// New reports all mistakes, each of them once and under the name of its field.
func TestEveryMistakeAtOnce(t *testing.T) {
	_, err := client.New(client.Config{
		ClientID: "a\x00", UserName: "u\x00", Password: make([]byte, 65536), KeepAlive: 20 * time.Hour,
		Will: &packets.Will{Topic: "a/#", QoS: 3, Payload: make([]byte, 65536)}, WhenFull: 9, QoS0Overflow: 9,
		MaxPacketSize: 1 << 30, Fallbacks: make([]func(context.Context) (net.Conn, error), 1),
	})
	require.Error(t, err)
	for _, field := range []string{
		"Dial", "Fallbacks[0]", "ClientID", "UserName", "Password", "KeepAlive", "Will.Topic", "Will.QoS", "Will.Payload",
		"WhenFull", "QoS0Overflow", "MaxPacketSize",
	} {
		require.Equal(t, 1, strings.Count(err.Error(), field), "%s in %v", field, err)
	}
}

// Empty user names and passwords [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21]
// [MQTT-3.1.2-22].
func TestEmptyUserNameAndPassword(t *testing.T) {
	for _, row := range []struct {
		user              string
		password          []byte
		hasUser, hasPword bool
	}{
		{"", nil, false, false},
		{"", []byte{}, false, false},
		{"u", nil, true, false},
		{"u", []byte{}, true, true},
		{"", []byte("p"), true, true},
		{"u", []byte("p"), true, true},
	} {
		for _, asked := range []bool{false, true} {
			cfg := client.Config{UserName: row.user, Password: row.password}
			if asked {
				cfg = client.Config{Credentials: func(context.Context) (string, []byte, error) { return row.user, row.password, nil }}
			}
			inBubble(t, cfg, func(d *dialogue) {
				up := d.start(func() error { return d.client.Connect(d.ctx) })
				p := d.accept(false)
				require.NoError(t, up())
				require.Equal(t, row.hasUser, p.HasUserName)
				require.Equal(t, row.hasPword, p.HasPassword)
				require.Equal(t, row.user, p.UserName)
				require.Equal(t, string(row.password), string(p.Password))
			})
		}
	}
}

// Stats formats its counters readably, and counts only packets that left, not those whose
// connection ended first.
func TestStatsReadWell(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		synctest.Wait()
		s := d.client.Stats()
		require.Equal(t, "CONNECT 1, PUBLISH 1", s.PacketsSent.String())
		require.Contains(t, s.String(), "PacketsSent (CONNECT 1, PUBLISH 1), PacketsReceived (CONNACK 1, PUBACK 1)")
		require.NotContains(t, s.String(), " 0")
	})
}

// traceSent records the packets that are sent.
func traceSent(sent *[]string) func(client.Packet) {
	return func(p client.Packet) {
		if p.Sent {
			*sent = append(*sent, p.Text)
		}
	}
}

// Trace and PacketsSent report packets that left, and not those dropped with the connection.
func TestTraceIsTrue(t *testing.T) {
	var sent []string
	disk := newDisk()
	connected(t, client.Config{Store: disk, NoScrub: true, Trace: traceSent(&sent)}, func(d *dialogue) {
		goOn := disk.stall()
		_, err := d.client.PublishAsync(d.ctx, message("t", 1, "x")) // held for its record
		require.NoError(t, err)
		synctest.Wait()
		d.cut()
		goOn()
		d.accept(false)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		synctest.Wait()
		connect := `CONNECT client="c" clean=false keepalive=30s`
		require.Equal(t, []string{connect, connect, `PUBLISH "t" qos=1 id=1 dup=0 size=1`}, sent)
		require.EqualValues(t, 1, d.client.Stats().PacketsSent[packets.PUBLISH])
	})
}

// A message that still waits for its record when DISCONNECT leaves is not sent: it is neither
// traced nor counted.
func TestTraceBehindDisconnect(t *testing.T) {
	var sent []string
	disk := newDisk()
	connected(t, client.Config{Store: disk, NoScrub: true, Trace: traceSent(&sent)}, func(d *dialogue) {
		goOn := disk.stall()
		r, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
		require.NoError(t, err)
		closed := d.start(func() error { return d.client.Close(timeout(d.ctx, time.Second)) })
		d.expect("DISCONNECT")
		d.conn.Close()
		goOn()
		require.ErrorContains(t, closed(), "client: close: time is up")
		require.ErrorIs(t, r.Wait(d.ctx), client.ErrStored)
		synctest.Wait()
		require.Equal(t, []string{`CONNECT client="c" clean=false keepalive=30s`, "DISCONNECT"}, sent)
		require.Zero(t, d.client.Stats().PacketsSent[packets.PUBLISH])
	})
}

// Wait returns the outcome to every caller, whatever the caller's context.
func TestReceiptWait(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		r, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
		require.NoError(t, err)
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		over, cancel := context.WithCancel(d.ctx)
		cancel()
		require.ErrorIs(t, r.Wait(over), client.ErrUnknown)
		one, two := d.start(func() error { return r.Wait(d.ctx) }), d.start(func() error { return r.Wait(d.ctx) })
		synctest.Wait()
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, one())
		require.NoError(t, two())
		<-r.Done()
		for range 100 {
			require.NoError(t, r.Wait(over))
		}
	})
}

// A receipt that is waited for costs one allocation: the receipt itself.
func TestReceiptWaitAllocatesOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))                               // so that each message has a write of its own
	c, err := client.New(client.Config{ClientID: "c", Dial: benchServer(t, nil)}) // which allocates nothing
	require.NoError(t, err)
	defer c.Abort()
	require.NoError(t, c.Connect(t.Context()))
	m := message("t", 1, "x")
	allocations := func(publish func()) float64 {
		const runs = 2000
		var before, after runtime.MemStats
		publish() // fills pools
		runtime.ReadMemStats(&before)
		for range runs {
			publish()
		}
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / runs
	}
	none := allocations(func() { require.NoError(t, c.Publish(t.Context(), m)) })
	one := allocations(func() {
		r, err := c.PublishAsync(t.Context(), m)
		require.NoError(t, err)
		require.NoError(t, r.Wait(t.Context()))
	})
	t.Logf("%.2f allocations of Publish, %.2f with a receipt", none, one)
	if !raceEnabled { // which allocates
		require.InDelta(t, 1, one-none, 0.3)
	}
}

// Handlers may be added and removed at any time. Messages that arrived before the first handler
// wait for it.
func TestHandlersAtAnyTime(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		var got []string
		note := func(name string) client.Handler {
			return func(_ context.Context, m *client.Delivery) { got = append(got, name+" "+string(m.Payload)) }
		}
		send := func(topic, payload string) {
			d.send(&packets.Publish{Topic: topic, Payload: []byte(payload)})
		}
		send("a", "1")
		require.Empty(t, got)
		require.NoError(t, d.client.Handle("a", note("a")))
		synctest.Wait()
		require.Equal(t, []string{"a 1"}, got)

		send("b", "2") // nobody's: counted and told
		require.EqualValues(t, 1, d.client.Stats().Unmatched)
		require.NoError(t, d.client.HandleUnmatched(note("other")))
		send("b", "3")
		require.NoError(t, d.client.Handle("$share/g/+", note("all")))
		send("b", "4")
		send("a", "5")
		require.True(t, d.client.Unhandle("$share/g/+"))
		require.False(t, d.client.Unhandle("+"))
		send("a", "6")
		require.NoError(t, d.client.HandleUnmatched(nil))
		require.True(t, d.client.Unhandle("a"))
		send("a", "7") // waits again, for a loop this time
		require.Equal(t, []string{"a 1", "other 3", "all 4", "all 5", "a 5", "a 6"}, sortedPairs(got))
		require.EqualValues(t, 1, d.client.Stats().Unmatched)
		for m, err := range d.client.Messages(d.ctx) {
			require.NoError(t, err)
			require.Equal(t, "7", string(m.Payload))
			require.ErrorIs(t, d.client.Handle("a", note("late")), client.ErrLooping)
			require.ErrorIs(t, d.client.HandleUnmatched(note("late")), client.ErrLooping)
			break
		}
		require.NoError(t, d.client.Handle("a", note("a")))
		for _, err := range d.client.Messages(d.ctx) {
			require.ErrorIs(t, err, client.ErrHandling)
		}
	})
}

// Handlers are added and removed from many goroutines while messages arrive. Each message is handled
// once, by one of them or by the handler for unmatched messages, or waits; none is lost.
func TestHandlersWhileMessagesArrive(t *testing.T) {
	const messages = 2000
	server, conns := clienttest.NewServer(), make(chan *clienttest.Conn, 1)
	c, err := client.New(client.Config{ClientID: "c", Dial: server.Dial})
	require.NoError(t, err)
	defer c.Abort()
	go func() {
		conn, err := server.Accept(t.Context())
		if err == nil {
			conn.Handshake(false)
			conns <- conn
		}
	}()
	require.NoError(t, c.Connect(t.Context()))
	conn := <-conns

	var mu sync.Mutex
	got, all := make(map[string]int), make(chan struct{})
	take := func(_ context.Context, d *client.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		if got[string(d.Payload)]++; len(got) == messages {
			close(all)
		}
	}
	over, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for _, filter := range []string{"a/+", "b/#", "+/1", "$share/g/a/1"} {
		others.Go(func() {
			for over.Err() == nil {
				if err := c.Handle(filter, take); err != nil {
					t.Error(err)
				}
				runtime.Gosched()
				if !c.Unhandle(filter) {
					t.Error("it was there")
				}
			}
		})
	}
	others.Go(func() {
		for over.Err() == nil {
			c.HandleUnmatched(take)
		}
	})
	require.NoError(t, c.HandleUnmatched(take))
	go func() {
		for i := range messages {
			conn.Send(&packets.Publish{Topic: []string{"a/1", "a/2", "b/1", "c"}[i%4], Payload: fmt.Append(nil, i)})
		}
	}()
	select {
	case <-all:
	case <-time.After(30 * time.Second):
		mu.Lock()
		t.Errorf("%d of %d messages", len(got), messages)
		mu.Unlock()
	}
	stop()
	others.Wait()
	require.Zero(t, c.Stats().Unmatched)
}

// sortedPairs sorts the handlers that are called for message 5, whose order is not promised.
func sortedPairs(got []string) []string {
	for i := 1; i < len(got); i++ {
		if strings.HasSuffix(got[i-1], " 5") && strings.HasSuffix(got[i], " 5") && got[i-1] > got[i] {
			got[i-1], got[i] = got[i], got[i-1]
		}
	}
	if len(got) > 4 && got[3] == "a 5" {
		got[3], got[4] = got[4], got[3]
	}
	return got
}

// Publishers that wait for room are served in the order in which they came.
func TestWaitersInLine(t *testing.T) {
	connected(t, client.Config{QueueMessages: 1, MaxInflight: 1}, func(d *dialogue) {
		const n = 30
		var results []func() error
		for i := range n {
			results = append(results, d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, strings.Repeat("x", i))) }))
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(d.ctx, time.Millisecond)
		defer cancel()
		err := d.client.Publish(ctx, message("late", 1, "x")) // the last in line goes home
		require.ErrorIs(t, err, client.ErrQueueFull)
		require.True(t, client.SafeToRetry(err), err)
		zero := d.start(func() error { return d.client.Publish(d.ctx, message("zero", 0, "")) })
		synctest.Wait()
		next := 0
		for next < n {
			p, err := d.conn.Receive()
			require.NoError(t, err)
			m := p.(*packets.Publish)
			if m.QoS == packets.AtMostOnce {
				require.Less(t, next, 2, "QoS 0 does not wait behind QoS 1")
				continue
			}
			require.Len(t, m.Payload, next)
			next++
			d.send(&packets.Puback{PacketID: m.PacketID})
		}
		require.NoError(t, zero())
		for _, result := range results {
			require.NoError(t, result())
		}
	})
	connected(t, client.Config{QueueMessages: 1, MaxInflight: 1}, func(d *dialogue) {
		var results []func() error
		for range 5 {
			results = append(results, d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) }))
			synctest.Wait()
		}
		go io.Copy(io.Discard, d.conn)
		d.client.Abort()
		for i, result := range results {
			err := result()
			require.ErrorIs(t, err, client.ErrClosed)
			require.Equal(t, i > 0, client.SafeToRetry(err), "%d: %v", i, err)
		}
	})
}

// A caller whose context ends leaves the line, and the others keep their order.
func TestLeavingTheLine(t *testing.T) {
	connected(t, client.Config{QueueMessages: 1, MaxInflight: 1}, func(d *dialogue) {
		const n = 9
		results := make([]func() error, n)
		for i := range n {
			ctx := d.ctx
			if i%3 == 2 { // in the middle twice, and the last
				ctx = timeout(ctx, time.Second)
			}
			results[i] = d.start(func() error { return d.client.Publish(ctx, message("t", 1, strings.Repeat("x", i))) })
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		for i := range n {
			if i%3 == 2 {
				err := results[i]()
				require.ErrorIs(t, err, client.ErrQueueFull)
				require.True(t, client.SafeToRetry(err), err)
				continue
			}
			p, err := d.conn.Receive()
			require.NoError(t, err)
			require.Len(t, p.(*packets.Publish).Payload, i)
			d.send(&packets.Puback{PacketID: p.(*packets.Publish).PacketID})
			require.NoError(t, results[i]())
		}
		require.Zero(t, d.client.Stats().Unfinished)
	})
}

// Close ends the wait of callers in line and completes accepted messages. A Store that takes long to make
// room delays neither them nor DISCONNECT, but Close waits for it, because the program may close the
// Store next.
func TestCloseWhileOthersWait(t *testing.T) {
	connected(t, client.Config{QueueMessages: 1, MaxInflight: 1}, func(d *dialogue) {
		var results []func() error
		for range 5 {
			results = append(results, d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) }))
			synctest.Wait()
		}
		closed := d.start(func() error { return d.client.Close(d.ctx) })
		synctest.Wait()
		for _, result := range results[2:] {
			err := result()
			require.ErrorIs(t, err, client.ErrClosed)
			require.True(t, client.SafeToRetry(err), err)
		}
		for _, result := range results[:2] { // one in flight, one in the queue
			p, err := d.conn.Receive()
			require.NoError(t, err)
			d.send(&packets.Puback{PacketID: p.(*packets.Publish).PacketID})
			require.NoError(t, result())
		}
		d.expect("DISCONNECT")
		d.expectEnd()
		require.NoError(t, closed())
	})
	connected(t, client.Config{Store: &slowRoom{newDisk(), 5 * time.Second}}, func(d *dialogue) {
		var results []func() error
		for range 3 {
			results = append(results, d.start(func() error { return d.client.Publish(d.ctx, message("t", 1, "x")) }))
			synctest.Wait()
		}
		begun := time.Now()
		closed := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect("DISCONNECT")
		d.expectEnd()
		for _, result := range results {
			err := result()
			require.ErrorIs(t, err, client.ErrClosed)
			require.True(t, client.SafeToRetry(err), err)
		}
		require.Zero(t, time.Since(begun))
		require.NoError(t, closed())
		require.Equal(t, 5*time.Second, time.Since(begun), "when Room returned")
	})
}

// The cost of a message does not grow with the number of publishers that wait for room.
func BenchmarkWaitingPublishers(b *testing.B) {
	for _, n := range []int{10, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, err := client.New(client.Config{ClientID: "c", Dial: benchServer(b, nil), QueueMessages: 16, MaxInflight: 16})
			require.NoError(b, err)
			require.NoError(b, c.Connect(b.Context()))
			defer c.Abort()
			var all sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			for range n {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if err := c.Publish(b.Context(), message("t", 1, "x")); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}
