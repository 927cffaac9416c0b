package connector_test

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

func producing(p connector.ProducerParams) connector.Config {
	cfg := kept(connector.ConsumerParams{})
	cfg.Consumers = nil
	cfg.Producers = map[string]connector.ProducerParams{"out": p}
	return cfg
}

// A producer is done when the promise of its QoS is kept, and passes the message on unchanged.
func TestProducerWaitsForItsQoS(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out/${variable.line}", QoS: packets.ExactlyOnce, Retained: true}), nil)
		m := reading()
		m.Variable["line"] = 7
		var out *flow.Message
		done := d.start(func() (err error) { out, err = d.connector.Producer("out").Run(d.ctx, m); return err })
		p, err := d.conn.Receive()
		require.NoError(t, err)
		pub := p.(*packets.Publish)
		require.Equal(t, "out/7", pub.Topic)
		require.Equal(t, "21", string(pub.Payload))
		require.True(t, pub.Retain)
		d.send(&packets.Pubrec{PacketID: pub.PacketID})
		d.expect("PUBREL id=1")
		require.Nil(t, out)
		d.send(&packets.Pubcomp{PacketID: 1})
		require.NoError(t, done())
		require.Same(t, m, out)
		require.Nil(t, out.Error)
	})
}

func TestProducerAtQoS1AndQoS0(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "one", QoS: packets.AtLeastOnce})
		cfg.Producers["zero"] = connector.ProducerParams{Topic: "zero"}
		d.run(cfg, nil)
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH one qos=1 id=1 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		done = d.start(func() error { _, err := d.connector.Producer("zero").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH zero qos=0 id=0 dup=false payload=21")
		require.NoError(t, done())
		require.Equal(t, packets.AtLeastOnce, d.connector.Producer("out").QoS())
		h := d.connector.Health()
		require.EqualValues(t, 2, h.Published)
		require.Zero(t, h.PublishFailed)
	})
}

// 消息内容: if unset, the payload of the message is published; if empty, an empty payload; a template
// gives its text.
func TestProducerPayload(t *testing.T) {
	for want, payload := range map[string]*string{"21": nil, "": ptr(""), "now 21": ptr("now ${payload}")} {
		inBubble(t, func(d *dialogue) {
			d.run(producing(connector.ProducerParams{Topic: "out", Payload: payload}), nil)
			done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
			d.expect("PUBLISH out qos=0 id=0 dup=false payload=" + want)
			require.NoError(t, done())
		})
	}
}

// A producer that fails sets the error in the message, and says whether the message may have
// arrived.
func TestProducerErrorInMessage(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce, AckTimeout: ptr(5 * time.Second)}), nil)
		var out *flow.Message
		start := time.Now()
		done := d.start(func() (err error) { out, err = d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		err := done()
		require.Equal(t, 5*time.Second, time.Since(start))
		require.Equal(t, out.Error, err)
		require.Equal(t, flow.CodeRuntime, out.Error.Code)
		require.Equal(t, flow.TypePublishTimeout, out.Error.Type)
		require.Equal(t, flow.DeliveredUnknown, out.Error.Delivered)
		require.Contains(t, out.Error.Description, "no answer within 5s")
		require.Equal(t, "21", string(out.Payload.Blob))
		require.EqualValues(t, 1, d.connector.Health().PublishFailed)
	})
}

func TestProducerErrors(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "${variable.to}", QoS: packets.AtLeastOnce, AckTimeout: ptr(time.Hour)})
		cfg.Producers["content"] = connector.ProducerParams{Topic: "t", Payload: ptr("${payload.x}")}
		d.run(cfg, nil)
		try := func(name string, ctx context.Context, to any) *flow.Error {
			m := reading()
			if to != nil {
				m.Variable["to"] = to
			}
			out, err := d.connector.Producer(name).Run(ctx, m)
			require.Error(t, err)
			require.Nil(t, m.Error, "the message that came is left alone")
			return out.Error
		}
		e := try("out", d.ctx, nil)
		require.Equal(t, flow.TypeExpression, e.Type)
		require.Equal(t, flow.DeliveredNo, e.Delivered)
		require.Equal(t, "[CORE:EXPRESSION] producer out: topic: there is no variable.to", e.Description)

		e = try("content", d.ctx, nil)
		require.Contains(t, e.Description, "producer content: payload: there is no payload.x")

		for _, topic := range []string{"", "a/#", "a\x00b", "\xff", strings.Repeat("a", 65536)} {
			e = try("out", d.ctx, topic)
			require.Equal(t, flow.TypeInvalidTopic, e.Type, "%.20q", topic)
			require.Equal(t, flow.DeliveredNo, e.Delivered)
		}

		// The caller's patience is not the producer's.
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		done := d.start(func() error { e = try("out", ctx, "t"); return nil })
		d.expect("PUBLISH t qos=1 id=1 dup=false payload=21")
		require.NoError(t, done())
		require.Equal(t, flow.TypeTimeout, e.Type)
		require.Equal(t, flow.DeliveredUnknown, e.Delivered)
		require.NotContains(t, e.Description, "1h")
	})
}

// A QoS 2 message that the Server accepted at QoS 1 was published, and did not fail.
func TestProducerDowngraded(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out", QoS: packets.ExactlyOnce}), nil)
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=2 id=1 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		require.Zero(t, d.connector.Health().PublishFailed)
	})
}

// Without a connection a QoS 0 message is not sent, and a QoS 1 message waits for the next one.
func TestProducerWithoutConnection(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "one", QoS: packets.AtLeastOnce})
		cfg.Producers["zero"] = connector.ProducerParams{Topic: "zero"}
		d.run(cfg, nil)
		d.cut()
		_, err := d.connector.Producer("zero").Run(d.ctx, reading())
		var e *flow.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, flow.DeliveredNo, e.Delivered)
		require.Equal(t, flow.TypeNotConnected, e.Type)
		require.ErrorIs(t, err, client.ErrNotSent)
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.accept(true)
		d.expect("PUBLISH one qos=1 id=1 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
	})
}

// A message above the size limit is not sent.
func TestProducerMaxPacketSize(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce})
		cfg.Extension.MaxPacketSize = 1024
		d.run(cfg, nil)
		m := reading()
		m.Payload.Blob = make([]byte, 1024)
		_, err := d.connector.Producer("out").Run(d.ctx, m)
		require.ErrorIs(t, err, flow.TypePayloadTooLarge)
		require.Equal(t, flow.DeliveredNo, flow.AsError(err).Delivered)
		require.False(t, flow.AsError(err).Retryable())
		d.expectNothing(time.Second)
		require.EqualValues(t, 1, d.connector.Health().PublishFailed)
	})
}

// A message in the session store when the connector ends is sent by the next one.
func TestProducerStoredForLater(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce, AckTimeout: ptr(time.Hour)}))
		d.run(cfg, nil)
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		d.cut()
		d.stop(time.Second)
		err := done()
		require.Equal(t, flow.DeliveredLater, flow.AsError(err).Delivered, "%v", err)
		require.Contains(t, flow.AsError(err).Explain("en"), "do not send it again")
		d.conn = nil
		d.build(cfg, nil)
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(true)
		require.NoError(t, started())
		d.expect("PUBLISH out qos=1 id=1 dup=true payload=21")
		d.send(&packets.Puback{PacketID: 1})
	})
}

// QoS and retained may come from expressions on the message; invalid values are errors.
func TestProducerQoSAndRetainedByExpression(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out", QoSFrom: "${variable.q}", RetainedFrom: "${variable.keep}"}), nil)
		for _, c := range []struct {
			q, keep any
			retain  bool
		}{{0, false, false}, {"At Most Once", "true", true}, {"0", "是", true}} {
			m := reading()
			m.Variable["q"], m.Variable["keep"] = c.q, c.keep
			done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, m); return err })
			p, err := d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, c.retain, p.(*packets.Publish).Retain)
			require.NoError(t, done())
		}
		m := reading()
		m.Variable["q"], m.Variable["keep"] = 1, "no"
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, m); return err })
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
		for _, wrong := range []map[string]any{{"q": 3, "keep": true}, {"q": 1, "keep": "maybe"}, {"q": 1}, {}} {
			m := reading()
			m.Variable = wrong
			_, err := d.connector.Producer("out").Run(d.ctx, m)
			require.ErrorIs(t, err, flow.TypeExpression)
			require.Equal(t, flow.DeliveredNo, flow.AsError(err).Delivered)
		}
	})
}

// A topic with characters that section 1.5.3 discourages, or that no topic may have, is refused where
// the topic is made: the message fails, nothing is sent, and the next one is sent. topic_characters:
// any allows the former.
func TestTopicCharacters(t *testing.T) {
	run := func(d *dialogue, v string) error {
		m := reading()
		m.Variable["v"] = v
		_, err := d.connector.Producer("out").Run(d.ctx, m)
		return err
	}
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out/${variable.v}/x", QoS: packets.AtLeastOnce}), nil)
		for v, want := range map[string]string{
			"a\nb": `U+000A, which a topic may not have: "a\nb"`, "\x00": "U+0000", "\x1f": "U+001F", "\x7f": "U+007F", "\u0085": "U+0085", "\ufdd0": "U+FDD0", "\U0010ffff": "U+10FFFF",
			"+": "U+002B", "a/#": "U+0023", "\xff": "not UTF-8", "\x1b[2J": `"\x1b[2J"`,
		} {
			err := run(d, v)
			require.ErrorIs(t, err, flow.TypeInvalidTopic, "%q", v)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "producer out: topic: ${variable.v} ")
			if strings.ContainsFunc(v, unicode.IsControl) {
				require.NotContains(t, err.Error(), v, "escaped")
			}
			require.Equal(t, flow.DeliveredNo, flow.AsError(err).Delivered)
		}
		done := d.start(func() error { return run(d, "产线/7 b") })
		d.expect("PUBLISH out/产线/7 b/x qos=1 id=1 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done())
	})
	for _, ofProducer := range []bool{true, false} {
		inBubble(t, func(d *dialogue) {
			cfg := producing(connector.ProducerParams{Topic: "out/${variable.v}/x", QoS: packets.AtLeastOnce})
			if ofProducer {
				p := cfg.Producers["out"]
				p.TopicCharacters = connector.AnyTopics
				cfg.Producers["out"], cfg.Extension.TopicCharacters = p, connector.StrictTopics
			} else {
				cfg.Extension.TopicCharacters = connector.AnyTopics
			}
			d.run(cfg, nil)
			require.ErrorIs(t, run(d, "+"), flow.TypeInvalidTopic)
			require.ErrorIs(t, run(d, "\x00"), flow.TypeInvalidTopic)
			done := d.start(func() error { return run(d, "a\nb") })
			d.expect("PUBLISH out/a\nb/x qos=1 id=1 dup=false payload=21")
			d.send(&packets.Puback{PacketID: 1})
			require.NoError(t, done())
		})
	}
}
