package proofs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// lasting returns a flow that counts its runs and takes a random time below most.
func lasting(runs *tally, most time.Duration) func(*connector.Connector) flow.Flow {
	return func(*connector.Connector) flow.Flow {
		return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			time.Sleep(rand.N(most))
			runs.add(m)
			return m, nil
		})
	}
}

// Sixty-four concurrent flows end in any order. On the wire PUBACK follows the order of PUBLISH
// [MQTT-4.6.0-2], as does PUBREC [MQTT-4.6.0-3], and PUBCOMP follows that of PUBREL [MQTT-4.6.0-4].
func TestProofOrderOfAcknowledgements(t *testing.T) {
	messages := pick(4000, 100_000)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited + "max_inflight_messages 0\n"})
	ctx := within(t)
	w := newWire(t, b.Addr(), nil)
	var runs tally
	c := open(t, ctx, settings{
		addr: w.addr, id: "order", consumer: `topics: ["n/#"], qos: Exactly Once, concurrency: 64`,
	}, connector.Options{}, lasting(&runs, 4*time.Millisecond))
	p := publisher(t, ctx, b.Addr())
	require.NoError(t, publish(ctx, p, 0, messages, func(i int) client.Message {
		return numbered(fmt.Sprint("n/", i%7), packets.QoS(1+i%2))(i)
	}))
	eventually(t, ctx, func() (int, bool) {
		_, n := runs.counts()
		return n, n >= messages && w.count(from(packets.PUBCOMP)) >= messages/2
	})
	halt(t, c)
	ran, total := runs.counts()
	require.Equal(t, [2]int{messages, messages}, [2]int{ran, total}, "messages and runs")
	for _, kind := range []struct {
		got, want func(sight) bool
		name      string
	}{
		{from(packets.PUBACK), to(packets.PUBLISH, 1), "PUBACK as PUBLISH"},
		{from(packets.PUBREC), to(packets.PUBLISH, 2), "PUBREC as PUBLISH"},
		{from(packets.PUBCOMP), to(packets.PUBREL, 0), "PUBCOMP as PUBREL"},
	} {
		want := w.ids(kind.want)
		require.Len(t, want, messages/2, kind.name)
		require.Equal(t, want, w.ids(kind.got), kind.name)
	}
	t.Logf("%d messages, 64 flows at once, %d acknowledgements of three kinds in order", messages, messages/2*3)
}

// With order_by: topic the flows of a topic run one after another, in the order in which their
// messages were published, while those of sixty-four topics run concurrently.
func TestProofOrderByTopic(t *testing.T) {
	messages, topics := pick(6000, 200_000), 100
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited + "max_inflight_messages 0\n"})
	ctx := within(t)
	var mu sync.Mutex
	next, running := make(map[string]int), make(map[string]bool)
	var wrong []string
	done, atOnce, most := 0, 0, 0
	open(t, ctx, settings{
		addr: b.Addr(), id: "lanes", consumer: `topics: ["n/#"], qos: At Least Once, concurrency: 64, order_by: topic`,
	}, connector.Options{}, func(*connector.Connector) flow.Flow {
		return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			topic := topicOf(m)
			n, err := strconv.Atoi(string(m.Payload.Blob))
			mu.Lock()
			if running[topic] || n != next[topic] {
				wrong = append(wrong, fmt.Sprintf("%s: %d runs, %d was next, another runs: %t", topic, n, next[topic], running[topic]))
			}
			running[topic], next[topic] = true, n+1
			atOnce++
			most = max(most, atOnce)
			mu.Unlock()
			time.Sleep(rand.N(2 * time.Millisecond))
			mu.Lock()
			defer mu.Unlock()
			running[topic] = false
			atOnce--
			done++
			return m, err
		})
	})
	p := publisher(t, ctx, b.Addr())
	require.NoError(t, publish(ctx, p, 0, messages, func(i int) client.Message {
		return numbered(fmt.Sprint("n/", i%topics), packets.AtLeastOnce)(i / topics)
	}))
	eventually(t, ctx, func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		return done, done == messages
	})
	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, wrong)
	require.Greater(t, most, 32, "flows of different topics run at once")
	t.Logf("%d messages of %d topics, %d flows at once, each topic in its order", messages, topics, most)
}
