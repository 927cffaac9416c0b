package connector_test

import (
	"context"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// 流运行成功后确认: PUBACK is sent after the flow has succeeded, and not before.
func TestAckAfterFlowQoS1(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.deliver(1, "a")
		require.Equal(t, []string{"a"}, g.running())
		d.expectNothing(10 * time.Minute)
		require.Equal(t, 1, d.connector.Health().Unacked)
		require.Equal(t, 10*time.Minute, d.connector.Health().OldestUnacked)
		g.finish("a")
		d.expect("PUBACK id=1")
		h := d.connector.Health()
		require.EqualValues(t, 1, h.Acknowledged)
		require.EqualValues(t, 1, h.Succeeded)
		require.Zero(t, h.Unacked)
		require.Zero(t, h.OldestUnacked)
	})
}

// At QoS 2 PUBREC is withheld, because it means that we have taken responsibility for the message;
// PUBREL is answered at once.
func TestAckAfterFlowQoS2(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.deliver(2, "a")
		d.expectNothing(10 * time.Minute)
		g.finish("a")
		d.expect("PUBREC id=1")
		d.send(&packets.Pubrel{PacketID: 1})
		d.expect("PUBCOMP id=1")
		require.EqualValues(t, 1, d.connector.Health().Acknowledged)
	})
}

// At QoS 0 there is nothing to acknowledge; the failure policy applies all the same.
func TestQoS0HasNoAcknowledgement(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		runs := 0
		d.run(kept(connector.ConsumerParams{}), failing(2, &runs, errGate))
		d.deliver(0, "a")
		d.expectNothing(time.Minute)
		require.Equal(t, 3, runs)
		h := d.connector.Health()
		require.Zero(t, h.Acknowledged)
		require.Zero(t, h.Unacked)
		require.EqualValues(t, 1, h.Succeeded)
	})
}

// 流开始前立即确认: the acknowledgement is sent while the flow runs, and a failure of the flow is only
// counted.
func TestAckImmediately(t *testing.T) {
	for qos, ack := range map[packets.QoS]string{1: "PUBACK id=1", 2: "PUBREC id=1"} {
		inBubble(t, func(d *dialogue) {
			g := newGate()
			d.run(kept(connector.ConsumerParams{AckMode: connector.Immediately}), g)
			d.deliver(qos, "a")
			d.expect(ack)
			require.Equal(t, []string{"a"}, g.running())
			g.fail("a")
			d.expectNothing(10 * time.Minute)
			require.Equal(t, []string{"a"}, g.running(), "processed at most once")
			h := d.connector.Health()
			require.EqualValues(t, 1, h.Failed)
			require.Zero(t, h.Retries)
		})
	}
}

// Flows end in any order; acknowledgements are sent in the order of arrival [MQTT-4.6.0-2].
func TestAcksLeaveInOrderOfArrival(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.deliver(1, "a", "b", "c")
		require.ElementsMatch(t, []string{"a", "b", "c"}, g.running())
		g.finish("c", "b")
		d.expectNothing(time.Minute)
		g.finish("a")
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
	})
}

// A flow gets the message as it arrived: payload, topic, granted QoS and identifier.
func TestConsumedMessage(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var got []*flow.Message
		f := flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			got = append(got, m)
			return nil, nil
		})
		d.run(kept(connector.ConsumerParams{Concurrency: 1}), f)
		d.send(publish("t/é", 1, 4, "\xff\x00"))
		d.expect("PUBACK id=4")
		d.send(publish("t/x", 0, 0, ""))
		require.Len(t, got, 2)
		require.Equal(t, []byte{0xff, 0}, got[0].Payload.Blob)
		require.Equal(t, map[string]any{"QoS": 1, "topic": "t/é", "messageID": uint16(4)}, got[0].Attribute)
		require.Equal(t, map[string]any{"QoS": 0, "topic": "t/x", "messageID": uint16(0)}, got[1].Attribute)
		require.Empty(t, got[1].Payload.Blob)
		require.NotNil(t, got[1].Variable)
		require.Nil(t, got[1].Error)
	})
}

func TestExtendedAttributes(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var got []map[string]any
		f := flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			if got = append(got, m.Attribute); len(got) == 1 {
				m.Payload.Blob[0] = 'z' // the next attempt has bytes of its own
				return nil, errGate
			}
			return nil, nil
		})
		d.run(kept(connector.ConsumerParams{ExtendedAttributes: true}), f)
		d.send(&packets.Publish{Topic: "t/x", QoS: 1, PacketID: 4, Retain: true, Dup: true, Payload: []byte("x")})
		d.expect("PUBACK id=4")
		require.Len(t, got, 2)
		require.Equal(t, got[0]["idempotencyKey"], got[1]["idempotencyKey"])
		for i, attributes := range got {
			require.NotEmpty(t, attributes["idempotencyKey"])
			delete(attributes, "idempotencyKey")
			require.Equal(t, map[string]any{
				"QoS": 1, "topic": "t/x", "messageID": uint16(4), "retained": true, "duplicate": true, "attempt": i + 1,
				"filter": "t/#", "topicLevels": []string{"t", "x"}, "receivedAt": "2000-01-01T00:00:00Z", "clientID": "c", "broker": "127.0.0.1:1883",
			}, attributes)
		}
	})
}

// mime_type and encoding are set in the payload's Entity.
func TestMimeType(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var got *flow.Message
		d.run(kept(connector.ConsumerParams{MimeType: "application/json", Encoding: "UTF-8"}), flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			got = m
			return nil, nil
		}))
		d.deliver(1, "21")
		d.expect("PUBACK id=1")
		require.Equal(t, flow.Entity{Blob: []byte("21"), MimeType: "application/json", Encoding: "UTF-8"}, got.Payload)
	})
}
