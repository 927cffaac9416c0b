package jetstream

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	internalnats "github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A script is a stream played by a test: it answers each message with the result of answer, or not at all if that
// is empty.
type script struct {
	*testing.T
	gateway *Gateway
	publish func(topic, payload string)

	mu  sync.Mutex
	got []string // payloads
}

// play runs a gateway into a played stream.
func play(t *testing.T, timeout time.Duration, order Order, answer func(n int, payload string) string) *script {
	mqtt := mosquitto.Start(t, mosquitto.Options{})
	server := internalnats.Start(t, internalnats.Options{})
	connect := func() *nats.Conn {
		nc, err := nats.Connect(server.Client)
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	s, nc := &script{T: t}, connect()
	_, err := nc.Subscribe("played.>", func(m *nats.Msg) {
		s.mu.Lock()
		n := len(s.got)
		s.got = append(s.got, string(m.Data))
		s.mu.Unlock()
		if text := answer(n, string(m.Data)); text != "" {
			m.Respond([]byte(text))
		}
	})
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	js, err := jetstream.New(connect())
	require.NoError(t, err)
	cfg := Config{Name: "PLAYED", Prefix: "played", AckTimeout: timeout}
	require.NoError(t, cfg.check())
	conn, err := connector.New(connector.Config{
		General:  connector.General{BrokerURL: mqtt.Addr(), ClientID: "gateway"},
		Advanced: connector.Advanced{CleanSession: new(false), AutoReconnect: true},
		Consumers: map[string]connector.ConsumerParams{"in": {
			Topics: []connector.TopicQoS{{Topic: "in/#"}}, QoS: packets.AtLeastOnce, MaxInFlight: 64,
		}},
	}, connector.Options{})
	require.NoError(t, err)
	s.gateway = NewGateway(&Stream{js: js, cfg: cfg}, conn, "in", GatewayOptions{Order: order})
	require.NoError(t, conn.Start(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.gateway.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		conn.Stop(ctx)
	})
	dial, err := transport.Dialer(mqtt.TCP, nil)
	require.NoError(t, err)
	pub, err := client.New(client.Config{Dial: dial, CleanSession: true})
	require.NoError(t, err)
	require.NoError(t, pub.Connect(t.Context()))
	t.Cleanup(pub.Abort)
	s.publish = func(topic, payload string) {
		_, err := pub.PublishAsync(t.Context(), client.Message{Topic: topic, Payload: []byte(payload), QoS: packets.AtLeastOnce})
		require.NoError(t, err)
	}
	return s
}

// stores waits until the stream has sent n answers, and returns the payloads that were sent.
func (s *script) stores(n uint64) []string {
	s.Helper()
	require.Eventually(s, func() bool { return s.gateway.Stats().Stored >= n }, time.Minute, 5*time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

const taken = `{"stream":"PLAYED","seq":1}`

// A stream that takes longer than AckTimeout for everything in flight, but answers in turn, gets nothing twice.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	const timeout, each, n = 3 * time.Second, 150 * time.Millisecond, 30
	s := play(t, timeout, OrderFast, func(int, string) string { time.Sleep(each); return taken })
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
		s.publish("in/a", want[i])
	}
	require.Equal(t, want, s.stores(n))
	require.Zero(t, s.gateway.Stats().Again)
}

// Messages that are not answered, or are refused temporarily, are sent again; with OrderStrict before the next one
// of their key, while other keys continue.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"", `{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`, "nonsense"} {
		s := play(t, 300*time.Millisecond, OrderStrict, func(n int, payload string) string {
			if payload == "a1" && n < 3 {
				return lost
			}
			return taken
		})
		for _, payload := range []string{"a1", "a2", "b1", "b2", "a3"} {
			s.publish("in/"+payload[:1], payload)
		}
		var a, b []string
		for _, payload := range s.stores(5) {
			if payload[0] == 'a' {
				a = append(a, payload)
			} else {
				b = append(b, payload)
			}
		}
		require.Equal(t, "a1", a[len(a)-3], "%q: %q", lost, a)
		require.Equal(t, []string{"a2", "a3"}, a[len(a)-2:], "%q", lost)
		require.Equal(t, []string{"b1", "b2"}, b)
		require.NotZero(t, s.gateway.Stats().Again)
		require.Zero(t, s.gateway.Stats().Refused)
	}
}

// The failure policy applies to messages that the stream refuses permanently, and the next one of
// the key continues.
func TestRefusedAnswers(t *testing.T) {
	t.Parallel()
	s := play(t, time.Minute, OrderStrict, func(_ int, payload string) string {
		if payload == "1" {
			return `{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`
		}
		return taken
	})
	s.publish("in/a", "1")
	s.publish("in/a", "2")
	require.Equal(t, []string{"1", "2"}, s.stores(1))
	require.EqualValues(t, 1, s.gateway.Stats().Refused)
}

// A gateway whose lease is over sends nothing, even before the end of the lease is noticed: its process was
// stopped, and continues with whatever it was doing.
func TestGatewayOfLeaseThatIsOver(t *testing.T) {
	t.Parallel()
	s := play(t, time.Minute, OrderFast, func(int, string) string { return taken })
	l := newLease(t.Context(), 0, 1, 1, time.Now().Add(time.Hour))
	c, err := s.gateway.cross(l.Context())
	require.NoError(t, err)
	defer c.end()
	send := func(payload string) {
		p := &passage{delivery: new(connector.Delivery), message: &nats.Msg{Subject: "played.x", Data: []byte(payload)}}
		c.send(p)
		require.NoError(t, c.nc.Flush())
	}
	send("valid")
	s.publish("in/a", "other") // on the same way, behind it
	require.Eventually(t, func() bool { return s.gateway.Stats().Stored > 0 }, time.Minute, 5*time.Millisecond)
	l.mu.Lock()
	l.until = time.Now().Add(-time.Nanosecond) // its timer has not fired
	l.mu.Unlock()
	send("stale")
	s.publish("in/a", "last")
	require.Contains(t, s.stores(3), "last")
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Contains(t, s.got, "valid")
	require.NotContains(t, s.got, "stale")
}

func TestStored(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{
		`{"stream":"S", "seq":12}`:                  12,
		`{"stream":"S","seq":12}`:                   12,
		`{"stream":"SS","seq":12}`:                  0,
		`{"stream":"S","seq":12,"duplicate": true}`: 0, // for the reader of all answers
		`{"stream":"S","seq":}`:                     0,
		`{"stream":"S"`:                             0,
		`{"stream":"`:                               0,
		``:                                          0,
	} {
		n, ok := stored([]byte(text), "S")
		require.Equal(t, want, n, text)
		require.Equal(t, want != 0, ok, text)
	}
}
