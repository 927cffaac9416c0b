package benthos

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

const dropAtOnce = "on_failure: {retries: 0, then: drop}\n"

// Messages are settled in any order; acknowledgements are sent in the order of arrival, and not before the
// engine has settled the message.
func TestAcknowledgedInOrder(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("")
		d.deliver(1, "a", "b", "c")
		a, b, c := d.read(time.Second, "a"), d.read(time.Second, "b"), d.read(time.Second, "c")
		d.none(time.Second)
		c.settle(t, nil)
		b.settle(t, nil)
		d.expectNothing(time.Hour)
		a.settle(t, nil)
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
	})
}

func TestMetadata(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("")
		d.send(&packets.Publish{Topic: "t/a", QoS: 1, PacketID: 7, Dup: true, Retain: true, Payload: []byte("x")})
		a := d.read(time.Second, "x")
		key, _ := a.MessageBatch[0].MetaGetMut("mqtt_idempotency_key")
		found := make(map[string]any)
		require.NoError(t, a.MessageBatch[0].MetaWalkMut(func(k string, v any) error {
			found[k] = v
			return nil
		}))
		require.Equal(t, map[string]any{
			"mqtt_topic": "t/a", "mqtt_qos": 1, "mqtt_retained": true, "mqtt_duplicate": true, "mqtt_message_id": 7, "mqtt_idempotency_key": key,
		}, found)
		require.Contains(t, key, "c/input/")
		a.settle(t, errSink)
		again := d.read(time.Second, "x")
		same, _ := again.MessageBatch[0].MetaGetMut("mqtt_idempotency_key")
		require.Equal(t, key, same)
		again.settle(t, nil)
		d.expect("PUBACK id=7")
	})
}

// A message whose delivery fails comes again, and then goes where on_failure says.
func TestFailedDelivery(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("on_failure: {retries: 1, then: dead_letter, dead_letter: {topic: dead}}\n")
		d.deliver(1, "a")
		d.read(time.Second, "a").settle(t, errSink)
		d.read(time.Second, "a").settle(t, errSink)
		d.expect("PUBLISH dead qos=1 id=1 dup=false retain=false payload=a")
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBACK id=1")
	})
}

// If the engine settles a message twice, the second time has no effect.
func TestSettledTwice(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input(dropAtOnce)
		d.deliver(1, "a")
		a := d.read(time.Second, "a")
		a.settle(t, nil)
		d.expect("PUBACK id=1")
		require.ErrorIs(t, a.ack(d.Context(), errSink), connector.ErrStale)
		d.none(time.Minute)
	})
}

// With then: stop the pipeline ends at a message that cannot be delivered, which stays with the
// server.
func TestStops(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("on_failure: {retries: 0, then: stop}\n")
		d.deliver(1, "a")
		reads := d.read(time.Second, "a")
		ended := d.begin(func() error {
			_, _, err := d.in.ReadBatch(d.Context())
			return err
		})
		reads.settle(t, errSink)
		d.expect("DISCONNECT")
		require.ErrorIs(t, ended(), service.ErrEndOfInput)
	})
}

// If a batch fails in part, the failed messages are charged and the others are acknowledged.
func TestPartOfABatchFails(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input(dropAtOnce + "batch_size: 10\n")
		d.deliver(1, "a", "b", "c", "d")
		batch := d.read(time.Second, "a", "b", "c", "d")
		batch.settle(t, service.NewBatchError(batch.MessageBatch, errSink).Failed(2, errSink))
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
		require.EqualValues(t, 1, d.in.link.line.Health().Dropped)
		require.EqualValues(t, 3, d.in.link.line.Health().Succeeded)
	})
}

// An error may concern a batch whose messages have been reordered, copied or removed by processors.
func TestPartOfAChangedBatchFails(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input(dropAtOnce + "batch_size: 10\n")
		d.deliver(1, "a", "b", "c", "d")
		batch := d.read(time.Second, "a", "b", "c", "d")
		m := batch.MessageBatch
		changed := service.MessageBatch{m[3].Copy(), m[0].Copy(), m[0].Copy()} // without b and c
		batch.settle(t, service.NewBatchError(changed, errSink).Failed(2, errSink))
		// a has failed, although a copy of it was delivered; d is fine; b and c are not mentioned.
		d.expect("PUBACK id=1")
		d.settleSingly(2, func(string) error { return nil })
		d.expect("PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
		h := d.in.link.line.Health()
		require.EqualValues(t, 1, h.Dropped)
		require.EqualValues(t, 2, h.Uncharged)
	})
}

// If a failed message does not belong to the batch, it is unknown from which message it came: no
// message is charged.
func TestStrangerOfABatchFails(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input(dropAtOnce + "batch_size: 10\n")
		d.deliver(1, "a", "b")
		batch := d.read(time.Second, "a", "b")
		changed := service.MessageBatch{batch.MessageBatch[0].Copy(), service.NewMessage([]byte("new"))}
		batch.settle(t, service.NewBatchError(changed, errSink).Failed(1, errSink))
		d.settleSingly(2, func(string) error { return nil })
		d.expect("PUBACK id=1", "PUBACK id=2")
		require.Zero(t, d.in.link.line.Health().Dropped)
	})
}

// If a batch fails as a whole, no message is charged, and they come back one by one.
func TestBatchFails(t *testing.T) {
	for name, failure := range map[string]func(handful) error{
		"with a plain error":       func(handful) error { return errSink },
		"with nothing of messages": func(h handful) error { return service.NewBatchError(h.MessageBatch, errSink) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				d.input(dropAtOnce + "batch_size: 10\n")
				d.deliver(1, "a", "b", "c")
				batch := d.read(time.Second, "a", "b", "c")
				batch.settle(t, failure(batch))
				d.settleSingly(3, func(payload string) error {
					if payload == "b" {
						return errSink // it is alone, and pays
					}
					return nil
				})
				d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
				require.EqualValues(t, 1, d.in.link.line.Health().Dropped)
			})
		})
	}
}

// When the engine ends, messages that it has not delivered stay with the server.
func TestEngineEnds(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input(dropAtOnce)
		d.deliver(1, "a", "b", "c")
		a := d.read(time.Second, "a")
		d.read(time.Second, "b")
		over, cancel := context.WithCancel(d.Context())
		cancel()
		require.NoError(t, a.ack(over, errors.New("the pipeline was closed")))
		closed := d.begin(func() error { return d.in.Close(d.Context()) })
		d.expect("DISCONNECT")
		require.NoError(t, closed())
		_, _, err := d.in.ReadBatch(d.Context())
		require.ErrorIs(t, err, service.ErrNotConnected)
	})
}

// At QoS 0 and in a clean session, unread messages would not be sent again; Close does not wait for anyone to
// read them.
func TestCloseWithMessagesOfACleanSession(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("") // kept: the messages below are of QoS 0
		for range 3 {
			d.send(&packets.Publish{Topic: "t/x", Payload: []byte("x")})
		}
		begin := time.Now()
		closed := d.begin(func() error { return d.in.Close(d.Context()) })
		d.expect("DISCONNECT")
		require.NoError(t, closed())
		require.Less(t, time.Since(begin), 3*time.Second)
	})
}

// order: true hands over one message of a topic at a time, also through failures.
func TestLanes(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("order: true\nbatch_size: 10\n")
		d.send(&packets.Publish{Topic: "t/a", QoS: 1, PacketID: 1, Payload: []byte("a1")},
			&packets.Publish{Topic: "t/a", QoS: 1, PacketID: 2, Payload: []byte("a2")},
			&packets.Publish{Topic: "t/b", QoS: 1, PacketID: 3, Payload: []byte("b1")})
		first := d.read(time.Second, "a1", "b1")
		d.none(time.Hour)
		first.settle(t, service.NewBatchError(first.MessageBatch, errSink).Failed(0, errSink))
		again := d.read(time.Second, "a1")
		d.none(time.Hour)
		again.settle(t, nil)
		d.read(time.Second, "a2").settle(t, nil)
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
	})
}

// The number of messages handed over and not settled is limited.
func TestMaxInflight(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("max_inflight: 2\nbatch_size: 10\n")
		d.deliver(1, "a", "b", "c")
		first := d.read(time.Second, "a", "b")
		d.none(time.Hour)
		first.settle(t, nil)
		d.expect("PUBACK id=1", "PUBACK id=2")
		d.read(time.Second, "c").settle(t, nil)
		d.expect("PUBACK id=3")
	})
}

// The connection is lost while messages are handed over. The engine is informed, the messages already
// received are handed over nevertheless, and none is handed over twice.
func TestConnectionLost(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.input("")
		d.deliver(1, "a", "b")
		a := d.read(time.Second, "a")
		d.conn.Close()
		synctest.Wait()
		b := d.read(time.Second, "b")
		_, _, err := d.in.ReadBatch(d.Context())
		require.ErrorIs(t, err, service.ErrNotConnected)
		connected := d.begin(func() error { return d.in.Connect(d.Context()) })
		d.accept(true)
		require.NoError(t, connected())
		d.send(&packets.Publish{Topic: "t/x", QoS: 1, PacketID: 1, Dup: true, Payload: []byte("a")},
			&packets.Publish{Topic: "t/x", QoS: 1, PacketID: 2, Dup: true, Payload: []byte("b")})
		d.none(time.Second)
		a.settle(t, nil)
		b.settle(t, nil)
		d.expect("PUBACK id=1", "PUBACK id=2")
	})
}

// While the server is unreachable, Connect fails and asks for growing pauses.
func TestServerAway(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		in, err := newInput(parsed(t, inputSpec(), "{urls: [tcp://127.0.0.1:1883], topics: [t]}"), service.MockResources())
		require.NoError(t, err)
		d.in = in.(*input)
		d.in.link.opts.Dial = d.server.Dial
		d.server.Refuse(errors.New("nobody is there"))
		var most time.Duration
		for range 100 {
			var pause *service.ErrBackOff
			require.ErrorAs(t, in.Connect(d.Context()), &pause)
			require.ErrorContains(t, pause, "nobody is there")
			most = max(most, pause.Wait)
		}
		require.Greater(t, most, 10*time.Second)
		require.LessOrEqual(t, most, 30*time.Second)
		_, _, err = in.ReadBatch(d.Context())
		require.ErrorIs(t, err, service.ErrNotConnected)
	})
}
