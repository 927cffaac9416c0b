package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// The programs in docs/client.md. TestGuide in internal/house compares them with the document.

// publishReading gives up after ten seconds.
func publishReading(ctx context.Context, c *client.Client, celsius string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := c.Publish(ctx, client.Message{Topic: "plant/7/celsius", Payload: []byte(celsius), QoS: packets.AtLeastOnce})
	switch {
	case err == nil:
		return nil // the server has it
	case client.SafeToRetry(err):
		return fmt.Errorf("not sent, may be published again: %w", err)
	default:
		return fmt.Errorf("may have arrived: %w", err)
	}
}

// publishAll has up to Config.MaxInflight messages in flight at a time.
func publishAll(ctx context.Context, c *client.Client, lines []string) error {
	receipts := make([]*client.Receipt, len(lines))
	for i, line := range lines {
		r, err := c.PublishAsync(ctx, client.Message{Topic: "plant/log", Payload: []byte(line), QoS: packets.AtLeastOnce})
		if err != nil {
			return err // this one and those behind it were not sent
		}
		receipts[i] = r
	}
	var errs []error
	for _, r := range receipts {
		errs = append(errs, r.Wait(ctx))
	}
	return errors.Join(errs...)
}

// consume ends when ctx does, when save fails, or when the client is closed.
func consume(ctx context.Context, c *client.Client, save func(topic string, payload []byte) error) error {
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		if err := save(m.Topic, m.Payload); err != nil {
			return err // not acknowledged: the next loop, or the next process, gets it again
		}
	} // acknowledged here, when the loop steps on
	return nil
}

// consumeInWorkers runs four loops; each message goes to one of them.
func consumeInWorkers(ctx context.Context, c *client.Client, save func(topic string, payload []byte) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() { stop(consume(ctx, c, save)) }) // the first error stops them all
	}
	workers.Wait()
	return context.Cause(ctx)
}

// kept opens a client whose session outlives the process.
func kept(dial func(context.Context) (net.Conn, error), dir string) (*client.Client, *wal.Store, error) {
	store, err := wal.Open(wal.Options{Dir: dir, Server: "mq.example.com:8883", ClientID: "line-7"})
	if err != nil {
		return nil, nil, err
	}
	c, err := client.New(client.Config{Dial: dial, ClientID: "line-7", Store: store})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return c, store, nil
}

// Messages that could not be sent are published by the next process.
func Example_keptSession() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	dial, stop := server()
	defer stop()
	ctx := context.Background()

	c, store, err := kept(dial, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := c.PublishAsync(ctx, client.Message{Topic: "plant/7/celsius", Payload: []byte("21"), QoS: packets.AtLeastOnce})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-receipt.Accepted() // it is on the disk
	c.Abort()            // the process ends before it ever connected
	store.Close()

	c, store, err = kept(dial, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	fmt.Println("unfinished:", c.Stats().Unfinished)
	if err := c.Connect(ctx); err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Close(ctx); err != nil { // waits until it has been sent and acknowledged
		fmt.Println(err)
	}
	fmt.Println("unfinished:", c.Stats().Unfinished)
	// Output:
	// unfinished: 1
	// unfinished: 0
}

// overTLS trusts the plant's certificate authority instead of the system's.
func overTLS() (func(context.Context) (net.Conn, error), error) {
	return transport.Dialer("mqtts://mq.example.com:8883", &transport.Options{
		TLS: &transport.TLSOptions{
			ServerCert: "/etc/line-7/ca.crt",
			ClientCert: "/etc/line-7/line-7.crt",
			ClientKey:  "/etc/line-7/line-7.key",
		},
	})
}

// overWebSocket sends a token with each handshake.
func overWebSocket(token func() string) (func(context.Context) (net.Conn, error), error) {
	return ws.Dialer("wss://mq.example.com/mqtt", &ws.Options{
		Header: func(context.Context) (http.Header, error) {
			return http.Header{"Authorization": {"Bearer " + token()}}, nil
		},
	})
}

// overProxy is for TCP and TLS; the options of package ws have NetDial, too.
func overProxy() (func(context.Context) (net.Conn, error), error) {
	through, err := proxy.Dialer("http://proxy.example.com:3128", nil) // or socks5://; proxy.FromEnvironment
	if err != nil {
		return nil, err
	}
	return transport.Dialer("mqtts://mq.example.com", &transport.Options{NetDial: through})
}

// credentials reads a token that another program renews.
func credentials(context.Context) (string, []byte, error) {
	token, err := os.ReadFile("/run/secrets/mqtt-token")
	if err != nil {
		return "", nil, err // this attempt to connect fails; the next one asks again
	}
	return "line-7", bytes.TrimSpace(token), nil
}

// Subscribers see whether the line is connected.
func Example_lastWill() {
	dial, stop := server()
	defer stop()
	ctx := context.Background()

	state := func(s string) client.Message {
		return client.Message{Topic: "plant/7/state", Payload: []byte(s), QoS: packets.AtLeastOnce, Retain: true}
	}
	c, err := client.New(client.Config{
		Dial:     dial,
		ClientID: "line-7",
		Will:     &packets.Will{Topic: "plant/7/state", Payload: []byte("lost"), QoS: packets.AtLeastOnce, Retain: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Connect(ctx); err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Publish(ctx, state("here")); err != nil {
		fmt.Println(err)
	}
	// ... and at the end, since DISCONNECT drops the will:
	if err := c.Publish(ctx, state("gone")); err != nil {
		fmt.Println(err)
	}
	if err := c.Close(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println(c.State())
	// Output: closed
}

// leave gives messages in flight ten seconds.
func leave(c *client.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.Close(ctx)
}

// watched reports the state of the connection to the operator.
func watched(dial func(context.Context) (net.Conn, error), log *slog.Logger, connected func(bool)) (*client.Client, error) {
	return client.New(client.Config{
		Dial:         dial,
		ClientID:     "line-7",
		ConnectRetry: true, // Connect waits for a server that is not there yet
		Logger:       log,
		OnEvent: func(e client.Event) {
			switch e.Kind {
			case client.ConnectionUp:
				connected(true)
			case client.ConnectionLost, client.ConnectFailed:
				connected(false) // e.Err says why
			case client.MessageSkipped, client.MessageUnmatched:
				log.Warn("a message was acknowledged and not handled", "reason", e.Err)
			}
		},
	})
}

// When the queue is full, this program drops its newest reading instead of waiting.
func Example_fullQueue() {
	nobody := func(context.Context) (net.Conn, error) { return nil, errors.New("no network") }
	ctx := context.Background()
	c, err := client.New(client.Config{
		Dial:          nobody,
		ClientID:      "line-7",
		QueueMessages: 2,
		WhenFull:      client.QueueFail, // QueueWait is the default; QueueDropOldest keeps the newest
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Abort()
	for n := range 3 {
		err := c.Enqueue(ctx, client.Message{Topic: "n", Payload: fmt.Append(nil, n), QoS: packets.AtLeastOnce})
		fmt.Println(n, errors.Is(err, client.ErrQueueFull))
	}
	// Output:
	// 0 false
	// 1 false
	// 2 true
}

// A reading whose acknowledgement is lost is published again, with a single call.
func TestReadingIsPublishedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := clienttest.NewServer()
		c, err := client.New(client.Config{Dial: server.Dial, ClientID: "line-7"})
		require.NoError(t, err)
		go c.Connect(t.Context())
		conn, err := server.Accept(t.Context())
		require.NoError(t, err)
		_, err = conn.Handshake(false)
		require.NoError(t, err)

		published := make(chan error, 1)
		go func() {
			published <- c.Publish(t.Context(), client.Message{Topic: "celsius", Payload: []byte("21"), QoS: packets.AtLeastOnce})
		}()
		_, err = conn.Receive()
		require.NoError(t, err)
		conn.Close() // before PUBACK

		conn, err = server.Accept(t.Context()) // simulated time: the pause costs none
		require.NoError(t, err)
		_, err = conn.Handshake(true)
		require.NoError(t, err)
		again, err := conn.Receive()
		require.NoError(t, err)
		require.True(t, again.(*packets.Publish).Dup)
		require.NoError(t, conn.Send(&packets.Puback{PacketID: again.(*packets.Publish).PacketID}))
		require.NoError(t, <-published)
		c.Abort()
	})
}

// The functions of the guide do what the guide says.
func TestFunctionsOfTheGuide(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", b.Addr) }
	up := make(chan bool, 16)
	c, err := watched(dial, slog.New(slog.DiscardHandler), func(ok bool) { up <- ok })
	require.NoError(t, err)
	require.ErrorContains(t, c.Connect(canceled(t)), "canceled")
	c, err = watched(dial, slog.New(slog.DiscardHandler), func(ok bool) { up <- ok })
	require.NoError(t, err)
	require.NoError(t, c.Connect(t.Context()))
	for !<-up {
	}
	_, err = c.Subscribe(t.Context(), packets.Subscription{Filter: "plant/#", QoS: packets.AtLeastOnce})
	require.NoError(t, err)
	require.NoError(t, publishReading(t.Context(), c, "21"))
	require.NoError(t, publishAll(t.Context(), c, []string{"a", "b", "c"}))

	var mu sync.Mutex
	var got []string
	enough := errors.New("enough")
	keep := func(most int) func(string, []byte) error {
		return func(_ string, payload []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if len(got) == most {
				return enough
			}
			got = append(got, string(payload))
			return nil
		}
	}
	require.ErrorIs(t, consume(t.Context(), c, keep(2)), enough)
	require.Equal(t, "21 a", strings.Join(got, " "))
	done := make(chan error)
	go func() { done <- consumeInWorkers(t.Context(), c, keep(4)) }()
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 4 }, time.Minute, time.Millisecond)
	require.NoError(t, publishReading(t.Context(), c, "22"))
	require.ErrorIs(t, <-done, enough)
	require.ElementsMatch(t, []string{"21", "a", "b", "c"}, got)
	require.ErrorContains(t, publishReading(canceled(t), c, "23"), "not sent, may be published again")
	require.NoError(t, leave(c))
	require.ErrorIs(t, publishReading(t.Context(), c, "24"), client.ErrClosed)

	for _, dialer := range []func() (func(context.Context) (net.Conn, error), error){
		overTLS, overProxy, func() (func(context.Context) (net.Conn, error), error) {
			return overWebSocket(func() string { return "fresh" })
		},
	} {
		dial, err := dialer()
		require.NoError(t, err)
		_, err = dial(canceled(t))
		require.Error(t, err)
	}
	_, _, err = credentials(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
