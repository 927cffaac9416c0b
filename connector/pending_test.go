package connector_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

func closed(ch <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// PublishAsync does not wait; the returned Pending reports the outcome.
func TestPublishAsync(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out", MaxInFlight: 2}), nil)
		p := d.connector.Producer("out")
		one, err := p.PublishAsync(d.ctx, client.Message{Topic: "a", QoS: 1, Payload: []byte("1")})
		require.NoError(t, err)
		two, err := p.PublishAsync(d.ctx, client.Message{Topic: "a", QoS: 1, Payload: []byte("2")})
		require.NoError(t, err)
		require.True(t, closed(one.Stored()), "there is no store to wait for")
		d.expect("PUBLISH a qos=1 id=1 dup=false payload=1", "PUBLISH a qos=1 id=2 dup=false payload=2")
		require.False(t, closed(one.Done()))
		require.Equal(t, flow.DeliveredUnknown, one.Delivered())
		require.NoError(t, one.Err())
		require.EqualValues(t, 2, d.connector.Health().Publishing)

		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		defer cancel()
		_, err = p.PublishAsync(ctx, client.Message{Topic: "a", QoS: 1})
		require.Equal(t, flow.DeliveredNo, flow.AsError(err).Delivered, "max_in_flight")
		d.send(&packets.Puback{PacketID: 1})
		require.True(t, closed(one.Done()))
		require.Equal(t, flow.DeliveredYes, one.Delivered())
		_, err = p.PublishAsync(d.ctx, client.Message{Topic: "a/#", QoS: 1})
		require.ErrorIs(t, err, flow.TypeInvalidTopic)
		d.cut()
		d.stop(time.Second)
		require.True(t, closed(two.Done()))
		require.Equal(t, flow.DeliveredUnknown, two.Delivered())
		require.ErrorIs(t, two.Err(), flow.TypeConnectivity)
	})
}

// RunAsync queues the message that Run would publish. Its Pending ends when Run would have returned: when the store
// has the message, or the server has answered. Before the first connection the store accepts it, too.
func TestRunAsync(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, producing(connector.ProducerParams{Topic: "out/${attribute.topic}", QoS: packets.AtLeastOnce, DoneWhen: connector.DoneWhenStored}))
		second := cfg.Producers["out"]
		second.DoneWhen = connector.DoneWhenConfirmed
		cfg.Producers["confirmed"] = second
		d.build(cfg, nil)
		c, p := d.connector, d.connector.Producer("out")
		require.Equal(t, connector.DoneWhenStored, p.DoneWhen())
		_, err := p.RunAsync(d.ctx, reading())
		require.ErrorIs(t, err, flow.TypeNotConnected, "the store opens with Start")
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		synctest.Wait()
		kept, err := p.RunAsync(d.ctx, reading())
		require.NoError(t, err)
		require.False(t, p.Connected())
		require.Equal(t, packets.AtLeastOnce, kept.QoS())
		require.NoError(t, kept.Wait(d.ctx), "before the server has accepted the connection")
		require.Equal(t, 1, d.connector.Health().Stored)
		d.accept(false)
		require.NoError(t, started())
		require.True(t, p.Connected())
		d.expect("PUBLISH out/" + reading().Topic() + " qos=1 id=1 dup=false payload=" + string(reading().Payload.Blob))

		confirmed, err := d.connector.Producer("confirmed").RunAsync(d.ctx, reading())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(d.ctx, time.Hour)
		defer cancel()
		require.ErrorIs(t, confirmed.Wait(ctx), context.DeadlineExceeded, "ack_timeout does not end it")
		_, err = p.RunAsync(d.ctx, &flow.Message{})
		require.ErrorIs(t, err, flow.TypeExpression)
		d.stop(0)
		require.NoError(t, kept.Wait(d.ctx))
		require.Equal(t, flow.DeliveredLater, flow.AsError(confirmed.Wait(d.ctx)).Delivered)
		require.Equal(t, 2, c.Health().Stored, "what the next process publishes")
	})
}

// The offline queue: a message published without a connection is in the store at once, and is sent,
// in order, when there is a connection, if necessary by the next process.
func TestOfflineQueue(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce, DoneWhen: connector.DoneWhenStored}))
		d.run(cfg, nil)
		p := d.connector.Producer("out")
		d.server.Refuse(errGate)
		d.cut()
		for _, s := range []string{"1", "2"} {
			m := reading()
			m.Payload.Blob = []byte(s)
			out, err := p.Run(d.ctx, m)
			require.NoError(t, err, "the store has it")
			require.Same(t, m, out)
		}
		cfg = d.crash(cfg)
		d.server.Refuse(nil)
		d.build(cfg, nil)
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		d.accept(true)
		require.NoError(t, started())
		d.conn.SetReadDeadline(time.Now().Add(time.Minute))
		for _, want := range []string{"PUBLISH out qos=1 id=1 dup=true payload=1", "PUBLISH out qos=1 id=2 dup=true payload=2"} {
			packet, err := d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, want, text(packet), "DUP: nobody knows what left before the crash")
		}
		d.send(&packets.Puback{PacketID: 1}, &packets.Puback{PacketID: 2})
	})
}

// Run waits for a connection for up to ack_timeout, and then withdraws its message: it was not sent
// and never will be, so a retried flow sends it once.
func TestProducerTakesItsMessageBack(t *testing.T) {
	for _, keep := range []bool{false, true} {
		inBubble(t, func(d *dialogue) {
			cfg := producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce, AckTimeout: ptr(5 * time.Second)})
			if keep {
				cfg = stored(t, cfg)
			}
			d.run(cfg, nil)
			d.server.Refuse(errGate)
			d.cut()
			start := time.Now()
			_, err := d.connector.Producer("out").Run(d.ctx, reading())
			require.Equal(t, 5*time.Second, time.Since(start))
			require.ErrorIs(t, err, flow.TypePublishTimeout)
			require.Equal(t, flow.DeliveredNo, flow.AsError(err).Delivered)
			d.server.Refuse(nil)
			d.accept(true)
			d.expectNothing(time.Minute)

			d.server.Refuse(errGate)
			d.cut()
			done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
			time.Sleep(time.Second)
			d.server.Refuse(nil)
			d.accept(true)
			d.conn.SetReadDeadline(time.Now().Add(time.Minute))
			packet, err := d.conn.Receive()
			require.NoError(t, err)
			d.send(&packets.Puback{PacketID: packet.(*packets.Publish).PacketID})
			require.NoError(t, done(), "a short outage is none")
		})
	}
}

// max_messages limits the queue: then publishing waits, and the error says that nothing was sent.
func TestOfflineQueueIsBounded(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := stored(t, producing(connector.ProducerParams{Topic: "out", QoS: packets.AtLeastOnce, DoneWhen: connector.DoneWhenStored, AckTimeout: ptr(time.Second)}))
		cfg.Extension.SessionStore.MaxMessages = 1
		d.run(cfg, nil)
		d.server.Refuse(errGate)
		d.cut()
		p := d.connector.Producer("out")
		_, err := p.Run(d.ctx, reading())
		require.NoError(t, err)
		_, err = p.Run(d.ctx, reading())
		require.ErrorIs(t, err, flow.TypeOverload)
		require.Equal(t, flow.DeliveredNo, flow.AsError(err).Delivered)
	})
}

// producer_connection: separate gives producers and dead letters their own connection, with its own
// client id and without a will, and Health reports its loss.
func TestSeparateProducerConnection(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(onFailure(0, connector.OnFailure{Then: connector.DeadLetter, DeadLetterTopic: "dlq"}))
		cfg.Advanced.WillEnabled, cfg.Advanced.WillTopic = true, "gone"
		cfg.Extension.ProducerConnection = connector.SeparateConnection
		cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "out", QoS: packets.AtLeastOnce}}
		d.build(cfg, step(func(context.Context) error { return errGate }))
		started := d.start(func() error { return d.connector.Start(d.ctx) })
		connect := d.accept(false) // first: what the other one brings wants to be published
		require.Equal(t, "c-producers", connect.ClientID)
		require.Nil(t, connect.Will)
		producers := d.conn
		connect = d.accept(false)
		require.Equal(t, "c", connect.ClientID)
		require.NotNil(t, connect.Will)
		consumers := d.conn
		d.grant()
		require.NoError(t, started())
		d.conn = producers
		require.NoError(t, ready(d))

		require.NoError(t, consumers.Send(publish("t/a", 1, 1, "a")))
		d.expect("PUBLISH dlq qos=1 id=1 dup=false payload=a")
		d.send(&packets.Puback{PacketID: 1})
		d.conn = consumers
		d.expect("PUBACK id=1")
		d.conn = producers
		done := d.start(func() error { _, err := d.connector.Producer("out").Run(d.ctx, reading()); return err })
		d.expect("PUBLISH out qos=1 id=2 dup=false payload=21")
		d.send(&packets.Puback{PacketID: 2})
		require.NoError(t, done())
		d.cut()
		require.ErrorIs(t, ready(d), flow.TypeConnectionLost)
		d.accept(true)
		require.NoError(t, ready(d))
		read := make(chan string, 1)
		go func() {
			packet, err := consumers.Receive()
			require.NoError(t, err)
			consumers.Close()
			read <- packet.String()
		}()
		require.Equal(t, []string{"DISCONNECT"}, d.stop(time.Minute))
		require.Equal(t, "DISCONNECT", <-read)
	})
}

// A producer whose messages have different QoS frees the place of a message when that one ends, in
// whatever order.
func TestMaxInFlightOfSeveralQoS(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		d.run(producing(connector.ProducerParams{Topic: "out", QoSFrom: "${variable.qos}", MaxInFlight: 2}), nil)
		p := d.connector.Producer("out")
		run := func(qos int) *connector.Pending {
			m := reading()
			m.Variable["qos"] = qos
			ctx, cancel := context.WithTimeout(d.ctx, time.Second)
			defer cancel()
			pending, err := p.RunAsync(ctx, m)
			require.NoError(t, err)
			return pending
		}
		run(1)
		d.expect("PUBLISH out qos=1 id=1 dup=false payload=21")
		for range 3 {
			run(0)
			d.expect("PUBLISH out qos=0 id=0 dup=false payload=21")
		}
		_, err := p.PublishAsync(d.ctx, client.Message{Topic: "out", QoS: 3})
		require.Error(t, err)
	})
}
