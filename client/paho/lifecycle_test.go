package paho_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	mqtt "github.com/mqtt311/mqtt311/client/paho"
	pahopackets "github.com/mqtt311/mqtt311/client/paho/packets"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The states of a client, in the order in which most programs see them.
func TestStates(t *testing.T) {
	inBubble(t, kept, func(d *dialogue) {
		state := func(connected, open bool) {
			t.Helper()
			require.Equal(t, [2]bool{connected, open}, [2]bool{d.client.IsConnected(), d.client.IsConnectionOpen()})
		}
		state(false, false)
		for _, token := range []mqtt.Token{d.client.Publish("a", 1, false, "x"), d.client.Subscribe("a", 0, nil), d.client.Unsubscribe("a")} {
			require.Same(t, mqtt.ErrNotConnected, done(t, token))
		}
		d.client.Disconnect(100) // does nothing
		token := d.client.Connect()
		state(false, false)
		require.Error(t, done(t, d.client.Connect()), "a second Connect, while the first goes on")
		d.accept(false)
		require.NoError(t, done(t, token))
		require.False(t, token.(*mqtt.ConnectToken).SessionPresent())
		state(true, true)
		require.NoError(t, done(t, d.client.Connect()), "it is connected already")

		d.server.Refuse(errTest)
		d.cut()
		state(true, false)
		require.Error(t, done(t, d.client.Subscribe("a", 0, nil)), "without SetResumeSubs")
		d.server.Refuse(nil)
		d.accept(false)
		state(true, true)

		go d.client.Disconnect(1000)
		d.expect("DISCONNECT")
		d.conn.Close()
		synctest.Wait()
		state(false, false)
		token = d.client.Connect()
		d.accept(true)
		require.NoError(t, done(t, token))
		require.True(t, token.(*mqtt.ConnectToken).SessionPresent())
		state(true, true)
	})
}

// Connect can be called again after it has failed, as programs do in a loop.
func TestConnectInALoop(t *testing.T) {
	for _, store := range []bool{false, true} {
		inBubble(t, func(o *mqtt.ClientOptions) {
			if store {
				o.SetCleanSession(false).SetStore(mqtt.NewFileStore(t.TempDir()))
			}
		}, func(d *dialogue) {
			d.server.Refuse(errTest)
			for range 3 {
				token := d.client.Connect()
				require.ErrorIs(t, done(t, token), errTest)
				require.EqualValues(t, pahopackets.ErrNetworkError, token.(*mqtt.ConnectToken).ReturnCode())
			}
			d.server.Refuse(nil)
			token := d.client.Connect()
			d.accept(false)
			require.NoError(t, done(t, token))
		})
	}
}

// A program that reconnects by itself calls Connect in its ConnectionLostHandler.
func TestConnectInTheHandlerOfTheLoss(t *testing.T) {
	var lost list
	connected(t, func(o *mqtt.ClientOptions) {
		o.SetCleanSession(false).SetAutoReconnect(false).SetConnectionLostHandler(func(c mqtt.Client, err error) {
			lost.add(err.Error())
			c.Connect().Wait()
		})
	}, func(d *dialogue) {
		stays := d.client.Publish("a", 1, false, "x")
		d.expect(publish("a", 1, 1, "x").String())
		d.cut()
		require.ErrorIs(t, done(t, stays), client.ErrStored)
		d.accept(true)
		require.Equal(t, []string{"EOF"}, lost.all())
		again := publish("a", 1, 1, "x")
		again.Dup = true
		d.expect(again.String())
		require.True(t, d.client.IsConnectionOpen())
	})
}

// Requests that are unfinished at Disconnect continue with the next Connect of the same client.
func TestMessagesStayFromDisconnectToConnect(t *testing.T) {
	connected(t, kept, func(d *dialogue) {
		token := d.client.Publish("a", 2, false, "x")
		d.expect(publish("a", 2, 1, "x").String())
		go d.client.Disconnect(100)
		d.expect("DISCONNECT")
		d.conn.Close()
		require.ErrorIs(t, done(t, token), client.ErrStored)
		d.client.Connect()
		d.accept(true)
		again := publish("a", 2, 1, "x")
		again.Dup = true
		d.expect(again.String())
	})
}

// Disconnect waits for requests in progress, but not longer than quiesce.
func TestDisconnectWaits(t *testing.T) {
	for _, answer := range []bool{true, false} {
		connected(t, nil, func(d *dialogue) {
			token := d.client.Publish("a", 1, false, "x")
			start := time.Now()
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				d.client.Disconnect(5000)
			}()
			d.expect(publish("a", 1, 1, "x").String())
			time.Sleep(2 * time.Second)
			if answer {
				d.send(&packets.Puback{PacketID: 1})
			}
			d.expect("DISCONNECT")
			want := 5 * time.Second
			if answer {
				want = 2 * time.Second
				require.NoError(t, done(t, token))
			}
			require.Equal(t, want, time.Since(start))
			d.conn.Close()
			<-gone
			require.Equal(t, answer, done(t, token) == nil)
			require.Same(t, mqtt.ErrNotConnected, done(t, d.client.Publish("a", 1, false, "x")))
		})
	}
}

// Disconnect ends an attempt to connect, even while a function of the program blocks.
func TestDisconnectWhileConnecting(t *testing.T) {
	stuck := make(chan struct{})
	for name, set := range map[string]func(o *mqtt.ClientOptions){
		"server": func(*mqtt.ClientOptions) {},
		"retry": func(o *mqtt.ClientOptions) {
			o.SetConnectRetry(true).SetConnectRetryInterval(time.Hour)
		},
		"credentials": func(o *mqtt.ClientOptions) {
			o.SetCredentialsProvider(func() (string, string) { <-stuck; return "", "" })
		},
		"attempt": func(o *mqtt.ClientOptions) {
			o.SetConnectionAttemptHandler(nil)
			o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { <-stuck; return nil, errTest })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(o *mqtt.ClientOptions) {
				o.SetConnectTimeout(0)
				set(o)
			}, func(d *dialogue) {
				stuck = make(chan struct{})
				defer close(stuck)
				token := d.client.Connect()
				synctest.Wait()
				start := time.Now()
				d.client.Disconnect(250)
				require.LessOrEqual(t, time.Since(start), 250*time.Millisecond)
				require.Error(t, done(t, token))
				require.False(t, d.client.IsConnected())
			})
		})
	}
}

// Every handler may call every method and wait for the result.
func TestHandlersMayWait(t *testing.T) {
	var did list
	all := func(c mqtt.Client) {
		tokens := []mqtt.Token{c.Subscribe("s", 1, nil), c.Publish("p", 1, false, "x"), c.Unsubscribe("u")}
		for _, token := range tokens {
			token.Wait()
			did.add(fmt.Sprint(token.Error()))
		}
	}
	inBubble(t, func(o *mqtt.ClientOptions) {
		o.SetOnConnectHandler(all)
		o.SetDefaultPublishHandler(func(c mqtt.Client, _ mqtt.Message) { all(c) })
		o.SetConnectionLostHandler(func(c mqtt.Client, _ error) { c.Publish("p", 1, false, "lost").Wait(); did.add("lost") })
		o.SetReconnectingHandler(func(c mqtt.Client, _ *mqtt.ClientOptions) { c.OptionsReader(); did.add("reconnecting") })
		o.SetConnectionNotificationHandler(func(c mqtt.Client, n mqtt.ConnectionNotification) {
			if n.Type() == mqtt.ConnectionNotificationTypeLost {
				c.Publish("p", 1, false, "told").Wait()
				did.add("told")
			}
		})
	}, func(d *dialogue) {
		d.client.Connect()
		d.accept(false)
		answer := func(n int) {
			t.Helper()
			for range n {
				d.answer()
			}
		}
		answer(3)
		d.send(publish("a", 0, 0, "x"))
		answer(3)
		synctest.Wait()
		require.Equal(t, []string{"<nil>", "<nil>", "<nil>", "<nil>", "<nil>", "<nil>"}, did.all())
		d.cut()
		d.accept(false)
		answer(5) // the subscription, which is OnConnect's too, two messages of other handlers, and what else OnConnect does
		synctest.Wait()
		require.ElementsMatch(t, []string{"reconnecting", "lost", "told", "<nil>", "<nil>", "<nil>"}, did.all()[6:])
	})
}

// answer receives a packet and answers it.
func (d *dialogue) answer() packets.Packet {
	d.Helper()
	d.conn.SetReadDeadline(time.Now().Add(time.Hour))
	p, err := d.conn.Receive()
	require.NoError(d, err)
	switch p := p.(type) {
	case *packets.Subscribe:
		codes := make([]packets.SubscribeCode, len(p.Subscriptions))
		for i, s := range p.Subscriptions {
			codes[i] = packets.SubscribeCode(s.QoS)
		}
		d.send(&packets.Suback{PacketID: p.PacketID, Codes: codes})
	case *packets.Unsubscribe:
		d.send(&packets.Unsuback{PacketID: p.PacketID})
	case *packets.Publish:
		d.send(&packets.Puback{PacketID: p.PacketID})
	default:
		d.Fatalf("came: %s", p)
	}
	return packets.Clone(p)
}

// Disconnect may be called in any handler.
func TestDisconnectInAHandler(t *testing.T) {
	leave := func(c mqtt.Client) { c.Disconnect(100) }
	for name, set := range map[string]func(o *mqtt.ClientOptions){
		"message": func(o *mqtt.ClientOptions) {
			o.SetDefaultPublishHandler(func(c mqtt.Client, _ mqtt.Message) { leave(c) })
		},
		"message beside": func(o *mqtt.ClientOptions) {
			o.SetOrderMatters(false).SetDefaultPublishHandler(func(c mqtt.Client, _ mqtt.Message) { leave(c) })
		},
		"connect": func(o *mqtt.ClientOptions) { o.SetOnConnectHandler(leave) },
		"lost": func(o *mqtt.ClientOptions) {
			o.SetConnectionLostHandler(func(c mqtt.Client, _ error) { leave(c) })
		},
		"reconnecting": func(o *mqtt.ClientOptions) {
			o.SetReconnectingHandler(func(c mqtt.Client, _ *mqtt.ClientOptions) { leave(c) })
		},
		"notification": func(o *mqtt.ClientOptions) {
			o.SetConnectionNotificationHandler(func(c mqtt.Client, n mqtt.ConnectionNotification) {
				if n.Type() == mqtt.ConnectionNotificationTypeLost {
					leave(c)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var left atomic.Bool
			inBubble(t, set, func(d *dialogue) {
				d.client.Connect()
				d.accept(false)
				go func() {
					for {
						p, err := d.conn.Receive()
						if err != nil {
							return
						}
						if p.Type() == packets.DISCONNECT {
							left.Store(true)
							d.conn.Close()
						}
					}
				}()
				d.conn.Send(publish("a", 1, 1, "x"))
				time.Sleep(time.Minute)
				if !left.Load() {
					d.conn.Close()
					time.Sleep(time.Minute)
				}
				require.False(t, d.client.IsConnected())
				token := d.client.Connect()
				synctest.Wait()
				require.False(t, ended(token), "it connects again")
				ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
				defer cancel()
				conn, err := d.server.Accept(ctx)
				require.NoError(t, err)
				conn.Close()
				require.Error(t, done(t, token))
			})
		})
	}
}

// Servers are tried in order, and each round starts with the first. Handlers are called in order.
func TestRounds(t *testing.T) {
	var told list
	var refused atomic.Int32
	refused.Store(3)
	inBubble(t, func(o *mqtt.ClientOptions) {
		o.Servers = nil
		o.AddBroker("tcp://one").AddBroker("tcp://two").SetConnectRetry(true).SetConnectRetryInterval(time.Second)
		open := o.CustomOpenConnectionFn
		o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
			if refused.Add(-1) >= 0 {
				return nil, errTest
			}
			return open(u, o)
		})
		o.SetReconnectingHandler(func(_ mqtt.Client, o *mqtt.ClientOptions) {
			told.add("reconnecting")
			o.AddBroker("tcp://three").Servers[0].Host = "other"
		})
		o.SetConnectionNotificationHandler(func(_ mqtt.Client, n mqtt.ConnectionNotification) {
			switch n := n.(type) {
			case mqtt.ConnectionNotificationConnecting:
				told.add(fmt.Sprintf("connecting %t %d", n.IsReconnect, n.Attempt))
			case mqtt.ConnectionNotificationBroker:
				told.add(n.Broker.Host)
			case mqtt.ConnectionNotificationBrokerFailed:
				told.add(n.Broker.Host + " failed: " + n.Reason.Error())
			case mqtt.ConnectionNotificationFailed:
				told.add("failed: " + n.Reason.Error())
			case mqtt.ConnectionNotificationConnected:
				told.add("connected")
			case mqtt.ConnectionNotificationLost:
				told.add("lost: " + n.Reason.Error())
			}
		})
	}, func(d *dialogue) {
		d.client.Connect()
		d.accept(false)
		require.Equal(t, []string{
			"connecting false 0", "one", "one failed: test", "two", "two failed: test", "failed: test",
			"connecting false 1", "one", "one failed: test", "two", "connected",
		}, told.all())
		d.cut()
		d.accept(false)
		require.Equal(t, []string{"lost: EOF", "reconnecting", "connecting true 0", "other", "connected"}, told.all()[11:])
		r := d.client.OptionsReader()
		require.Len(t, r.Servers(), 3)
	})
}

// What the program's functions return for an attempt is used for that attempt.
func TestCredentials(t *testing.T) {
	for name, c := range map[string]struct {
		set      func(o *mqtt.ClientOptions)
		user     string
		password string
	}{
		"none":     {func(*mqtt.ClientOptions) {}, "", ""},
		"options":  {func(o *mqtt.ClientOptions) { o.SetUsername("u").SetPassword("p") }, "u", "p"},
		"user":     {func(o *mqtt.ClientOptions) { o.SetUsername("u") }, "u", ""},
		"password": {func(o *mqtt.ClientOptions) { o.SetPassword("p") }, "", ""},
		"url": {func(o *mqtt.ClientOptions) {
			o.SetUsername("u").SetPassword("p").Servers[0].User = url.UserPassword("v", "q")
		}, "v", "q"},
		"user of the url": {func(o *mqtt.ClientOptions) {
			o.SetUsername("u").SetPassword("p").Servers[0].User = url.User("v")
		}, "v", "p"},
		"provider": {func(o *mqtt.ClientOptions) {
			o.SetUsername("u").SetPassword("p").Servers[0].User = url.UserPassword("v", "q")
			o.SetCredentialsProvider(func() (string, string) { return "w", "r" })
		}, "w", "r"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.set, func(d *dialogue) {
				d.client.Connect()
				p := d.accept(false)
				require.Equal(t, c.user, p.UserName)
				require.Equal(t, c.password, string(p.Password))
				require.Equal(t, c.user != "", p.HasUserName)
				require.Equal(t, c.password != "", p.HasPassword)
			})
		})
	}
}

// If Connect cannot work with the options, its error says what to change.
func TestConnectErrors(t *testing.T) {
	for want, set := range map[string]func(o *mqtt.ClientOptions){
		"no server: call AddBroker": func(o *mqtt.ClientOptions) { o.Servers = nil },
		"AddBroker: not a URL":      func(o *mqtt.ClientOptions) { o.Servers = nil; o.AddBroker("tcp://u:secret@[") },
		"protocol version 3 is not": func(o *mqtt.ClientOptions) { o.SetProtocolVersion(3) },
		"ClientID":                  func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetClientID("") },
		"Will":                      func(o *mqtt.ClientOptions) { o.SetWill("a/#", "x", 0, false) },
		"not a directory":           func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetStore(mqtt.NewFileStore("/dev/null/x")) },
		"paho: a FileStore is opened by": func(o *mqtt.ClientOptions) {
			o.SetCleanSession(false).SetStore(struct{ mqtt.Store }{mqtt.NewFileStore("x")})
		},
	} {
		inBubble(t, set, func(d *dialogue) {
			err := done(t, d.client.Connect())
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "secret")
			require.ErrorIs(t, err, pahopackets.ErrorNetworkError)
			require.False(t, d.client.IsConnected())
			require.Error(t, done(t, d.client.Connect()), "again")
		})
	}
}
