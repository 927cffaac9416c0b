package connector_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A late is a flow whose step is set after the connector was made.
type late struct{ flow.Flow }

// cut ends the connection from the Server's side.
func (d *dialogue) cut() {
	d.conn.Close()
	synctest.Wait()
}

// The connection breaks while flows run: the Server sends their messages again, but each runs only
// once. The acknowledgement is sent on the new connection.
func TestReconnectRunsNothingTwice(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.send(publish("t/a", 1, 1, "a"), publish("t/b", 2, 2, "b"), publish("t/c", 1, 3, "c"))
		require.ElementsMatch(t, []string{"a", "b", "c"}, g.running())
		d.cut()
		g.finish("c") // done while there is no connection
		d.accept(true)
		again := func(topic string, qos packets.QoS, id uint16, payload string) *packets.Publish {
			p := publish(topic, qos, id, payload)
			p.Dup = true
			return p
		}
		d.send(again("t/a", 1, 1, "a"), again("t/b", 2, 2, "b"), again("t/c", 1, 3, "c"))
		g.finish("b")
		d.expect("PUBREC id=2")
		g.finish("a")
		d.expect("PUBACK id=1", "PUBACK id=3")
		require.Len(t, g.running(), 3, "one run each")
		require.EqualValues(t, 3, d.connector.Health().Acknowledged)
		require.Zero(t, d.connector.Health().Stale)
	})
}

// The flow whose acknowledgement comes first ends while there is no connection.
func TestDoneWithoutConnectionIsNotRunAgain(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.send(publish("t/a", 1, 1, "a"), publish("t/b", 2, 2, "b"))
		require.ElementsMatch(t, []string{"a", "b"}, g.running())
		d.cut()
		g.finish("a", "b")
		d.accept(true)
		for i, p := range []*packets.Publish{publish("t/a", 1, 1, "a"), publish("t/b", 2, 2, "b")} {
			p.Dup = true
			d.send(p)
			d.expect([]string{"PUBACK id=1", "PUBREC id=2"}[i])
		}
		require.Len(t, g.running(), 2, "one run each")
	})
}

// The Server has lost the session: a running flow ends, but its acknowledgement would refer to a
// message that no longer exists, and is counted instead of sent.
func TestStaleAcksAreCounted(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{}), g)
		d.deliver(1, "a")
		g.running()
		d.cut()
		d.accept(false)
		d.grant() // owed again
		g.finish("a")
		d.expectNothing(time.Minute)
		h := d.connector.Health()
		require.EqualValues(t, 1, h.Stale)
		require.Zero(t, h.Acknowledged)
		require.Zero(t, h.Unacked)
	})
}

// Stop drains: running flows may end and are acknowledged, waiting messages are left to the Server,
// and new ones are not taken.
func TestStopDrains(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{Concurrency: 1}), g)
		d.deliver(1, "a", "b")
		require.Equal(t, []string{"a"}, g.running())
		c := d.connector
		var read []string
		var stopping sync.WaitGroup
		stopping.Go(func() { read = d.stop(time.Hour) })
		time.Sleep(time.Minute)
		d.send(publish("t/c", 1, 3, "c"))
		g.finish("a")
		stopping.Wait()
		require.Equal(t, []string{"PUBACK id=1", "DISCONNECT"}, read)
		require.Equal(t, []string{"a"}, g.running())
		require.Equal(t, client.Closed, c.Health().State)
	})
}

// A flow that is being retried does not delay Stop.
func TestStopEndsRetries(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(kept(connector.ConsumerParams{OnFailure: connector.OnFailure{InitialDelay: ptr(time.Hour), MaxDelay: ptr(time.Hour)}}),
			step(func(context.Context) error { return errGate }))
		d.deliver(1, "a")
		start := time.Now()
		require.Equal(t, []string{"DISCONNECT"}, d.stop(time.Minute))
		require.Zero(t, time.Since(start))
	})
}

// The context of flows ends when Stop's patience does.
func TestStopCancelsFlowsWhenItsPatienceEnds(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		var ended time.Duration
		start := time.Now()
		d.run(kept(connector.ConsumerParams{}), step(func(ctx context.Context) error {
			<-ctx.Done()
			ended = time.Since(start)
			return ctx.Err()
		}))
		d.deliver(1, "a")
		d.stop(30 * time.Second)
		synctest.Wait()
		require.Equal(t, 30*time.Second, ended)
	})
}

// Without auto_reconnect, the platform's default, the connector ends when the connection does, and
// gives the reason.
func TestConnectionLostWithoutReconnect(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.AutoReconnect = false
		d.run(cfg, newGate())
		d.cut()
		<-d.connector.Done()
		var e *flow.Error
		require.ErrorAs(t, d.connector.Err(), &e)
		require.Equal(t, flow.TypeConnectionLost, e.Type)
	})
}

func TestStartRefused(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.build(kept(connector.ConsumerParams{}), newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		d.conn = conn
		_, err = conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Connack{Code: packets.NotAuthorized})
		err = started()
		var e *flow.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, flow.TypeNotAuthorized, e.Type)
		require.Contains(t, err.Error(), "[MQTT:NOT_AUTHORIZED]")
	})
}

func TestSubscriptionRefused(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.build(kept(connector.ConsumerParams{}), newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(false)
		p, err := d.conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{packets.SubscribeFailure}})
		err = started()
		var e *flow.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, flow.TypeRejected, e.Type)
		require.Contains(t, err.Error(), "t/#")
	})
}

// With connect_retry the first connection is retried, at its interval.
func TestConnectRetry(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{})
		cfg.Advanced.ConnectRetry, cfg.Advanced.ConnectRetryInterval = true, ptr(7*time.Second)
		d.server.Refuse(errGate)
		d.build(cfg, newGate())
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		time.Sleep(20 * time.Second)
		require.Equal(t, 3, d.server.Dials())
		d.server.Refuse(nil)
		d.accept(false)
		d.grant()
		require.NoError(t, started())
	})
	inBubble(t, func(d *dialogue) {
		d.server.Refuse(errGate)
		d.build(kept(connector.ConsumerParams{}), newGate())
		require.ErrorIs(t, d.connector.Start(d.ctx), errGate, "the platform's default: no retry")
		require.Equal(t, 1, d.server.Dials())
	})
}

// CONNECT has the settings of the two tabs.
func TestConnectCarriesTheTabs(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.build(connector.Config{
			General: connector.General{BrokerURL: "127.0.0.1:1883", ClientID: "line-7", UserName: "u", Password: "p"},
			Advanced: connector.Advanced{
				WillEnabled: true, WillTopic: "state", WillPayload: "offline", WillQoS: 1, WillRetained: true,
				KeepAlive: ptr(90 * time.Second),
			},
		}, nil)
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		d.conn = conn
		connect, err := conn.Handshake(false)
		require.NoError(t, err)
		require.NoError(t, started())
		require.Equal(t, "line-7", connect.ClientID)
		require.Equal(t, "u", connect.UserName)
		require.Equal(t, []byte("p"), connect.Password)
		require.True(t, connect.CleanSession, "the platform's default")
		require.EqualValues(t, 90, connect.KeepAlive)
		require.Equal(t, &packets.Will{Topic: "state", Payload: []byte("offline"), QoS: 1, Retain: true}, connect.Will)
	})
}

func TestUseBeforeAndAfter(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		c, err := connector.New(kept(connector.ConsumerParams{}), connector.Options{Dial: d.server.Dial})
		require.NoError(t, err)
		require.ErrorContains(t, c.Consume("else", newGate()), `there is no consumer "else"`)
		require.ErrorContains(t, c.Start(d.ctx), `consumer "in" has no flow`)
		require.ErrorContains(t, c.Start(d.ctx), "started before")
		require.ErrorContains(t, c.Consume("in", newGate()), "Consume comes after Start")
		c.Stop(d.ctx)

		c, err = connector.New(kept(connector.ConsumerParams{}), connector.Options{Dial: d.server.Dial})
		require.NoError(t, err)
		require.ErrorContains(t, c.Consume("in", nil), "is nil")
		require.NoError(t, c.Consume("in", newGate()))
		require.ErrorContains(t, c.Consume("in", newGate()), "has a flow already")
		require.Nil(t, c.Producer("none"))
		c.Stop(d.ctx) // never started
		require.Error(t, c.Start(d.ctx), "stopped")
	})
}
