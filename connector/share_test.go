package connector_test

import (
	"fmt"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// partition: each message runs in exactly one of the processes, and every process
// acknowledges all.
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

// retained: messages that the Server had kept can be left out, or be the only ones.
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
