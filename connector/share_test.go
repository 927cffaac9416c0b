package connector_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// partition: each message runs in exactly one of the processes, and every process acknowledges all
// messages.
func TestPartition(t *testing.T) {
	ran := make(map[string]int)
	perProcess := make([]int, 3)
	for index := range 3 {
		inBubble(t, func(d *dialogue) {
			g := newGate()
			d.run(kept(connector.ConsumerParams{Partition: &connector.Partition{Index: index, Count: 3}}), g)
			for i := range 30 {
				topic := fmt.Sprintf("t/%d", i)
				d.send(publish(topic, packets.AtLeastOnce, uint16(i+1), topic))
			}
			mine := g.running()
			for _, topic := range mine {
				ran[topic]++
			}
			perProcess[index] = len(mine)
			g.finish(mine...)
			for i := range 30 {
				d.expect(fmt.Sprintf("PUBACK id=%d", i+1))
			}
			require.EqualValues(d, 30-len(mine), d.connector.Health().Skipped)
		})
	}
	require.Len(t, ran, 30)
	for topic, n := range ran {
		require.Equal(t, 1, n, topic)
	}
	for _, n := range perProcess {
		require.Positive(t, n)
	}
}

// retained: retained messages can be excluded, or be the only ones.
func TestRetainedPolicy(t *testing.T) {
	for policy, want := range map[connector.RetainedPolicy][]string{
		connector.RetainedDeliver: {"kept", "live"}, connector.RetainedSkip: {"live"}, connector.RetainedOnly: {"kept"},
	} {
		inBubble(t, func(d *dialogue) {
			g := newGate()
			d.run(kept(connector.ConsumerParams{Retained: policy}), g)
			p := publish("t/a", packets.AtLeastOnce, 1, "kept")
			p.Retain = true
			d.send(p)
			d.send(publish("t/a", packets.AtLeastOnce, 2, "live"))
			require.ElementsMatch(d, want, g.running())
			g.finish(want...)
			d.expect("PUBACK id=1", "PUBACK id=2")
		})
	}
}

// partition by key: messages with the same key run in the same process, whatever their topic. Those
// without a key are divided by topic, and none runs twice.
func TestPartitionByKey(t *testing.T) {
	runs := make(map[string][]int) // payload: processes
	for index := range 4 {
		inBubble(t, func(d *dialogue) {
			g := newGate()
			d.run(kept(connector.ConsumerParams{Partition: &connector.Partition{Index: index, Count: 4, Key: "${payload.device}"}}), g)
			id := uint16(0)
			for i := range 24 {
				payload := fmt.Sprintf(`{"device": "d%d", "n": %d}`, i%6, i)
				if i%6 == 5 {
					payload = fmt.Sprint("no JSON ", i)
				}
				id++
				d.send(publish(fmt.Sprintf("t/%d", i), packets.AtLeastOnce, id, payload))
			}
			for _, payload := range g.running() {
				runs[payload] = append(runs[payload], index)
				g.finish(payload)
			}
			for i := range id {
				d.expect(fmt.Sprintf("PUBACK id=%d", i+1))
			}
		})
	}
	require.Len(t, runs, 24)
	of := make(map[string]int)
	for payload, processes := range runs {
		require.Len(t, processes, 1, payload)
		var device string
		if _, err := fmt.Sscanf(payload, `{"device": "%2s"`, &device); err == nil {
			if first, seen := of[device]; seen {
				require.Equal(t, first, processes[0], device)
			}
			of[device] = processes[0]
		}
	}
	require.Len(t, of, 5)
}

// qos0_overflow: which QoS 0 messages are dropped when flows do not keep up.
func TestQoS0Overflow(t *testing.T) {
	for policy, newest := range map[client.OverflowPolicy]bool{client.OverflowDropOldest: true, client.OverflowDropNewest: false} {
		inBubble(t, func(d *dialogue) {
			var mu sync.Mutex
			var ran []string
			open := make(chan struct{})
			cfg := kept(connector.ConsumerParams{Concurrency: 1, MaxInFlight: 1})
			cfg.Extension.QoS0Overflow = policy
			d.run(cfg, flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
				<-open
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, string(m.Payload.Blob))
				return nil, nil
			}))
			for i := range 400 {
				require.NoError(t, d.conn.Send(publish("t/a", 0, 0, fmt.Sprint(i)))) // waits while reading pauses
			}
			synctest.Wait()
			close(open)
			time.Sleep(time.Minute)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			require.Less(t, len(ran), 300)
			require.Equal(t, "0", ran[0])
			require.Equal(t, newest, slices.Contains(ran, "399"))
			require.Positive(t, d.connector.Health().Client.Dropped)
		})
	}
}

// The count of a partition may be of any size.
func TestPartitionOfMany(t *testing.T) {
	count := int64(1) << 32
	if int64(int(count)) != count {
		t.Skip("an int has 32 bits")
	}
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{Partition: &connector.Partition{Index: 0, Count: int(count)}}), newGate())
		d.send(publish("t/a", packets.AtLeastOnce, 1, "a"))
		d.expect("PUBACK id=1") // of another process
	})
}
