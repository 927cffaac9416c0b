package connector_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// keep_alive: 0 turns it off.
func TestKeepAliveOff(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{}), newGate())
		d.expectNothing(24 * time.Hour)
	})
}

// ack_timeout of the extension applies to producers without their own.
func TestAckTimeoutOfTheExtension(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "t", QoS: 1})
		cfg.Extension.AckTimeout = ptr(9 * time.Second)
		d.run(cfg, nil)
		start := time.Now()
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH t qos=1 id=1 dup=false payload=21")
		require.Error(t, done())
		require.Equal(t, 9*time.Second, time.Since(start))
	})
}

// max_inflight limits how many messages of all producers wait for the Server at once, and
// max_inflight_qos2 how many of them are QoS 2. A value out of range is a mistake, also in a
// configuration made by a program.
func TestMaxInflight(t *testing.T) {
	for _, c := range []struct {
		name             string
		inflight, atQoS2 int
		qos              packets.QoS
		window           int
	}{
		{"default", 0, 0, 1, 100}, {"default at QoS 2", 0, 0, 2, 16},
		{"wide", 150, 0, 1, 150}, {"narrow", 2, 0, 1, 2}, {"of QoS 2", 0, 3, 2, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(d *dialogue) {
				cfg := producing(connector.ProducerParams{Topic: "t", QoS: c.qos})
				cfg.Extension.MaxInflight, cfg.Extension.MaxInflightQoS2 = c.inflight, c.atQoS2
				d.run(cfg, nil)
				for range c.window + 1 {
					_, err := d.connector.Producer("out").PublishAsync(d.ctx, client.Message{Topic: "t", QoS: c.qos})
					require.NoError(t, err)
				}
				for i := range c.window {
					d.expect(fmt.Sprintf("PUBLISH t qos=%d id=%d dup=false payload=", c.qos, i+1))
				}
				d.expectNothing(time.Second)
			})
		})
	}
	for _, n := range []int{-1, 16385} {
		cfg := producing(connector.ProducerParams{Topic: "t"})
		cfg.Extension.MaxInflight = n
		require.ErrorContains(t, connector.Errors(cfg.Check()), "max_inflight")
		cfg.Extension.MaxInflight, cfg.Extension.MaxInflightQoS2 = 0, n
		require.ErrorContains(t, connector.Errors(cfg.Check()), "max_inflight_qos2")
	}
}

// max_in_flight of a producer limits how many of its messages wait for the Server at once.
func TestProducerMaxInFlight(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "t", QoS: 1, MaxInFlight: 1}), nil)
		publish := func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err }
		first, second := d.start(publish), d.start(publish)
		d.expect("PUBLISH t qos=1 id=1 dup=false payload=21")
		d.expectNothing(time.Second)
		d.send(&packets.Puback{PacketID: 1})
		d.expect("PUBLISH t qos=1 id=2 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 2})
		require.NoError(t, first())
		require.NoError(t, second())
	})
}
