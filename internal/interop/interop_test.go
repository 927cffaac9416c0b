// Package interop tests client, connector and command with real brokers: over every transport, at
// every QoS, through crashes.
package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/stretchr/testify/require"
)

type dialFunc = func(context.Context) (net.Conn, error)

// wires returns a dial function for each listener of the broker.
func wires(t *testing.T, b *mosquitto.Broker) map[string]dialFunc {
	t.Helper()
	trusted := &transport.TLSOptions{ServerCert: transport.File(b.CAFile)}
	mutual := &transport.TLSOptions{
		ServerCert: transport.File(b.CAFile),
		ClientCert: transport.File(b.ClientCert), ClientKey: transport.File(b.ClientKey),
	}
	dial := func(d dialFunc, err error) dialFunc {
		require.NoError(t, err)
		return d
	}
	return map[string]dialFunc{
		"TCP":        dial(transport.Dialer(b.TCP, nil)),
		"TLS":        dial(transport.Dialer(b.TLS, &transport.Options{TLS: trusted})),
		"mutual TLS": dial(transport.Dialer(b.MTLS, &transport.Options{TLS: mutual})),
		"WS":         dial(ws.Dialer(b.WS, nil)),
		"WSS":        dial(ws.Dialer(b.WSS, &ws.Options{Options: transport.Options{TLS: trusted}})),
		"mutual WSS": dial(ws.Dialer(b.WSSM, &ws.Options{Options: transport.Options{TLS: mutual}})),
	}
}

// within limits the time of a test, with room for a slow machine.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, ctx context.Context, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	t.Cleanup(c.Abort)
	return c
}

// A client publishes to itself at every QoS: an empty payload, text, bytes and 100 KiB. It receives
// everything once, with the same QoS. Each transport has its own server: mosquitto 2.0.11 was seen
// to close a TLS connection because of an error on another one that had just ended ("application
// data after close notify").
func TestInteropEveryWireAtEveryQoS(t *testing.T) {
	for name := range wires(t, mosquitto.Start(t, mosquitto.Options{})) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := mosquitto.Start(t, mosquitto.Options{})
			dial := wires(t, b)[name]
			large := 100 << 10
			if strings.Contains(name, "W") {
				large = 8 << 10 // mosquitto reads only 40 kB a second from a WebSocket
			}
			payloads := [][]byte{nil, []byte("Grüße, 世界"), {0, 0xff, 0}, bytes.Repeat([]byte("x"), large)}
			ctx := within(t)
			c := connect(t, ctx, client.Config{Dial: dial, CleanSession: true, OnEvent: func(e client.Event) {
				if e.Kind == client.ConnectionLost && ctx.Err() == nil {
					t.Errorf("%s\n%s", e, b.Log())
				}
			}})
			topic := "interop/" + name
			granted, err := c.Subscribe(ctx, packets.Subscription{Filter: topic + "/#", QoS: 2})
			require.NoError(t, err)
			require.Equal(t, []packets.QoS{2}, granted)
			go func() {
				for q := range packets.QoS(3) {
					for i, p := range payloads {
						c.Publish(ctx, client.Message{Topic: fmt.Sprintf("%s/%d/%d", topic, q, i), Payload: p, QoS: q})
					}
				}
			}()
			got := make(map[string]int)
			for d, err := range c.Messages(ctx) {
				require.NoError(t, err, "got %v; %+v; %s", got, c.Stats(), b.Log())
				var q packets.QoS
				var i int
				_, err = fmt.Sscanf(d.Topic[len(topic):], "/%d/%d", &q, &i)
				require.NoError(t, err)
				require.Equal(t, q, d.QoS)
				require.True(t, bytes.Equal(payloads[i], d.Payload), d.Topic)
				got[d.Topic]++
				if len(got) == 3*len(payloads) {
					break
				}
			}
			for topic, n := range got {
				require.Equal(t, 1, n, topic)
			}
			require.NoError(t, c.Close(ctx))
		})
	}
}

// A mosquitto that is killed and restarted keeps the session: no message for which Publish returned
// nil is lost, and none at QoS 2 arrives twice unless the server itself has forgotten that it was
// delivered.
func TestInteropCrashOfTheServer(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{Config: "max_queued_messages 0\n"})
	dial, err := transport.Dialer(b.TCP, nil)
	require.NoError(t, err)
	ctx := within(t)
	consumer := connect(t, ctx, client.Config{Dial: dial, ClientID: "consumer", MaxReconnectInterval: 100 * time.Millisecond})
	_, err = consumer.Subscribe(ctx, packets.Subscription{Filter: "n/#", QoS: 2})
	require.NoError(t, err)
	producer := connect(t, ctx, client.Config{Dial: dial, ClientID: "producer", MaxReconnectInterval: 100 * time.Millisecond})

	const messages = 200
	published, half := make(chan error, 1), make(chan struct{})
	go func() {
		for i := range messages {
			if i == messages/2 {
				<-half // mosquitto saves after acknowledging: what is in flight at a kill may be lost
				b.Kill()
				b.Restart()
			}
			if err := producer.Publish(ctx, client.Message{Topic: "n/x", QoS: 2, Payload: []byte(fmt.Sprint(i))}); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	got := make(map[int]int)
	for d, err := range consumer.Messages(ctx) {
		require.NoError(t, err)
		n, err := strconv.Atoi(string(d.Payload))
		require.NoError(t, err)
		if got[n]++; got[n] == 1 && len(got) == messages/2 {
			close(half)
		}
		if len(got) == messages {
			break
		}
	}
	require.NoError(t, <-published)
	require.Positive(t, producer.Stats().Reconnects)
	for i, n := range got {
		// The server restarts from its last save and repeats what it did since, which no client can detect.
		// At most twenty messages are in flight.
		if i < messages/2-20 || i >= messages/2 {
			require.Equal(t, 1, n, "message %d", i)
		}
	}
}

// A kept session delivers the messages that were published while the client was away.
func TestInteropKeptSession(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	dial, err := transport.Dialer(b.TCP, nil)
	require.NoError(t, err)
	ctx := within(t)
	first := connect(t, ctx, client.Config{Dial: dial, ClientID: "night"})
	_, err = first.Subscribe(ctx, packets.Subscription{Filter: "news", QoS: 1})
	require.NoError(t, err)
	require.NoError(t, first.Close(ctx))
	other := connect(t, ctx, client.Config{Dial: dial, CleanSession: true})
	for i := range 5 {
		require.NoError(t, other.Publish(ctx, client.Message{Topic: "news", QoS: 1, Payload: []byte{byte('0' + i)}}))
	}
	var present atomic.Bool
	again, err := client.New(client.Config{Dial: dial, ClientID: "night", OnEvent: func(e client.Event) {
		if e.SessionPresent {
			present.Store(true)
		}
	}})
	require.NoError(t, err)
	require.NoError(t, again.Connect(ctx))
	defer again.Abort()
	got := ""
	for d, err := range again.Messages(ctx) {
		require.NoError(t, err)
		got += string(d.Payload)
		if len(got) == 5 {
			require.NoError(t, d.Ack())
			break
		}
	}
	require.Equal(t, "01234", got)
	require.NoError(t, again.Close(ctx))
	require.True(t, present.Load())
}

// The will is sent when the client aborts, and not when it closes.
func TestInteropWill(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	dial, err := transport.Dialer(b.TCP, nil)
	require.NoError(t, err)
	ctx := within(t)
	watcher := connect(t, ctx, client.Config{Dial: dial, CleanSession: true})
	_, err = watcher.Subscribe(ctx, packets.Subscription{Filter: "will/#", QoS: 1})
	require.NoError(t, err)
	with := func(name string) client.Config {
		return client.Config{Dial: dial, ClientID: name, CleanSession: true, Will: &packets.Will{Topic: "will/" + name, QoS: 1}}
	}
	polite := connect(t, ctx, with("polite"))
	require.NoError(t, polite.Close(ctx))
	rude := connect(t, ctx, with("rude"))
	rude.Abort()
	for d, err := range watcher.Messages(ctx) {
		require.NoError(t, err)
		require.Equal(t, "will/rude", d.Topic)
		break
	}
}
