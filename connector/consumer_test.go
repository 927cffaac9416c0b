package connector_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// 流运行成功后确认: PUBACK, and at QoS 2 PUBREC, leave when the flow succeeded.
func TestAckAfterFlowSuccess(t *testing.T) {
	talk(t, kept(connector.ConsumerParams{}), nil, func(d *dialogue) {
		d.publish("plant/1", "x", packets.AtLeastOnce, 7)
		d.expectSilence(10 * time.Second)
		d.gate <- nil
		d.expect("PUBACK id=7")

		d.publish("plant/1", "y", packets.ExactlyOnce, 8)
		d.expectSilence(10 * time.Second)
		d.gate <- nil
		d.expect("PUBREC id=8")

		d.publish("plant/1", "z", packets.AtMostOnce, 0)
		d.gate <- nil
		d.expectSilence(10 * time.Second)
		require.EqualValues(d, 3, d.c.Health().Succeeded)
		require.EqualValues(d, 2, d.c.Health().Acknowledged)
	})
}

// 流开始前立即确认: the acknowledgement leaves before the flow starts, and a failure
// changes nothing.
func TestAckImmediately(t *testing.T) {
	talk(t, kept(connector.ConsumerParams{
		Topics: []connector.TopicQoS{{Topic: "plant/#"}}, QoS: packets.ExactlyOnce, AckMode: connector.Immediately,
	}), nil, func(d *dialogue) {
		d.publish("plant/1", "x", packets.AtLeastOnce, 7)
		d.expect("PUBACK id=7")
		d.publish("plant/1", "y", packets.ExactlyOnce, 8)
		d.expect("PUBREC id=8")
		d.gate <- errFlow
		d.gate <- errFlow
		d.expectSilence(10 * time.Second)
		require.EqualValues(d, 2, d.c.Health().Failed)
		require.Zero(d, d.c.Health().Retries)
	})
}

// The seed: "流运行失败的信息会重试". Without a limit it is run again until it succeeds.
func TestFailedFlowIsRunAgain(t *testing.T) {
	var runs atomic.Int32
	flow := connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
		m.Payload.Blob[0] = '!' // the next attempt must not see it
		if runs.Add(1) < 20 {
			return m, errFlow
		}
		return m, nil
	})
	talk(t, kept(connector.ConsumerParams{}), flow, func(d *dialogue) {
		began := time.Now()
		d.publish("plant/1", "x", packets.AtLeastOnce, 1)
		d.expect("PUBACK id=1")
		require.EqualValues(d, 20, runs.Load())
		require.Less(d, time.Since(began), 19*30*time.Second)
		require.EqualValues(d, 19, d.c.Health().Retries)
	})
}

// Acknowledgements leave in the order of arrival, however flows end [MQTT-4.6.0-2].
func TestAcksInArrivalOrder(t *testing.T) {
	var gates map[string]chan error
	flow := connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
		return m, <-gates[string(m.Payload.Blob)]
	})
	talk(t, kept(connector.ConsumerParams{}), flow, func(d *dialogue) {
		gates = map[string]chan error{"1": make(chan error), "2": make(chan error), "3": make(chan error)}
		for i, p := range []string{"1", "2", "3"} {
			d.publish("plant/1", p, packets.AtLeastOnce, uint16(i+1))
		}
		gates["3"] <- nil
		gates["2"] <- nil
		d.expectSilence(time.Second)
		gates["1"] <- nil
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
	})
}

// 是否顺序发送: with order the next flow starts when the one before is settled; without,
// they run together.
func TestOrder(t *testing.T) {
	for _, order := range []bool{true, false} {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.Order = order
		talk(t, cfg, nil, func(d *dialogue) {
			for id := range uint16(3) {
				d.publish("plant/1", "x", packets.AtLeastOnce, id+1)
			}
			want := int64(3)
			if order {
				want = 1
			}
			require.Equal(d, want, d.c.Health().Running)
			for range 3 {
				d.gate <- nil
			}
			d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		})
	}
}

// order_by topic: one flow of a topic at a time, topics beside each other.
func TestOrderByTopic(t *testing.T) {
	talk(t, kept(connector.ConsumerParams{
		Topics: []connector.TopicQoS{{Topic: "plant/#"}}, QoS: 1, OrderBy: connector.OrderTopic,
	}), nil, func(d *dialogue) {
		for id := range uint16(6) {
			d.publish("plant/"+string(rune('1'+id%2)), "x", packets.AtLeastOnce, id+1)
		}
		require.EqualValues(d, 2, d.c.Health().Running)
		for range 6 {
			d.gate <- nil
		}
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4", "PUBACK id=5", "PUBACK id=6")
	})
}

// A message that waits for its next attempt keeps no other from running.
func TestRetryTakesNoWorker(t *testing.T) {
	flow := connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
		if string(m.Payload.Blob) == "poison" {
			return m, errFlow
		}
		return m, nil
	})
	talk(t, kept(connector.ConsumerParams{
		Topics: []connector.TopicQoS{{Topic: "plant/#"}}, QoS: 1, Concurrency: 1,
		OnFailure: connector.OnFailure{InitialDelay: ptr(time.Hour), MaxDelay: ptr(time.Hour)},
	}), flow, func(d *dialogue) {
		d.publish("plant/1", "poison", packets.AtLeastOnce, 1)
		d.publish("plant/1", "good", packets.AtLeastOnce, 2)
		require.EqualValues(d, 1, d.c.Health().Succeeded)
		d.expectSilence(time.Second) // PUBACK 2 waits for PUBACK 1
	})
}

// A panic and a flow that ends its goroutine are failures like any other, and give
// their place back.
func TestFlowThatPanicsOrEndsItsGoroutine(t *testing.T) {
	var runs atomic.Int32
	flow := connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
		switch runs.Add(1) {
		case 1:
			panic("at the disco")
		case 2:
			runtime.Goexit()
		case 3:
			m.Error = connector.AsError(errFlow)
		}
		return m, nil
	})
	cfg := kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "#"}}, QoS: 1, MaxInFlight: 1})
	cfg.Advanced.Order = true
	talk(t, cfg, flow, func(d *dialogue) {
		d.publish("a", "x", packets.AtLeastOnce, 1)
		d.publish("a", "y", packets.AtLeastOnce, 2)
		d.expect("PUBACK id=1", "PUBACK id=2")
		require.EqualValues(d, 3, d.c.Health().Failed)
		require.EqualValues(d, 2, d.c.Health().Succeeded)
		require.Zero(d, d.c.Health().Unacked)
	})
}

// flow_timeout ends the context of a run, and the run counts as failed.
func TestFlowTimeout(t *testing.T) {
	var runs atomic.Int32
	flow := connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		if runs.Add(1) == 1 {
			<-ctx.Done()
			return m, ctx.Err()
		}
		return m, nil
	})
	talk(t, kept(connector.ConsumerParams{
		Topics: []connector.TopicQoS{{Topic: "#"}}, QoS: 1, FlowTimeout: ptr(5 * time.Second),
	}), flow, func(d *dialogue) {
		began := time.Now()
		d.publish("a", "x", packets.AtLeastOnce, 1)
		d.expect("PUBACK id=1")
		require.InDelta(d, 5, time.Since(began).Seconds(), 0.3)
	})
}

// A link that breaks while a flow runs: the Server sends the message again on the next
// connection, the flow does not run again, and its end acknowledges there.
func TestOneRunAcrossReconnects(t *testing.T) {
	for qos, ack := range map[packets.QoS]string{packets.AtLeastOnce: "PUBACK id=9", packets.ExactlyOnce: "PUBREC id=9"} {
		talk(t, kept(connector.ConsumerParams{}), nil, func(d *dialogue) {
			d.publish("plant/1", "x", qos, 9)
			d.conn.Close()
			d.accept(true)
			d.send(&packets.Publish{Topic: "plant/1", Payload: []byte("x"), QoS: qos, PacketID: 9, Dup: true})
			d.gate <- nil
			d.expect(ack)
			require.EqualValues(d, 1, d.c.Health().Succeeded)
			require.EqualValues(d, 1, d.c.Health().Received)
		})
	}
}

// Stop lets flows end, acknowledges and says goodbye; what had not begun stays with the
// Server, but for QoS 0, which nobody would send again.
func TestStopDrains(t *testing.T) {
	cfg := kept(connector.ConsumerParams{})
	cfg.Advanced.Order = true
	talk(t, cfg, nil, func(d *dialogue) {
		d.publish("plant/1", "a", packets.AtLeastOnce, 1)
		d.publish("plant/1", "b", packets.AtLeastOnce, 2)
		d.publish("plant/1", "c", packets.AtMostOnce, 0)
		stopped := d.start(func() error { return d.c.Stop(d.ctx) })
		synctest.Wait()
		d.gate <- nil
		d.gate <- nil
		d.expect("PUBACK id=1", "DISCONNECT")
		require.NoError(d, stopped())
		require.EqualValues(d, 2, d.c.Health().Succeeded)
	})
}

// max_in_flight: no more than that is taken from the connection.
func TestMaxInFlight(t *testing.T) {
	talk(t, kept(connector.ConsumerParams{
		Topics: []connector.TopicQoS{{Topic: "#"}}, QoS: 1, MaxInFlight: 2,
	}), nil, func(d *dialogue) {
		for id := range uint16(10) {
			d.publish("a", "x", packets.AtLeastOnce, id+1)
		}
		require.EqualValues(d, 2, d.c.Health().Running)
		require.LessOrEqual(d, d.c.Health().Unacked, 3)
		for range 10 {
			d.gate <- nil
		}
		for range 10 {
			_, err := d.conn.Receive()
			require.NoError(d, err)
		}
	})
}
