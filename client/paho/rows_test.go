package paho_test

import (
	"fmt"
	"net"
	"net/url"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	mqtt "github.com/mqtt311/mqtt311/client/paho"
	pahopackets "github.com/mqtt311/mqtt311/client/paho/packets"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The tests in this file play the faults of paho.mqtt.golang v1.5.1 through its API and check that
// this package does not have them. docs/paho.md has a table of the faults.

// A token of QoS 1 completes with PUBACK, not with a reconnect.
func TestTokenEndsWithPuback(t *testing.T) {
	connected(t, kept, func(d *dialogue) {
		m := publish("a", 1, 1, "x")
		token := d.client.Publish("a", 1, false, "x")
		d.expect(m.String())
		d.cut()
		d.accept(true)
		m.Dup = true
		d.expect(m.String())
		synctest.Wait()
		require.False(t, ended(token), "no PUBACK has come")
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done(t, token))
	})
}

// After PUBREC only PUBREL is sent again, never the PUBLISH [MQTT-4.3.3-1].
func TestPublishIsNotSentAfterPubrel(t *testing.T) {
	connected(t, kept, func(d *dialogue) {
		token := d.client.Publish("a", 2, false, "x")
		d.expect(publish("a", 2, 1, "x").String())
		d.send(&packets.Pubrec{PacketID: 1})
		d.expect((&packets.Pubrel{PacketID: 1}).String())
		d.cut()
		d.accept(true)
		d.expect((&packets.Pubrel{PacketID: 1}).String())
		d.expectNothing(time.Second)
		d.send(&packets.Pubcomp{PacketID: 1})
		require.NoError(t, done(t, token))
	})
}

// A copy of a QoS 2 message that arrives before PUBREL is not handled again.
func TestQoS2IsHandledOnce(t *testing.T) {
	var got list
	connected(t, func(o *mqtt.ClientOptions) { o.SetDefaultPublishHandler(got.handler("h")) }, func(d *dialogue) {
		in := publish("a", 2, 7, "x")
		d.send(in)
		d.expect((&packets.Pubrec{PacketID: 7}).String())
		in.Dup = true
		d.send(in)
		d.expect((&packets.Pubrec{PacketID: 7}).String())
		d.send(&packets.Pubrel{PacketID: 7})
		d.expect((&packets.Pubcomp{PacketID: 7}).String())
		require.Equal(t, []string{"h a x"}, got.all())
	})
}

// A return code that the specification reserves is a refusal.
func TestReservedReturnCodeIsARefusal(t *testing.T) {
	up := false
	inBubble(t, func(o *mqtt.ClientOptions) { o.SetOnConnectHandler(func(mqtt.Client) { up = true }) }, func(d *dialogue) {
		token := d.client.Connect()
		d.open()
		_, err := d.conn.Receive()
		require.NoError(t, err)
		d.conn.Write([]byte{0x20, 2, 0, 6})
		require.Error(t, done(t, token))
		require.EqualValues(t, 6, token.(*mqtt.ConnectToken).ReturnCode())
		require.False(t, d.client.IsConnected())
		require.False(t, up)
	})
}

// A connect timeout of zero means that there is no limit.
func TestConnectTimeoutOfZeroIsNone(t *testing.T) {
	inBubble(t, func(o *mqtt.ClientOptions) { o.SetConnectTimeout(0) }, func(d *dialogue) {
		token := d.client.Connect()
		d.open()
		_, err := d.conn.Receive()
		require.NoError(t, err)
		time.Sleep(time.Hour)
		d.send(&packets.Connack{})
		require.NoError(t, done(t, token))
	})
}

// A ping timeout of zero means the default.
func TestPingTimeoutOfZeroIsTheDefault(t *testing.T) {
	connected(t, func(o *mqtt.ClientOptions) { o.SetPingTimeout(0) }, func(d *dialogue) {
		for range 5 {
			d.expect("PINGREQ")
			time.Sleep(time.Second)
			d.send(&packets.Pingresp{})
		}
		require.True(t, d.client.IsConnectionOpen())
	})
}

// A SUBACK with more codes than filters ends the connection, not the process.
func TestSubackWithTooManyCodes(t *testing.T) {
	connected(t, nil, func(d *dialogue) {
		token := d.client.Subscribe("a", 1, nil)
		p, err := d.conn.Receive()
		require.NoError(t, err)
		id := p.(*packets.Subscribe).PacketID
		d.send(&packets.Suback{PacketID: id, Codes: []packets.SubscribeCode{1, 1}})
		d.accept(false)
		p, err = d.conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{1}})
		require.NoError(t, done(t, token))
	})
}

// UnsetWill also clears the Will flags of CONNECT [MQTT-3.1.2-15].
func TestUnsetWill(t *testing.T) {
	inBubble(t, func(o *mqtt.ClientOptions) { o.SetWill("w", "x", 1, true).UnsetWill() }, func(d *dialogue) {
		d.client.Connect()
		require.Nil(t, d.accept(false).Will)
	})
}

// At QoS 0 a token always completes, without an error only if the message was sent.
func TestQoS0WithoutAConnection(t *testing.T) {
	inBubble(t, func(o *mqtt.ClientOptions) { o.SetConnectRetry(true).SetConnectRetryInterval(time.Minute) }, func(d *dialogue) {
		d.server.Refuse(errTest)
		d.client.Connect()
		synctest.Wait()
		require.Same(t, mqtt.ErrNotConnected, done(t, d.client.Publish("a", 0, false, "x")), "while connecting")
		d.server.Refuse(nil)
		d.accept(false)
		d.server.Refuse(errTest)
		d.cut()
		require.True(t, d.client.IsConnected())
		require.False(t, d.client.IsConnectionOpen())
		require.Same(t, mqtt.ErrNotConnected, done(t, d.client.Publish("a", 0, false, "x")), "while reconnecting")
	})
}

// Messages are sent again in the order in which they were published [MQTT-4.6.0-1].
func TestMessagesAreSentAgainInOrder(t *testing.T) {
	for name, store := range map[string]mqtt.Store{"none": nil, "memory": mqtt.NewMemoryStore(), "ordered": mqtt.NewOrderedMemoryStore()} {
		t.Run(name, func(t *testing.T) {
			connected(t, func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetStore(store) }, func(d *dialogue) {
				var sent []*packets.Publish
				for i := range 20 {
					d.client.Publish("a", 1, false, fmt.Sprint(i))
					sent = append(sent, publish("a", 1, uint16(i+1), fmt.Sprint(i)))
					d.expect(sent[i].String())
				}
				d.cut()
				d.accept(true)
				for _, m := range sent {
					m.Dup = true
					d.expect(m.String())
					d.send(&packets.Puback{PacketID: m.PacketID})
				}
			})
		})
	}
}

// The second server gets MQTT 3.1.1, whatever the first one answered.
func TestServersAfterARefusal(t *testing.T) {
	var asked list
	inBubble(t, func(o *mqtt.ClientOptions) {
		o.AddBroker("tcp://second")
		o.SetConnectionAttemptHandler(nil)
		open := o.CustomOpenConnectionFn
		o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
			asked.add(u.Host)
			return open(u, o)
		})
	}, func(d *dialogue) {
		token := d.client.Connect()
		d.open()
		_, err := d.conn.Receive() // which knows only version 4
		require.NoError(t, err)
		d.send(&packets.Connack{Code: packets.BadUserNameOrPassword})
		d.accept(false)
		require.NoError(t, done(t, token))
		require.Equal(t, []string{"server", "second"}, asked.all())
	})
}

// A Server that stops reading is detected within keep alive plus the ping timeout.
func TestServerThatStopsReading(t *testing.T) {
	var lost atomic.Bool
	connected(t, func(o *mqtt.ClientOptions) {
		o.SetKeepAlive(2 * time.Second).SetPingTimeout(time.Second)
		o.SetConnectionLostHandler(func(mqtt.Client, error) { lost.Store(true) })
	}, func(d *dialogue) {
		go func() {
			for range 100 {
				d.client.Publish("a", 1, false, make([]byte, 1<<16))
			}
		}()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.True(t, lost.Load())
	})
}

// A clean session does not continue after a reconnect: its messages are sent as new ones, without
// DUP.
func TestCleanSessionDoesNotResume(t *testing.T) {
	connected(t, nil, func(d *dialogue) {
		token := d.client.Publish("a", 1, false, "x")
		d.expect(publish("a", 1, 1, "x").String())
		d.cut()
		d.accept(false)
		p, err := d.conn.Receive()
		require.NoError(t, err)
		m := p.(*packets.Publish)
		require.False(t, m.Dup)
		d.send(&packets.Puback{PacketID: m.PacketID})
		require.NoError(t, done(t, token))
	})
}

// The token of a subscription has an error if the Server refuses the filter.
func TestRefusedFilterIsAnError(t *testing.T) {
	connected(t, nil, func(d *dialogue) {
		token := d.client.SubscribeMultiple(map[string]byte{"a": 1, "b": 2}, nil).(*mqtt.SubscribeToken)
		require.Empty(t, token.Result())
		require.NoError(t, token.Error(), "not yet")
		p, err := d.conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{1, packets.SubscribeFailure}})
		require.ErrorContains(t, done(t, token), `"b"`)
		require.Equal(t, map[string]byte{"a": 1, "b": 0x80}, token.Result())
	})
}

// A message in a FileStore is sent after a restart, even if OnConnect publishes at once.
func TestFileStoreAndOnConnect(t *testing.T) {
	dir := t.TempDir()
	set := func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetStore(mqtt.NewFileStore(dir)) }
	connected(t, set, func(d *dialogue) {
		d.client.Publish("a", 1, false, "stored")
		d.expect(publish("a", 1, 1, "stored").String())
	})
	inBubble(t, func(o *mqtt.ClientOptions) {
		set(o)
		o.SetOnConnectHandler(func(c mqtt.Client) { c.Publish("a", 1, false, "new") })
	}, func(d *dialogue) {
		token := d.client.Connect()
		d.accept(true)
		require.NoError(t, done(t, token))
		first := publish("a", 1, 1, "stored")
		first.Dup = true
		d.expect(first.String())
		p, err := d.conn.Receive()
		require.NoError(t, err)
		require.Equal(t, "new", string(p.(*packets.Publish).Payload))
		d.send(&packets.Puback{PacketID: 1}, &packets.Puback{PacketID: p.(*packets.Publish).PacketID})
	})
}

// Disconnect ends the pause before the next attempt, and Connect then starts at once.
func TestDisconnectWhileReconnecting(t *testing.T) {
	connected(t, func(o *mqtt.ClientOptions) { o.SetMaxReconnectInterval(time.Hour) }, func(d *dialogue) {
		d.server.Refuse(errTest)
		d.cut()
		time.Sleep(3 * time.Hour)
		start := time.Now()
		d.client.Disconnect(100)
		require.False(t, d.client.IsConnected())
		require.LessOrEqual(t, time.Since(start), 100*time.Millisecond)
		d.server.Refuse(nil)
		token := d.client.Connect()
		d.accept(false)
		require.NoError(t, done(t, token))
	})
}

// Keep alive is rounded up to seconds and limited to the largest value that CONNECT can hold.
func TestKeepAliveInWholeSeconds(t *testing.T) {
	for set, want := range map[time.Duration]uint16{
		900 * time.Millisecond: 1, time.Second: 1, 1500 * time.Millisecond: 2, 0: 0, -time.Second: 0,
		65535 * time.Second: 65535, 65537 * time.Second: 65535, 1 << 62: 65535,
	} {
		inBubble(t, func(o *mqtt.ClientOptions) { o.SetKeepAlive(set) }, func(d *dialogue) {
			d.client.Connect()
			require.Equal(t, want, d.accept(false).KeepAlive, "%s", set)
		})
	}
}

// A topic that no packet can carry is refused at once and does not end the connection.
func TestPublishToAFilter(t *testing.T) {
	connected(t, kept, func(d *dialogue) {
		for _, topic := range []string{"a/#", "+", "", "a\x00"} {
			require.Error(t, done(t, d.client.Publish(topic, 1, false, "x")), "%q", topic)
		}
		d.expectNothing(time.Second)
		require.True(t, d.client.IsConnectionOpen())
	})
}

// Without SetOrderMatters, PUBACKs are still sent in the order of the messages [MQTT-4.6.0-2].
func TestAcknowledgementsInOrder(t *testing.T) {
	var got list
	connected(t, func(o *mqtt.ClientOptions) {
		o.SetOrderMatters(false).SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			time.Sleep(time.Duration(4-m.MessageID()) * time.Second)
			got.add(string(m.Payload()))
		})
	}, func(d *dialogue) {
		d.send(publish("a", 1, 1, "1"), publish("a", 1, 2, "2"), publish("a", 1, 3, "3"))
		d.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		require.Equal(t, []string{"3", "2", "1"}, got.all(), "side by side")
	})
}

// A message is acknowledged when the last of its handlers has returned.
func TestAcknowledgementAfterTheLastHandler(t *testing.T) {
	for _, order := range []bool{true, false} {
		connected(t, func(o *mqtt.ClientOptions) { o.SetOrderMatters(order) }, func(d *dialogue) {
			d.client.AddRoute("a/#", func(mqtt.Client, mqtt.Message) {})
			d.client.AddRoute("a/+", func(mqtt.Client, mqtt.Message) { time.Sleep(time.Second) })
			d.send(publish("a/b", 1, 1, "x"))
			d.expectNothing(999 * time.Millisecond)
			d.expect("PUBACK id=1")
		})
	}
}

// A handler may publish and wait while more messages arrive.
func TestPublishAndWaitInAHandler(t *testing.T) {
	var errs list
	connected(t, func(o *mqtt.ClientOptions) {
		o.SetDefaultPublishHandler(func(c mqtt.Client, m mqtt.Message) {
			token := c.Publish("out", 1, false, m.Payload())
			token.Wait()
			errs.add(fmt.Sprint(token.Error()))
		})
	}, func(d *dialogue) {
		for i := range uint16(10) {
			d.send(publish("in", 1, i+1, "x"))
		}
		for range 10 {
			p, err := d.conn.Receive()
			require.NoError(t, err)
			d.send(&packets.Puback{PacketID: p.(*packets.Publish).PacketID})
			p, err = d.conn.Receive()
			require.NoError(t, err)
			require.Equal(t, packets.PUBACK, p.Type())
		}
		require.Len(t, errs.all(), 10)
		require.NotContains(t, errs.all(), "x")
		require.True(t, d.client.IsConnectionOpen())
	})
}

// Messages published before the first connection are sent, even in a clean session.
func TestPublishBeforeTheFirstConnection(t *testing.T) {
	inBubble(t, func(o *mqtt.ClientOptions) { o.SetConnectRetry(true).SetConnectRetryInterval(time.Second) }, func(d *dialogue) {
		d.server.Refuse(errTest)
		connect := d.client.Connect()
		one, two := d.client.Publish("a", 1, false, "1"), d.client.Publish("a", 2, false, "2")
		time.Sleep(10 * time.Second)
		d.server.Refuse(nil)
		d.accept(false)
		require.NoError(t, done(t, connect))
		d.expect(publish("a", 1, 1, "1").String(), publish("a", 2, 2, "2").String())
		d.send(&packets.Puback{PacketID: 1}, &packets.Pubrec{PacketID: 2})
		d.expect("PUBREL id=2")
		d.send(&packets.Pubcomp{PacketID: 2})
		require.NoError(t, done(t, one))
		require.NoError(t, done(t, two))
	})
}

// Without AutoReconnect, tokens complete when the connection ends.
func TestTokensEndWithoutAutoReconnect(t *testing.T) {
	connected(t, func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetAutoReconnect(false) }, func(d *dialogue) {
		tokens := []mqtt.Token{
			d.client.Publish("a", 1, false, "1"), d.client.Publish("a", 2, false, "2"),
			d.client.Subscribe("a", 1, nil), d.client.Unsubscribe("b"),
		}
		for range tokens {
			_, err := d.conn.Receive()
			require.NoError(t, err)
		}
		d.cut()
		for _, token := range tokens {
			require.Error(t, done(t, token))
		}
		require.False(t, d.client.IsConnected())
	})
}

// A message without a handler is acknowledged [MQTT-4.5.0-2].
func TestMessageWithoutAHandler(t *testing.T) {
	for _, set := range []func(o *mqtt.ClientOptions){
		nil,
		func(o *mqtt.ClientOptions) { o.SetOrderMatters(false) },
		func(o *mqtt.ClientOptions) { o.SetAutoAckDisabled(true) },
	} {
		connected(t, set, func(d *dialogue) {
			d.send(publish("a", 1, 1, "x"))
			d.expect("PUBACK id=1")
		})
	}
}

// A connection needs few goroutines.
func TestGoroutinesOfAConnection(t *testing.T) {
	connected(t, nil, func(d *dialogue) {
		with := runtime.NumGoroutine()
		d.client.Disconnect(0)
		d.conn.Close()
		synctest.Wait()
		require.LessOrEqual(t, with-runtime.NumGoroutine(), 2)
	})
}

// An invalid filter with a $share or $queue prefix does no harm, and a valid one can be
// unsubscribed from.
func TestDecoratedFilters(t *testing.T) {
	var got list
	connected(t, nil, func(d *dialogue) {
		for _, f := range []string{"$share", "$share/", "$share/g", "$share/g/", "$queue", "$queue/"} {
			d.client.AddRoute(f, got.handler("odd"))
		}
		shared := d.client.Subscribe("$share/g/a/+", 1, got.handler("shared")).(*mqtt.SubscribeToken)
		p, err := d.conn.Receive()
		require.NoError(t, err)
		d.send(&packets.Suback{PacketID: p.(*packets.Subscribe).PacketID, Codes: []packets.SubscribeCode{1}})
		require.NoError(t, done(t, shared))
		require.Equal(t, map[string]byte{"$share/g/a/+": 1, "a/+": 1}, shared.Result())
		d.send(publish("a/b", 0, 0, "x"))
		require.Equal(t, []string{"shared a/b x"}, got.all())

		d.client.Unsubscribe("$share/g/a/+")
		_, err = d.conn.Receive()
		require.NoError(t, err)
		d.send(publish("a/b", 0, 0, "y"))
		require.Len(t, got.all(), 1, "the route is gone")
	})
}

// If the Server refuses the connection, the error is the one that programs compare with.
func TestRefusals(t *testing.T) {
	for code, want := range map[packets.ConnectCode]error{
		packets.UnacceptableProtocolVersion: pahopackets.ErrorRefusedBadProtocolVersion,
		packets.IdentifierRejected:          pahopackets.ErrorRefusedIDRejected,
		packets.ServerUnavailable:           pahopackets.ErrorRefusedServerUnavailable,
		packets.BadUserNameOrPassword:       pahopackets.ErrorRefusedBadUsernameOrPassword,
		packets.NotAuthorized:               pahopackets.ErrorRefusedNotAuthorised,
	} {
		inBubble(t, nil, func(d *dialogue) {
			token := d.client.Connect()
			d.open()
			_, err := d.conn.Receive()
			require.NoError(t, err)
			d.send(&packets.Connack{Code: code})
			require.Same(t, want, done(t, token))
			require.Equal(t, byte(code), token.(*mqtt.ConnectToken).ReturnCode())
		})
	}
	inBubble(t, nil, func(d *dialogue) {
		d.server.Refuse(clienttest.ErrRefused)
		err := done(t, d.client.Connect())
		require.ErrorIs(t, err, pahopackets.ErrorNetworkError)
		require.ErrorIs(t, err, clienttest.ErrRefused)
	})
}
