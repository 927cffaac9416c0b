package connector_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/stretchr/testify/require"
)

func steps(r *connector.TestReport) (out []transport.Step) {
	for _, s := range r.Steps {
		out = append(out, s.Step)
	}
	return out
}

// tested runs Test in a dialogue; talk continues after CONNECT was accepted.
func (d *dialogue) tested(cfg connector.Config, o connector.TestOptions, talk func(*packets.Connect)) *connector.TestReport {
	d.Helper()
	c, err := connector.New(cfg, connector.Options{Dial: d.server.Dial})
	require.NoError(d, err)
	done := make(chan *connector.TestReport, 1)
	go func() { done <- c.Test(d.ctx, o) }()
	talk(d.accept(false))
	p, err := d.conn.Receive()
	require.NoError(d, err)
	require.IsType(d, &packets.Disconnect{}, p)
	d.conn.Close()
	return <-done
}

// A test uses its own client id, a clean session and no will. It subscribes to every topic at its
// QoS, without share groups, and reports what was granted.
func TestTestConnection(t *testing.T) {
	cfg := kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "a"}, {Topic: "b", QoS: 1, HasQoS: true}}})
	cfg.Consumers["shared"] = connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "c"}}, QoS: 1, ShareGroup: "g"}
	cfg.Consumers["single"] = connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "$exclusive/d"}}}
	cfg.Advanced.WillEnabled, cfg.Advanced.WillTopic = true, "gone"
	inBubble(t, func(d *dialogue) {
		r := d.tested(cfg, connector.TestOptions{}, func(p *packets.Connect) {
			require.Regexp(t, `^c-test-[A-Z2-7]{4}$`, p.ClientID)
			require.True(t, p.CleanSession)
			require.Nil(t, p.Will)
			p2, err := d.conn.Receive()
			require.NoError(t, err)
			sub := p2.(*packets.Subscribe)
			require.Equal(t, []packets.Subscription{{Filter: "a", QoS: 2}, {Filter: "b", QoS: 1}, {Filter: "c", QoS: 1}, {Filter: "d"}}, sub.Subscriptions)
			time.Sleep(time.Second)
			d.send(&packets.Suback{PacketID: sub.PacketID, Codes: []packets.SubscribeCode{1, 1, 0, 0}})
		})
		require.NoError(t, r.Err())
		require.Nil(t, r.Failed())
		require.Equal(t, []transport.Step{"connect", "subscribe", "disconnect"}, steps(r))
		require.Equal(t, time.Second, r.Steps[1].Took)
		require.Equal(t, []connector.Grant{
			{Consumer: "in", Filter: "a", Asked: 2, Granted: 1},
			{Consumer: "in", Filter: "b", Asked: 1, Granted: 1},
			{Consumer: "shared", Filter: "c", Shared: true, Asked: 1, Granted: 0},
			{Consumer: "single", Filter: "d", Shared: true},
		}, r.Grants)
		require.True(t, r.CleanSession)
	})
}

// With OwnID the test connects like the connector; a refusal names the topic.
func TestTestWithTheOwnID(t *testing.T) {
	cfg := kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "a"}, {Topic: "b"}}})
	inBubble(t, func(d *dialogue) {
		r := d.tested(cfg, connector.TestOptions{OwnID: true}, func(p *packets.Connect) {
			require.Equal(t, "c", p.ClientID)
			require.False(t, p.CleanSession)
			p2, err := d.conn.Receive()
			require.NoError(t, err)
			d.send(&packets.Suback{PacketID: p2.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{2, 0x80}})
		})
		require.ErrorIs(t, r.Err(), flow.TypeRejected)
		require.Equal(t, connector.StepSubscribe, r.Failed().Step)
		require.Nil(t, r.Grants[0].Err)
		require.NotNil(t, r.Grants[1].Err)
		require.NotContains(t, r.Failed().Hint, "client id of its own")
	})
}

// Each kind of connection and failure with a real server: which step fails, with what type and
// hint.
func TestTestStepByStep(t *testing.T) {
	no := false
	b := mosquitto.Start(t, mosquitto.Options{Anonymous: &no})
	open := mosquitto.Start(t, mosquitto.Options{})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := free.Addr().String()
	free.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	short := 300 * time.Millisecond
	for _, c := range []struct {
		name string
		url  string
		g    connector.General
		want []transport.Step
		typ  flow.ErrorType // of the last step; empty: all went well
		hint string
	}{
		{"TCP", open.TCP, connector.General{}, []transport.Step{"tcp", "connect", "subscribe", "disconnect"}, "", ""},
		{"WSS", open.WSS, connector.General{Protocol: connector.WebSocketSecure, TLSServerCert: open.CAFile},
			[]transport.Step{"tcp", "tls", "websocket", "connect", "subscribe", "disconnect"}, "", ""},
		{"no server", "mqtt://" + closed, connector.General{}, []transport.Step{"tcp"}, flow.TypeConnectivity, "Nothing listens"},
		{"no answer", "mqtt://" + silent.Addr().String(), connector.General{}, []transport.Step{"tcp", "connect"}, flow.TypeConnectTimeout, "nobody answers"},
		{"no login", b.TCP, connector.General{}, []transport.Step{"tcp", "connect"}, flow.TypeNotAuthorized, "client id of its own"},
		{"unknown authority", open.TLS, connector.General{Protocol: connector.TLS}, []transport.Step{"tcp", "tls"}, flow.TypeTLS, "not trusted here"},
		// The server says so after the handshake of TLS 1.3, which is one step all the same.
		{"no client certificate", open.MTLS, connector.General{Protocol: connector.TLS, TLSServerCert: open.CAFile}, []transport.Step{"tcp", "tls"}, flow.TypeTLS, "client certificate"},
		{"TLS on the port of TCP", open.TCP, connector.General{Protocol: connector.TLS}, []transport.Step{"tcp", "tls"}, flow.TypeTLS, "does not speak TLS"},
		{"TCP on the port of WebSocket", open.WS, connector.General{}, []transport.Step{"tcp", "connect"}, flow.TypeTCP, "speaks HTTP"},
		{"no such name", "mqtt://no.such.name.invalid:1883", connector.General{}, []transport.Step{"resolve"}, flow.TypeConnectivity, "host name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, c.g.BrokerURL, _ = strings.Cut(c.url, "://")
			c.g.ClientID = "c"
			cfg := kept(connector.ConsumerParams{})
			cfg.General, cfg.Advanced.ConnectTimeout = c.g, &short
			if c.typ == "" || c.g.Protocol != connector.TCP || c.typ == flow.TypeNotAuthorized {
				cfg.Advanced.ConnectTimeout = nil
			}
			conn, err := connector.New(cfg, connector.Options{})
			require.NoError(t, err)
			told := 0
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r := conn.Test(ctx, connector.TestOptions{OnStep: func(connector.TestStep) { told++ }})
			got := steps(r)
			require.Len(t, got, len(c.want), "%v", got)
			for i, want := range c.want {
				require.Contains(t, strings.Split(string(want), "|"), string(got[i]))
			}
			require.Equal(t, len(c.want), told)
			require.Equal(t, strings.HasPrefix(c.url, "wss"), !r.CertificatesExpire.IsZero() && c.typ == "")
			if c.typ == "" {
				require.NoError(t, r.Err())
				return
			}
			require.ErrorIs(t, r.Err(), c.typ)
			require.Equal(t, &r.Steps[len(r.Steps)-1], r.Failed())
			require.Contains(t, r.Failed().Hint, c.hint)
			require.Regexp(t, `\p{Han}`, r.Failed().HintZH)
		})
	}
}

// Every connection is tested and reported by name, whatever the results before it; further
// connections have no subscriptions.
func TestTestEveryConnection(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := forwarding(connector.ProducerParams{})
		c, err := connector.New(cfg, connector.Options{Dial: b.server.Dial, Dials: b.options.Dials})
		require.NoError(t, err)
		b.server.Refuse(errGate)
		var told []string
		done := make(chan *connector.TestReport, 1)
		go func() {
			done <- c.Test(b.ctx, connector.TestOptions{OnStep: func(s connector.TestStep) { told = append(told, s.Connection+":"+string(s.Step)) }})
		}()
		require.Regexp(t, `^far-test-[A-Z2-7]{4}$`, b.acceptFar(false).ClientID)
		b.atFar(func() { b.expect("DISCONNECT") })
		b.farConn.Close()
		r := <-done
		require.Equal(t, []string{":connect", "cloud:connect", "cloud:disconnect"}, told)
		require.ErrorIs(t, r.Err(), flow.TypeConnectivity)
		require.Empty(t, r.Failed().Connection)
		require.NoError(t, r.Connections["cloud"].Err())
		require.Empty(t, r.Connections["cloud"].Grants)

		b.far.Refuse(errGate)
		b.server.Refuse(nil)
		go func() { done <- c.Test(b.ctx, connector.TestOptions{}) }()
		b.accept(false)
		b.grant()
		b.expect("DISCONNECT")
		b.conn.Close()
		r = <-done
		require.Equal(t, "cloud", r.Failed().Connection)
		require.ErrorContains(t, r.Err(), `connection "cloud": `)
	})
}
