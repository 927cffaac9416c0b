package connector_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A Producer and a Consumer communicate through mosquitto over each protocol of the general tab, at
// each QoS, with and without a client certificate.
func TestProtocols(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	ca, cert, key := b.CAFile, b.ClientCert, connector.Secret(b.ClientKey)
	for _, c := range []struct {
		name string
		g    connector.General
	}{
		{"TCP", connector.General{BrokerURL: b.TCP}},
		{"TLS", connector.General{BrokerURL: b.TLS, Protocol: connector.TLS, TLSServerCert: ca}},
		{"TLS, client certificate", connector.General{BrokerURL: b.MTLS, Protocol: connector.TLS, TLSServerCert: ca, TLSClientCert: cert, TLSClientKey: key}},
		{"WebSocket", connector.General{BrokerURL: b.WS, Protocol: connector.WebSocket}},
		{"WebSocket Secure", connector.General{BrokerURL: b.WSS, Protocol: connector.WebSocketSecure, TLSServerCert: ca}},
		{"WebSocket Secure, client certificate", connector.General{BrokerURL: b.WSSM, Protocol: connector.WebSocketSecure, TLSServerCert: ca, TLSClientCert: cert, TLSClientKey: key}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, c.g.BrokerURL, _ = strings.Cut(c.g.BrokerURL, "://")
			c.g.ClientID = "p-" + strings.Map(letters, c.name)
			meet(t, c.g)
		})
	}
	t.Run("unknown authority", func(t *testing.T) {
		_, address, _ := strings.Cut(b.TLS, "://")
		c, err := connector.New(connector.Config{General: connector.General{BrokerURL: address, Protocol: connector.TLS, ClientID: "c"}}, connector.Options{})
		require.NoError(t, err)
		err = c.Start(t.Context())
		require.Error(t, err)
		require.True(t, flow.AsError(err).Type.Is(flow.TypeTLS), "%v", err)
	})
}

func letters(r rune) rune {
	if r == ' ' || r == ',' {
		return -1
	}
	return r
}

func meet(t *testing.T, g connector.General) {
	cfg := connector.Config{
		General:   g,
		Advanced:  connector.Advanced{CleanSession: ptr(true)},
		Consumers: map[string]connector.ConsumerParams{"in": {Topics: []connector.TopicQoS{{Topic: g.ClientID + "/#"}}, QoS: packets.ExactlyOnce}},
		Producers: map[string]connector.ProducerParams{},
	}
	for qos := range packets.QoS(3) {
		cfg.Producers[fmt.Sprint(qos)] = connector.ProducerParams{Topic: g.ClientID + "/${attribute.topic}", QoS: qos}
	}
	c, err := connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	var mu sync.Mutex
	got := map[string]int{}
	all := make(chan struct{})
	require.NoError(t, c.Consume("in", flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		mu.Lock()
		defer mu.Unlock()
		got[m.Topic()+" "+string(m.Payload.Blob)] = m.Attribute["QoS"].(int)
		if len(got) == 3 {
			close(all)
		}
		return m, nil
	})))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, c.Start(ctx))
	for qos := range packets.QoS(3) {
		_, err := c.Producer(fmt.Sprint(qos)).Run(ctx, flow.NewMessage(fmt.Sprint("q", byte(qos)), []byte("hello"), 0, 0))
		require.NoError(t, err)
	}
	select {
	case <-all:
	case <-ctx.Done():
		t.Fatal("not all messages came")
	}
	require.NoError(t, c.Stop(ctx))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]int{g.ClientID + "/q0 hello": 0, g.ClientID + "/q1 hello": 1, g.ClientID + "/q2 hello": 2}, got)
}
