package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A witness records the errors of a connector, and is a flow that they trigger.
type witness struct {
	mu       sync.Mutex
	errors   []flow.ErrorType
	messages []*flow.Message
}

func (w *witness) told(e *flow.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors = append(w.errors, e.Type)
}

func (w *witness) Run(_ context.Context, m *flow.Message) (*flow.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages = append(w.messages, m)
	return nil, nil
}

func (w *witness) types() []flow.ErrorType {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.errors)
}

// run starts a connector that reports its errors to w.
func (w *witness) run(d *dialogue, cfg connector.Config) {
	d.Helper()
	c, err := connector.New(cfg, connector.Options{Dial: d.server.Dial, OnError: w.told})
	require.NoError(d, err)
	require.NoError(d, c.Consume("in", w))
	d.connector = c
}

// A lost connection is in Health until there is a new one, and is reported to OnError. A consumer
// that asks for it gets a message that contains only the error.
func TestTriggerOnError(t *testing.T) {
	for _, format := range []connector.ErrorFormat{connector.ErrorsPlatform, connector.ErrorsExtended} {
		inBubble(t, func(d *dialogue) {
			w := new(witness)
			cfg := kept(connector.ConsumerParams{TriggerOnError: true})
			cfg.Extension.ErrorFormat = format
			w.run(d, cfg)
			d.accepted(true)
			require.NoError(t, ready(d))
			d.cut()
			require.Equal(t, []flow.ErrorType{flow.TypeConnectionLost}, w.types())
			h := d.connector.Health()
			require.ErrorIs(t, h.Problem, flow.TypeConnectionLost)
			require.ErrorIs(t, h.Ready(), flow.TypeConnectionLost)
			require.NoError(t, h.Live())
			require.Len(t, w.messages, 1)
			m := w.messages[0]
			require.Empty(t, m.Payload.Blob)
			require.Empty(t, m.Attribute)
			require.NotNil(t, m.Attribute)
			shown, err := json.Marshal(m.Error)
			require.NoError(t, err)
			if format == connector.ErrorsPlatform {
				require.Contains(t, string(shown), `{"Code":"CORE:RUNTIME","Description":"[MQTT:CONNECTION_LOST] `)
			} else {
				require.Contains(t, string(shown), `{"Code":"MQTT:CONNECTION_LOST",`)
			}
			d.accept(true)
			require.NoError(t, ready(d))
			require.Nil(t, d.connector.Health().Problem)
			d.stop(time.Minute)
			require.Len(t, w.types(), 1, "Stop is no failure")
		})
	}
}

func ready(d *dialogue) error {
	synctest.Wait()
	h := d.connector.Health()
	return h.Ready()
}

// The default is off: only Health and OnError report errors.
func TestErrorsDoNotTriggerByDefault(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		d.cut()
		require.Len(t, w.types(), 1)
		require.Empty(t, w.messages)
		d.accept(true)
	})
}

// An error that keeps a connector from starting triggers flows as well, before Start returns.
func TestTriggerOnFailedStart(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{TriggerOnError: true}))
		d.server.Refuse(errGate)
		require.Error(t, d.connector.Start(d.ctx))
		require.Len(t, w.types(), 1)
		require.Len(t, w.messages, 1)
		require.Contains(t, w.messages[0].Error.Description, "the store is down")
	})
}

// Start waits for a flow triggered by an error, as long as its context lasts.
func TestTriggeredFlowEndsWithStart(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		c, err := connector.New(kept(connector.ConsumerParams{TriggerOnError: true}), connector.Options{Dial: d.server.Dial})
		require.NoError(t, err)
		require.NoError(t, c.Consume("in", step(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })))
		d.server.Refuse(errGate)
		ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, c.Start(ctx), errGate)
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// If a server closes every connection soon after accepting it, another client probably uses the
// same client id.
func TestClientIDInUse(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		for range 3 {
			d.cut()
			d.accept(true)
		}
		require.Contains(t, w.types(), flow.TypeClientIDInUse)
		require.True(t, flow.TypeClientIDInUse.Retryable(), "slowly")
	})
}

// A topic refused after a reconnect is reported until the server is asked again.
func TestRefusedTopicAfterReconnect(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		d.cut()
		d.accept(false)
		p, err := d.conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{packets.SubscribeFailure}})
		require.Equal(t, flow.TypeRejected, w.types()[1])
		require.ErrorContains(t, ready(d), `refuses the topics ["t/#"]`)
		d.cut()
		d.accept(false)
		d.grant()
		require.NoError(t, ready(d))
	})
}

// asked receives SUBSCRIBE and returns it, unanswered.
func (d *dialogue) asked() *packets.Subscribe {
	d.Helper()
	d.conn.SetReadDeadline(time.Now().Add(time.Hour))
	p, err := d.conn.Receive()
	require.NoError(d, err)
	sub, ok := p.(*packets.Subscribe)
	require.True(d, ok, "came: %s", p)
	synctest.Wait()
	again := *sub
	again.Subscriptions = slices.Clone(sub.Subscriptions)
	return &again
}

// answer grants the filters of a SUBSCRIBE.
func (d *dialogue) answer(p *packets.Subscribe) {
	d.Helper()
	ack := &packets.Suback{PacketID: p.PacketID}
	for _, s := range p.Subscriptions {
		ack.Codes = append(ack.Codes, packets.SubscribeCode(s.QoS))
	}
	d.send(ack)
}

// If a server has lost the session and does not answer SUBSCRIBE, the connector is not ready from
// the reconnect on. After ack_timeout there is an error, and SUBSCRIBE is sent again until the
// server answers.
func TestNotGrantedAfterReconnect(t *testing.T) {
	for _, late := range []bool{false, true} {
		inBubble(t, func(d *dialogue) {
			w := new(witness)
			cfg := kept(connector.ConsumerParams{})
			cfg.Extension.AckTimeout = ptr(10 * time.Second)
			w.run(d, cfg)
			d.accepted(true)
			d.cut()
			d.accept(false)
			first := d.asked()
			require.ErrorContains(t, ready(d), `has not granted the topics ["t/#"] yet`)
			require.Equal(t, []string{"t/#"}, d.connector.Health().UngrantedFilters)
			require.False(t, d.connector.Health().Subscribed)
			time.Sleep(9 * time.Second)
			require.Len(t, w.types(), 1, "the lost connection")
			start := time.Now()
			again := d.asked()
			require.Equal(t, time.Second, time.Since(start))
			require.NotEqual(t, first.PacketID, again.PacketID)
			require.Equal(t, flow.TypeSubscribeTimeout, w.types()[1])
			require.ErrorIs(t, ready(d), flow.TypeSubscribeTimeout)
			require.ErrorContains(t, ready(d), `"t/#"`)
			d.asked()
			require.Equal(t, 21*time.Second, time.Since(start))
			require.Len(t, w.types(), 3)
			if late {
				d.answer(first)
			} else {
				d.answer(again)
			}
			require.NoError(t, ready(d))
			d.expectNothing(time.Hour)
			require.Len(t, w.types(), 3)
		})
	}
}

// If one of several SUBSCRIBE packets is not answered, the error names its filters, only that
// packet is sent again, and the granted filters work meanwhile.
func TestOneSubscribeNotAnswered(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var p connector.ConsumerParams
		for _, topic := range []string{"t/1", "t/2", "t/3", "t/4", "t/5", "t/6", "t/7", "t/8", "t/9", "t/10"} {
			p.Topics = append(p.Topics, connector.TopicQoS{Topic: topic})
		}
		w := new(witness)
		w.run(d, kept(p))
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		d.grant()
		d.grant()
		require.NoError(t, started())
		d.cut()
		d.accept(false)
		first, second := d.asked(), d.asked()
		require.Len(t, first.Subscriptions, 8)
		d.answer(first)
		again := d.asked()
		require.Equal(t, second.Subscriptions, again.Subscriptions)
		require.Equal(t, []string{"t/9", "t/10"}, d.connector.Health().UngrantedFilters)
		require.ErrorIs(t, ready(d), flow.TypeSubscribeTimeout)
		d.send(publish("t/1", 1, 1, "a"))
		d.expect("PUBACK id=1")
		d.send(&packets.Suback{PacketID: again.PacketID, Codes: []packets.SubscribeCode{2, packets.SubscribeFailure}})
		require.ErrorContains(t, ready(d), `refuses the topics ["t/10"]`)
		require.Empty(t, d.connector.Health().UngrantedFilters)
	})
}

// A resumed session needs no SUBSCRIBE; one that was unanswered when the connection was lost is sent
// on the next.
func TestGrantsOfAKeptSession(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		d.cut()
		d.accept(true)
		require.NoError(t, ready(d))
		d.expectNothing(time.Hour)
		d.cut()
		d.accept(false)
		d.asked()
		time.Sleep(29 * time.Second)
		d.cut()
		time.Sleep(time.Second) // a moment before the next attempt at the latest
		told := len(w.types())
		d.accept(true)
		d.asked() // still owed
		require.Error(t, ready(d))
		time.Sleep(28 * time.Second)
		require.Len(t, w.types(), told, "the new connection has its own time")
		d.answer(d.asked())
		require.NoError(t, ready(d))
	})
}

// An unanswered UNSUBSCRIBE is sent again, too. It does not keep the connector from being ready.
func TestUnsubscribeIsSentAgain(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "a"}, {Topic: "b"}}}))
		d.run(cfg, newGate())
		cfg = d.crash(cfg)
		p := cfg.Consumers["in"]
		p.Topics = p.Topics[1:]
		cfg.Consumers["in"] = p
		d.build(cfg, newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(true)
		d.expect(`UNSUBSCRIBE id=32768 "a"`)
		d.grant()
		require.NoError(t, started())
		d.expectNothing(29 * time.Second)
		d.expect(`UNSUBSCRIBE id=32770 "a"`)
		require.NoError(t, ready(d))
		d.expectNothing(59 * time.Second)
		d.expect(`UNSUBSCRIBE id=32771 "a"`)
		d.send(&packets.Unsuback{PacketID: 32770})
		d.expectNothing(time.Hour)
	})
}

// To a server that never answers, SUBSCRIBE is sent again and again, in the end every five minutes.
func TestAskedAgainAndAgain(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		d.cut()
		d.accept(false)
		d.asked()
		for _, pause := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			start := time.Now()
			d.asked()
			require.Equal(t, pause, time.Since(start))
		}
		require.Len(t, w.types(), 7)
	})
}

// A granted QoS that is lower than requested is reported.
func TestDowngradedSubscription(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		p, err := d.conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{1}})
		require.NoError(t, started())
		require.Equal(t, []flow.ErrorType{flow.TypeDowngraded}, w.types())
		require.NoError(t, ready(d), "it works, with less of a promise")
	})
}

// It is reported after a reconnect, too, if it is lower than before.
func TestDowngradedAfterReconnect(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		d.cut()
		d.accept(false)
		d.send(&packets.Suback{PacketID: d.asked().PacketID, Codes: []packets.SubscribeCode{0}})
		require.Equal(t, []flow.ErrorType{flow.TypeConnectionLost, flow.TypeDowngraded}, w.types())
		require.NoError(t, ready(d))
	})
}

// A server that does not answer SUBSCRIBE gives another error than one that refuses.
func TestSubscribeTimeout(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		cfg := kept(connector.ConsumerParams{})
		cfg.Extension.AckTimeout = ptr(5 * time.Second)
		w.run(d, cfg)
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		_, err := d.conn.Receive()
		require.NoError(t, err)
		require.ErrorIs(t, started(), flow.TypeSubscribeTimeout)
		require.Equal(t, []flow.ErrorType{flow.TypeSubscribeTimeout}, w.types())
	})
}

// A server that resumes a session may answer only after all queued messages. Start then does not fail, and
// the connector is ready when the answer comes; until then SUBSCRIBE is sent again, as after a reconnect.
func TestSubscribeAnsweredBehindTheQueue(t *testing.T) {
	for _, c := range []struct{ present, comes, fails bool }{{true, true, false}, {true, false, true}, {false, true, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				w := new(witness)
				cfg := kept(connector.ConsumerParams{})
				cfg.Extension.AckTimeout = ptr(5 * time.Second)
				w.run(d, cfg)
				started := d.start(func() error { return d.connector.Start(d.ctx) })
				d.accept(c.present)
				d.expect(`SUBSCRIBE id=32768 "t/#":2`)
				if c.comes {
					d.send(publish("t/1", 0, 0, "1"))
				}
				time.Sleep(4 * time.Second)
				start := time.Now()
				err := started()
				require.Equal(t, time.Second, time.Since(start))
				require.Equal(t, []flow.ErrorType{flow.TypeSubscribeTimeout}, w.types())
				if c.fails {
					require.ErrorIs(t, err, flow.TypeSubscribeTimeout)
					return
				}
				require.NoError(t, err)
				require.ErrorIs(t, ready(d), flow.TypeSubscribeTimeout)
				d.expect(`SUBSCRIBE id=32769 "t/#":2`)
				require.ErrorContains(t, ready(d), `did not answer SUBSCRIBE for ["t/#"]`)
				d.send(publish("t/2", 0, 0, "2"), &packets.Suback{PacketID: 32768, Codes: []packets.SubscribeCode{2}})
				require.NoError(t, ready(d))
				require.Len(t, w.messages, 2)
			})
		})
	}
}

// A message that is unacknowledged for too long is reported once, and keeps the connector from
// being ready until it is settled.
func TestStallTimeout(t *testing.T) {
	for limit, told := range map[time.Duration]int{time.Minute: 1, 0: 0} {
		inBubble(t, func(d *dialogue) {
			var errs []flow.ErrorType
			cfg := kept(connector.ConsumerParams{})
			cfg.Extension.StallTimeout = ptr(limit)
			c, err := connector.New(cfg, connector.Options{Dial: d.server.Dial, OnError: func(e *flow.Error) { errs = append(errs, e.Type) }})
			require.NoError(t, err)
			g := newGate()
			require.NoError(t, c.Consume("in", g))
			d.connector = c
			d.accepted(true)
			d.deliver(1, "a")
			g.running()
			time.Sleep(59 * time.Second)
			require.NoError(t, ready(d))
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Len(t, errs, told)
			require.Equal(t, told == 1, ready(d) != nil)
			g.finish("a")
			d.expect("PUBACK id=1")
			time.Sleep(time.Minute)
			require.NoError(t, ready(d))
			for _, e := range errs {
				require.Equal(t, flow.TypeStalled, e)
			}
		})
	}
}

// A connector that has ended is not alive.
func TestLive(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.AutoReconnect = false
		d.run(cfg, newGate())
		h := d.connector.Health()
		require.NoError(t, h.Live())
		d.cut()
		<-d.connector.Done()
		h = d.connector.Health()
		require.ErrorIs(t, h.Live(), flow.TypeConnectionLost)
		require.Error(t, h.Ready())
	})
}

// An extended error has all details, and is the same error.
func TestErrorFormatExtended(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce, AckTimeout: ptr(time.Second)})
		cfg.Extension.ErrorFormat = connector.ErrorsExtended
		d.run(cfg, nil)
		var out *flow.Message
		done := d.start(func() (err error) { out, err = d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		require.ErrorIs(t, done(), flow.TypePublishTimeout)
		shown, err := json.Marshal(out)
		require.NoError(t, err)
		var got struct{ Error map[string]any }
		require.NoError(t, json.Unmarshal(shown, &got))
		require.Equal(t, "MQTT:PUBLISH_TIMEOUT", got.Error["Code"])
		require.Equal(t, "MQTT:PUBLISH", got.Error["Parent"])
		require.Equal(t, true, got.Error["Retryable"])
		require.Equal(t, "unknown", got.Error["Delivered"])
		require.NotContains(t, got.Error["Description"], "[")
		require.NotEmpty(t, got.Error["Hint"])
		require.NotEmpty(t, got.Error["HintZH"])
		require.NotContains(t, got.Error, "Reason")

		var seen *flow.Error
		try := flow.Try(d.connector.Producer("out"), flow.Catch{
			Types: []flow.ErrorType{flow.TypePublish},
			Flow: flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
				seen = m.Error
				return nil, nil
			}),
		})
		caught := d.start(func() error { _, err := try.Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=1 id=2 dup=false payload=21")
		require.NoError(t, caught())
		require.Equal(t, "MQTT:PUBLISH_TIMEOUT", seen.Code)
	})
}

// The reason for not being ready names the package once.
func TestReadyNamesThePackageOnce(t *testing.T) {
	bridged(t, func(b *bridging) {
		b.far.Refuse(errGate)
		b.begin(forwarding(connector.ProducerParams{}))
		b.server.Refuse(errGate)
		b.conn.Close()
		time.Sleep(time.Minute)
		near, far := b.connector.Health(), b.cloud()
		for _, err := range []error{near.Ready(), far.Ready()} {
			require.ErrorIs(t, err, flow.TypeConnectivity)
			require.Equal(t, 1, strings.Count(err.Error(), "connector: "), err)
			require.Equal(t, 1, strings.Count(err.Error(), "not connected"), err)
		}
	})
}
