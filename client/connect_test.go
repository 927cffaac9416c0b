package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

func TestNewReportsEveryMistake(t *testing.T) {
	_, err := client.New(client.Config{
		Password: []byte("secret"), KeepAlive: 20 * time.Hour,
		Credentials: func(context.Context) (string, []byte, error) { return "", nil, nil },
	})
	for _, want := range []string{"Dial", "ClientID", "KeepAlive", "Credentials"} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "secret")
}

func TestConnectFailsAtOnceWithoutRetry(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		d.server.Refuse(clienttest.ErrRefused)
		err := d.client.Connect(d.ctx)
		require.ErrorIs(t, err, clienttest.ErrRefused)
		require.ErrorIs(t, err, client.ErrClosed)
		require.Equal(t, client.Closed, d.client.State())
	})
}

// Hazard 34: with ConnectRetry, Connect waits for the Server and reports the last error.
func TestHazard34ConnectRetry(t *testing.T) {
	inBubble(t, client.Config{ConnectRetry: true, ConnectRetryInterval: time.Second}, func(d *dialogue) {
		d.server.Refuse(clienttest.ErrRefused)
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		time.Sleep(2500 * time.Millisecond)
		require.Equal(t, 3, d.server.Dials())
		d.server.Refuse(nil)
		d.accept(false)
		require.NoError(t, up())
	})
	inBubble(t, client.Config{ConnectRetry: true}, func(d *dialogue) {
		d.server.Refuse(clienttest.ErrRefused)
		err := d.client.Connect(timeout(d.ctx, time.Minute))
		require.ErrorIs(t, err, clienttest.ErrRefused)
		require.ErrorContains(t, err, "time is up")
	})
}

// silent has servers that never answer, each at another stage.
var silent = map[string]func(ctx context.Context) (net.Conn, error){
	"dial": func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	},
	"no reader": func(context.Context) (net.Conn, error) {
		ours, _ := net.Pipe()
		return ours, nil
	},
	"no reader after a slow dial": func(context.Context) (net.Conn, error) {
		time.Sleep(3 * time.Second)
		ours, _ := net.Pipe()
		return ours, nil
	},
	"no CONNACK": func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			var b [64]byte
			for {
				if _, err := theirs.Read(b[:]); err != nil {
					return
				}
			}
		}()
		return ours, nil
	},
}

// Hazard 6: one time limit from the dial to CONNACK.
func TestHazard6ConnectTimeout(t *testing.T) {
	for name, dial := range silent {
		t.Run(name, func(t *testing.T) {
			inBubble(t, client.Config{Dial: dial, ConnectTimeout: 5 * time.Second}, func(d *dialogue) {
				start := time.Now()
				require.ErrorIs(t, d.client.Connect(d.ctx), client.ErrConnectTimeout)
				require.Equal(t, 5*time.Second, time.Since(start))
			})
		})
	}
}

// The time limit applies to each attempt, and to nothing after CONNACK.
func TestConnectTimeoutOfEachAttempt(t *testing.T) {
	connected(t, client.Config{ConnectTimeout: 5 * time.Second, KeepAlive: -1}, func(d *dialogue) {
		for range 3 {
			time.Sleep(time.Minute) // nothing happens
			require.Equal(t, client.Connected, d.client.State())
			d.cut()
			for range 2 {
				conn, err := d.server.Accept(d.ctx)
				require.NoError(t, err)
				start := time.Now()
				_, err = conn.Receive()
				require.NoError(t, err)
				_, err = conn.Receive()
				require.Error(t, err)
				require.Equal(t, 5*time.Second, time.Since(start))
			}
			d.accept(false)
		}
	})
}

// The end of Connect's context, or Close, ends the current attempt at once.
func TestGivingUpAnAttempt(t *testing.T) {
	for name, dial := range silent {
		t.Run(name, func(t *testing.T) {
			inBubble(t, client.Config{Dial: dial}, func(d *dialogue) {
				start := time.Now()
				err := d.client.Connect(timeout(d.ctx, 4*time.Second))
				require.ErrorContains(t, err, "time is up")
				require.Equal(t, 4*time.Second, time.Since(start))
			})
			inBubble(t, client.Config{Dial: dial}, func(d *dialogue) {
				up := d.start(func() error { return d.client.Connect(d.ctx) })
				time.Sleep(4 * time.Second)
				start := time.Now()
				require.NoError(t, d.client.Close(d.ctx))
				require.ErrorIs(t, up(), client.ErrClosed)
				require.Zero(t, time.Since(start))
			})
		})
	}
}

// Hazard 32: a refusal gives its reason, and a client that keeps being refused slows down.
func TestHazard32Refusals(t *testing.T) {
	refuse := func(d *dialogue, code packets.ConnectCode) {
		conn, err := d.server.Accept(d.ctx)
		require.NoError(d, err)
		_, err = conn.Receive()
		require.NoError(d, err)
		require.NoError(d, conn.Send(&packets.Connack{Code: code}))
		conn.Close()
		synctest.Wait()
	}
	inBubble(t, client.Config{}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		refuse(d, packets.NotAuthorized)
		var refused *client.RefusedError
		require.ErrorAs(t, up(), &refused)
		require.Equal(t, packets.NotAuthorized, refused.Code)
	})
	connected(t, client.Config{StopWhenRefused: true}, func(d *dialogue) {
		d.cut()
		refuse(d, packets.BadUserNameOrPassword)
		<-d.client.Done()
		require.ErrorContains(t, d.client.Err(), "bad user name or password")
	})
	connected(t, client.Config{MaxReconnectInterval: time.Minute}, func(d *dialogue) {
		d.cut()
		refuse(d, packets.BadUserNameOrPassword)
		start := time.Now()
		d.accept(false)
		require.GreaterOrEqual(t, time.Since(start), 30*time.Second)
	})
}

// Hazard 29: the back-off applies to connections that the Server accepts and drops, and only a
// stable connection resets it.
func TestHazard29Backoff(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		var took time.Duration
		for range 10 {
			d.cut()
			start := time.Now()
			d.accept(true)
			took = max(took, time.Since(start))
		}
		require.Greater(t, took, time.Second)
		time.Sleep(31 * time.Second)
		for d.client.State() != client.Connected {
			d.accept(true)
		}
		require.Contains(t, kinds(d.events), client.EventKind("takeover suspected"))
	})
}

func kinds(events []client.Event) (ks []client.EventKind) {
	for _, e := range events {
		ks = append(ks, e.Kind)
	}
	return ks
}

// Hazard 2: a peer that stops reading is detected within KeepAlive and PingTimeout, whether or not
// there is something to write.
func TestHazard2PeerStopsReading(t *testing.T) {
	for _, publishing := range []bool{false, true} {
		connected(t, client.Config{KeepAlive: 30 * time.Second, PingTimeout: 10 * time.Second, NoReconnect: true}, func(d *dialogue) {
			start := time.Now()
			if publishing {
				_, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
				require.NoError(t, err)
			}
			<-d.client.Done()
			require.LessOrEqual(t, time.Since(start), 40*time.Second)
			require.ErrorIs(t, d.client.Err(), client.ErrConnectionLost)
		})
	}
}

// Hazard 3: a publisher that never gets an answer notices that the connection is dead, and a flood
// of messages does not keep the client from sending.
func TestHazard3HalfOpen(t *testing.T) {
	connected(t, client.Config{KeepAlive: 30 * time.Second, NoReconnect: true}, func(d *dialogue) {
		start := time.Now()
		stopped := d.start(func() error {
			for {
				if err := d.client.Publish(d.ctx, message("t", 0, "x")); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
		})
		for {
			if _, err := d.conn.Receive(); err != nil {
				break
			}
		}
		require.Equal(t, 40*time.Second, time.Since(start))
		require.Error(t, stopped())
		<-d.client.Done()
		require.ErrorIs(t, d.client.Err(), client.ErrPingTimeout)
	})
	connected(t, client.Config{KeepAlive: 10 * time.Second}, func(d *dialogue) {
		flood := d.start(func() error {
			for range 20 {
				if err := d.conn.Send(&packets.Publish{Topic: "t"}); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
			return nil
		})
		start := time.Now()
		d.expect("PINGREQ")
		require.Less(t, time.Since(start), 10*time.Second)
		d.expect("PINGREQ")
		require.NoError(t, flood())
	})
}

// When the first attempt fails, the error gives the reason, not just that the client is closed.
func TestFirstAttemptFails(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		d.server.Refuse(clienttest.ErrRefused)
		err := d.client.Connect(d.ctx)
		require.ErrorIs(t, err, client.ErrClosed)
		require.ErrorIs(t, err, clienttest.ErrRefused)
		require.EqualError(t, err, "client: connect: "+clienttest.ErrRefused.Error())
	})
	inBubble(t, client.Config{}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		_, err = conn.Receive()
		require.NoError(t, err)
		synctest.Wait()
		conn.Close()
		require.EqualError(t, up(), "client: connect: the server closed the connection before CONNACK: EOF")
	})
	inBubble(t, client.Config{}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		_, err = conn.Receive()
		require.NoError(t, err)
		require.NoError(t, conn.Send(&packets.Connack{Code: packets.NotAuthorized}))
		require.ErrorContains(t, up(), "client: connect: server refused the connection: ")
	})
}

// Hazard 39: Close drains and sends DISCONNECT, Abort does not.
func TestHazard39CloseAndAbort(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		r, err := d.client.PublishAsync(d.ctx, message("t", 1, "x"))
		require.NoError(t, err)
		closed := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect(`PUBLISH "t" qos=1 id=1 dup=0 size=1`)
		d.send(&packets.Puback{PacketID: 1})
		d.expect("DISCONNECT")
		d.expectEnd()
		require.NoError(t, closed())
		require.NoError(t, r.Err())
		require.NoError(t, d.client.Close(d.ctx)) // again
		synctest.Wait()
		require.Contains(t, kinds(d.events), client.Disconnected)
		require.NotContains(t, kinds(d.events), client.ConnectionLost, "an end that was asked for is no loss")
	})
	connected(t, client.Config{}, func(d *dialogue) {
		ended := d.start(func() error { d.client.Abort(); return nil })
		d.expectEnd()
		require.NoError(t, ended())
	})
	// The acknowledgement of what a handler works on leaves before DISCONNECT.
	inBubble(t, client.Config{}, func(d *dialogue) {
		require.NoError(t, d.client.Handle("#", func(context.Context, *client.Delivery) { time.Sleep(time.Second) }))
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 1}, &packets.Publish{Topic: "t", QoS: 1, PacketID: 2})
		closed := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect("PUBACK id=1", "DISCONNECT") // nothing new is begun
		d.expectEnd()
		require.NoError(t, closed())
	})
}

// Hazard 39 on a real socket: the Server receives DISCONNECT although the client has not read
// everything, and then the end of the stream, not a reset, which could overtake DISCONNECT.
func TestHazard39HalfClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	last := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			last <- err
			return
		}
		defer conn.Close()
		c := clienttest.NewConn(conn)
		if _, err := c.Handshake(false); err != nil {
			last <- err
			return
		}
		go func() { // more than anybody reads
			flood, _ := (&packets.Publish{Topic: "t", Payload: make([]byte, 4096)}).AppendBinary(nil)
			for err := error(nil); err == nil; _, err = conn.Write(flood) {
			}
		}()
		p, err := c.Receive()
		if err == nil && p.Type() != packets.DISCONNECT {
			err = fmt.Errorf("%s came", p)
		}
		if err == nil {
			if _, err = c.Receive(); err == io.EOF {
				err = nil
			}
		}
		last <- err
	}()
	c, err := client.New(client.Config{ClientID: "c", InboxMessages: 1, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}})
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	require.Eventually(t, func() bool { return c.Stats().Pauses > 0 }, time.Minute, time.Millisecond)
	require.NoError(t, c.Close(t.Context()))
	require.NoError(t, <-last)
}

// Hazard 7: Close ends whatever the client is doing at once, and leaves nothing behind.
func TestHazard7CloseFromAnyState(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) { // idle
		require.NoError(t, d.client.Close(d.ctx))
		require.ErrorIs(t, d.client.Connect(d.ctx), client.ErrClosed)
	})
	inBubble(t, client.Config{}, func(d *dialogue) { // dialling
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		synctest.Wait()
		require.NoError(t, d.client.Close(d.ctx))
		require.ErrorIs(t, up(), client.ErrClosed)
	})
	inBubble(t, client.Config{}, func(d *dialogue) { // awaiting CONNACK
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		d.conn = conn
		_, err = conn.Receive()
		require.NoError(t, err)
		require.NoError(t, d.client.Close(d.ctx))
		require.ErrorIs(t, up(), client.ErrClosed)
	})
	connected(t, client.Config{}, func(d *dialogue) { // back-off
		d.server.Refuse(clienttest.ErrRefused)
		d.cut()
		time.Sleep(10 * time.Second)
		start := time.Now()
		require.NoError(t, d.client.Close(d.ctx))
		require.Less(t, time.Since(start), 3*time.Second)
	})
	var c *client.Client
	inBubble(t, client.Config{OnEvent: func(e client.Event) {
		if e.Kind == client.ConnectionUp {
			c.Abort()
		}
	}}, func(d *dialogue) { // in an event
		c = d.client
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		<-d.client.Done()
		up()
	})
	connected(t, client.Config{}, func(d *dialogue) { // twice at once
		one := d.start(func() error { return d.client.Close(d.ctx) })
		two := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect("DISCONNECT")
		d.expectEnd()
		require.NoError(t, errors.Join(one(), two()))
	})
	connected(t, client.Config{}, func(d *dialogue) { // a peer that does not read
		start := time.Now()
		require.NoError(t, d.client.Close(d.ctx))
		require.Less(t, time.Since(start), 3*time.Second)
	})
}

// Hazard 31: a packet that cannot be read ends the connection. When it comes again and again, the
// client stops instead of looping.
func TestHazard31PoisonIncoming(t *testing.T) {
	connected(t, client.Config{MaxPacketSize: 1024}, func(d *dialogue) {
		for i := range 3 {
			if i > 0 {
				d.accept(true)
			}
			d.conn.Write([]byte{0x32, 0xff, 0xff, 0x7f})
			d.expectEnd()
		}
		<-d.client.Done()
		var large *packets.TooLargeError
		require.ErrorAs(t, d.client.Err(), &large)
	})
}

// A QoS 0 message is not sent again after a reconnect, so malformed ones may end any number of
// connections and the client goes on. Three bad messages of QoS 1 or 2 in a row end the client,
// whatever came between them.
func TestPoisonOfQoS0EndsNoClient(t *testing.T) {
	zero := []string{
		"\x30\xff\xff\x7f",              // too large
		"\x30\xff\x7f\x00\x01t",         // with its topic
		"\x30\x05\x00\x03a\x00b",        // U+0000
		"\x30\x03\x00\x09#",             // a topic that is longer than the packet
		"\x38\x03\x00\x01a",             // DUP
		"\x31\x03\x00\x01#",             // retained
		"\x30\xff\x7f\x00\x01#",         // too large, and malformed
		"\x30\x06\x00\x04\xed\xa0\x80a", // no UTF-8
	}
	connected(t, client.Config{MaxPacketSize: 1024}, func(d *dialogue) {
		end := func(packet string) {
			d.conn.Write([]byte(packet))
			d.expectEnd()
		}
		for _, packet := range zero {
			end(packet)
			d.accept(true)
		}
		require.NoError(t, d.client.Err())
		for i, packet := range []string{"\x32\x05\x00\x01#\x00\x01", "\x34\xff\x7f\x00\x01t", "\x36\x05\x00\x01t\x00\x01"} {
			if i > 0 {
				d.accept(true)
				end(zero[i])
				d.accept(true)
			}
			require.NoError(t, d.client.Err())
			end(packet)
		}
		<-d.client.Done()
		require.ErrorContains(t, d.client.Err(), "the same again")
		require.EqualValues(t, len(zero)+5, d.client.Stats().Faults)
	})
}

// Malformed packets other than PUBLISH need not be sent again, so they never end a client, however
// many connections they end. Nor does a PUBLISH that cannot be skipped although skipping is
// enabled.
func TestNonsenseEndsNoClient(t *testing.T) {
	for name, row := range map[string]struct {
		cfg    client.Config
		packet string
	}{
		"SUBACK":              {client.Config{}, "\x90\x03\x00\x01\x03"},
		"PUBACK":              {client.Config{}, "\x40\x02\x00\x00"},
		"type 15":             {client.Config{}, "\xf0\x00"},
		"CONNECT":             {client.Config{}, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"},
		"a length":            {client.Config{}, "\x90\xff\xff\xff\xff"},
		"a large SUBACK":      {client.Config{}, "\x90\xff\xff\xff\x7f"},
		"QoS 3, skip":         {client.Config{SkipMalformed: true}, "\x36\x05\x00\x01t\x00\x01"},
		"identifier 0, skip":  {client.Config{SkipMalformed: true}, "\x32\x05\x00\x01t\x00\x00"},
		"DUP at QoS 0, skip":  {client.Config{SkipMalformed: true}, "\x38\x03\x00\x01t"},
		"a length in PUBLISH": {client.Config{SkipMalformed: true}, "\x32\xff\xff\xff\xff"},
	} {
		t.Run(name, func(t *testing.T) {
			connected(t, row.cfg, func(d *dialogue) {
				for range 10 {
					d.conn.Write([]byte(row.packet))
					d.expectEnd()
					d.accept(true)
				}
				require.NoError(t, d.client.Err())
			})
		})
	}
}

// Hazard 35: credentials are asked for before every attempt.
func TestHazard35Credentials(t *testing.T) {
	n := 0
	inBubble(t, client.Config{Credentials: func(context.Context) (string, []byte, error) {
		n++
		if n == 2 {
			return "", nil, errors.New("vault is sealed")
		}
		return "user", []byte{byte('0' + n)}, nil
	}}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		require.Equal(t, "1", string(d.accept(false).Password))
		require.NoError(t, up())
		d.cut()
		require.Equal(t, "3", string(d.accept(true).Password))
	})
}

// Hazard 45: no secret and no payload appears in a log or an error.
func TestHazard45NoSecrets(t *testing.T) {
	var log strings.Builder
	connected(t, client.Config{
		UserName: "canary-user", Password: []byte("canary-password"),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, func(d *dialogue) {
		_, err := d.client.PublishAsync(d.ctx, message("t", 1, "canary-payload"))
		require.NoError(t, err)
		d.send(&packets.Publish{Topic: "in", Payload: []byte("canary-payload")})
		d.cut()
		d.accept(true)
		for _, e := range d.events {
			log.WriteString(e.String())
		}
	})
	require.NotContains(t, log.String(), "canary")
	require.Contains(t, log.String(), "connection lost")
}

// Hazard 9: a thousand reconnects leave nothing behind.
func TestHazard9ManyReconnects(t *testing.T) {
	connected(t, client.Config{MaxReconnectInterval: time.Millisecond}, func(d *dialogue) {
		for range 1000 {
			d.cut()
			d.accept(true)
		}
		require.EqualValues(t, 1000, d.client.Stats().Reconnects)
	}) // the bubble fails if a goroutine is left
}

// If the server is silent or does not speak MQTT, the error says what to try.
func TestServerIsNotMQTT(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   string
		hint   string
	}{
		"HTTP":    {"HTTP/1.1 400 Bad Request\r\n\r\n", "not MQTT 3.1.1", "Another protocol"},
		"SSH":     {"SSH-2.0-OpenSSH_9.2\r\n", "not MQTT 3.1.1", "Another protocol"},
		"PUBLISH": {"\x30\x03\x00\x01a", "came before CONNACK", "Another protocol"},
		"nothing": {"", "closed the connection before CONNACK", "TLS port"},
		"refusal": {"\x20\x02\x00\x05", "not authorized", "password"},
		"version": {"\x20\x02\x00\x01", "unacceptable protocol version", "3.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, client.Config{}, func(d *dialogue) {
				up := d.start(func() error { return d.client.Connect(d.ctx) })
				conn, err := d.server.Accept(d.ctx)
				require.NoError(t, err)
				_, err = conn.Receive()
				require.NoError(t, err)
				conn.Write([]byte(c.answer))
				conn.Close()
				err = up()
				require.ErrorContains(t, err, c.want)
				var handshake *client.HandshakeError
				require.ErrorAs(t, err, &handshake)
				require.Contains(t, handshake.Hint(), c.hint)
				require.NotEmpty(t, handshake.HintZH())
			})
		})
	}
}

// A telling is an error of a transport that has found the cause.
type telling struct{ error }

func (telling) Hint() string   { return "use ws" }
func (telling) HintZH() string { return "改用 ws" }

// A hint of the transport takes precedence over the client's guess.
func TestHandshakeErrorPassesAHintOn(t *testing.T) {
	err := &client.HandshakeError{Err: fmt.Errorf("read: %w", telling{io.EOF})}
	require.Equal(t, "use ws", err.Hint())
	require.Equal(t, "改用 ws", err.HintZH())
}
