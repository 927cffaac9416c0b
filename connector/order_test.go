package connector_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// 是否顺序发送: flows run one after another in the order of arrival; one that is retried holds up the
// rest.
func TestOrder(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		cfg := kept(connector.ConsumerParams{Concurrency: 8})
		cfg.Advanced.Order = true
		d.run(cfg, g)
		d.deliver(1, "a", "b", "c")
		require.Equal(t, []string{"a"}, g.running())
		g.fail("a")
		time.Sleep(time.Hour)
		require.Equal(t, []string{"a", "a"}, g.running())
		g.finish("a")
		d.expect("PUBACK id=1")
		require.Equal(t, []string{"a", "a", "b"}, g.running())
		g.finish("b")
		d.expect("PUBACK id=2")
		g.finish("c")
		d.expect("PUBACK id=3")
	})
}

// Without an order, flows run concurrently: as many as concurrency says, or else 64.
func TestConcurrency(t *testing.T) {
	for concurrency, want := range map[int]int{0: 64, 3: 3, 1: 1} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				g := newGate()
				d.run(kept(connector.ConsumerParams{Concurrency: concurrency}), g)
				var names []string
				for i := range 70 {
					names = append(names, fmt.Sprint(i))
				}
				d.deliver(1, names...)
				began := g.running()
				require.Len(t, began, want)
				require.EqualValues(t, want, d.connector.Health().Running)
				g.finish(began[0])
				require.Len(t, g.running(), want+1, "one ended, one began")
			})
		})
	}
}

// order_by: topic keeps the order within a topic and runs topics concurrently.
func TestOrderByTopic(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{OrderBy: connector.OrderTopic}), g)
		d.send(publish("t/1", 1, 1, "1a"), publish("t/1", 1, 2, "1b"), publish("t/2", 1, 3, "2a"), publish("t/2", 1, 4, "2b"))
		require.ElementsMatch(t, []string{"1a", "2a"}, g.running())
		g.finish("2a")
		require.ElementsMatch(t, []string{"1a", "2a", "2b"}, g.running())
		g.finish("2b", "1a")
		d.expect("PUBACK id=1")
		g.finish("1b")
		d.expect("PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
	})
}

// A topic whose first message waits for its turn takes no place from other topics.
func TestOrderByTopicWaitsInItsLane(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{OrderBy: connector.OrderTopic, Concurrency: 2}), g)
		d.send(publish("t/1", 1, 1, "1a"), publish("t/1", 1, 2, "1b"), publish("t/1", 1, 3, "1c"), publish("t/2", 1, 4, "2a"))
		require.ElementsMatch(t, []string{"1a", "2a"}, g.running())
	})
}

// order_by: none of a consumer overrides order of the connection, and order_by: connection does not
// need order.
func TestOrderByOutranksOrder(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		cfg := kept(connector.ConsumerParams{OrderBy: connector.OrderNone})
		cfg.Advanced.Order = true
		d.run(cfg, g)
		d.deliver(1, "a", "b")
		require.Len(t, g.running(), 2)
	})
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{OrderBy: connector.OrderConnection}), g)
		d.deliver(1, "a", "b")
		require.Equal(t, []string{"a"}, g.running())
	})
}

// max_in_flight limits the messages taken and not settled, whatever they wait for.
func TestMaxInFlight(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{MaxInFlight: 2}), g)
		d.deliver(1, "a", "b", "c", "d")
		require.Len(t, g.running(), 2)
		require.EqualValues(t, 3, d.connector.Health().Received, "the third is in the hand of who waits for room")
		g.finish("b")
		require.Len(t, g.running(), 3)
		g.finish("a", "c", "d")
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
	})
}

// max_in_flight_bytes limits payloads; a payload above the limit runs alone.
func TestMaxInFlightBytes(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{MaxInFlightBytes: 10}), g)
		d.deliver(1, "123456", "1234", "x", "12345678901234567890", "y")
		require.ElementsMatch(t, []string{"123456", "1234"}, g.running())
		g.finish("1234")
		require.ElementsMatch(t, []string{"123456", "1234", "x"}, g.running())
		g.finish("x")
		require.Len(t, g.running(), 3, "the large one waits until it is alone")
		g.finish("123456")
		require.Equal(t, "12345678901234567890", g.running()[3])
		require.Len(t, g.running(), 4, "and nothing runs beside it")
		g.finish("12345678901234567890", "y")
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4", "PUBACK id=5")
	})
}

// A flow may publish at QoS 1 on its own connection while the inbox is full and no further message
// is read: its PUBACK is read nevertheless.
func TestFlowPublishesWhileTheInboxIsFull(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{MaxInFlight: 1, Concurrency: 1})
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out", QoS: packets.AtLeastOnce, AckTimeout: ptr(time.Hour)}}
		step := &late{}
		d.run(cfg, step)
		step.Flow = d.connector.Producer("out")

		const n = 300 // above the inbox of 256
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range n {
				d.conn.Send(publish("t/x", 1, uint16(i+1), fmt.Sprint(i)))
			}
		}()
		synctest.Wait()
		acked := 0
		for out := 0; out < n || acked < n; {
			d.conn.SetReadDeadline(time.Now().Add(time.Hour))
			p, err := d.conn.Receive()
			require.NoError(t, err)
			switch p := p.(type) {
			case *packets.Publish:
				require.Equal(t, "out", p.Topic)
				require.Equal(t, fmt.Sprint(out), string(p.Payload))
				out++
				id := p.PacketID
				go d.conn.Send(&packets.Puback{PacketID: id})
			case *packets.Puback:
				acked++
				require.EqualValues(t, acked, p.PacketID)
			default:
				t.Fatalf("came: %s", p)
			}
		}
		<-sent
	})
}

// If two consumers match a message, both run it, and it is acknowledged once, when both are done.
func TestTwoConsumersOneMessage(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Consumers["more"] = connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "+/a"}}, QoS: 1}
		g := newGate()
		d.run(cfg, g)
		d.deliver(1, "a")
		require.Equal(t, []string{"a", "a"}, g.running())
		g.finish("a")
		d.expectNothing(time.Hour)
		g.finish("a")
		d.expect("PUBACK id=1")
		require.EqualValues(t, 1, d.connector.Health().Acknowledged)
	})
}

// A filter that two consumers share is subscribed to once, with the higher QoS: a second SUBSCRIBE
// would replace the first [MQTT-3.8.4-3].
func TestSharedFilterIsSubscribedOnce(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{Topics: []connector.TopicQoS{
			{Topic: "a/#"}, {Topic: "b", QoS: 0, HasQoS: true}, {Topic: "a/#", QoS: 0, HasQoS: true},
		}})
		cfg.Consumers["group"] = connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "b"}}, QoS: 1}
		cfg.Consumers["shared"] = connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "b"}}, ShareGroup: "g"}
		d.build(cfg, newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		subs := d.grant()
		require.NoError(t, started())
		slices.SortFunc(subs, func(a, b packets.Subscription) int { return len(a.Filter) - len(b.Filter) })
		require.Equal(t, []packets.Subscription{{Filter: "b", QoS: 1}, {Filter: "a/#", QoS: 2}, {Filter: "$share/g/b", QoS: 0}}, subs)
	})
}

// Messages that match no consumer, perhaps from a subscription of an earlier configuration, are
// acknowledged and counted.
func TestUnmatchedIsAcknowledged(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.send(publish("else", 1, 9, "x"))
		d.expect("PUBACK id=9")
		require.Empty(t, g.running())
		require.EqualValues(t, 1, d.connector.Health().Unmatched)
	})
}

// A message from a share group matches the filter without the group.
func TestShareGroupMatches(t *testing.T) {
	for _, p := range []connector.ConsumerParams{
		{Topics: []connector.TopicQoS{{Topic: "t/#"}}, ShareGroup: "g"},
		{Topics: []connector.TopicQoS{{Topic: "$share/g/t/#"}}},
	} {
		inBubble(t, func(d *dialogue) {
			g := newGate()
			d.build(kept(p), g)
			started := d.start(func() error { return d.connector.Start(d.ctx) })
			d.accept(false)
			require.Equal(t, "$share/g/t/#", d.grant()[0].Filter)
			require.NoError(t, started())
			d.deliver(1, "a")
			require.Equal(t, []string{"a"}, g.running())
		})
	}
}

// A filter with a prefix such as $share is subscribed to as written and matched without the prefix;
// if the server does not know the prefix, it is matched as written.
func TestDecoratedFiltersMatch(t *testing.T) {
	for _, prefix := range []string{"$queue/", "$exclusive/", "$share/g/", "$oshare/g/", "$share:g:", "$local/"} {
		inBubble(t, func(d *dialogue) {
			g := newGate()
			d.build(kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "u/+"}, {Topic: prefix + "t/+"}}, ExtendedAttributes: true}), g)
			started := d.start(func() error { return d.connector.Start(d.ctx) })
			d.accept(false)
			require.Equal(t, prefix+"t/+", d.grant()[1].Filter)
			require.NoError(t, started())
			d.deliver(1, "a")
			d.send(publish(prefix+"t/b", 1, 2, "b"))
			require.ElementsMatch(t, []string{"a", "b"}, g.running())
			require.Zero(t, d.connector.Health().Unmatched)
		})
	}
}
