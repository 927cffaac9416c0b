package connector_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

// connect 超时时间 counts until CONNACK, not until the transport is open.
func TestConnectTimeout(t *testing.T) {
	for set, want := range map[time.Duration]time.Duration{0: 30 * time.Second, 7 * time.Second: 7 * time.Second} {
		inBubble(t, func(d *dialogue) {
			cfg := kept(connector.ConsumerParams{})
			if set > 0 {
				cfg.Advanced.ConnectTimeout = &set
			}
			d.build(cfg, newGate())
			start := time.Now()
			started := d.start(func() error { return d.connector.Start(d.ctx) })
			conn, err := d.server.Accept(d.ctx)
			require.NoError(t, err)
			d.conn = conn
			_, err = conn.Receive() // CONNECT, and no answer
			require.NoError(t, err)
			var e *connector.Error
			require.ErrorAs(t, started(), &e)
			require.Equal(t, connector.TypeConnectTimeout, e.Type)
			require.Equal(t, want, time.Since(start))
		})
	}
}

// keep-alive 超时时间 and ping 超时时间: PINGREQ before the keep alive is over, and the end of
// the connection when nothing answers it.
func TestKeepAliveAndPingTimeout(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.AutoReconnect = false
		cfg.Advanced.KeepAlive, cfg.Advanced.PingTimeout = ptr(20*time.Second), ptr(3*time.Second)
		d.run(cfg, newGate())
		start := time.Now()
		d.expect("PINGREQ")
		asked := time.Since(start)
		require.LessOrEqual(t, asked, 20*time.Second)
		require.GreaterOrEqual(t, asked, 18*time.Second)
		<-d.connector.Done()
		require.InDelta(t, asked+3*time.Second, time.Since(start), float64(time.Second), "and a second to say goodbye in")
		var e *connector.Error
		require.ErrorAs(t, d.connector.Err(), &e)
		require.Equal(t, connector.TypePingTimeout, e.Type)
	})
}

// keep_alive: 0 turns it off.
func TestKeepAliveOff(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{}), newGate())
		d.expectNothing(24 * time.Hour)
	})
}

// write 超时时间 is the patience with a Server that does not read.
func TestWriteTimeout(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := producing(connector.ProducerParams{Topic: "t"})
		cfg.Advanced.AutoReconnect = false
		cfg.Advanced.WriteTimeout = ptr(4 * time.Second)
		d.run(cfg, nil)
		start := time.Now()
		_, err := d.connector.Producer("out").Run(d.ctx, reading())
		require.Error(t, err)
		require.Equal(t, 4*time.Second, time.Since(start))
	})
}

// 是否自动重试连接 with reconnect 最大间隔时间: attempts grow apart, up to the interval.
func TestReconnectInterval(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.MaxReconnectInterval = ptr(5 * time.Second)
		d.run(cfg, newGate())
		d.server.Refuse(errGate)
		d.cut()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Greater(t, d.server.Dials(), 3600/5, "no pause is longer")
		require.Less(t, d.server.Dials(), 3600, "and on average half of it")
		d.server.Refuse(nil)
		d.accept(true)
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
