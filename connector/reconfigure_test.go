package connector_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// A reconfiguration is a call of Reconfigure in progress.
type reconfiguration struct {
	d       *dialogue
	changes connector.Changes
	over    func() error
}

// reconfigure starts to apply a configuration; new consumers get their flows from flows.
func (d *dialogue) reconfigure(cfg connector.Config, flows func(string) flow.Flow) *reconfiguration {
	r := &reconfiguration{d: d}
	r.over = d.start(func() (err error) {
		r.changes, err = d.connector.Reconfigure(d.ctx, cfg, flows)
		return err
	})
	synctest.Wait()
	return r
}

func (r *reconfiguration) ok() connector.Changes {
	r.d.Helper()
	require.NoError(r.d, r.over())
	return r.changes
}

// apply applies a configuration that changes no filter.
func (d *dialogue) apply(cfg connector.Config) connector.Changes {
	d.Helper()
	c := d.reconfigure(cfg, nil).ok()
	require.Empty(d, c.Subscribed)
	require.Empty(d, c.Unsubscribed)
	return c
}

func always(f flow.Flow) func(string) flow.Flow {
	return func(string) flow.Flow { return f }
}

func topics(filters ...string) (to []connector.TopicQoS) {
	for _, f := range filters {
		to = append(to, connector.TopicQoS{Topic: f})
	}
	return to
}

// with returns a configuration whose consumers have these topics, each written as a name, a colon
// and the topics.
func with(consumers ...string) connector.Config {
	cfg := kept(connector.ConsumerParams{})
	delete(cfg.Consumers, "in")
	for _, c := range consumers {
		name, filters, _ := strings.Cut(c, ":")
		cfg.Consumers[name] = connector.ConsumerParams{QoS: 1, Topics: topics(strings.Fields(filters)...)}
	}
	return cfg
}

// A ran records which flow ran for which payload.
type ran []string

func (r *ran) flow(name string) flow.Flow {
	return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		*r = append(*r, name+" "+string(m.Payload.Blob))
		return nil, nil
	})
}

// comes sends a message at QoS 1 and receives its acknowledgement.
func (d *dialogue) comes(id uint16, topic, payload string) {
	d.Helper()
	d.send(publish(topic, 1, id, payload))
	d.expect(fmt.Sprintf("PUBACK id=%d", id))
}

// Only changed filters are sent: subscribing to the others again would bring retained messages
// again.
func TestReconfigureFilters(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		d.run(with("a:a/# both", "b:b/#", "c:c/+ both"), ran.flow("old"))
		cfg := with("a:a/# both", "n:n/# b/#", "c:c/+")
		a := cfg.Consumers["a"]
		a.Topics[1].HasQoS, a.Topics[1].QoS = true, 2
		r := d.reconfigure(cfg, func(name string) flow.Flow {
			if name == "n" {
				return ran.flow("new")
			}
			return nil
		})
		d.expect(`SUBSCRIBE id=32769 "both":2 "n/#":1`)
		require.EqualError(d, ready(d), `connector: the server has not granted the topics ["both" "n/#"] yet`)
		d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{2, 1}})
		changes := r.ok()
		require.Equal(d, []string{"consumers.a.topics", "consumers.b", "consumers.c.topics", "consumers.n"}, changes.Applied)
		require.Empty(d, changes.Restart)
		require.Equal(d, []packets.Subscription{{Filter: "both", QoS: 2}, {Filter: "n/#", QoS: 1}}, changes.Subscribed)
		require.Empty(d, changes.Unsubscribed, "b/# has another consumer")
		require.NoError(d, ready(d))
		d.comes(1, "b/1", "moved")
		d.comes(2, "n/1", "n")
		d.comes(3, "both", "both")
		require.Equal(d, []string{"new moved", "new n", "old both"}, []string(ran))

		cfg = with("n:n/#")
		r = d.reconfigure(cfg, nil)
		d.expect(`UNSUBSCRIBE id=32770 "a/#" "b/#" "c/+" "both"`)
		d.send(&packets.Unsuback{PacketID: 32770})
		changes = r.ok()
		require.Equal(d, []string{"a/#", "b/#", "c/+", "both"}, changes.Unsubscribed)
		d.expectNothing(time.Minute)
	})
}

// A removed consumer, or one that lost a topic, still runs its flow for messages that arrive on it;
// no message runs twice.
func TestReconfigureGone(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		d.build(with("a:a/#", "b:b/# c/#"), ran.flow("?"))
		c, err := connector.New(with("a:a/#", "b:b/# c/#"), d.options)
		require.NoError(d, err)
		for _, name := range []string{"a", "b"} {
			require.NoError(d, c.Consume(name, ran.flow(name)))
		}
		d.connector = c
		d.accepted(true)

		r := d.reconfigure(with("b:b/#"), nil)
		d.expect(`UNSUBSCRIBE id=32769 "a/#" "c/#"`)
		r.ok()
		d.comes(1, "a/1", "still")
		d.comes(2, "c/1", "also")
		d.comes(3, "b/1", "here")
		require.Equal(d, []string{"a still", "b also", "b here"}, []string(ran))
		ran = nil
		d.send(&packets.Unsuback{PacketID: 32769})

		// Now another consumer has it, and only that one.
		r = d.reconfigure(with("b:b/#", "x:a/#"), always(ran.flow("x")))
		d.grant()
		r.ok()
		d.comes(4, "a/1", "anew")
		d.comes(5, "b/1", "given")
		require.Equal(d, []string{"x anew", "x given"}, []string(ran))
		ran = nil

		// And back again: a gets the flow that it had, and x has nothing any more.
		d.apply(with("b:b/#", "a:a/#"))
		d.comes(6, "a/1", "back")
		require.Equal(d, []string{"a back"}, []string(ran))
		require.Zero(d, d.connector.Health().Unmatched)

		// What a consumer does not want is nobody else's.
		cfg := with("b:b/#", "a:a/1")
		p := cfg.Consumers["a"]
		p.Retained = connector.RetainedSkip
		cfg.Consumers["a"] = p
		ran = nil
		r = d.reconfigure(cfg, nil)
		d.grant()
		r.ok()
		retained := publish("a/1", 1, 7, "kept")
		retained.Retain = true
		d.send(retained)
		d.expect(`UNSUBSCRIBE id=32772 "a/#"`, "PUBACK id=7")
		require.Empty(d, ran)
		d.comes(8, "a/2", "left over")
		require.Equal(d, []string{"a left over"}, []string(ran))
	})
}

// A refused configuration changes nothing.
func TestReconfigureRefused(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		cfg := with("a:a/#", "p:p/#")
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out"}, "old": {Topic: "old"}}
		c, err := connector.New(cfg, d.options)
		require.NoError(d, err)
		require.NoError(d, c.Consume("a", ran.flow("a")))
		next, stop := pulling(d, c, "p")
		defer stop()
		d.connector = c
		_, err = c.Reconfigure(d.ctx, cfg, nil)
		require.ErrorContains(d, err, "before Start")
		d.accepted(true)

		bad := with("a:a/#/b", "n:n")
		bad.Producers = map[string]connector.ProducerParams{"out": {Topic: "other"}}
		r := d.reconfigure(bad, always(ran.flow("n")))
		var mistakes *connector.ConfigError
		require.ErrorAs(d, r.over(), &mistakes)
		require.Equal(d, "E105", mistakes.Findings[0].Code)

		lacks := with("a:x/#", "n:n")
		lacks.Producers = map[string]connector.ProducerParams{"out": {Topic: "other"}, "new": {Topic: "new"}}
		var met *connector.Producer
		require.ErrorContains(d, d.reconfigure(lacks, func(name string) flow.Flow {
			met = d.connector.Producer("new")
			require.NotNil(d, d.connector.Producer("old"), "it is there until the configuration is in force")
			return nil
		}).over(), `the new consumer "n" has no flow`)
		require.NotNil(d, met)
		require.Nil(d, d.connector.Producer("new"))
		require.ErrorContains(d, d.reconfigure(with("a:a/#", "p:p/#"), always(ran.flow("n"))).over(), `consumer "p" has a flow now, but is pulled`)
		require.ErrorContains(d, d.reconfigure(with("a:a/#"), always(flow.UntilSuccessful(newGate(), 1000, time.Second))).over(), "1000")

		ctx, cancel := context.WithCancel(d.ctx)
		cancel()
		_, err = d.connector.Reconfigure(ctx, bad, nil)
		require.ErrorAs(d, err, &mistakes)

		d.expectNothing(time.Minute)
		d.comes(1, "a/1", "as before")
		require.Equal(d, []string{"a as before"}, []string(ran))
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=0 id=0 dup=false payload=21")
		require.NoError(d, done())
		d.send(publish("p/1", 1, 2, "pulled"))
		delivery := <-next
		require.NoError(d, delivery.Settle(nil))
		d.expect("PUBACK id=2")
		c = d.connector
		d.stop(time.Minute)
		_, err = c.Reconfigure(d.ctx, cfg, nil)
		require.ErrorIs(d, err, flow.TypeCancelled)
	})
}

// pulling pulls deliveries into a channel.
func pulling(d *dialogue, c *connector.Connector, name string) (next chan *connector.Delivery, stop func()) {
	next = make(chan *connector.Delivery, 100)
	ctx, cancel := context.WithCancel(d.ctx)
	loop := c.Pull(ctx, name)
	go func() {
		for delivery, err := range loop {
			if err != nil {
				return
			}
			next <- delivery
		}
	}()
	return next, cancel
}

// ordered returns a configuration of a consumer with an order, in which a failed message waits for
// seconds.
func ordered(by connector.OrderBy) connector.Config {
	return kept(connector.ConsumerParams{OrderBy: by, OnFailure: connector.OnFailure{InitialDelay: ptr(time.Second), MaxDelay: ptr(time.Second)}})
}

// A new order applies to messages that arrive after the change; they wait until everything before
// them is settled.
func TestReconfigureOrder(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(ordered(connector.OrderNone), g)
		at := func(topic string, id uint16, payload string) { d.send(publish(topic, 1, id, payload)) }
		at("t/x", 1, "1")
		at("t/x", 2, "2")
		d.apply(ordered(connector.OrderTopic))
		at("t/x", 3, "3")
		at("t/y", 4, "4")
		at("t/y", 5, "5")
		require.Equal(d, []string{"1", "2"}, g.running())
		g.finish("2")
		require.Equal(d, []string{"1", "2"}, g.running())
		g.fail("1") // and is tried again
		time.Sleep(2 * time.Second)
		require.Equal(d, []string{"1", "2", "1"}, g.running())
		g.finish("1")
		d.expect("PUBACK id=1", "PUBACK id=2")
		require.ElementsMatch(d, []string{"3", "4"}, g.running()[3:])

		d.apply(ordered(connector.OrderConnection))
		at("t/z", 6, "6")
		at("t/w", 7, "7")
		g.finish("3")
		require.Len(d, g.running(), 5)
		g.finish("4") // 5 waits in the lane that it was taken into
		require.Equal(d, "5", g.running()[5])
		g.finish("5")
		require.Equal(d, []string{"6"}, g.running()[6:])

		// Without an order nothing need wait, but what has a lane.
		d.apply(ordered(connector.OrderNone))
		at("t/z", 8, "8")
		require.Equal(d, []string{"6", "8"}, g.running()[6:])
		g.finish("6")
		require.Equal(d, []string{"6", "8", "7"}, g.running()[6:])
		g.finish("7", "8")
		d.expect("PUBACK id=3", "PUBACK id=4", "PUBACK id=5", "PUBACK id=6", "PUBACK id=7", "PUBACK id=8")
	})
}

// A change of the order that is reverted does not make messages wait.
func TestReconfigureOrderTakenBack(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(ordered(connector.OrderNone), g)
		d.deliver(1, "1")
		d.apply(ordered(connector.OrderConnection))
		d.send(publish("t/2", 1, 2, "2"), publish("t/3", 1, 3, "3"))
		require.Equal(d, []string{"1"}, g.running())
		d.apply(ordered(connector.OrderTopic))
		require.Equal(d, []string{"1"}, g.running())
		d.apply(ordered(connector.OrderNone))
		require.ElementsMatch(d, []string{"1", "2", "3"}, g.running())
		d.apply(ordered(connector.OrderTopic))
		d.send(publish("t/4", 1, 4, "4"))
		g.finish("1", "2")
		require.Len(d, g.running(), 3)
		g.finish("3")
		require.Len(d, g.running(), 4)
		g.finish("4")
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
	})
}

// The order changes at random moments. Every message runs until it succeeds, is acknowledged in the
// order of arrival, and does not begin while an earlier message that it must follow is running.
func TestReconfigureOrderAtRandom(t *testing.T) {
	orders := []connector.OrderBy{connector.OrderNone, connector.OrderTopic, connector.OrderConnection}
	for seed := range uint64(150) {
		inBubble(t, func(d *dialogue) {
			r := rand.New(rand.NewPCG(seed, 1))
			g := newGate()
			by := orders[r.IntN(3)]
			d.run(ordered(by), g)
			read := make(chan string, 100)
			go func() {
				defer close(read)
				for {
					p, err := d.conn.Receive()
					if err != nil {
						return
					}
					read <- p.String()
				}
			}()
			type message struct {
				topic string
				epoch int // of the order that it came in; a later one is no promise to it
			}
			came, epoch := []message{}, 0
			running, settled := make(map[int]bool), make(map[int]bool)
			seen := 0
			look := func() {
				all := g.running()
				for _, s := range all[seen:] {
					var n int
					fmt.Sscan(s, &n)
					m := came[n]
					require.False(d, running[n] || settled[n], "seed %d: %d runs twice", seed, n)
					running[n] = true
					for before, o := range came[:n] {
						if m.epoch == epoch && (by == connector.OrderConnection || by == connector.OrderTopic && o.topic == m.topic) {
							require.True(d, settled[before], "seed %d: %d begins before %d is settled", seed, n, before)
						}
					}
				}
				seen = len(all)
			}
			end := func(fails bool) {
				var under []int
				for n := range running {
					under = append(under, n)
				}
				if len(under) == 0 {
					return
				}
				slices.Sort(under)
				n := under[r.IntN(len(under))]
				delete(running, n)
				if fails {
					g.fail(fmt.Sprint(n))
				} else {
					settled[n] = true
					g.finish(fmt.Sprint(n))
				}
			}
			for range 60 {
				switch r.IntN(8) {
				case 0, 1, 2:
					n := len(came)
					came = append(came, message{fmt.Sprintf("t/%d", r.IntN(3)), epoch})
					d.send(publish(came[n].topic, 1, uint16(n+1), fmt.Sprint(n)))
				case 3, 4:
					end(false)
				case 5:
					end(true)
				case 6:
					time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
				case 7:
					if next := orders[r.IntN(3)]; next != by {
						by = next
						epoch++
						d.apply(ordered(by))
					}
				}
				look()
			}
			for i := 0; len(settled) < len(came); i++ {
				require.Less(d, i, 1000, "seed %d", seed)
				time.Sleep(2 * time.Second)
				look()
				end(false)
				look()
			}
			h := d.connector.Health()
			require.Zero(d, h.Unacked)
			require.Equal(d, uint64(len(came)), h.Acknowledged)
			require.NoError(d, d.connector.Stop(d.ctx))
			d.connector = nil
			for n := range came {
				require.Equal(d, fmt.Sprintf("PUBACK id=%d", n+1), <-read, "seed %d", seed)
			}
			for range read {
			}
		})
	}
}

// Stop during a change of the order leaves the unfinished messages to the Server.
func TestReconfigureOrderThenStop(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(ordered(connector.OrderNone), g)
		d.deliver(1, "1", "2")
		d.apply(ordered(connector.OrderTopic))
		d.send(publish("t/3", 1, 3, "3"), publish("t/4", 0, 0, "4"))
		require.Equal(d, []string{"1", "2"}, g.running())
		c, stopped := d.connector, make(chan []string)
		go func() { stopped <- d.stop(time.Minute) }()
		synctest.Wait()
		require.Equal(d, 3, c.Health().Unacked, "3 is left at once")
		g.finish("2", "1")
		require.Equal(d, []string{"1", "2", "4"}, g.running(), "nobody keeps that one")
		g.finish("4")
		require.Equal(d, []string{"PUBACK id=1", "PUBACK id=2", "DISCONNECT"}, <-stopped)
	})
}

// The acknowledgement mode of a message is decided when it is taken.
func TestReconfigureAckMode(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		cfg := func(m connector.AckMode) connector.Config { return kept(connector.ConsumerParams{AckMode: m}) }
		d.run(cfg(connector.AfterFlowSuccess), g)
		d.deliver(1, "1")
		require.Equal(d, []string{"consumers.in.ack_mode"}, d.apply(cfg(connector.Immediately)).Applied)
		d.send(publish("t/2", 1, 2, "2"))
		d.expectNothing(time.Second) // 2 is done with, but 1 is before it
		g.finish("1")
		d.expect("PUBACK id=1", "PUBACK id=2")
		d.send(publish("t/3", 1, 3, "3"))
		d.expect("PUBACK id=3")
		d.apply(cfg(connector.AfterFlowSuccess))
		d.send(publish("t/4", 1, 4, "4"))
		g.fail("3") // it was acknowledged: nothing is tried again
		g.finish("2")
		d.expectNothing(time.Minute)
		g.finish("4")
		d.expect("PUBACK id=4")
		h := d.connector.Health()
		require.Equal(d, uint64(4), h.Acknowledged)
		require.Zero(d, h.Retries)
		require.Zero(d, h.Stale)
	})
}

// The same holds for a message that waits to be run.
func TestReconfigureAckModeOfWaiting(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		cfg := func(m connector.AckMode) connector.Config {
			return kept(connector.ConsumerParams{AckMode: m, Concurrency: 1})
		}
		d.run(cfg(connector.AfterFlowSuccess), g)
		d.deliver(1, "1", "2")
		d.apply(cfg(connector.Immediately))
		d.send(publish("t/3", 1, 3, "3"))
		g.finish("1")
		d.expect("PUBACK id=1")
		d.expectNothing(time.Second)
		d.apply(cfg(connector.AfterFlowSuccess))
		require.Equal(d, []string{"1", "2"}, g.running())
		g.finish("2")
		d.expect("PUBACK id=2", "PUBACK id=3")
		require.Equal(d, []string{"1", "2", "3"}, g.running())
		g.finish("3")
		h := d.connector.Health()
		require.Equal(d, uint64(3), h.Acknowledged)
		require.Zero(d, h.Unacked)
	})
}

// The failure policy in force when a message fails decides what happens to it.
func TestReconfigureOnFailure(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		policy := func(f connector.OnFailure) connector.Config {
			f.InitialDelay, f.MaxDelay = ptr(time.Second), ptr(time.Second)
			return kept(connector.ConsumerParams{OnFailure: f})
		}
		d.run(policy(connector.OnFailure{}), g)
		d.deliver(1, "1", "2", "3")
		g.fail("1")
		d.apply(policy(connector.OnFailure{Retries: ptr(1), Then: connector.Drop}))
		time.Sleep(2 * time.Second)
		require.Equal(d, []string{"1", "2", "3", "1"}, g.running())
		g.fail("1") // its second failure
		d.expect("PUBACK id=1")
		g.fail("2")
		d.apply(policy(connector.OnFailure{Retries: ptr(0), RetryOn: []flow.ErrorType{flow.TypeTimeout}, Then: connector.DeadLetter, DeadLetterTopic: "dead"}))
		g.fail("3")
		d.expect("PUBLISH dead qos=1 id=1 dup=false payload=3")
		time.Sleep(2 * time.Second)
		g.fail("2")
		d.expect("PUBLISH dead qos=1 id=2 dup=false payload=2")
		d.send(&packets.Puback{PacketID: 1}, &packets.Puback{PacketID: 2})
		d.expect("PUBACK id=2", "PUBACK id=3")
	})
}

// A dead letter that cannot be written goes to the new place.
func TestReconfigureDeadLetterPlace(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		dir := t.TempDir()
		policy := func(f connector.OnFailure) connector.Config {
			f.Retries, f.InitialDelay, f.MaxDelay = ptr(0), ptr(time.Second), ptr(time.Second)
			return kept(connector.ConsumerParams{OnFailure: f})
		}
		g := newGate()
		d.run(policy(connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: filepath.Join(dir, "missing", "dead")}), g)
		d.deliver(1, "1")
		g.fail("1")
		time.Sleep(5 * time.Second)
		d.apply(policy(connector.OnFailure{Then: connector.Drop})) // it is on its way there
		d.expectNothing(5 * time.Second)
		holds := func(file, what string) {
			text, err := os.ReadFile(file)
			require.NoError(d, err)
			require.Contains(d, string(text), what)
		}
		require.NoError(d, os.Mkdir(filepath.Join(dir, "missing"), 0o700))
		d.expect("PUBACK id=1")
		holds(filepath.Join(dir, "missing", "dead"), `"topic":"t/1"`)

		d.apply(policy(connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: filepath.Join(dir, "gone", "dead")}))
		d.send(publish("t/2", 1, 2, "2"))
		g.fail("2")
		d.expectNothing(5 * time.Second)
		d.apply(policy(connector.OnFailure{Then: connector.DeadLetter, DeadLetterFile: filepath.Join(dir, "dead")}))
		d.expect("PUBACK id=2")
		holds(filepath.Join(dir, "dead"), `"topic":"t/2"`)
	})
}

// A change of concurrency lets more or fewer flows run at once, and a raised limit frees waiting
// messages.
func TestReconfigureConcurrency(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		limits := func(concurrency, most int) connector.Config {
			return kept(connector.ConsumerParams{Concurrency: concurrency, MaxInFlight: most})
		}
		d.run(limits(1, 3), g)
		d.deliver(1, "1", "2", "3", "4", "5", "6")
		require.Equal(d, []string{"1"}, g.running())
		require.Equal(d, 4, d.connector.Health().Unacked, "and one waits for room")
		d.apply(limits(3, 5))
		require.ElementsMatch(d, []string{"1", "2", "3"}, g.running())
		require.Equal(d, 6, d.connector.Health().Unacked)
		d.apply(limits(2, 5))
		g.finish("1")
		require.Len(d, g.running(), 3, "two run still")
		g.finish("2")
		require.Equal(d, "4", g.running()[3])
		d.apply(limits(64, 1))
		require.ElementsMatch(d, []string{"1", "2", "3", "4", "5", "6"}, g.running())
		g.finish("3", "4", "5", "6")
		for id := range 6 {
			d.expect(fmt.Sprintf("PUBACK id=%d", id+1))
		}
	})
}

func TestReconfigureBytes(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		limit := func(n int) connector.Config { return kept(connector.ConsumerParams{MaxInFlightBytes: n}) }
		d.run(limit(2), g)
		d.deliver(1, "1", "2", "3", "4")
		require.Equal(d, []string{"1", "2"}, g.running())
		d.apply(limit(3))
		require.Equal(d, []string{"1", "2", "3"}, g.running())
		g.finish("1", "2", "3", "4")
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4")
	})
}

// A run that has begun keeps its flow and time limit; the next one has the new ones, and its
// message says so.
func TestReconfigureFlow(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		p := connector.ConsumerParams{FlowTimeout: ptr(time.Hour), OnFailure: connector.OnFailure{InitialDelay: ptr(time.Second), MaxDelay: ptr(time.Second)}}
		d.run(kept(p), g)
		d.deliver(1, "1")
		runs := make(chan *flow.Message, 3)
		p.FlowTimeout, p.MimeType, p.Encoding, p.ExtendedAttributes = ptr(time.Minute), "text/plain", "UTF-8", true
		changes := d.reconfigure(kept(p), always(flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			runs <- m.Clone()
			if m.Attribute[flow.AttributeAttempt] == 3 {
				return nil, nil
			}
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}))).ok()
		require.Equal(d, []string{"consumers.in.encoding", "consumers.in.extended_attributes", "consumers.in.flow_timeout", "consumers.in.mime_type"}, changes.Applied)
		time.Sleep(2 * time.Minute)
		require.Empty(d, runs)
		g.fail("1")
		got := <-runs
		require.Equal(d, "text/plain", got.Payload.MimeType)
		require.Equal(d, "UTF-8", got.Payload.Encoding)
		require.Equal(d, "t/#", got.Attribute[flow.AttributeFilter])
		time.Sleep(time.Minute + 2*time.Second)
		d.expect("PUBACK id=1")
		require.Equal(d, uint64(1), d.connector.Health().TimedOut)
	})
}

// A change of what a consumer takes: a share of the topics, and retained messages or not.
func TestReconfigureWhatIsTaken(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		d.run(with("in:t/#"), ran.flow("in"))
		retained := publish("t/1", 1, 1, "kept")
		retained.Retain = true
		cfg := with("in:t/#")
		p := cfg.Consumers["in"]
		p.Retained = connector.RetainedSkip
		cfg.Consumers["in"] = p
		d.apply(cfg)
		d.send(retained)
		d.expect("PUBACK id=1")
		require.Empty(d, ran)
		p.Partition = &connector.Partition{Index: 0, Count: 2}
		cfg.Consumers["in"] = p
		d.apply(cfg)
		for i := range uint16(20) {
			d.comes(2+i, fmt.Sprintf("t/%d", i), "x")
		}
		require.Less(d, len(ran), 20)
		require.NotEmpty(d, ran)
		require.Equal(d, uint64(21-len(ran)), d.connector.Health().Skipped)
		p.Partition, p.ShareGroup = nil, "g"
		cfg.Consumers["in"] = p
		r := d.reconfigure(cfg, nil)
		d.expect(`SUBSCRIBE id=32769 "$share/g/t/#":1`, `UNSUBSCRIBE id=32770 "t/#"`)
		d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{1}})
		r.ok()
	})
}

// Errors of the connector trigger the flows of consumers that now ask for it.
func TestReconfigureTriggerOnError(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		cfg := kept(connector.ConsumerParams{TriggerOnError: true})
		cfg.Extension.ErrorFormat = connector.ErrorsExtended
		require.Equal(d, []string{"connector.extension.error_format", "consumers.in.trigger_on_error"}, d.apply(cfg).Applied)
		d.cut()
		require.Len(d, w.messages, 1)
		require.Equal(d, "MQTT:CONNECTION_LOST", w.messages[0].Error.Code)
		d.accept(true)
	})
}

// A pulled consumer is reconfigured like others, and may be removed and added again.
func TestReconfigurePulled(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		c, err := connector.New(ordered(connector.OrderNone), d.options)
		require.NoError(d, err)
		next, stop := pulling(d, c, "in")
		defer stop()
		d.connector = c
		d.accepted(true)
		d.deliver(1, "1")
		one := <-next
		d.apply(ordered(connector.OrderTopic))
		d.send(publish("t/1", 1, 2, "2"))
		require.Empty(d, next)
		require.NoError(d, one.Settle(nil))
		d.expect("PUBACK id=1")
		require.NoError(d, (<-next).Settle(nil))
		d.expect("PUBACK id=2")
		r := d.reconfigure(with(), nil)
		d.expect(`UNSUBSCRIBE id=32769 "t/#"`)
		r.ok()
		d.send(publish("t/1", 1, 3, "3"))
		require.NoError(d, (<-next).Settle(nil))
		d.expect("PUBACK id=3")
		again, stopAgain := pulling(d, c, "in")
		defer stopAgain()
		require.Empty(d, again)
	})
}

// A new consumer may be pulled: its messages wait for the first Pull. A consumer with a flow cannot change to
// pulling, nor the reverse.
func TestReconfigureNewPulled(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		c, err := connector.New(with("in:t/#"), d.options)
		require.NoError(d, err)
		d.connector = c
		require.NoError(d, c.Consume("in", connector.Pulled))
		d.accepted(true)
		d.deliver(1, "a")
		require.NoError(d, d.next(time.Second).Settle(nil))
		d.expect("PUBACK id=1")

		r := d.reconfigure(with("in:t/#", "new:n/#", "run:r/#"), func(name string) flow.Flow {
			if name == "run" {
				return flow.Chain()
			}
			return connector.Pulled
		})
		require.Len(d, d.grant(), 2)
		r.ok()
		d.send(publish("n/1", 1, 2, "waits"), publish("r/1", 1, 3, "runs"))
		next, stop := pulling(d, c, "new")
		defer stop()
		require.NoError(d, (<-next).Settle(nil))
		d.expect("PUBACK id=2", "PUBACK id=3")

		_, err = c.Reconfigure(d.ctx, with("in:t/#", "new:n/#", "run:r/#"), always(connector.Pulled))
		require.ErrorContains(d, err, `consumer "run" has a flow and cannot be pulled`)
		_, err = c.Reconfigure(d.ctx, with("in:t/#", "new:n/#", "run:r/#"), always(flow.Chain()))
		require.ErrorContains(d, err, `has a flow now, but is pulled`)
		_, err = connector.Pulled.Run(d.ctx, reading())
		require.ErrorIs(d, err, flow.TypeConfig)
	})
}

// A producer held by a flow uses its new parameters.
func TestReconfigureProducer(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := func(p connector.ProducerParams) connector.Config {
			cfg := with()
			cfg.Producers = map[string]connector.ProducerParams{"out": p}
			return cfg
		}
		d.run(cfg(connector.ProducerParams{Topic: "one", QoS: 1, MaxInFlight: 1}), nil)
		held := d.connector.Producer("out")
		runs := func() func() error {
			return d.start(func() error { _, err := held.Run(d.ctx, reading()); return err })
		}
		first := runs()
		d.expect("PUBLISH one qos=1 id=1 dup=false payload=21")
		second := runs()
		d.expectNothing(time.Second)
		next := connector.ProducerParams{Topic: "two", Payload: ptr("x${payload}"), QoS: 2, Retained: true, MaxInFlight: 2, AckTimeout: ptr(time.Minute)}
		changes := d.apply(cfg(next))
		require.Equal(d, []string{"producers.out.ack_timeout", "producers.out.max_in_flight", "producers.out.payload", "producers.out.qos", "producers.out.retained", "producers.out.topic"}, changes.Applied)
		require.Same(d, held, d.connector.Producer("out"))
		require.True(d, held.HasPayload())
		require.Equal(d, packets.ExactlyOnce, held.QoS())
		d.expect("PUBLISH one qos=1 id=2 dup=false payload=21") // it waited only for its slot
		third := runs()
		d.expectNothing(time.Second)
		d.send(&packets.Puback{PacketID: 1}, &packets.Puback{PacketID: 2})
		require.NoError(d, first())
		require.NoError(d, second())
		d.expect("PUBLISH two qos=2 id=3 dup=false payload=x21")
		began := time.Now()
		require.ErrorIs(d, third(), flow.TypePublishTimeout)
		require.Less(d, time.Since(began), 2*time.Minute)

		// It is gone, but who holds it uses it as it was.
		d.apply(with())
		require.Nil(d, d.connector.Producer("out"))
		next.QoS = 0
		d.apply(cfg(next))
		require.Same(d, held, d.connector.Producer("out"))
		fourth := runs()
		d.expect("PUBLISH two qos=0 id=0 dup=false payload=x21")
		require.NoError(d, fourth())
	})
}

// done_when of a producer can be changed to stored, and back.
func TestReconfigureDoneWhen(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, with())
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out", QoS: 1}}
		d.run(cfg, nil)
		run := func() func() error {
			return d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		}
		cfg.Producers["out"] = connector.ProducerParams{Topic: "out", QoS: 1, DoneWhen: connector.DoneWhenStored}
		require.Equal(d, []string{"producers.out.done_when"}, d.apply(cfg).Applied)
		began := time.Now()
		require.NoError(d, run()())
		require.Zero(d, time.Since(began))
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 1})
		cfg.Producers["out"] = connector.ProducerParams{Topic: "out", QoS: 1}
		d.apply(cfg)
		done := run()
		d.expect("PUBLISH out qos=1 id=2 dup=false payload=21")
		time.Sleep(time.Second)
		d.send(&packets.Puback{PacketID: 2})
		require.NoError(d, done())
		require.Equal(d, time.Second, time.Since(began))
	})
}

// A producer without its own ack_timeout and topic_characters uses the extension's.
func TestReconfigureExtension(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := with("in:t/#")
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "${payload}", QoS: 1}}
		d.run(cfg, newGate())
		out := d.connector.Producer("out")
		odd := &flow.Message{Payload: flow.Entity{Blob: []byte("a\x01b")}}
		_, err := out.Run(d.ctx, odd)
		require.ErrorIs(d, err, flow.TypeInvalidTopic)
		cfg.Extension.TopicCharacters, cfg.Extension.AckTimeout = connector.AnyTopics, ptr(time.Minute)
		require.Equal(d, []string{"connector.extension.ack_timeout", "connector.extension.topic_characters"}, d.apply(cfg).Applied)
		began := time.Now()
		done := d.start(func() error { _, err := out.Run(d.ctx, odd); return err })
		d.expect("PUBLISH a\x01b qos=1 id=1 dup=false payload=a\x01b")
		require.ErrorIs(d, done(), flow.TypePublishTimeout)
		require.Equal(d, time.Minute, time.Since(began))
		d.send(&packets.Puback{PacketID: 1})
	})
}

// A change of unmatched decides where messages go that match no consumer.
func TestReconfigureUnmatched(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		file := filepath.Join(t.TempDir(), "dead")
		cfg := with("in:t/#")
		d.run(cfg, ran.flow("in"))
		d.comes(1, "x", "told")
		require.Equal(d, "x", d.connector.Health().UnmatchedTopic)
		cfg.Extension.Unmatched = "in"
		require.Equal(d, []string{"connector.extension.unmatched"}, d.apply(cfg).Applied)
		d.comes(2, "x", "taken")
		require.Equal(d, []string{"in taken"}, []string(ran))
		require.Empty(d, d.connector.Health().UnmatchedTopic)

		place := func(p connector.OnFailure) {
			p.Retries, p.Then = ptr(1), connector.DeadLetter
			c := cfg.Consumers["in"]
			c.OnFailure = p
			cfg.Consumers["in"] = c
			d.apply(cfg)
		}
		cfg.Extension.Unmatched = ""
		place(connector.OnFailure{DeadLetterFile: file})
		d.comes(3, "x", "put away")
		text, err := os.ReadFile(file)
		require.NoError(d, err)
		require.Contains(d, string(text), "MQTT:UNMATCHED")
		place(connector.OnFailure{DeadLetterTopic: "dead"})
		d.send(publish("x", 1, 4, "published"))
		d.expect("PUBLISH dead qos=1 id=1 dup=false payload=published")
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBACK id=4")
		require.Len(d, ran, 1)
	})
}

// A held message stays held until its session ends.
func TestReconfigureHeld(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := with("in:t/#")
		cfg.Extension.Unmatched = connector.UnmatchedHold
		d.run(cfg, newGate())
		d.send(publish("x", 1, 1, "held"))
		cfg.Extension.Unmatched = connector.UnmatchedDrop
		d.apply(cfg)
		d.send(publish("x", 1, 2, "dropped"))
		d.expectNothing(time.Minute) // acknowledgements leave in the order of arrival
		require.Equal(d, 1, d.connector.Health().Unacked)
		d.cut()
		d.accept(false)
		d.grant()
		require.Zero(d, d.connector.Health().Unacked)
	})
}

// Changes that need a restart are reported, and the others are applied.
func TestReconfigureRestart(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := with("in:t/#")
		var ran ran
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out"}}
		d.run(cfg, ran.flow("in"))
		first := cfg
		cfg = with("in:t/#")
		cfg.General.BrokerURL, cfg.General.UserName, cfg.General.Password = "127.0.0.1:1884", "u", "secret"
		cfg.Advanced.KeepAlive, cfg.Advanced.Order = ptr(time.Minute), true
		cfg.Extension.MaxInflight, cfg.Extension.StallTimeout = 5, ptr(time.Minute)
		cfg.Extension.SessionStore = &connector.SessionStore{Dir: t.TempDir()}
		p := cfg.Consumers["in"]
		p.Ledger, p.Concurrency = true, 3
		cfg.Consumers["in"] = p
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out", QoS: 1, DoneWhen: connector.DoneWhenStored}}
		changes := d.apply(cfg)
		restart := []string{
			"connector.advanced.keep_alive", "connector.advanced.order", "connector.extension.max_inflight", "connector.extension.session_store", "connector.extension.stall_timeout",
			"connector.general.broker_url", "connector.general.password", "connector.general.username", "consumers.in.ledger", "producers.out.done_when",
		}
		require.Equal(d, restart, changes.Restart)
		require.Equal(d, []string{"consumers.in.concurrency", "producers.out.qos"}, changes.Applied)
		h := d.connector.Health()
		require.Equal(d, restart, h.Restart)
		require.NoError(d, h.Ready())
		d.comes(1, "t/1", "goes on")
		done := make(chan error, 1)
		go func() {
			_, err := d.connector.Producer("out").Run(d.ctx, reading())
			done <- err
		}()
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		require.Empty(d, done, "no store has it")
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(d, <-done)
		changes = d.apply(cfg)
		require.Equal(d, restart, changes.Restart, "they wait still")
		require.Empty(d, changes.Applied)
		require.Empty(d, d.apply(first).Restart)
		require.Empty(d, d.connector.Health().Restart)
	})
}

// The ledger of a session store can be switched on at any time.
func TestReconfigureLedger(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		ledger := func(on bool) connector.Config {
			cfg := kept(connector.ConsumerParams{Ledger: on, ExtendedAttributes: true, OnFailure: connector.OnFailure{InitialDelay: ptr(time.Hour), MaxDelay: ptr(time.Hour)}})
			return cfg
		}
		cfg := stored(t, ledger(true))
		off := cfg
		off.Consumers = ledger(false).Consumers
		g := newGate()
		d.run(off, g)
		d.deliver(1, "1")
		require.Equal(d, []string{"consumers.in.ledger"}, d.apply(cfg).Applied)
		d.send(publish("t/2", 1, 2, "2"), publish("t/3", 1, 3, "3"))
		g.fail("1")
		g.fail("2")
		d.apply(off)
		g.fail("3") // which is in the ledger since it was taken
		crashed := d.crash(cfg)
		var mu sync.Mutex
		attempts := make(map[string]any)
		d.resume(crashed, flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			mu.Lock()
			defer mu.Unlock()
			attempts[string(m.Payload.Blob)] = m.Attribute[flow.AttributeAttempt]
			return nil, nil
		}))
		for id, payload := range []string{"1", "2", "3"} {
			d.send(again(publish("t/"+payload, 1, uint16(id+1), payload)))
		}
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		require.Equal(d, map[string]any{"1": 1, "2": 2, "3": 2}, attempts)
	})
}

// What the ledger of an earlier process knows belongs to an earlier session.
func TestReconfigureLedgerOfBefore(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		hours := connector.OnFailure{InitialDelay: ptr(time.Hour), MaxDelay: ptr(time.Hour)}
		cfg := stored(t, kept(connector.ConsumerParams{ExtendedAttributes: true, OnFailure: hours}))
		g := newGate()
		d.run(cfg, g)
		d.deliver(1, "1")
		g.fail("1")
		next := d.crash(cfg)
		off := next
		off.Consumers = kept(connector.ConsumerParams{ExtendedAttributes: true, OnFailure: hours}).Consumers
		attempts := make(chan any, 1)
		d.run(off, flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
			attempts <- m.Attribute[flow.AttributeAttempt]
			return nil, nil
		}))
		d.apply(next)
		d.deliver(1, "1")
		d.expect("PUBACK id=1")
		require.Equal(d, 1, <-attempts)
	})
}

// A filter that the server refuses is reported, keeps the connector from being ready through
// reconnects, and is requested again with the next configuration.
func TestReconfigureRefusedFilter(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, with("in:t/#"))
		d.accepted(true)
		r := d.reconfigure(with("in:t/# no yes"), nil)
		d.expect(`SUBSCRIBE id=32769 "no":1 "yes":1`)
		d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{packets.SubscribeFailure, 1}})
		require.ErrorIs(d, r.over(), flow.TypeRejected)
		require.Len(d, r.changes.Subscribed, 2)
		require.Equal(d, []flow.ErrorType{flow.TypeRejected}, w.types())
		require.EqualError(d, ready(d), `connector: the server refuses the topics ["no"]`)
		d.cut()
		d.accept(true)
		require.EqualError(d, ready(d), `connector: the server refuses the topics ["no"]`)
		r = d.reconfigure(with("in:t/# no yes"), nil)
		d.expect(`SUBSCRIBE id=32770 "no":1`)
		d.send(&packets.Suback{PacketID: 32770, Codes: []packets.SubscribeCode{packets.SubscribeFailure}})
		require.Error(d, r.over())
		d.apply(with("in:t/# yes"))
		require.NoError(d, ready(d))
	})
}

// A lower QoS is reported even if another filter is refused.
func TestReconfigureDowngradedBesideRefused(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, with("in:t/#"))
		d.accepted(true)
		r := d.reconfigure(with("in:t/# low no yes"), nil)
		d.expect(`SUBSCRIBE id=32769 "low":1 "no":1 "yes":1`)
		d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{0, packets.SubscribeFailure, 1}})
		require.ErrorIs(d, r.over(), flow.TypeRejected)
		require.Equal(d, []flow.ErrorType{flow.TypeDowngraded, flow.TypeRejected}, w.types())
	})
}

// A configuration whose SUBSCRIBE is not answered is in force nevertheless, and SUBSCRIBE is sent
// again.
func TestReconfigureNotAnswered(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		d.run(with("in:t/#"), ran.flow("in"))
		time.Sleep(time.Hour)
		r := d.reconfigure(with("in:t/#", "new:n"), always(ran.flow("new")))
		d.expect(`SUBSCRIBE id=32769 "n":1`)
		d.comes(1, "n", "early")
		require.ErrorIs(d, r.over(), flow.TypeSubscribeTimeout)
		d.expect(`SUBSCRIBE id=32770 "n":1`)
		require.ErrorContains(d, ready(d), "the server did not answer SUBSCRIBE")
		d.send(&packets.Suback{PacketID: 32770, Codes: []packets.SubscribeCode{1}})
		require.NoError(d, ready(d))
		require.Equal(d, []string{"new early"}, []string(ran))
	})
}

// Without a connection, filters wait for the next one.
func TestReconfigureDisconnected(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		d.run(with("in:t/#", "old:o"), ran.flow("old"))
		d.cut()
		r := d.reconfigure(with("in:t/#", "new:n"), always(ran.flow("new")))
		d.accept(true)
		d.expect(`SUBSCRIBE id=32769 "n":1`, `UNSUBSCRIBE id=32770 "o"`)
		d.send(&packets.Suback{PacketID: 32769, Codes: []packets.SubscribeCode{1}}, &packets.Unsuback{PacketID: 32770})
		r.ok()
		d.comes(1, "o", "redelivered")
		d.comes(2, "n", "fresh")
		require.Equal(d, []string{"old redelivered", "new fresh"}, []string(ran))
	})
}

// A connector without consumers gets one, and notices when it stalls; the flow of the new consumer
// can use a producer that is added with it.
func TestReconfigureFirstConsumer(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(with(), nil)
		cfg := with("in:t/#")
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out"}}
		g := newGate()
		r := d.reconfigure(cfg, func(name string) flow.Flow { return flow.Chain(d.connector.Producer("out"), g) })
		d.grant()
		r.ok()
		d.deliver(1, "1")
		d.expect("PUBLISH out qos=0 id=0 dup=false payload=1")
		time.Sleep(6 * time.Minute)
		require.True(d, d.connector.Health().Stalled)
		g.finish("1")
		d.expect("PUBACK id=1")
	})
}

// Reconfigure, Stop and messages run concurrently, for the race detector; nothing is lost.
func TestReconfigureWhileMessagesCome(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		f := flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			select {
			case <-time.After(rand.N(3 * time.Millisecond)):
			case <-ctx.Done():
			}
			if rand.N(4) == 0 {
				return nil, errors.New("once more")
			}
			return nil, nil
		})
		short := connector.OnFailure{InitialDelay: ptr(time.Millisecond), MaxDelay: ptr(time.Millisecond)}
		d.run(kept(connector.ConsumerParams{OnFailure: short}), f)
		c := d.connector
		orders := []connector.OrderBy{connector.OrderNone, connector.OrderTopic, connector.OrderConnection}
		var others sync.WaitGroup
		defer others.Wait()
		others.Go(func() {
			for i := range 300 {
				time.Sleep(time.Millisecond)
				p := connector.ConsumerParams{OnFailure: short, OrderBy: orders[rand.N(3)], Concurrency: 1 + rand.N(8), MaxInFlight: 1 + rand.N(8), AckMode: connector.AckMode(rand.N(2))}
				cfg := kept(p)
				if i%7 == 0 {
					cfg.Consumers["more"] = connector.ConsumerParams{Topics: topics("t/#"), QoS: 2, OnFailure: short}
				}
				if _, err := c.Reconfigure(d.ctx, cfg, always(f)); err != nil && !errors.Is(err, flow.TypeCancelled) && !errors.Is(err, client.ErrClosed) {
					t.Error(err)
				}
			}
		})
		const n = 200
		others.Go(func() {
			for i := range n {
				d.conn.Send(publish(fmt.Sprintf("t/%d", i%5), 1, uint16(i+1), "x"))
			}
		})
		for i := range n {
			d.conn.SetReadDeadline(time.Now().Add(time.Hour))
			p, err := d.conn.Receive()
			require.NoError(d, err)
			require.Equal(d, fmt.Sprintf("PUBACK id=%d", i+1), p.String())
		}
	})
}

// A producer that uses a new connection waits for a restart, and so does one that changes its
// connection; one that was removed and returns with another connection is a new producer.
func TestReconfigureConnections(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		cfg := with("a:a/#")
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out", QoS: 1}}
		d.run(cfg, ran.flow("a"))
		before := d.connector.Producer("out")

		next := with("a:a/#")
		next.Connections = map[string]connector.Connection{"far": {General: connector.General{BrokerURL: "far:1883", ClientID: "far"}}}
		next.Producers = map[string]connector.ProducerParams{
			"out": {Topic: "elsewhere", QoS: 1, Connection: "far"},
			"new": {Topic: "new", QoS: 1, Connection: "far"},
		}
		changes := d.reconfigure(next, nil).ok()
		require.Equal(d, []string{"producers.out.topic"}, changes.Applied)
		require.Equal(d, []string{"connections", "producers.new", "producers.out.connection"}, changes.Restart)
		require.Nil(d, d.connector.Producer("new"))
		require.Same(d, before, d.connector.Producer("out"))
	})
}

// Whether done_when may be stored depends on the connection of the producer, as it was at the
// start.
func TestReconfigureDoneWhenOverAConnection(t *testing.T) {
	for name, c := range map[string]struct {
		near, far        bool // have a session store
		applied, restart []string
	}{
		"far store":  {far: true, applied: []string{"producers.up.done_when"}},
		"near store": {near: true, restart: []string{"connections", "producers.up.done_when"}},
		"both":       {near: true, far: true, applied: []string{"producers.up.done_when"}},
	} {
		t.Run(name, func(t *testing.T) {
			bridged(t, func(b *bridging) {
				dir, store := t.TempDir(), &connector.SessionStore{Dir: t.TempDir()}
				cfg := forwarding(connector.ProducerParams{QoS: 1})
				next := farStored(t, forwarding(connector.ProducerParams{QoS: 1, DoneWhen: connector.DoneWhenStored}), dir)
				if c.far {
					cfg = farStored(t, cfg, dir)
				}
				if c.near {
					cfg.Extension.SessionStore, next.Extension.SessionStore = store, store
				}
				b.begin(cfg)
				changes := b.reconfigure(next, nil).ok()
				require.ElementsMatch(b, c.applied, changes.Applied)
				require.ElementsMatch(b, c.restart, changes.Restart)
				again := b.reconfigure(next, nil).ok()
				require.Empty(b, again.Applied)
				require.ElementsMatch(b, c.restart, again.Restart)
			})
		})
	}
}

// Changes to the caller's map of connections do not affect the configuration passed to New.
func TestReconfigureWithTheSameMapOfConnections(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := forwarding(connector.ProducerParams{QoS: 1})
		b.begin(cfg)
		far := cfg.Connections["cloud"]
		far.Extension.SessionStore = &connector.SessionStore{Dir: t.TempDir()}
		cfg.Connections["cloud"] = far
		up := cfg.Producers["up"]
		up.DoneWhen = connector.DoneWhenStored
		cfg.Producers["up"] = up
		changes := b.reconfigure(cfg, nil).ok()
		require.Empty(b, changes.Applied)
		require.Equal(b, []string{"connections", "producers.up.done_when"}, changes.Restart)
	})
}

// An unanswered UNSUBSCRIBE is sent again after ack_timeout.
func TestReconfigureUnsubscribeAgain(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ran ran
		d.run(with("a:a/# b/#"), ran.flow("a"))
		r := d.reconfigure(with("a:a/#"), nil)
		d.expect(`UNSUBSCRIBE id=32769 "b/#"`)
		r.ok()
		began := time.Now()
		d.expect(`UNSUBSCRIBE id=32770 "b/#"`)
		require.Equal(d, 30*time.Second, time.Since(began))
		d.send(&packets.Unsuback{PacketID: 32770})
		d.expectNothing(10 * time.Minute)
	})
}
