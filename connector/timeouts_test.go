package connector_test

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// connect 超时时间: the time from resolving the name to CONNACK.
func TestConnectTimeout(t *testing.T) {
	for set, want := range map[*time.Duration]time.Duration{nil: 30 * time.Second, ptr(7 * time.Second): 7 * time.Second} {
		inBubble(t, func(d *dialogue) {
			cfg := kept(connector.ConsumerParams{})
			cfg.Advanced.ConnectTimeout = set
			d.build(cfg, newGate())
			began := time.Now()
			started := d.start(func() error { return d.connector.Start(d.ctx) })
			conn, err := d.server.Accept(d.ctx)
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Receive() // CONNECT, and no CONNACK
			require.NoError(t, err)
			err = started()
			require.Equal(t, flow.TypeConnectTimeout, flow.AsError(err).Type, "%v", err)
			require.Equal(t, want, time.Since(began))
		})
	}
}

// keep-alive 超时时间 and ping 超时时间: the connection to a silent Server ends within both.
func TestPingTimeout(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.AutoReconnect = false
		cfg.Advanced.KeepAlive, cfg.Advanced.PingTimeout = ptr(20*time.Second), ptr(3*time.Second)
		d.run(cfg, newGate())
		began := time.Now()
		d.expect("PINGREQ")
		<-d.connector.Done()
		require.LessOrEqual(t, time.Since(began), 23*time.Second)
		require.Equal(t, flow.TypePingTimeout, flow.AsError(d.connector.Err()).Type, "%v", d.connector.Err())
	})
}

// write 超时时间: a Server that does not read.
func TestWriteTimeout(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.AutoReconnect = false
		cfg.Advanced.WriteTimeout = ptr(4 * time.Second)
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "t", QoS: 1}}
		d.run(cfg, newGate())
		began := time.Now()
		_, err := d.connector.Producer("out").Run(d.ctx, flow.NewMessage("", []byte("x"), 0, 0))
		require.Equal(t, flow.DeliveredUnknown, flow.AsError(err).Delivered)
		require.Equal(t, 4*time.Second, time.Since(began))
	})
}

// 是否自动重试连接 and reconnect 最大间隔时间: the pauses grow to that time and no further.
func TestMaxReconnectInterval(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.MaxReconnectInterval = ptr(2 * time.Second)
		d.run(cfg, newGate())
		d.server.Refuse(clienttest.ErrRefused)
		before := d.server.Dials()
		d.conn.Close()
		<-time.After(10 * time.Minute)
		require.Greater(t, d.server.Dials()-before, 300, "one within 2 s at the latest")
		d.server.Refuse(nil)
		d.accept(true)
		require.Equal(t, client.Connected, d.connector.Health().State)
	})
}
