package connector_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

func letter(payload string) *connector.DeadLetterRecord {
	return &connector.DeadLetterRecord{Consumer: "in", Topic: "t/" + payload, QoS: 1, MessageID: 7, Key: "key " + payload, Payload: []byte(payload)}
}

// replay starts a replay; the returned function waits for its outcome.
func (d *dialogue) replay(ctx context.Context, payload string) (outcome func() error) {
	c := d.connector
	outcome = d.start(func() error { return c.Replay(ctx, letter(payload)) })
	synctest.Wait()
	return outcome
}

// The flow gets the dead letter. It does not count as received or acknowledged, and nothing is sent to the Server.
func TestReplay(t *testing.T) {
	for _, mode := range []connector.AckMode{connector.AfterFlowSuccess, connector.Immediately} {
		inBubble(t, func(d *dialogue) {
			received := time.Date(2026, 7, 1, 8, 0, 0, 0, time.UTC)
			d.run(kept(connector.ConsumerParams{AckMode: mode, ExtendedAttributes: true, FlowTimeout: ptr(time.Minute)}),
				flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
					require.Equal(d, "t/a", m.Topic())
					require.Equal(d, "a", string(m.Payload.Blob))
					require.EqualValues(d, 7, m.Attribute[flow.AttributeMessageID])
					require.Equal(d, received.Format(time.RFC3339Nano), m.Attribute[flow.AttributeReceivedAt])
					require.Equal(d, "key a", flow.IdempotencyKey(ctx))
					require.Equal(d, 1, flow.Attempt(ctx))
					require.True(d, flow.Suspected(ctx))
					_, timed := ctx.Deadline()
					require.True(d, timed)
					m.Payload.Blob[0] = 'x' // its own
					return nil, nil
				}))
			l := letter("a")
			l.Received = received
			require.NoError(d, d.connector.Replay(d.ctx, l))
			require.Equal(d, "a", string(l.Payload))
			h := d.connector.Health()
			require.EqualValues(d, 1, h.Succeeded)
			require.Zero(d, h.Received+h.Acknowledged+h.Stale)
			require.Zero(d, h.Unacked)
			require.NoError(d, h.Ready())
			d.expectNothing(time.Minute)
		})
	}
}

// The caller of Replay gets the failure of the run, whatever the failure policy says: it is not retried, and no new
// dead letter is written.
func TestReplayFails(t *testing.T) {
	for _, mode := range []connector.AckMode{connector.AfterFlowSuccess, connector.Immediately} {
		for _, f := range []connector.OnFailure{
			{Then: connector.DeadLetter, DeadLetterTopic: "dead"}, {Then: connector.Drop}, {Then: connector.Halt, Retries: ptr(0)}, {},
		} {
			inBubble(t, func(d *dialogue) {
				runs := 0
				d.run(kept(connector.ConsumerParams{AckMode: mode, OnFailure: f}), failing(1000, &runs, flow.Suspect(errFlow)))
				require.ErrorIs(d, d.connector.Replay(d.ctx, letter("a")), errFlow)
				d.expectNothing(time.Hour)
				require.Equal(d, 1, runs)
				h := d.connector.Health()
				require.EqualValues(d, 1, h.Failed)
				require.Zero(d, h.Retries+h.DeadLettered+h.Dropped+h.Acknowledged)
				require.NoError(d, h.Ready())
			})
		}
	}
}

func TestReplayOfAFlowThatPanicsOrIsSlow(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{FlowTimeout: ptr(time.Second)}), flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			if m.Topic() == "t/panic" {
				panic("no")
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		var p *flow.PanicError
		require.ErrorAs(d, d.connector.Replay(d.ctx, letter("panic")), &p)
		require.ErrorIs(d, d.connector.Replay(d.ctx, letter("slow")), context.DeadlineExceeded)
		require.EqualValues(d, 1, d.connector.Health().TimedOut)
	})
}

func TestReplayRefused(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Consumers["pulled"] = connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "p"}}}
		c, err := connector.New(cfg, d.options)
		require.NoError(d, err)
		require.NoError(d, c.Consume("in", set("")))
		require.NoError(d, c.Consume("pulled", connector.Pulled))
		require.ErrorContains(d, c.Replay(d.ctx, letter("a")), "before Start")
		d.connector = c
		d.accepted(true)
		require.Equal(d, []bool{true, false, false}, []bool{c.Replays("in"), c.Replays("pulled"), c.Replays("no")})
		for name, why := range map[string]string{"no": "there is no consumer", "pulled": "a program pulls"} {
			l := letter("a")
			l.Consumer = name
			err := c.Replay(d.ctx, l)
			require.ErrorIs(d, err, flow.TypeConfig)
			require.ErrorContains(d, err, why)
		}
		// One that a later configuration has not is not replayed to; its last messages still have a flow.
		delete(cfg.Consumers, "pulled")
		cfg.Consumers["other"] = cfg.Consumers["in"]
		delete(cfg.Consumers, "in")
		changed := d.start(func() error {
			_, err := c.Reconfigure(d.ctx, cfg, func(string) flow.Flow { return set("") })
			return err
		})
		d.expect(`UNSUBSCRIBE id=32769 "p"`)
		require.NoError(d, changed())
		require.ErrorIs(d, c.Replay(d.ctx, letter("a")), flow.TypeConfig)
		require.True(d, c.Replays("other"))
		d.stop(time.Minute)
		require.ErrorIs(d, c.Replay(d.ctx, letter("a")), flow.TypeCancelled)
	})
}

// With an order, a replay waits for earlier messages that it must follow, and later ones wait for the replay.
func TestReplayKeepsOrder(t *testing.T) {
	for _, order := range []connector.OrderBy{connector.OrderTopic, connector.OrderConnection} {
		inBubble(t, func(d *dialogue) {
			g := newGate()
			d.run(kept(connector.ConsumerParams{OrderBy: order}), g)
			d.send(publish("t/a", 1, 1, "1"), publish("t/a", 1, 2, "2"))
			l := letter("a")
			l.Payload = []byte("again")
			c := d.connector
			outcome := d.start(func() error { return c.Replay(d.ctx, l) })
			synctest.Wait()
			d.send(publish("t/a", 1, 3, "3"))
			require.Equal(d, []string{"1"}, g.running())
			g.finish("1", "2")
			require.Equal(d, []string{"1", "2", "again"}, g.running())
			d.expect("PUBACK id=1", "PUBACK id=2")
			g.fail("again")
			require.ErrorIs(d, outcome(), errGate)
			require.Equal(d, []string{"1", "2", "again", "3"}, g.running())
			g.finish("3")
			d.expect("PUBACK id=3")
		})
	}
}

// Replays and messages wait for room within the limits of the consumer, and none waits for ever.
func TestReplaysWaitForRoom(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{MaxInFlight: 1}), g)
		d.deliver(1, "m1", "m2")
		var outcomes []func() error
		for i := range 5 {
			outcomes = append(outcomes, d.replay(d.ctx, fmt.Sprint("r", i)))
		}
		for n := 1; n <= 7; n++ {
			began := g.running()
			require.Len(d, began, n)
			g.finish(began[n-1])
		}
		for _, outcome := range outcomes {
			require.NoError(d, outcome())
		}
		d.expect("PUBACK id=1", "PUBACK id=2")
		d.deliver(1, "m3")
		require.Len(d, g.running(), 8)
		g.finish("m3")
		d.expect("PUBACK id=1")
	})
}

// When a new configuration makes room, all who wait for it notice.
func TestReplayAndMessageWaitForRoom(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{MaxInFlight: 1}), g)
		d.deliver(1, "m1", "m2")
		outcome := d.replay(d.ctx, "r")
		require.Equal(d, []string{"m1"}, g.running())
		_, err := d.connector.Reconfigure(d.ctx, kept(connector.ConsumerParams{MaxInFlight: 3}), nil)
		require.NoError(d, err)
		require.ElementsMatch(d, []string{"m1", "m2", "r"}, g.running())
		g.finish("m1", "m2", "r")
		require.NoError(d, outcome())
		d.expect("PUBACK id=1", "PUBACK id=2")
	})
}

// Dead letters are replayed one at a time, beside messages.
func TestReplaysOneAtATime(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		first, second := d.replay(d.ctx, "r1"), d.replay(d.ctx, "r2")
		d.deliver(1, "m")
		require.Equal(d, []string{"r1", "m"}, g.running())
		g.finish("m", "r1")
		require.NoError(d, first())
		g.finish("r2")
		require.NoError(d, second())
		d.expect("PUBACK id=1")
	})
}

// A replay whose caller gives up does not begin, or is cut short; the consumer continues.
func TestReplayGivenUp(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		ctx, cancel := context.WithCancel(d.ctx)
		begun, waiting := d.replay(ctx, "r1"), d.replay(ctx, "r2")
		cancel()
		require.ErrorIs(d, begun(), context.Canceled)
		require.ErrorIs(d, waiting(), context.Canceled)
		require.ErrorIs(d, d.connector.Replay(ctx, letter("r3")), context.Canceled)
		again := d.replay(d.ctx, "r4")
		require.Equal(d, []string{"r1", "r4"}, g.running())
		g.finish("r4")
		require.NoError(d, again())
	})
}

// A connector that stops lets a running replay end, and begins no other; nothing is left behind.
func TestReplayWhileStopping(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{MaxInFlight: 2}), g)
		begun, waiting, outside := d.replay(d.ctx, "r1"), d.replay(d.ctx, "r2"), d.replay(d.ctx, "r3")
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			d.stop(time.Minute)
		}()
		require.ErrorIs(d, waiting(), flow.TypeCancelled)
		require.ErrorIs(d, outside(), flow.TypeCancelled)
		g.finish("r1")
		require.NoError(d, begun())
		<-stopped
		require.Equal(d, []string{"r1"}, g.running())
	})
}

// Whenever the connector stops, each call of Replay returns.
func TestReplaysBesideStop(t *testing.T) {
	for pause := range 20 {
		inBubble(t, func(d *dialogue) {
			d.run(kept(connector.ConsumerParams{MaxInFlight: 3, Concurrency: 2}), flow.Func(func(context.Context, *flow.Message) (*flow.Message, error) {
				time.Sleep(time.Millisecond)
				return nil, nil
			}))
			var outcomes []func() error
			c := d.connector
			for range 10 {
				outcomes = append(outcomes, d.start(func() error { return c.Replay(d.ctx, letter("a")) }))
			}
			time.Sleep(time.Duration(pause) * time.Millisecond / 2)
			d.stop(time.Minute)
			for _, outcome := range outcomes {
				if err := outcome(); err != nil {
					require.ErrorIs(d, err, flow.TypeCancelled)
				}
			}
		})
	}
}
