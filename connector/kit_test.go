package connector_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A dialogue is a connector and its Server in a bubble: time is exact, and a goroutine
// that is left behind fails the test.
type dialogue struct {
	*testing.T
	ctx    context.Context
	server *clienttest.Server
	conn   *clienttest.Conn
	c      *connector.Connector
	gate   gate // the flow, unless the test has one
}

// A gate is a flow that waits until the test says how it ends. It is made in the bubble.
type gate chan error

func (g gate) Run(_ context.Context, m *connector.Message) (*connector.Message, error) {
	return m, <-g
}

// kept is a configuration with a session that the Server keeps.
func kept(consumer connector.ConsumerParams) connector.Config {
	no := false
	if consumer.Topics == nil {
		consumer.Topics = []connector.TopicQoS{{Topic: "plant/#"}}
		consumer.QoS = packets.ExactlyOnce
	}
	return connector.Config{
		General:   connector.General{BrokerURL: "127.0.0.1:1883", ClientID: "c"},
		Advanced:  connector.Advanced{CleanSession: &no, AutoReconnect: true},
		Consumers: map[string]connector.ConsumerParams{"in": consumer},
	}
}

// talk runs a dialogue with a connector that is connected and has its subscription. If
// flow is nil it is the dialogue's gate.
func talk(t *testing.T, cfg connector.Config, flow connector.Flow, f func(d *dialogue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &dialogue{T: t, ctx: t.Context(), server: clienttest.NewServer(), gate: make(gate)}
		if flow == nil {
			flow = d.gate
		}
		var err error
		d.c, err = connector.New(cfg, connector.Options{Dial: d.server.Dial})
		require.NoError(t, err)
		for name := range cfg.Consumers {
			require.NoError(t, d.c.Consume(name, flow))
		}
		started := d.start(func() error { return d.c.Start(d.ctx) })
		d.accept(false)
		require.NoError(t, started())
		f(d)
		d.conn.Close() // nobody is there any more
		over, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		d.c.Stop(over)
		synctest.Wait()
	})
}

// accept takes the next connection, and grants what is asked for.
func (d *dialogue) accept(sessionPresent bool) {
	d.Helper()
	conn, err := d.server.Accept(d.ctx)
	require.NoError(d, err)
	d.conn = conn
	_, err = conn.Handshake(sessionPresent)
	require.NoError(d, err)
	if sessionPresent {
		return
	}
	p, err := conn.Receive()
	if err != nil {
		return // it has no consumers and was closed by the test
	}
	sub, ok := p.(*packets.Subscribe)
	require.True(d, ok, "got %s", p)
	ack := &packets.Suback{PacketID: sub.PacketID}
	for _, s := range sub.Subscriptions {
		ack.Codes = append(ack.Codes, packets.SubscribeCode(s.QoS))
	}
	d.send(ack)
}

// start runs f beside the dialogue; the returned function waits for its result.
func (d *dialogue) start(f func() error) func() error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return func() error {
		d.Helper()
		select {
		case err := <-ch:
			return err
		case <-time.After(time.Hour):
			d.Fatal("nothing came of it within an hour")
			return nil
		}
	}
}

func (d *dialogue) send(ps ...packets.Packet) {
	d.Helper()
	require.NoError(d, d.conn.Send(ps...))
	synctest.Wait()
}

// publish sends a message of the Server.
func (d *dialogue) publish(topic, payload string, qos packets.QoS, id uint16) {
	d.Helper()
	d.send(&packets.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id})
}

// expect receives the next packets and compares their text.
func (d *dialogue) expect(texts ...string) {
	d.Helper()
	for _, text := range texts {
		d.conn.SetReadDeadline(time.Now().Add(time.Hour))
		p, err := d.conn.Receive()
		require.NoError(d, err, "want %s", text)
		for p.Type() == packets.PINGREQ {
			d.send(&packets.Pingresp{})
			p, err = d.conn.Receive()
			require.NoError(d, err, "want %s", text)
		}
		require.Equal(d, text, p.String())
	}
}

// expectSilence lets time pass in which nothing may come.
func (d *dialogue) expectSilence(for_ time.Duration) {
	d.Helper()
	d.conn.SetReadDeadline(time.Now().Add(for_))
	p, err := d.conn.Receive()
	if err == nil {
		d.Fatalf("came: %s", p)
	}
	require.ErrorContains(d, err, "timeout")
}

var errFlow = errors.New("the database is down")

func ptr[T any](v T) *T { return &v }
