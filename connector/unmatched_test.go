package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// twoConsumers returns a configuration with consumers "in" of t/# and "rest" of r/#, and their
// policies.
func twoConsumers(in, rest connector.OnFailure) connector.Config {
	cfg := kept(connector.ConsumerParams{OnFailure: in})
	cfg.Consumers["rest"] = connector.ConsumerParams{
		Topics: []connector.TopicQoS{{Topic: "r/#"}}, QoS: 1, OnFailure: rest,
		Retained: connector.RetainedOnly, Partition: &connector.Partition{Index: 0, Count: 1000}, ExtendedAttributes: true,
	}
	return cfg
}

// A message that matches no consumer goes where unmatched says, and is counted. If unmatched is not
// set, it is an error, and for a minute the connector is not ready.
func TestUnmatched(t *testing.T) {
	toX, toY := connector.OnFailure{DeadLetterTopic: "x"}, connector.OnFailure{DeadLetterTopic: "y"}
	const away = "PUBLISH x qos=1 id=1 dup=false payload=stray"
	for name, c := range map[string]struct {
		unmatched connector.Unmatched
		in, rest  connector.OnFailure
		first     string // what the server gets
		runs      []string
	}{
		"unset, no place":           {},
		"unset, one place":          {in: toX, first: away},
		"unset, one place of two":   {in: toX, rest: toX, first: away},
		"unset, two places":         {in: toX, rest: toY},
		"dead_letter":               {unmatched: "dead_letter", rest: toX, first: away},
		"dead_letter, otherwise":    {unmatched: "Dead Letter", rest: toX, first: away},
		"drop beside a place":       {unmatched: connector.UnmatchedDrop, in: toX},
		"hold":                      {unmatched: connector.UnmatchedHold, in: toX},
		"a consumer beside a place": {unmatched: "rest", in: toX, runs: []string{"stray"}},
	} {
		for _, qos := range []packets.QoS{1, 2} {
			t.Run(fmt.Sprint(name, " ", qos), func(t *testing.T) {
				inBubble(t, func(d *dialogue) {
					cfg := twoConsumers(c.in, c.rest)
					cfg.Extension.Unmatched = c.unmatched
					w, g := new(witness), newGate()
					d.options.OnError = w.told
					d.run(cfg, g)
					d.send(publish("s/1", qos, 1, "stray"), publish("t/a", qos, 2, "a"))
					require.ElementsMatch(t, append([]string{"a"}, c.runs...), g.running())
					g.finish("a")
					if c.first != "" {
						d.expect(c.first)
						d.expectNothing(time.Second)
						d.send(&packets.Puback{PacketID: 1})
					}
					if c.unmatched == "rest" {
						d.expectNothing(time.Second)
						g.finish("stray")
					}
					ack := map[packets.QoS]string{1: "PUBACK", 2: "PUBREC"}[qos]
					if c.unmatched == connector.UnmatchedHold {
						d.expectNothing(time.Minute)
						require.Equal(t, 2, d.connector.Health().Unacked+int(d.connector.Health().Acknowledged))
					} else {
						d.expect(ack+" id=1", ack+" id=2")
					}
					h := d.connector.Health()
					require.EqualValues(t, 1, h.Unmatched)
					require.EqualValues(t, index(c.first != ""), h.DeadLettered)
					require.Zero(t, h.Failed)
					require.Zero(t, h.Skipped)
					if c.unmatched != "" {
						require.Empty(t, w.types())
						require.NoError(t, h.Ready())
						return
					}
					require.Equal(t, []flow.ErrorType{flow.TypeUnmatched}, w.types())
					require.ErrorIs(t, h.Ready(), flow.TypeUnmatched)
					require.ErrorContains(t, h.Ready(), `"s/1"`)
					time.Sleep(time.Minute)
					require.NoError(t, ready(d))
				})
			})
		}
	}
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The same holds at QoS 0; one message a minute is reported, with the number of those that were
// not.
func TestUnmatchedIsToldOnceAMinute(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var told []string
		d.options.OnError = func(e *flow.Error) { told = append(told, e.Description) }
		d.run(kept(connector.ConsumerParams{}), newGate())
		for range 1000 {
			d.send(publish("s/1", 0, 0, "stray"))
		}
		time.Sleep(59 * time.Second)
		d.send(publish("s/2", 0, 0, "stray"))
		require.Len(t, told, 1)
		require.EqualValues(t, 1001, d.connector.Health().Unmatched)
		time.Sleep(time.Second)
		require.ErrorContains(t, ready(d), `"s/2"`)
		d.send(publish("s/\x7f", 1, 7, "stray"))
		require.Len(t, told, 2)
		require.Contains(t, told[1], `"s/\x7f" (At Least Once, id 7) matches no consumer; it is acknowledged (and 1000 before it did not either)`)
		d.expect("PUBACK id=7")
		require.Error(t, ready(d))
		time.Sleep(time.Minute)
		require.NoError(t, ready(d))
	})
}

// The line in a file describes the message and says that no flow ran; a write that fails is retried.
func TestUnmatchedToAFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "later")
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{OnFailure: connector.OnFailure{DeadLetterFile: filepath.Join(folder, "dead.jsonl")}}), newGate())
		d.send(publish("s/1", 2, 7, "stray"))
		d.expectNothing(time.Minute)
		require.Positive(t, d.connector.Health().DeadLettersRefused)
		require.NoError(t, os.Mkdir(folder, 0o700))
		d.expect("PUBREC id=7")
	})
	text, err := os.ReadFile(filepath.Join(folder, "dead.jsonl"))
	require.NoError(t, err)
	var r connector.DeadLetterRecord
	require.NoError(t, json.Unmarshal(text, &r))
	require.Equal(t, "s/1", r.Topic)
	require.Equal(t, "stray", string(r.Payload))
	require.Empty(t, r.Consumer)
	require.Zero(t, r.Attempts)
	require.Contains(t, r.Error.Description, "[MQTT:UNMATCHED]")
}

// Stop does not wait for a dead letter that cannot be written: the server keeps the message.
func TestUnmatchedIsLeftByStop(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{OnFailure: connector.OnFailure{DeadLetterFile: filepath.Join(t.TempDir(), "none", "x")}}), newGate())
		d.send(publish("s/1", 1, 1, "stray"))
		synctest.Wait()
		start := time.Now()
		require.Equal(t, []string{"DISCONNECT"}, d.stop(time.Hour))
		require.Zero(t, time.Since(start))
	})
}

// If a leftover subscription brings dead letters back, they do not become dead letters again.
func TestUnmatchedDeadLetterDoesNotGoRound(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{OnFailure: connector.OnFailure{DeadLetterTopic: "x", DeadLetterMeta: true}}), newGate())
		d.send(publish("x", 1, 1, "stray"), publish("x/meta", 1, 2, "{}"))
		d.expect("PUBACK id=1", "PUBACK id=2")
		require.EqualValues(t, 2, d.connector.Health().Unmatched)
		d.send(publish("x/y", 1, 3, "stray"))
		d.conn.SetReadDeadline(time.Now().Add(time.Minute))
		p, err := d.conn.Receive()
		require.NoError(t, err)
		require.Equal(t, "x/meta", p.(*packets.Publish).Topic)
	})
}

// A held message is settled when its session ends, and still held when the session is resumed.
func TestUnmatchedHeldThroughSessions(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Extension.Unmatched = connector.UnmatchedHold
		d.run(cfg, newGate())
		d.send(publish("s/1", 1, 1, "stray"), publish("s/2", 0, 0, "stray"))
		require.Equal(t, 1, d.connector.Health().Unacked, "nobody waits at QoS 0")
		d.cut()
		d.accept(true)
		d.send(again(publish("s/1", 1, 1, "stray")))
		require.Equal(t, 1, d.connector.Health().Unacked)
		d.cut()
		d.accept(false)
		d.grant()
		require.Zero(t, d.connector.Health().Unacked)
		require.EqualValues(t, 2, d.connector.Health().Unmatched)
	})
}

// Messages for the share of another process, those that a consumer excludes, and topics that the
// connector has unsubscribed from do not count as unmatched.
func TestNotUnmatched(t *testing.T) {
	quiet := func(d *dialogue, w *witness, skipped int) {
		h := d.connector.Health()
		require.Zero(d, h.Unmatched)
		require.EqualValues(d, skipped, h.Skipped)
		require.NoError(d, h.Ready())
		require.Empty(d, w.types())
	}
	for name, p := range map[string]connector.ConsumerParams{
		"partition": {Partition: &connector.Partition{Index: 3, Count: 1000}, OnFailure: connector.OnFailure{DeadLetterTopic: "x"}},
		"retained":  {Retained: connector.RetainedOnly, OnFailure: connector.OnFailure{DeadLetterTopic: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				w := new(witness)
				d.options.OnError = w.told
				d.run(kept(p), newGate())
				d.deliver(1, "a")
				d.expect("PUBACK id=1")
				quiet(d, w, 1)
			})
		})
	}
	t.Run("given up", func(t *testing.T) {
		inBubble(t, func(d *dialogue) {
			w := new(witness)
			topics := []connector.TopicQoS{{Topic: "a/+"}, {Topic: "$queue/b/+"}, {Topic: "c"}}
			cfg := stored(t, kept(connector.ConsumerParams{Topics: topics, OnFailure: connector.OnFailure{DeadLetterTopic: "x"}}))
			d.run(cfg, newGate())
			cfg = d.crash(cfg)
			p := cfg.Consumers["in"]
			p.Topics = p.Topics[2:]
			cfg.Consumers["in"] = p
			d.options.OnError = w.told
			d.build(cfg, step(func(context.Context) error { return nil }))
			started := d.start(func() error { return d.connector.Start(d.ctx) })
			d.accept(true)
			d.expect(`UNSUBSCRIBE id=32768 "a/+" "$queue/b/+"`)
			d.send(publish("a/1", 1, 1, "a"), publish("b/1", 1, 2, "b"), &packets.Unsuback{PacketID: 32768})
			d.grant()
			require.NoError(t, started())
			d.expect("PUBACK id=1", "PUBACK id=2")
			quiet(d, w, 2)
		})
	})
}

// A consumer that takes unmatched messages gets their payloads, even if they are acknowledged
// before the flow runs.
func TestUnmatchedKeepsItsPayload(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{AckMode: connector.Immediately})
		cfg.Extension.Unmatched = "in"
		g := newGate()
		d.run(cfg, g)
		d.send(publish("s/1", 1, 1, "stray"))
		d.expect("PUBACK id=1")
		require.Equal(t, []string{"stray"}, g.running())
		g.finish("stray")
	})
}

// A message to be held that reaches the connector only after its session has ended is not held.
func TestUnmatchedHeldTooLate(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{MaxInFlight: 1})
		cfg.Extension.Unmatched = connector.UnmatchedHold
		g := newGate()
		d.run(cfg, g)
		d.send(publish("t/a", 1, 1, "a"), publish("t/b", 1, 2, "b"), publish("s/1", 1, 3, "stray"))
		d.conn.Close()
		time.Sleep(time.Second)
		d.accept(false)
		d.grant()
		g.finish("a")
		g.finish("b")
		synctest.Wait()
		require.EqualValues(t, 1, d.connector.Health().Unmatched)
		require.Zero(t, d.connector.Health().Unacked)
		time.Sleep(time.Hour)
		require.NoError(t, ready(d))
	})
}
