package paho_test

import (
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Any part of an invalid URL may contain its password, even the part read as the port. The log must
// not show it.
func TestUnreadableURLIsNotQuoted(t *testing.T) {
	for _, server := range []string{
		"tcp://user:secret/1@h:1883", "tcp://user:secret#1@h", "tcp://user:secret?1@h", "tcp://user:secr%et@h", "tcp://u:secret@h o", "tcp://u:secret@[",
	} {
		debug, warn, errs := journals(func() {
			o := mqtt.NewClientOptions().AddBroker(server)
			require.Empty(t, o.Servers, server)
			err := done(t, mqtt.NewClient(o).Connect())
			require.ErrorContains(t, err, "AddBroker: not a URL")
			require.NotContains(t, err.Error(), "secr")
		})
		require.NotContains(t, debug.text()+warn.text()+errs.text(), "secr", server)
	}
}

// The scheme of a proxy URL may be in upper case. The client must not connect without the proxy
// then.
func TestSchemeOfTheProxyInCapitals(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	addr := accepting(t, l, err).Addr().String()
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	t.Setenv("ALL_PROXY", "SOCKS5://"+addr)
	require.ErrorContains(t, connects(t, "tcp://"+addr, nil), "proxy")
}

// A server that OnReconnecting adds is tried in the same round.
func TestServerThatIsAddedLater(t *testing.T) {
	var tried list
	inBubble(t, func(o *mqtt.ClientOptions) {
		open := o.CustomOpenConnectionFn
		o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
			tried.add(u.Host)
			if len(tried.all()) == 2 {
				return nil, errTest
			}
			return open(u, o)
		})
		o.SetReconnectingHandler(func(_ mqtt.Client, o *mqtt.ClientOptions) { o.AddBroker("tcp://other") })
	}, func(d *dialogue) {
		d.client.Connect()
		d.accept(false)
		d.cut()
		d.accept(false)
		require.Equal(t, []string{"server", "server", "other"}, tried.all())
	})
}

// Servers that OnReconnecting removes are no longer tried.
func TestServerThatIsTakenAwayLater(t *testing.T) {
	var tried list
	inBubble(t, func(o *mqtt.ClientOptions) {
		o.AddBroker("tcp://other").AddBroker("tcp://third")
		open := o.CustomOpenConnectionFn
		o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
			tried.add(u.Host)
			if u.Host == "server" || len(tried.all()) == 3 {
				return nil, errTest
			}
			return open(u, o)
		})
		o.SetReconnectingHandler(func(_ mqtt.Client, o *mqtt.ClientOptions) { o.Servers = o.Servers[len(o.Servers)-1:] })
	}, func(d *dialogue) {
		d.client.Connect()
		d.accept(false)
		d.cut()
		d.accept(false)
		require.Equal(t, []string{"server", "other", "third", "third"}, tried.all())
	})
}

// Connect returns at once even while Disconnect waits for requests in progress.
func TestConnectWhileDisconnectWaits(t *testing.T) {
	connected(t, func(o *mqtt.ClientOptions) { o.SetKeepAlive(0) }, func(d *dialogue) {
		d.client.Publish("a", 1, false, "x")
		d.expect(publish("a", 1, 1, "x").String())
		go d.client.Disconnect(60_000)
		synctest.Wait()
		start := time.Now()
		token := d.client.Connect()
		require.Zero(d, time.Since(start))
		time.Sleep(time.Second)
		require.False(d, ended(token))
		d.send(&packets.Puback{PacketID: 1})
		d.expect("DISCONNECT")
		d.cut()
		d.accept(false)
		require.NoError(d, done(t, token))
	})
}

// If Disconnect is called while Connect waits for an earlier Disconnect, that Connect ends.
func TestDisconnectWhileDisconnectWaits(t *testing.T) {
	connected(t, func(o *mqtt.ClientOptions) { o.SetKeepAlive(0) }, func(d *dialogue) {
		d.client.Publish("a", 1, false, "x")
		d.expect(publish("a", 1, 1, "x").String())
		go d.client.Disconnect(60_000)
		synctest.Wait()
		token := d.client.Connect()
		d.client.Disconnect(0)
		d.send(&packets.Puback{PacketID: 1})
		d.expect("DISCONNECT")
		d.cut()
		require.ErrorContains(d, done(t, token), "Disconnect was called")
		require.False(d, d.client.IsConnected())
	})
}

// A function of the program may take longer than an attempt: it is not called again while it runs,
// and a later attempt uses its result.
func TestAnswersThatTakeLonger(t *testing.T) {
	var asked, failed list
	inBubble(t, func(o *mqtt.ClientOptions) {
		o.SetReconnectingHandler(func(_ mqtt.Client, o *mqtt.ClientOptions) {
			asked.add("reconnecting")
			time.Sleep(5 * time.Minute)
			o.SetUsername("after")
		})
		o.SetCredentialsProvider(func() (string, string) {
			if asked.add("login"); len(asked.all()) == 1 {
				time.Sleep(2 * time.Minute)
			}
			return "user", "secret"
		})
		o.SetConnectRetry(true).SetConnectionNotificationHandler(func(_ mqtt.Client, n mqtt.ConnectionNotification) {
			if n.Type() == mqtt.ConnectionNotificationTypeBrokerFailed {
				failed.add("failed")
			}
		})
	}, func(d *dialogue) {
		d.client.Connect()
		require.Equal(t, "user", d.accept(false).UserName)
		require.Equal(t, []string{"login"}, asked.all())
		before := failed.all()
		d.cut()
		require.Equal(t, "user", d.accept(false).UserName)
		require.Equal(t, before, failed.all(), "no server was tried meanwhile")
		require.Equal(t, []string{"login", "reconnecting", "login"}, asked.all())
		r := d.client.OptionsReader()
		require.Equal(t, "after", r.Username())
	})
}

// Without SetAutoReconnect, the notification of the loss arrives only when Connect may be called
// again.
func TestConnectInTheNotificationOfTheLoss(t *testing.T) {
	for range 300 { // to give two goroutines a chance to race
		inBubble(t, func(o *mqtt.ClientOptions) {
			o.SetAutoReconnect(false).SetConnectionNotificationHandler(func(c mqtt.Client, n mqtt.ConnectionNotification) {
				if n.Type() == mqtt.ConnectionNotificationTypeLost {
					c.Connect()
				}
			}).SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) { time.Sleep(time.Second) })
		}, func(d *dialogue) {
			d.client.Connect()
			d.accept(false)
			d.send(publish("a", 1, 1, "x"))
			d.cut()
			d.accept(false)
			require.True(t, d.client.IsConnectionOpen())
			time.Sleep(time.Second) // in the handler
		})
	}
}

// NewClient copies the options: later changes do not affect the client.
func TestOptionsSetAfterNewClient(t *testing.T) {
	var seen mqtt.ClientOptions
	var given *mqtt.ClientOptions
	inBubble(t, func(o *mqtt.ClientOptions) {
		given = o.AddBroker("tcp://other")
		open := o.CustomOpenConnectionFn
		o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
			seen = o
			return open(u, o)
		})
	}, func(d *dialogue) {
		given.SetConnectTimeout(time.Millisecond).SetClientID("another").Servers[0] = &url.URL{Scheme: "tcp", Host: "another"}
		d.client.Connect()
		require.Equal(t, "c", d.accept(false).ClientID)
		require.Equal(t, 30*time.Second, seen.Dialer.Timeout)
		require.Equal(t, "server", seen.Servers[0].Host)
	})
}

// A duration that is too large to represent means no limit, not zero.
func TestTimesBeyondCounting(t *testing.T) {
	connected(t, func(o *mqtt.ClientOptions) { o.SetKeepAlive(0) }, func(d *dialogue) {
		token := d.client.Publish("a", 1, false, "x")
		d.expect(publish("a", 1, 1, "x").String())
		go d.client.Disconnect(math.MaxUint)
		time.Sleep(time.Hour)
		require.False(t, ended(token))
		d.send(&packets.Puback{PacketID: 1})
		require.NoError(t, done(t, token))
		d.expect("DISCONNECT")
		d.cut()
		synctest.Wait()
	})
	o := mqtt.NewClientOptions().SetKeepAlive(math.MaxInt64)
	require.Positive(t, o.KeepAlive)
	require.Zero(t, o.SetConnectTimeout(-time.Second).Dialer.Timeout, "no limit, as that of the attempt")
}

// A file that contains a PUBREL with another identifier than its name was not written by
// paho.mqtt.golang. It is set aside, because the wrong identifier would be released.
func TestPubrelUnderAnotherName(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"o.0.msg", "o.6.msg", "o.7.msg"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("\x62\x02\x00\x07"), 0o600))
	}
	inBubble(t, func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetStore(mqtt.NewFileStore(dir)) }, func(d *dialogue) {
		token := d.client.Connect()
		d.open()
		d.conn.Raw = true // otherwise Receive would answer PUBREL itself
		_, err := d.conn.Handshake(true)
		require.NoError(t, err)
		d.expect("PUBREL id=7")
		// A message that the Server sends meanwhile may be as large as on any other connection.
		require.NoError(t, d.conn.Send(publish("a", 1, 1, strings.Repeat("x", 17<<20))))
		d.send(&packets.Pubcomp{PacketID: 7})
		d.expect("DISCONNECT")
		d.cut()
		d.accept(true)
		require.NoError(t, done(t, token))
	})
	left, err := filepath.Glob(filepath.Join(dir, "*.*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "o.0.CORRUPT"), filepath.Join(dir, "o.6.CORRUPT")}, left)
}
