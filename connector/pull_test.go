package connector_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// pulling starts a connector whose consumer is pulled by the test.
func (d *dialogue) pulling(cfg connector.Config) {
	d.Helper()
	c, err := connector.New(cfg, d.options)
	require.NoError(d, err)
	for name := range cfg.Consumers {
		c.Pull(d.ctx, name)
	}
	d.connector = c
	d.accepted(true)
}

// next pulls one delivery, which must come within a time.
func (d *dialogue) next(within time.Duration) *connector.Delivery {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, within)
	defer cancel()
	for got, err := range d.connector.Pull(ctx, "in") {
		require.NoError(d, err)
		return got
	}
	return nil
}

// none checks that nothing can be pulled for a time.
func (d *dialogue) none(for_ time.Duration) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, for_)
	defer cancel()
	for got, err := range d.connector.Pull(ctx, "in") {
		require.Nil(d, got)
		require.ErrorIs(d, err, context.DeadlineExceeded)
	}
}

// Deliveries are settled in any order; acknowledgements are sent in the order of arrival. A second Settle
// is stale.
func TestPull(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.pulling(kept(connector.ConsumerParams{}))
		d.deliver(1, "a", "b", "c")
		a, b, c := d.next(time.Second), d.next(time.Second), d.next(time.Second)
		require.Equal(t, "t/a a 1 1", strings.Join([]string{a.Topic, string(a.Payload)}, " ")+" 1 1")
		require.EqualValues(t, 1, a.QoS)
		require.EqualValues(t, 1, a.PacketID)
		require.Equal(t, 1, a.Attempt)
		require.NotEqual(t, a.Key(), b.Key())
		m := a.Message()
		require.Equal(t, map[string]any{"QoS": 1, "topic": "t/a", "messageID": uint16(1)}, m.Attribute)
		m.Payload.Blob[0] = 'x'
		require.Equal(t, "a", string(a.Payload))
		d.none(time.Second)
		require.EqualValues(t, 3, d.connector.Health().Running)

		require.NoError(t, c.Settle(nil))
		require.NoError(t, b.Settle(nil))
		d.expectNothing(time.Minute)
		require.ErrorIs(t, c.Settle(errGate), connector.ErrStale)
		require.ErrorIs(t, c.Release(), connector.ErrStale)
		require.NoError(t, a.Settle(nil))
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		h := d.connector.Health()
		require.EqualValues(t, 3, h.Succeeded)
		require.Zero(t, h.Running)
		require.Zero(t, h.Failed)
	})
}

// The payload still belongs to the program after the message is settled: a pipeline may acknowledge a message
// that it has only stored.
func TestPullLeavesThePayload(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.pulling(kept(connector.ConsumerParams{}))
		d.deliver(1, "aaaa")
		a := d.next(time.Second)
		require.NoError(t, a.Settle(nil))
		d.expect("PUBACK id=1")
		for id := range uint16(100) {
			d.send(publish("t/b", 1, id+2, "bbbb"))
			require.NoError(t, d.next(time.Second).Settle(nil))
			d.expect(fmt.Sprint("PUBACK id=", id+2))
		}
		require.Equal(t, "aaaa", string(a.Payload))
	})
}

// The failure policy applies to a failed delivery: it comes again after a pause, with the next attempt,
// and then becomes a dead letter.
func TestPullFails(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.pulling(kept(onFailure(1, connector.OnFailure{Then: connector.DeadLetter, DeadLetterTopic: "dlq"})))
		d.deliver(1, "a", "b")
		a, b := d.next(time.Second), d.next(time.Second)
		key := a.Key()
		require.NoError(t, a.Settle(errGate))
		again := d.next(time.Second)
		require.Equal(t, key, again.Key())
		require.Equal(t, 2, again.Attempt)
		require.ErrorIs(t, a.Settle(nil), connector.ErrStale, "of the attempt before")
		require.NoError(t, again.Settle(errGate))
		d.expect("PUBLISH dlq qos=1 id=1 dup=false payload=a")
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBACK id=1")
		require.NoError(t, b.Settle(flow.Permanent(errGate)))
		d.expect("PUBLISH dlq qos=1 id=2 dup=false payload=b")
		d.send(&packets.Puback{PacketID: 2})
		d.expect("PUBACK id=2")
		require.EqualValues(t, 2, d.connector.Health().DeadLettered)
	})
}

// Release returns a delivery at once, in its old place, and uncharged.
func TestPullRelease(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.pulling(kept(onFailure(0, connector.OnFailure{Then: connector.Drop})))
		d.deliver(1, "a", "b", "c")
		a, b := d.next(time.Second), d.next(time.Second)
		require.NoError(t, b.Release())
		require.NoError(t, a.Release())
		for _, want := range []string{"a", "b", "c"} {
			got := d.next(time.Nanosecond)
			require.Equal(t, want, string(got.Payload))
			require.Equal(t, 1, got.Attempt)
			require.NoError(t, got.Settle(nil))
		}
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		require.Zero(t, d.connector.Health().Dropped)
	})
}

// When flow_timeout is over, the delivery has failed, and settling it later has no effect.
func TestPullTimeout(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		p := onFailure(1, connector.OnFailure{Then: connector.Drop})
		p.FlowTimeout = ptr(5 * time.Second)
		d.pulling(kept(p))
		d.deliver(1, "a", "b")
		a, b := d.next(time.Second), d.next(time.Second)
		time.Sleep(4 * time.Second)
		require.NoError(t, b.Settle(nil))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, a.Settle(nil), connector.ErrStale)
		again := d.next(time.Second)
		require.Equal(t, "a", string(again.Payload))
		require.Equal(t, 2, again.Attempt)
		time.Sleep(6 * time.Second)
		d.expect("PUBACK id=1", "PUBACK id=2")
		h := d.connector.Health()
		require.EqualValues(t, 2, h.TimedOut)
		require.EqualValues(t, 1, h.Dropped)
		require.ErrorIs(t, again.Release(), connector.ErrStale)
	})
}

// Deliveries that are pulled and not settled are limited, in messages and in bytes.
func TestPullIsBounded(t *testing.T) {
	for name, p := range map[string]connector.ConsumerParams{"messages": {MaxInFlight: 2}, "bytes": {MaxInFlightBytes: 2}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				d.pulling(kept(p))
				d.deliver(1, "a", "b", "c")
				a := d.next(time.Second)
				d.next(time.Second)
				d.none(time.Minute)
				require.NoError(t, a.Settle(nil))
				d.expect("PUBACK id=1")
				require.Equal(t, "c", string(d.next(time.Second).Payload))
			})
		})
	}
}

// With an order, a lane waits for its own message, during pauses as well, and for no other.
func TestPullInLanes(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.pulling(kept(connector.ConsumerParams{OrderBy: connector.OrderTopic}))
		d.send(publish("t/a", 1, 1, "a1"), publish("t/a", 1, 2, "a2"), publish("t/b", 1, 3, "b1"))
		a, b := d.next(time.Second), d.next(time.Second)
		require.Equal(t, "a1 b1", string(a.Payload)+" "+string(b.Payload))
		require.NoError(t, a.Settle(errGate))
		again := d.next(time.Second)
		require.Equal(t, "a1", string(again.Payload))
		d.none(time.Minute)
		require.NoError(t, again.Settle(nil))
		require.Equal(t, "a2", string(d.next(time.Second).Payload))
	})
}

// A batch has the messages that are available. If it fails as a whole, no message is charged, and
// they come back one by one.
func TestPullBatch(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.pulling(kept(onFailure(0, connector.OnFailure{Then: connector.Drop})))
		d.deliver(1, "a", "b", "c", "d", "e")
		texts := func(b connector.Batch) (all []string) {
			for _, m := range b {
				all = append(all, string(m.Payload))
			}
			return all
		}
		next := func(most int) connector.Batch {
			for b, err := range d.connector.PullBatch(d.ctx, "in", most) {
				require.NoError(t, err)
				return b
			}
			return nil
		}
		first := next(3)
		require.Equal(t, []string{"a", "b", "c"}, texts(first))
		require.NoError(t, next(10).Settle(nil)) // d, e
		require.NoError(t, first[0].Settle(nil))
		d.expect("PUBACK id=1")
		require.NoError(t, first.Settle(errGate))
		require.ErrorIs(t, first.Settle(nil), connector.ErrStale)
		var alone []string
		for range 2 {
			b := next(10)
			require.Len(t, b, 1)
			require.Equal(t, 1, b[0].Attempt)
			alone = append(alone, texts(b)...)
			if alone[len(alone)-1] == "b" {
				require.NoError(t, b.Settle(errGate)) // it was alone: it pays
			} else {
				require.NoError(t, b.Release())
				require.NoError(t, next(10).Settle(nil))
			}
		}
		require.ElementsMatch(t, []string{"b", "c"}, alone)
		d.expect("PUBACK id=2", "PUBACK id=3", "PUBACK id=4", "PUBACK id=5")
		h := d.connector.Health()
		require.EqualValues(t, 1, h.Dropped)
		require.EqualValues(t, 2, h.Uncharged)
	})
}

// Stop waits for pulled deliveries; when its patience ends, it takes them back.
func TestPullAndStop(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.pulling(kept(connector.ConsumerParams{}))
		d.deliver(1, "a", "b")
		a, b := d.next(time.Second), d.next(time.Second)
		c := d.connector
		ended := d.start(func() error {
			for _, err := range c.Pull(context.Background(), "in") {
				return err
			}
			return nil
		})
		synctest.Wait()
		go func() { time.Sleep(time.Second); a.Settle(nil) }()
		require.Equal(t, []string{"PUBACK id=1"}, slices.DeleteFunc(d.stop(10*time.Second), func(s string) bool { return s == "DISCONNECT" }))
		require.ErrorIs(t, ended(), flow.TypeCancelled)
		synctest.Wait()
		require.ErrorIs(t, b.Settle(nil), connector.ErrStale)
		require.Zero(t, c.Health().Running)
		for _, err := range c.Pull(d.ctx, "in") {
			require.ErrorIs(t, err, flow.TypeCancelled)
		}
	})
}

func TestPullIsRefused(t *testing.T) {
	c, err := connector.New(kept(connector.ConsumerParams{}), connector.Options{})
	require.NoError(t, err)
	fails := func(name, want string) {
		t.Helper()
		n := 0
		for d, err := range c.Pull(t.Context(), name) {
			require.Nil(t, d)
			require.ErrorContains(t, err, want)
			n++
		}
		require.Equal(t, 1, n)
	}
	fails("out", `no consumer "out"`)
	require.NoError(t, c.Consume("in", flow.Chain()))
	fails("in", `consumer "in" has a flow`)

	c, err = connector.New(kept(connector.ConsumerParams{}), connector.Options{})
	require.NoError(t, err)
	c.Pull(t.Context(), "in")
	require.ErrorContains(t, c.Consume("in", flow.Chain()), "is pulled")
	require.NoError(t, c.Stop(t.Context()))
	fails("in", "the connector stops")
	require.ErrorIs(t, errors.Join(c.Start(t.Context())), flow.TypeRuntime)
}
