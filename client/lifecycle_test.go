package client_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// If CONNACK arrives at the moment when Connect's context ends, Connect returns either result, and
// the state of the client agrees with it.
func TestConnectAndItsContextEndTogether(t *testing.T) {
	for range 200 {
		inBubble(t, client.Config{}, func(d *dialogue) {
			ctx, cancel := context.WithCancel(d.ctx)
			up := d.start(func() error { return d.client.Connect(ctx) })
			conn, err := d.server.Accept(d.ctx)
			require.NoError(t, err)
			d.conn = conn
			_, err = conn.Receive()
			require.NoError(t, err)
			go cancel()
			conn.Send(&packets.Connack{})
			start := time.Now()
			if up() == nil {
				synctest.Wait()
				require.Equal(t, client.Connected, d.client.State())
			} else {
				require.Equal(t, client.Closed, d.client.State())
			}
			require.Less(t, time.Since(start), time.Second)
		})
	}
}

// Close ends a pause of reading, like everything else.
func TestCloseWhileReadingPauses(t *testing.T) {
	connected(t, client.Config{InboxMessages: 2}, func(d *dialogue) {
		for range d.client.Messages(timeout(d.ctx, time.Millisecond)) {
		}
		d.send(&packets.Publish{Topic: "t"}, &packets.Publish{Topic: "t"})
		start := time.Now()
		closed := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect("DISCONNECT")
		d.expectEnd()
		require.NoError(t, closed())
		require.Zero(t, time.Since(start))
	})
}

// Close returns when its context ends, whatever the program's dial function does.
func TestCloseDoesNotWaitForADialThatHangs(t *testing.T) {
	release := make(chan struct{})
	synctest.Test(t, func(t *testing.T) {
		c, err := client.New(client.Config{ClientID: "c", Dial: func(context.Context) (net.Conn, error) {
			<-release
			return nil, errors.New("late")
		}})
		require.NoError(t, err)
		release = make(chan struct{}) // of the bubble
		go c.Connect(t.Context())
		synctest.Wait()
		start := time.Now()
		require.ErrorContains(t, c.Close(timeout(t.Context(), 5*time.Second)), "time is up")
		require.LessOrEqual(t, time.Since(start), 7*time.Second)
		close(release)
		<-c.Done()
	})
}

// A dial function that returns neither a connection nor an error is a mistake with a name.
func TestDialReturnsNothing(t *testing.T) {
	inBubble(t, client.Config{Dial: func(context.Context) (net.Conn, error) { return nil, nil }}, func(d *dialogue) {
		require.ErrorContains(t, d.client.Connect(d.ctx), "Dial returned neither")
	})
}

// Credentials that no packet can carry fail the attempt, and its connection is closed.
func TestCredentialsThatCannotBeSent(t *testing.T) {
	inBubble(t, client.Config{Credentials: func(context.Context) (string, []byte, error) {
		return strings.Repeat("u", 65536), nil, nil
	}}, func(d *dialogue) {
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		conn, err := d.server.Accept(d.ctx)
		require.NoError(t, err)
		_, err = conn.Receive()
		require.Error(t, err)
		var wrong *packets.EncodeError
		require.ErrorAs(t, up(), &wrong)
	})
}

// The configuration is copied: later changes to the program's own copy have no effect.
func TestHazard43ConfigIsCopied(t *testing.T) {
	password, will := []byte("secret"), &packets.Will{Topic: "will", Payload: []byte("gone")}
	inBubble(t, client.Config{UserName: "u", Password: password, Will: will}, func(d *dialogue) {
		password[0], will.Payload[0], will.Topic = 'X', 'X', "other"
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		p := d.accept(false)
		require.NoError(t, up())
		require.Equal(t, "secret", string(p.Password))
		require.Equal(t, "gone", string(p.Will.Payload))
		require.Equal(t, "will", p.Will.Topic)
	})
}

// A client that has lost its connection never reports the state Connected, not even during the
// event.
func TestHazard10NotConnectedWhenTheLossIsTold(t *testing.T) {
	var c *client.Client
	var states []client.State
	connected(t, client.Config{OnEvent: func(e client.Event) {
		if e.Kind == client.ConnectionLost {
			states = append(states, c.State())
		}
	}}, func(d *dialogue) {
		c = d.client
		d.server.Refuse(clienttest.ErrRefused)
		d.cut()
	})
	require.Equal(t, []client.State{client.Waiting}, states)
}

// A server that answers CONNECT with something other than MQTT is tried again: it may be a load
// balancer during a restart.
func TestNoiseBeforeConnackIsTriedAgain(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		d.cut()
		for range 5 {
			conn, err := d.server.Accept(d.ctx)
			require.NoError(t, err)
			_, err = conn.Receive()
			require.NoError(t, err)
			conn.Write([]byte("HTTP/1.1 503 Service Unavailable\r\n\r\n"))
			conn.Close()
		}
		d.accept(true)
		require.Equal(t, client.Connected, d.client.State())
	})
}

// The panic of a handler ends the program with the handler's own message.
func TestHandlerPanicIsSeen(t *testing.T) {
	if os.Getenv("MQTT311_PANIC") != "" {
		inBubble(t, client.Config{}, func(d *dialogue) {
			require.NoError(t, d.client.Handle("#", func(context.Context, *client.Delivery) { panic("words of the handler") }))
			go d.client.Connect(d.ctx)
			d.accept(false)
			d.send(&packets.Publish{Topic: "t"})
		})
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestHandlerPanicIsSeen$")
	cmd.Env = append(os.Environ(), "MQTT311_PANIC=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "panic: words of the handler")
	require.NotContains(t, string(out), "unlock of unlocked mutex")
}

// When a handler ends its goroutine, as a failed test does, its message stays unacknowledged and
// the messages behind it are handled.
func TestHandlerEndsItsGoroutineWithMoreWaiting(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		calls := 0
		require.NoError(t, d.client.Handle("#", func(context.Context, *client.Delivery) {
			if calls++; calls == 1 {
				runtime.Goexit()
			}
		}))
		up := d.start(func() error { return d.client.Connect(d.ctx) })
		d.accept(false)
		require.NoError(t, up())
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 1}, &packets.Publish{Topic: "t", QoS: 1, PacketID: 2})
		require.Equal(t, 2, calls)
		d.expectNothing(time.Second) // the first holds the order back
	})
}

// A loop that panics has not processed its message: the next loop yields it again.
func TestMessagesPanicGivesBack(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		d.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 7})
		func() {
			defer func() { require.Equal(t, "no", recover()) }()
			for range d.client.Messages(d.ctx) {
				panic("no")
			}
		}()
		for m, err := range d.client.Messages(timeout(d.ctx, time.Second)) {
			require.NoError(t, err)
			require.EqualValues(t, 7, m.PacketID)
			break
		}
	})
}

// The error of a subscription that never reached the network says so.
func TestSubscribeNeverSentIsNotSent(t *testing.T) {
	inBubble(t, client.Config{}, func(d *dialogue) {
		done := d.start(func() error {
			_, err := d.client.Subscribe(d.ctx, packets.Subscription{Filter: "a"})
			return err
		})
		synctest.Wait()
		d.client.Abort()
		err := done()
		require.ErrorIs(t, err, client.ErrClosed)
		require.True(t, client.SafeToRetry(err), err)
	})
}

// Dropped events are counted.
func TestEventsAreDroppedAndCounted(t *testing.T) {
	var release chan struct{}
	connected(t, client.Config{MaxReconnectInterval: time.Millisecond, OnEvent: func(client.Event) {
		if release == nil {
			release = make(chan struct{}) // of the bubble
		}
		<-release
	}}, func(d *dialogue) {
		for range 500 {
			d.cut()
			d.accept(true)
		}
		require.NotZero(t, d.client.Stats().EventsDropped)
		close(release)
	})
}

// WaitCallbacks returns when all callbacks have been made or its context ends.
func TestWaitCallbacks(t *testing.T) {
	var told []string
	slow := func(text string) { time.Sleep(time.Minute); told = append(told, text) }
	var release chan struct{}
	connected(t, client.Config{
		OnEvent: func(client.Event) { time.Sleep(time.Second) },
		Trace: func(p client.Packet) {
			if release == nil {
				release = make(chan struct{}) // of the bubble
			}
			<-release
			slow(p.Text)
		},
	}, func(d *dialogue) {
		done := d.start(func() error { return d.client.Close(d.ctx) })
		d.expect("DISCONNECT")
		d.expectEnd()
		require.NoError(t, done())
		short, cancel := context.WithTimeout(d.ctx, time.Hour)
		defer cancel()
		require.ErrorIs(t, d.client.WaitCallbacks(short), context.DeadlineExceeded)
		require.Empty(t, told)
		close(release)
		require.NoError(t, d.client.WaitCallbacks(d.ctx))
		require.Len(t, told, 3, told)
		require.Equal(t, "DISCONNECT", told[2])
		require.NoError(t, d.client.WaitCallbacks(d.ctx), "nothing is left")
	})
}

// Remaining Lengths with more bytes than they need are tolerated and counted.
func TestOverlongLengthsAreCounted(t *testing.T) {
	connected(t, client.Config{}, func(d *dialogue) {
		d.conn.Write([]byte{0xd0, 0x80, 0x00})
		synctest.Wait()
		require.EqualValues(t, 1, d.client.Stats().OverlongLengths)
		d.cut()
		d.accept(true)
		require.EqualValues(t, 1, d.client.Stats().OverlongLengths)
	})
}
