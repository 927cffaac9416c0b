package connector_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A witness is told the errors of a connector, and is a flow that is triggered by them.
type witness struct {
	mu       sync.Mutex
	errors   []connector.ErrorType
	messages []*connector.Message
}

func (w *witness) told(e *connector.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors = append(w.errors, e.Type)
}

func (w *witness) Run(_ context.Context, m *connector.Message) (*connector.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages = append(w.messages, m)
	return nil, nil
}

func (w *witness) types() []connector.ErrorType {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.errors)
}

// run starts a connector whose errors w is told.
func (w *witness) run(d *dialogue, cfg connector.Config) {
	d.Helper()
	c, err := connector.New(cfg, connector.Options{Dial: d.server.Dial, OnError: w.told})
	require.NoError(d, err)
	require.NoError(d, c.Consume("in", w))
	d.connector = c
}

// A connection that is lost is in Health until there is one again, and is told to OnError; a
// consumer that wants it gets a message with the error and nothing else.
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
			require.Equal(t, []connector.ErrorType{connector.TypeConnectionLost}, w.types())
			h := d.connector.Health()
			require.ErrorIs(t, h.Problem, connector.TypeConnectionLost)
			require.ErrorIs(t, h.Ready(), connector.TypeConnectionLost)
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

// Off is the default: only Health and OnError know.
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

// What keeps a connector from starting triggers as well, before Start returns.
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

// A flow that an error has triggered is waited for, as long as the context of Start lasts.
func TestTriggeredFlowEndsWithStart(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		c, err := connector.New(kept(connector.ConsumerParams{TriggerOnError: true}), connector.Options{Dial: d.server.Dial})
		require.NoError(t, err)
		require.NoError(t, c.Consume("in", flow(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })))
		d.server.Refuse(errGate)
		ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, c.Start(ctx), errGate)
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// A server that closes every connection soon after it accepted it has another client of the
// same name, probably.
func TestClientIDInUse(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		w := new(witness)
		w.run(d, kept(connector.ConsumerParams{}))
		d.accepted(true)
		for range 3 {
			d.cut()
			d.accept(true)
		}
		require.Contains(t, w.types(), connector.TypeClientIDInUse)
		require.True(t, connector.TypeClientIDInUse.Retryable(), "slowly")
	})
}

// A topic that is refused after a reconnect is named until the server is asked again.
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
		require.Equal(t, connector.TypeRejected, w.types()[1])
		require.ErrorContains(t, ready(d), `refuses the topics ["t/#"]`)
		d.cut()
		d.accept(false)
		d.grant()
		require.NoError(t, ready(d))
	})
}

// A QoS that the server lowers is told.
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
		require.Equal(t, []connector.ErrorType{connector.TypeDowngraded}, w.types())
		require.NoError(t, ready(d), "it works, with less of a promise")
	})
}

// A server that does not answer SUBSCRIBE is told from one that says no.
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
		require.ErrorIs(t, started(), connector.TypeSubscribeTimeout)
		require.Equal(t, []connector.ErrorType{connector.TypeSubscribeTimeout}, w.types())
	})
}

// A message that is unacknowledged for too long is told once, and makes the connector not
// ready until it is settled.
func TestStallTimeout(t *testing.T) {
	for limit, told := range map[time.Duration]int{time.Minute: 1, 0: 0} {
		inBubble(t, func(d *dialogue) {
			var errs []connector.ErrorType
			cfg := kept(connector.ConsumerParams{})
			cfg.Extension.StallTimeout = ptr(limit)
			c, err := connector.New(cfg, connector.Options{Dial: d.server.Dial, OnError: func(e *connector.Error) { errs = append(errs, e.Type) }})
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
				require.Equal(t, connector.TypeStalled, e)
			}
		})
	}
}

// A connector that is over is not alive.
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
		require.ErrorIs(t, h.Live(), connector.TypeConnectionLost)
		require.Error(t, h.Ready())
	})
}

// An extended error says everything, and is the same error.
func TestErrorFormatExtended(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce, AckTimeout: ptr(time.Second)})
		cfg.Extension.ErrorFormat = connector.ErrorsExtended
		d.run(cfg, nil)
		var out *connector.Message
		done := d.start(func() (err error) { out, err = d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		require.ErrorIs(t, done(), connector.TypePublishTimeout)
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

		var seen *connector.Error
		try := connector.Try(d.connector.Producer("out"), connector.Catch{
			Types: []connector.ErrorType{connector.TypePublish},
			Flow: connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
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
