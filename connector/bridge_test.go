package connector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A bridging is a dialogue with two servers: near has the consumer, and the producer "up" publishes
// to far.
type bridging struct {
	*dialogue
	far     *clienttest.Server
	farConn *clienttest.Conn
}

func bridged(t *testing.T, talk func(b *bridging)) {
	t.Helper()
	inBubble(t, func(d *dialogue) {
		b := &bridging{dialogue: d, far: clienttest.NewServer()}
		d.options.Dials = map[string]func(context.Context) (net.Conn, error){"cloud": b.far.Dial}
		defer func() {
			if b.farConn != nil {
				b.farConn.Close()
			}
		}()
		talk(b)
	})
}

// forwarding returns a configuration that consumes t/# and has a producer that publishes to the far
// server.
func forwarding(p connector.ProducerParams) connector.Config {
	cfg := kept(connector.ConsumerParams{})
	cfg.Connections = map[string]connector.Connection{"cloud": {
		General:  connector.General{BrokerURL: "cloud.example.com:1883", ClientID: "far"},
		Advanced: connector.Advanced{CleanSession: ptr(false), AutoReconnect: true, ConnectRetry: true, ConnectRetryInterval: ptr(time.Second), KeepAlive: ptr(time.Duration(0))},
	}}
	p.Connection = "cloud"
	if p.Topic == "" {
		p.Topic = "plant/${attribute.topic}"
	}
	cfg.Producers = map[string]connector.ProducerParams{"up": p}
	return cfg
}

// farStored gives the far connection a session store.
func farStored(t *testing.T, cfg connector.Config, dir string) connector.Config {
	t.Helper()
	far := cfg.Connections["cloud"]
	far.Extension.SessionStore = &connector.SessionStore{Dir: dir}
	cfg.Connections = map[string]connector.Connection{"cloud": far}
	return cfg
}

// begin starts the connector, whose flow publishes with the producer, and accepts it at the near
// server.
func (b *bridging) begin(cfg connector.Config) {
	b.Helper()
	var up *connector.Producer
	b.build(cfg, flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) { return up.Run(ctx, m) }))
	up = b.connector.Producer("up")
	b.accepted(true)
}

// acceptFar makes the far server accept a connection.
func (b *bridging) acceptFar(sessionPresent bool) *packets.Connect {
	b.Helper()
	conn, err := b.far.Accept(b.ctx)
	require.NoError(b, err)
	b.farConn = conn
	p, err := conn.Handshake(sessionPresent)
	require.NoError(b, err)
	synctest.Wait()
	return p
}

// atFar runs talk with the connection to the far server.
func (b *bridging) atFar(talk func()) {
	b.Helper()
	near := b.conn
	b.conn = b.farConn
	talk()
	b.conn = near
}

// take receives messages of a QoS in the order of payloads, and then acknowledges them.
func (b *bridging) take(qos packets.QoS, payloads ...string) {
	b.Helper()
	var ids []uint16
	for _, payload := range payloads {
		b.conn.SetReadDeadline(time.Now().Add(time.Hour))
		p, err := b.conn.Receive()
		require.NoError(b, err)
		pub, ok := p.(*packets.Publish)
		require.True(b, ok, "came: %s", p)
		require.Equal(b, payload, string(pub.Payload))
		require.Equal(b, qos, pub.QoS)
		ids = append(ids, pub.PacketID)
	}
	for _, id := range ids {
		if qos == packets.AtLeastOnce {
			b.send(&packets.Puback{PacketID: id})
			continue
		}
		b.send(&packets.Pubrec{PacketID: id})
		b.expect((&packets.Pubrel{PacketID: id}).String())
		b.send(&packets.Pubcomp{PacketID: id})
	}
}

func (b *bridging) cloud() connector.ConnectionHealth {
	synctest.Wait()
	return b.connector.Health().Connections["cloud"]
}

// A message is forwarded from one server to the other, each with its own client id, and
// acknowledged when the far server has it.
func TestBridge(t *testing.T) {
	bridged(t, func(b *bridging) {
		b.begin(forwarding(connector.ProducerParams{QoS: packets.AtLeastOnce}))
		require.Equal(t, "far", b.acceptFar(false).ClientID)
		require.NoError(t, ready(b.dialogue))
		h := b.cloud()
		require.NoError(t, h.Ready())
		require.EqualValues(t, 1, h.Client.Connects)

		b.deliver(1, "a")
		b.atFar(func() { b.expect("PUBLISH plant/t/a qos=1 id=1 dup=false payload=a") })
		b.expectNothing(time.Second)
		require.Equal(t, 1, b.cloud().Waiting)
		b.atFar(func() { b.send(&packets.Puback{PacketID: 1}) })
		b.expect("PUBACK id=1")
		require.Zero(t, b.cloud().Waiting)
	})
}

// If the far server is unreachable, consumers start and the connector can be ready nevertheless.
// Health reports the problem under the name of the connection. Without a session store the messages
// wait, unacknowledged.
func TestBridgeFarEndAway(t *testing.T) {
	bridged(t, func(b *bridging) {
		var mu sync.Mutex
		var told []*flow.Error
		b.options.OnError = func(e *flow.Error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e)
		}
		events := make(map[client.EventKind]int)
		b.options.OnConnectionEvent = func(name string, e client.Event) {
			if name == "cloud" {
				mu.Lock()
				defer mu.Unlock()
				events[e.Kind]++
			}
		}
		b.far.Refuse(errGate)
		cfg := forwarding(connector.ProducerParams{QoS: packets.AtLeastOnce, AckTimeout: ptr(time.Second)})
		p := cfg.Consumers["in"]
		p.TriggerOnError = true
		cfg.Consumers["in"] = p
		cfg.Extension.StallTimeout = ptr(time.Minute)
		b.begin(cfg)
		require.NoError(t, ready(b.dialogue))
		h := b.cloud()
		require.False(t, h.Connected)
		require.ErrorIs(t, h.Ready(), flow.TypeConnectivity)
		require.ErrorContains(t, h.Ready(), `connection "cloud": `)
		mu.Lock()
		require.NotEmpty(t, told)
		require.Regexp(t, `^connector: \[MQTT:[A-Z]+\] connection "cloud": [^\[]+$`, told[0].Error())
		require.Positive(t, events[client.ConnectFailed])
		mu.Unlock()
		require.Zero(t, b.connector.Health().Failed, "no failure of the consumer: its flow is not triggered")

		b.deliver(1, "a")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.NoError(t, ready(b.dialogue))
		require.Equal(t, b.connector.Health().Failed, b.connector.Health().Uncharged, "the message only waits")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.ErrorContains(t, ready(b.dialogue), "unacknowledged", "messages do not move any more")

		b.far.Refuse(nil)
		b.acceptFar(false)
		require.NoError(t, func() error { h := b.cloud(); return h.Ready() }())
		b.atFar(func() { b.take(1, "a") })
		b.expect("PUBACK id=1")
		require.NoError(t, ready(b.dialogue))
	})
}

// Without connect_retry Start fails if the far server is unreachable, as for the connector's own
// connection.
func TestBridgeStartWithoutConnectRetry(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := forwarding(connector.ProducerParams{})
		far := cfg.Connections["cloud"]
		far.Advanced.ConnectRetry, far.Advanced.ConnectRetryInterval = false, nil
		cfg.Connections["cloud"] = far
		b.far.Refuse(errGate)
		b.build(cfg, newGate())
		err := b.connector.Start(b.ctx)
		require.ErrorIs(t, err, flow.TypeConnectivity)
		require.ErrorContains(t, err, `connection "cloud": `)
	})
}

// Without auto_reconnect the connector ends with the far connection, as with its own.
func TestBridgeWithoutAutoReconnect(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := forwarding(connector.ProducerParams{})
		far := cfg.Connections["cloud"]
		far.Advanced.AutoReconnect = false
		cfg.Connections["cloud"] = far
		b.begin(cfg)
		b.acceptFar(false)
		b.farConn.Close()
		<-b.connector.Done()
		require.ErrorContains(t, b.connector.Err(), `connection "cloud": `)
		h := b.connector.Health()
		require.Error(t, h.Live())
	})
}

// Store and forward: with done_when: stored an incoming message is acknowledged once its copy is durable.
// The copies are sent in order when the far server is back, even by the next process.
func TestBridgeStoresAndForwards(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := farStored(t, forwarding(connector.ProducerParams{QoS: packets.ExactlyOnce, DoneWhen: connector.DoneWhenStored}), t.TempDir())
		b.far.Refuse(errGate)
		b.begin(cfg)
		b.deliver(1, "a", "b")
		b.expect("PUBACK id=1", "PUBACK id=2")
		require.Equal(t, 2, b.cloud().Waiting)
		require.NoError(t, ready(b.dialogue))

		b.stop(time.Minute)
		b.conn = nil
		b.begin(cfg)
		require.Equal(t, 2, b.cloud().Waiting)
		b.deliver(1, "c")
		b.expect("PUBACK id=1")
		b.far.Refuse(nil)
		b.acceptFar(true)
		b.atFar(func() {
			b.take(2, "a", "b", "c")
		})
		require.Zero(t, b.cloud().Waiting)
	})
}

// A full store holds the messages back: they are not acknowledged, not charged, and sent later.
func TestBridgeStoreIsFull(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := farStored(t, forwarding(connector.ProducerParams{QoS: packets.AtLeastOnce, DoneWhen: connector.DoneWhenStored, AckTimeout: ptr(time.Second)}), t.TempDir())
		cfg.Connections["cloud"].Extension.SessionStore.MaxMessages = 1
		b.far.Refuse(errGate)
		b.begin(cfg)
		b.deliver(1, "a", "b")
		b.expect("PUBACK id=1")
		b.expectNothing(10 * time.Second)
		h := b.connector.Health()
		require.Positive(t, h.Failed)
		require.Equal(t, h.Failed, h.Uncharged)
		b.far.Refuse(nil)
		b.acceptFar(false)
		b.atFar(func() {
			b.take(1, "a")
			b.take(1, "b")
		})
		b.expect("PUBACK id=2")
	})
}

// Bridging is at least once, even at QoS 2: after a crash between storing and acknowledging, the
// message is published again.
func TestBridgeIsAtLeastOnce(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := farStored(t, forwarding(connector.ProducerParams{QoS: packets.ExactlyOnce, DoneWhen: connector.DoneWhenStored}), t.TempDir())
		b.far.Refuse(errGate)
		var up *connector.Producer
		hang := make(chan struct{})
		b.build(cfg, flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			if _, err := up.Run(ctx, m); err != nil {
				return nil, err
			}
			select {
			case <-hang:
			case <-ctx.Done():
			}
			return nil, errors.New("the process dies here")
		}))
		up = b.connector.Producer("up")
		b.accepted(true)
		b.deliver(2, "a")
		require.Equal(t, 1, b.cloud().Waiting)
		b.stop(0)
		b.conn = nil

		b.begin(cfg)
		b.deliver(2, "a")
		require.Equal(t, 2, b.cloud().Waiting, "twice, and both leave")
		b.expect("PUBREC id=1")
	})
}

// A live message never becomes a retained one. A retained message keeps its flag if the producer asks for
// that. Dropped flags are counted, and the first is logged.
func TestBridgeRetained(t *testing.T) {
	for _, c := range []struct {
		params             connector.ProducerParams
		live, kept         bool // the flag at the far end
		unretained         uint64
		extendedAttributes bool
	}{
		{connector.ProducerParams{}, false, false, 1, false},
		{connector.ProducerParams{KeepRetained: true}, false, true, 0, false},
		{connector.ProducerParams{KeepRetained: true}, false, true, 0, true},
		{connector.ProducerParams{KeepRetained: true, Retained: true}, false, true, 0, false},
		{connector.ProducerParams{Retained: true}, true, true, 0, false},
		{connector.ProducerParams{RetainedFrom: "${attribute.retained}"}, false, true, 0, true},
	} {
		bridged(t, func(b *bridging) {
			cfg := forwarding(c.params)
			p := cfg.Consumers["in"]
			p.ExtendedAttributes = c.extendedAttributes
			cfg.Consumers["in"] = p
			b.begin(cfg)
			b.acceptFar(false)
			for _, retain := range []bool{false, true} {
				m := publish("t/a", 0, 0, "a")
				m.Retain = retain
				b.send(m)
				b.atFar(func() {
					packet, err := b.conn.Receive()
					require.NoError(t, err)
					want := c.live
					if retain {
						want = c.kept
					}
					require.Equal(t, want, packet.(*packets.Publish).Retain, "%+v, came retained: %t", c.params, retain)
				})
			}
			require.Equal(t, c.unretained, b.cloud().Unretained)
		})
	}
}

// Outside a consumer's flow the attribute says whether a message was retained.
func TestKeepRetainedOfAnAttribute(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out", KeepRetained: true}), nil)
		for _, retained := range []bool{true, false} {
			m := reading()
			m.Attribute["retained"] = retained
			done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, m); return err })
			p, err := d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, retained, p.(*packets.Publish).Retain)
			require.NoError(t, done())
		}
	})
}

// The producers of the far connection have its limits, not those of the connector's own.
func TestBridgeHasItsOwnLimits(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := forwarding(connector.ProducerParams{QoS: packets.AtLeastOnce})
		far := cfg.Connections["cloud"]
		far.Extension.MaxPacketSize = 1024
		far.Extension.AckTimeout = ptr(3 * time.Second)
		cfg.Connections["cloud"] = far
		cfg.Extension.MaxPacketSize = 2048
		b.begin(cfg)
		b.acceptFar(false)
		up := b.connector.Producer("up")
		require.ErrorIs(t, up.Publish(b.ctx, client.Message{Topic: "x", Payload: make([]byte, 1024)}), flow.TypePayloadTooLarge)
		start := time.Now()
		require.ErrorIs(t, up.Publish(b.ctx, client.Message{Topic: "x", QoS: 1}), flow.TypePublishTimeout)
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

// CheckThen reports a flow that publishes to its own topics, but only if that is certain.
func TestCheckThen(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		certain       bool
	}{
		{"t/#", "t/a", true},
		{"t/#", "u/a", false},
		{"t/+", "${attribute.topic}", true},
		{"$share/g/t/+", "${attribute.topic}", true},
		{"t/+", "${ attribute.topic }", true},
		{"t/#", "${attribute.topic}/out", true},
		{"t/+", "${attribute.topic}/out", false},
		{"t/#", "${attribute.topic}out", false},
		{"#", "out/${attribute.topic}", true},
		{"#", "$out/${attribute.topic}", false},
		{"t/#", "out/${attribute.topic}", false},
		{"t/#", "t/${variable.x}", false},
		{"t/#", "${attribute.topic}/${attribute.topic}", false},
	} {
		cfg := kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: "x"}, {Topic: c.filter}}})
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: c.topic}}
		found := cfg.CheckThen("in", "out")
		require.Equal(t, c.certain, len(found) == 1, "%+v", c)
		if c.certain {
			require.Equal(t, "E161", found[0].Code)
		}

		// To another server nothing goes round; to the same one under another name of it, all the same.
		cfg.Connections = map[string]connector.Connection{
			"cloud": {General: connector.General{BrokerURL: "cloud:1883", ClientID: "d"}},
			"self":  {General: connector.General{BrokerURL: "tcp://LOCALHOST:1883", ClientID: "d"}},
		}
		cfg.Producers["out"] = connector.ProducerParams{Topic: c.topic, Connection: "cloud"}
		require.Empty(t, cfg.CheckThen("in", "out"))
		cfg.Producers["out"] = connector.ProducerParams{Topic: c.topic, Connection: "self"}
		require.Equal(t, c.certain, len(cfg.CheckThen("in", "out")) == 1, "%+v", c)

		// What only takes retained messages does not take live ones again.
		p := cfg.Consumers["in"]
		p.Retained = connector.RetainedOnly
		cfg.Consumers["in"] = p
		require.Empty(t, cfg.CheckThen("in", "out"))
	}
}

// A warning is given for a topic that a consumer may receive, and not for one that it cannot.
func TestPossibleLoops(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		possible      bool
	}{
		{"t/#", "t", true},
		{"t/#", "t/a/b", true},
		{"t/+", "t/a/b", false},
		{"plant/+/reading", "plant/${variable.line}/reading", true},
		{"plant/+/reading", "plant/${variable.line}/command", false},
		{"plant/+/reading", "plant/${variable.line}", true},
		{"plant/+/reading", "plant/x${variable.line}", true},
		{"plant/7/reading", "plant/8${variable.line}", false},
		{"plant/#", "plant${variable.rest}", true},
		{"plant/#", "plan${variable.rest}", true},
		{"plant/#", "other/${attribute.topic}", false},
		{"+/b", "a/${variable.x}/b", false},
		{"+/+/b", "a/${variable.x}/b", true},
		{"#", "a/${variable.x}", true},
		{"#", "$a/${variable.x}", false},
		{"+/x", "$a/${variable.x}", false},
		{"$a/+", "$a/${variable.x}", true},
		{"#", "${variable.x}", false}, // nothing is known of it
		{"t", "${attribute.topic}", true},
		{"t/+", "${attribute.topic}/out", false},
		{"t/#", "${attribute.topic}/out", true},
	} {
		cfg := kept(connector.ConsumerParams{Topics: []connector.TopicQoS{{Topic: c.filter}}})
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: c.topic}}
		found := false
		for _, f := range cfg.Check() {
			found = found || f.Code == "W241"
		}
		require.Equal(t, c.possible, found, "%+v", c)
	}
}

// The configuration in docs/connector.md works: from one server to another, through an outage of
// the far one.
func TestBridgeOfTheDocument(t *testing.T) {
	text := documented(t, "Bridge")
	near, err := broker.Start()
	require.NoError(t, err)
	defer near.Close()
	far, err := broker.Start()
	require.NoError(t, err)
	defer far.Close()
	link := cuttable(t, far.Addr)
	text = strings.Replace(text, "127.0.0.1:1883", near.Addr, 1)
	text = strings.Replace(text, "cloud.example.com:1883", link.addr, 1)
	cfg, findings, err := config.Parse([]byte(text), t.TempDir())
	require.NoError(t, err)
	require.Empty(t, findings)
	require.Empty(t, cfg.CheckThen("readings", "up"))

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(chan client.Message, 10)
	sub, err := client.New(client.Config{Dial: dialTo(far.Addr), ClientID: "sub"})
	require.NoError(t, err)
	require.NoError(t, sub.Handle("site/#", func(_ context.Context, d *client.Delivery) {
		got <- client.Message{Topic: d.Topic, Payload: d.Payload, QoS: d.QoS, Retain: d.Retain}
	}))
	require.NoError(t, sub.Connect(ctx))
	defer sub.Close(ctx)
	_, err = sub.Subscribe(ctx, packets.Subscription{Filter: "site/#", QoS: packets.AtLeastOnce})
	require.NoError(t, err)
	pub, err := client.New(client.Config{Dial: dialTo(near.Addr), ClientID: "pub"})
	require.NoError(t, err)
	require.NoError(t, pub.Connect(ctx))
	defer pub.Close(ctx)

	c, err := connector.New(*cfg, connector.Options{})
	require.NoError(t, err)
	require.NoError(t, c.Consume("readings", c.Producer("up")))
	require.NoError(t, c.Start(ctx))
	defer c.Stop(ctx)
	forward := func(payload string) {
		require.NoError(t, pub.Publish(ctx, client.Message{Topic: "plant/1/reading", Payload: []byte(payload), QoS: packets.AtLeastOnce}))
	}
	forward("one")
	require.Equal(t, client.Message{Topic: "site/7/plant/1/reading", Payload: []byte("one"), QoS: packets.AtLeastOnce}, <-got)

	// Its PUBACK has to come before the cut, or it would rightly be published again.
	require.Eventually(t, func() bool { return c.Health().Connections["cloud"].Waiting == 0 }, time.Minute, time.Millisecond)

	link.cut()
	forward("two")
	forward("three")
	require.Eventually(t, func() bool { h := c.Health(); return h.Acknowledged == 3 && h.Connections["cloud"].Waiting == 2 }, time.Minute, 10*time.Millisecond)
	h := c.Health()
	require.NoError(t, h.Ready())
	require.False(t, h.Connections["cloud"].Connected)
	link.mend()
	require.Equal(t, "two", string((<-got).Payload))
	require.Equal(t, "three", string((<-got).Payload))
}

// documented returns the first configuration in a section of docs/connector.md.
func documented(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/connector.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	require.True(t, ok)
	_, code, ok := strings.Cut(section, "```yaml\n")
	require.True(t, ok)
	code, _, ok = strings.Cut(code, "```")
	require.True(t, ok)
	return code
}

func dialTo(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
}

// A wire forwards connections to a server until it is cut.
type wire struct {
	addr string
	mu   sync.Mutex
	down bool
	ends map[net.Conn]struct{}
}

func cuttable(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{addr: l.Addr().String(), ends: make(map[net.Conn]struct{})}
	t.Cleanup(func() { l.Close(); w.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			w.mu.Lock()
			if err != nil || w.down {
				in.Close()
				if out != nil {
					out.Close()
				}
				w.mu.Unlock()
				continue
			}
			w.ends[in], w.ends[out] = struct{}{}, struct{}{}
			w.mu.Unlock()
			go pump(in, out)
			go pump(out, in)
		}
	}()
	return w
}

func pump(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for c := range w.ends {
		c.Close()
	}
	clear(w.ends)
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// Many producers and topics are compared in bounded time, and a finding says what was not compared.
func TestPossibleLoopsScale(t *testing.T) {
	for template, told := range map[string]string{"${attribute.topic}/%d/${variable.x}": "W241", "out/${attribute.topic}/%d": "W241/many"} {
		cfg := kept(connector.ConsumerParams{})
		cfg.Producers = make(map[string]connector.ProducerParams)
		p := cfg.Consumers["in"]
		p.Topics = nil
		for i := range 3000 {
			p.Topics = append(p.Topics, connector.TopicQoS{Topic: fmt.Sprintf("plant/%d/#", i)})
			cfg.Producers[fmt.Sprint(i)] = connector.ProducerParams{Topic: fmt.Sprintf(template, i)}
		}
		cfg.Consumers["in"] = p
		start := time.Now()
		findings := cfg.Check()
		require.Less(t, time.Since(start), time.Minute)
		rules := make(map[string]bool)
		for _, f := range findings {
			rules[f.Rule()] = true
		}
		require.True(t, rules[told], template)
	}
}

// Messages that wait for the far server take no places from producers of another connection.
func TestBridgeAwayTakesNoPlaceOfOthers(t *testing.T) {
	bridged(t, func(b *bridging) {
		cfg := farStored(t, forwarding(connector.ProducerParams{QoS: 1, DoneWhen: connector.DoneWhenStored}), t.TempDir())
		cfg.Producers["near"] = connector.ProducerParams{Topic: "near", QoS: 1, MaxInFlight: 1}
		b.begin(cfg)
		require.NoError(b, b.start(func() error { _, err := b.connector.Producer("up").Run(b.ctx, reading()); return err })())
		for id := range uint16(2) {
			ctx, cancel := context.WithTimeout(b.ctx, time.Second)
			defer cancel()
			_, err := b.connector.Producer("near").PublishAsync(ctx, client.Message{Topic: "near", QoS: 1, Payload: []byte("x")})
			require.NoError(b, err)
			b.expect(fmt.Sprintf("PUBLISH near qos=1 id=%d dup=false payload=x", id+1))
			b.send(&packets.Puback{PacketID: id + 1})
		}
		h := b.connector.Health()
		require.EqualValues(b, 1, h.Publishing)
		require.EqualValues(b, 2, h.PublishedBy[1].Succeeded)
	})
}

// The settings of a further connection decide about messages that it does not accept.
func TestBridgeUnacceptable(t *testing.T) {
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprint("stop ", stop), func(t *testing.T) {
			bridged(t, func(b *bridging) {
				w := new(witness)
				b.options.OnError = w.told
				cfg := forwarding(connector.ProducerParams{})
				other := connector.FaultStop
				if stop {
					far := cfg.Connections["cloud"]
					far.Extension.Malformed, other = connector.FaultStop, connector.FaultSkip
					cfg.Connections["cloud"] = far
				}
				cfg.Extension.Malformed = other
				b.begin(cfg)
				b.acceptFar(false)
				go b.farConn.Write(raw(0, 3, "t/#"))
				synctest.Wait()
				require.Equal(b, []flow.ErrorType{flow.TypeMalformed}, w.types())
				if stop {
					<-b.connector.Done()
					require.ErrorIs(b, b.connector.Err(), flow.TypeMalformed)
					require.ErrorContains(b, b.connector.Err(), `connection "cloud": client: received message on`)
				} else {
					require.NoError(b, b.connector.Err())
					require.NoError(b, ready(b.dialogue))
					require.EqualValues(b, 1, b.connector.Health().Malformed)
				}
			})
		})
	}
}

// Findings about the connector's own policies do not name another connection.
func TestFaultPoliciesOfConnections(t *testing.T) {
	cfg := forwarding(connector.ProducerParams{QoS: 1})
	cfg.Extension.Malformed, cfg.Extension.MaxPacketSize = connector.FaultStop, 1024
	var at []string
	for _, f := range cfg.Check() {
		if strings.HasPrefix(f.Code, "W23") {
			at = append(at, f.Code+" "+f.Path)
		}
	}
	require.Equal(t, []string{"W233 connector.extension.malformed", "W232 connector.extension.max_packet_size"}, at)
}
