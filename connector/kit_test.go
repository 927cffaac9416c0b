package connector_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A dialogue is a connector and its Server in a bubble: time is exact, and a goroutine that is left
// behind fails the test.
type dialogue struct {
	*testing.T
	ctx       context.Context
	server    *clienttest.Server
	connector *connector.Connector
	conn      *clienttest.Conn
	options   connector.Options // for the next build
}

func inBubble(t *testing.T, talk func(d *dialogue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &dialogue{T: t, ctx: t.Context(), server: clienttest.NewServer()}
		d.options.Dial = d.server.Dial
		defer func() {
			if d.connector != nil {
				d.stop(time.Minute)
			}
			synctest.Wait()
		}()
		talk(d)
	})
}

// kept returns a configuration with one consumer, "in" of t/# at QoS 2, with a persistent session
// and without PINGREQs that a test would have to read.
func kept(p connector.ConsumerParams) connector.Config {
	if len(p.Topics) == 0 {
		p.Topics = []connector.TopicQoS{{Topic: "t/#"}}
	}
	p.QoS = packets.ExactlyOnce
	return connector.Config{
		General:   connector.General{BrokerURL: "127.0.0.1:1883", ClientID: "c"},
		Advanced:  connector.Advanced{CleanSession: ptr(false), AutoReconnect: true, KeepAlive: ptr(time.Duration(0))},
		Consumers: map[string]connector.ConsumerParams{"in": p},
	}
}

func ptr[T any](v T) *T { return &v }

// build makes the connector and gives every consumer the flow.
func (d *dialogue) build(cfg connector.Config, f flow.Flow) {
	d.Helper()
	c, err := connector.New(cfg, d.options)
	require.NoError(d, err)
	for name := range cfg.Consumers {
		require.NoError(d, c.Consume(name, f))
	}
	d.connector = c
}

// run starts the connector, accepts it, and grants its subscriptions.
func (d *dialogue) run(cfg connector.Config, f flow.Flow) {
	d.Helper()
	d.build(cfg, f)
	d.accepted(len(cfg.Consumers) > 0)
}

func (d *dialogue) accepted(subscribes bool) {
	d.Helper()
	started := d.start(func() error { return d.connector.Start(d.ctx) })
	d.accept(false)
	if subscribes {
		d.grant()
	}
	require.NoError(d, started())
}

func (d *dialogue) accept(sessionPresent bool) *packets.Connect {
	d.Helper()
	conn, err := d.server.Accept(d.ctx)
	require.NoError(d, err)
	d.conn = conn
	p, err := conn.Handshake(sessionPresent)
	require.NoError(d, err)
	synctest.Wait()
	return p
}

// grant receives SUBSCRIBE and grants all its filters.
func (d *dialogue) grant() []packets.Subscription {
	d.Helper()
	p, err := d.conn.Receive()
	require.NoError(d, err)
	sub, ok := p.(*packets.Subscribe)
	require.True(d, ok, "came: %s", p)
	subs := append([]packets.Subscription(nil), sub.Subscriptions...)
	ack := &packets.Suback{PacketID: sub.PacketID}
	for _, s := range subs {
		ack.Codes = append(ack.Codes, packets.SubscribeCode(s.QoS))
	}
	d.send(ack)
	return subs
}

// start runs f concurrently; the returned function waits for its result.
func (d *dialogue) start(f func() error) func() error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return func() error {
		select {
		case err := <-ch:
			return err
		case <-time.After(time.Hour):
			d.Helper()
			d.Fatal("nothing came of it within an hour")
			return nil
		}
	}
}

// stop stops the connector while the Server keeps reading, and returns what the Server has read.
func (d *dialogue) stop(patience time.Duration) (read []string) {
	d.Helper()
	var reading sync.WaitGroup
	if conn := d.conn; conn != nil {
		conn.SetReadDeadline(time.Time{})
		reading.Go(func() {
			for {
				p, err := conn.Receive()
				if err != nil {
					return
				}
				read = append(read, text(p))
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d.connector.Stop(ctx)
	d.connector = nil
	if d.conn != nil {
		d.conn.Close()
	}
	reading.Wait()
	return read
}

// text returns the text of a packet, including the payload of a PUBLISH.
func text(p packets.Packet) string {
	pub, ok := p.(*packets.Publish)
	if !ok {
		return p.String()
	}
	return fmt.Sprintf("PUBLISH %s qos=%d id=%d dup=%t payload=%s", pub.Topic, pub.QoS, pub.PacketID, pub.Dup, pub.Payload)
}

func (d *dialogue) expect(texts ...string) {
	d.Helper()
	for _, want := range texts {
		d.conn.SetReadDeadline(time.Now().Add(time.Hour))
		p, err := d.conn.Receive()
		require.NoError(d, err, "want %s", want)
		require.Equal(d, want, text(p))
	}
	synctest.Wait()
}

// expectNothing lets time pass in which no packet may arrive.
func (d *dialogue) expectNothing(for_ time.Duration) {
	d.Helper()
	d.conn.SetReadDeadline(time.Now().Add(for_))
	p, err := d.conn.Receive()
	if err == nil {
		d.Fatalf("came: %s", text(p))
	}
	require.ErrorContains(d, err, "timeout")
	synctest.Wait()
}

func (d *dialogue) send(ps ...packets.Packet) {
	d.Helper()
	require.NoError(d, d.conn.Send(ps...))
	synctest.Wait()
}

// deliver sends messages at a QoS to the topic t/<payload>; identifiers count from one.
func (d *dialogue) deliver(qos packets.QoS, payloads ...string) {
	d.Helper()
	for i, s := range payloads {
		d.send(publish("t/"+s, qos, uint16(i+1), s))
	}
}

func publish(topic string, qos packets.QoS, id uint16, payload string) *packets.Publish {
	if qos == 0 {
		id = 0
	}
	return &packets.Publish{Topic: topic, QoS: qos, PacketID: id, Payload: []byte(payload)}
}

// A gate is a flow whose runs wait until the test ends them.
type gate struct {
	mu    sync.Mutex
	began []string // payloads, in the order in which their runs began
	ends  map[string]chan error
}

func newGate() *gate { return &gate{ends: make(map[string]chan error)} }

func (g *gate) end(payload string) chan error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ends[payload] == nil {
		g.ends[payload] = make(chan error)
	}
	return g.ends[payload]
}

func (g *gate) Run(ctx context.Context, m *flow.Message) (*flow.Message, error) {
	payload := string(m.Payload.Blob)
	end := g.end(payload)
	g.mu.Lock()
	g.began = append(g.began, payload)
	g.mu.Unlock()
	select {
	case err := <-end:
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// running returns the payloads of the runs that have begun so far.
func (g *gate) running() []string {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.began...)
}

// finish lets the run of each payload succeed.
func (g *gate) finish(payloads ...string) {
	for _, p := range payloads {
		g.end(p) <- nil
		synctest.Wait()
	}
}

var errGate = errors.New("the store is down")

func (g *gate) fail(payload string) {
	g.end(payload) <- errGate
	synctest.Wait()
}
