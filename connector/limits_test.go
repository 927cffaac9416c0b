package connector_test

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

// keep_alive: 0 turns it off.
func TestKeepAliveOff(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{}), newGate())
		d.expectNothing(24 * time.Hour)
	})
}

// ack_timeout of the extension is what a producer without its own waits.
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

// A packet above max_packet_size ends the connection before it is read.
func TestMaxPacketSize(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.AutoReconnect = false
		cfg.Extension.MaxPacketSize = 1024
		d.run(cfg, newGate())
		go d.conn.Send(publish("t/x", 1, 1, string(make([]byte, 2000))))
		<-d.connector.Done()
		require.ErrorContains(t, d.connector.Err(), "1024")
	})
}
