package paho_test

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	mqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Handlers are called in the order in which their routes were added; the default handler is called
// if no route matches.
func TestPrecedenceOfRoutes(t *testing.T) {
	var got list
	connected(t, func(o *mqtt.ClientOptions) { o.SetDefaultPublishHandler(got.handler("default")) }, func(d *dialogue) {
		d.client.AddRoute("a/#", got.handler("1"))
		d.client.AddRoute("+/b", got.handler("2"))
		d.client.AddRoute("a/b", got.handler("3"))
		d.client.AddRoute("#", nil)
		come := func(topic string) []string {
			got.mu.Lock()
			got.items = nil
			got.mu.Unlock()
			d.send(publish(topic, 0, 0, ""))
			return got.all()
		}
		require.Equal(t, []string{"1 a/b ", "2 a/b ", "3 a/b "}, come("a/b"))
		require.Equal(t, []string{"1 a "}, come("a"))
		require.Equal(t, []string{"default b/c "}, come("b/c"))

		d.client.Subscribe("a/#", 1, got.handler("4"))
		d.answer()
		require.Equal(t, []string{"4 a/b ", "2 a/b ", "3 a/b "}, come("a/b"), "in the place of the first")
		d.client.Subscribe("+/b", 1, nil)
		d.answer()
		require.Equal(t, []string{"4 a/b ", "2 a/b ", "3 a/b "}, come("a/b"), "without a callback nothing changes")
		d.client.Unsubscribe("+/b", "a/#")
		d.answer()
		require.Equal(t, []string{"3 a/b "}, come("a/b"))

		d.client.AddRoute("+/stats", got.handler("5"))
		d.client.AddRoute("$queue/$SYS/#", got.handler("6"))
		require.Equal(t, []string{"5 $SYS/stats ", "6 $SYS/stats "}, come("$SYS/stats"))
	})
}

// A message has the fields of its packet, and stays valid after the handler has returned.
func TestMessage(t *testing.T) {
	var got []mqtt.Message
	connected(t, func(o *mqtt.ClientOptions) {
		o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got = append(got, m) })
	}, func(d *dialogue) {
		in := publish("a", 2, 7, "x")
		in.Dup, in.Retain = true, true
		d.send(in, publish("b", 0, 0, "y"), publish("c", 1, 9, ""))
		d.expect("PUBREC id=7", "PUBACK id=9")
		require.Equal(t, []any{"a", byte(2), uint16(7), true, true, "x"},
			[]any{got[0].Topic(), got[0].Qos(), got[0].MessageID(), got[0].Duplicate(), got[0].Retained(), string(got[0].Payload())})
		require.Equal(t, "y", string(got[1].Payload()))
		require.Empty(t, got[2].Payload())
	})
}

// With SetAutoAckDisabled the program acknowledges messages, in any order and on any goroutine.
func TestManualAcknowledgement(t *testing.T) {
	for _, order := range []bool{true, false} {
		messages := make(chan mqtt.Message, 3)
		connected(t, func(o *mqtt.ClientOptions) {
			o.SetAutoAckDisabled(true).SetOrderMatters(order).SetCleanSession(false)
			o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { messages <- m })
		}, func(d *dialogue) {
			d.send(publish("a", 1, 1, ""), publish("a", 1, 2, ""), publish("a", 0, 0, ""))
			byID := make(map[uint16]mqtt.Message)
			for range 3 {
				m := <-messages
				byID[m.MessageID()] = m
			}
			byID[0].Ack()
			byID[2].Ack()
			d.expectNothing(time.Second)
			byID[1].Ack()
			byID[1].Ack()
			d.expect("PUBACK id=1", "PUBACK id=2")

			d.send(publish("a", 1, 3, ""))
			stale := <-messages
			d.cut()
			d.accept(true)
			stale.Ack()
			d.expectNothing(time.Second)
		})
	}
}

// Without order, the number of handlers that run at a time is limited. A handler that exits its
// goroutine, as a failed test does, frees its slot.
func TestHandlersSideBySide(t *testing.T) {
	var running, most, calls atomic.Int32
	connected(t, func(o *mqtt.ClientOptions) {
		o.SetOrderMatters(false).SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) {
			calls.Add(1)
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			runtime.Goexit()
		})
	}, func(d *dialogue) {
		for range 25 {
			for range 100 {
				require.NoError(t, d.conn.Send(publish("a", 0, 0, "")))
			}
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1000, most.Load())
		require.EqualValues(t, 2500, calls.Load())
	})
}

// Payloads of every type arrive, and the program may reuse them when Publish has returned.
func TestPayloads(t *testing.T) {
	connected(t, nil, func(d *dialogue) {
		b := []byte("bytes")
		buffer := bytes.NewBufferString("buffer")
		for qos := range byte(3) {
			for want, payload := range map[string]any{"string": "string", "bytes": b, "buffer": *buffer, "": ""} {
				start := make(chan mqtt.Token)
				go func() { start <- d.client.Publish("a", qos, true, payload) }()
				token := <-start
				copy(b, "XXXXX")
				copy(buffer.Bytes(), "XXXXXX")
				p, err := d.conn.Receive()
				require.NoError(t, err)
				m := p.(*packets.Publish)
				require.Equal(t, want, string(m.Payload))
				require.True(t, m.Retain)
				copy(b, "bytes")
				copy(buffer.Bytes(), "buffer")
				id := m.PacketID
				switch qos {
				case 1:
					d.send(&packets.Puback{PacketID: id})
				case 2:
					d.send(&packets.Pubrec{PacketID: id})
					d.expect((&packets.Pubrel{PacketID: id}).String())
					d.send(&packets.Pubcomp{PacketID: id})
				}
				require.NoError(t, done(t, token))
				require.Equal(t, qos == 0, token.(*mqtt.PublishToken).MessageID() == 0)
			}
		}
		for _, payload := range []any{nil, 17, buffer, []string{"x"}} {
			require.ErrorContains(t, done(t, d.client.Publish("a", 1, false, payload)), "payload")
		}
		require.Same(t, mqtt.ErrInvalidQos, done(t, d.client.Publish("a", 3, false, "x")))
	})
}

// Publish waits for room for the time set by SetWriteTimeout; a message that it gives up is not
// sent later.
func TestPublishWaitsForRoom(t *testing.T) {
	connected(t, func(o *mqtt.ClientOptions) { o.SetWriteTimeout(3 * time.Second) }, func(d *dialogue) {
		d.server.Refuse(errTest)
		d.cut()
		for range 65535 {
			d.client.Publish("a", 1, false, "")
		}
		start := time.Now()
		token := d.client.Publish("a", 1, false, "one too many")
		require.Equal(t, 3*time.Second, time.Since(start))
		require.ErrorIs(t, done(t, token), client.ErrQueueFull)
		require.True(t, client.SafeToRetry(token.Error()))
	})
}

// Every way to wait for a token works.
func TestTokens(t *testing.T) {
	connected(t, nil, func(d *dialogue) {
		token := d.client.Publish("a", 1, false, "x")
		d.expect(publish("a", 1, 1, "x").String())
		require.NoError(t, token.Error(), "not yet")
		require.False(t, token.WaitTimeout(time.Second))
		require.Same(t, mqtt.TimedOut, mqtt.WaitTokenTimeout(token, time.Second))
		d.send(&packets.Puback{PacketID: 1})
		<-token.Done()
		require.True(t, token.Wait())
		require.True(t, token.WaitTimeout(0))
		require.NoError(t, mqtt.WaitTokenTimeout(token, time.Second))
	})
	for _, token := range []mqtt.Token{
		&mqtt.DummyToken{}, &mqtt.PublishToken{}, &mqtt.SubscribeToken{}, &mqtt.UnsubscribeToken{}, &mqtt.ConnectToken{}, &mqtt.DisconnectToken{},
	} {
		require.True(t, token.Wait(), "for those who imitate a client")
		require.True(t, token.WaitTimeout(0))
		<-token.Done()
		require.NoError(t, token.Error())
	}
}

// A program that subscribes in OnConnect is subscribed once per connection, and its tokens get
// results.
func TestSubscribeInOnConnect(t *testing.T) {
	var results list
	inBubble(t, func(o *mqtt.ClientOptions) {
		o.SetOnConnectHandler(func(c mqtt.Client) {
			for _, f := range []string{"a", "b"} {
				token := c.Subscribe(f, 1, nil).(*mqtt.SubscribeToken)
				token.Wait()
				results.add(fmt.Sprint(token.Result(), token.Error()))
			}
		})
	}, func(d *dialogue) {
		d.client.Connect()
		d.accept(false)
		d.answer()
		d.answer()
		synctest.Wait()
		for range 3 {
			d.cut()
			d.accept(false)
			require.Len(t, d.answer().(*packets.Subscribe).Subscriptions, 2)
			d.expectNothing(time.Second)
		}
		require.Len(t, results.all(), 8)
		require.Equal(t, "map[b:1] <nil>", results.all()[7])
	})
}

// With SetResumeSubs, a Subscribe without a connection is sent on the next one.
func TestResumeSubs(t *testing.T) {
	inBubble(t, func(o *mqtt.ClientOptions) {
		o.SetResumeSubs(true).SetConnectRetry(true).SetConnectRetryInterval(time.Second)
	}, func(d *dialogue) {
		d.server.Refuse(errTest)
		d.client.Connect()
		subscribed, unsubscribed := d.client.Subscribe("a", 2, nil), d.client.Unsubscribe("b")
		synctest.Wait()
		require.False(t, ended(subscribed))
		d.server.Refuse(nil)
		d.accept(false)
		d.answer()
		d.answer()
		require.NoError(t, done(t, subscribed))
		require.NoError(t, done(t, unsubscribed))
	})
}

// Invalid filters are refused at once.
func TestInvalidFilters(t *testing.T) {
	connected(t, nil, func(d *dialogue) {
		require.Same(t, mqtt.ErrInvalidTopicEmptyString, done(t, d.client.Subscribe("", 0, nil)))
		require.Same(t, mqtt.ErrInvalidTopicMultilevel, done(t, d.client.Subscribe("#/a", 0, nil)))
		require.Same(t, mqtt.ErrInvalidQos, done(t, d.client.SubscribeMultiple(map[string]byte{"a": 3}, nil)))
		for _, token := range []mqtt.Token{
			d.client.Subscribe("a#", 0, nil), d.client.Subscribe("a\x00", 0, nil), d.client.SubscribeMultiple(nil, nil),
			d.client.Unsubscribe(), d.client.Unsubscribe("+a"),
		} {
			require.Error(t, done(t, token))
		}
		d.expectNothing(time.Second)
	})
}
