package interop

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A cutter ends the first connection after a number of bytes in one direction.
type cutter struct {
	addr string
	mu   sync.Mutex
	read int // bytes until the cut; negative: never
	sent int
}

func (c *cutter) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cut := &cutConn{Conn: conn, read: c.read, sent: c.sent}
	c.read, c.sent = -1, -1 // later connections are not cut
	return cut, nil
}

type cutConn struct {
	net.Conn
	read, sent int
}

func (c *cutConn) Read(b []byte) (int, error) {
	if c.read == 0 {
		c.Close()
	}
	if c.read > 0 {
		b = b[:min(len(b), c.read)]
	}
	n, err := c.Conn.Read(b)
	if c.read > 0 {
		c.read -= n
	}
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.sent < 0 || len(b) < c.sent {
		n, err := c.Conn.Write(b)
		if c.sent > 0 {
			c.sent -= n
		}
		return n, err
	}
	n, _ := c.Conn.Write(b[:c.sent])
	c.sent = 0
	c.Close()
	return n, net.ErrClosed
}

// lanes is how many scenarios run at once, if go test -parallel allows it: most of the time they wait.
const lanes = 8

// TestInteropCutAtEveryByte runs a scenario once for each byte in either direction, and cuts the connection
// there: a subscription, publishing at QoS 1 and 2, receiving both. Nothing is lost, and nothing at QoS 2
// arrives twice, at our client or at another one. The brief form cuts at every eighth byte.
func TestInteropCutAtEveryByte(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{Config: "autosave_on_changes false"})
	ctx := within(t)
	observer, err := client.New(client.Config{Dial: (&cutter{addr: b.Addr(), read: -1, sent: -1}).dial, CleanSession: true})
	require.NoError(t, err)
	require.NoError(t, observer.Connect(ctx))
	defer observer.Abort()
	_, err = observer.Subscribe(ctx, packets.Subscription{Filter: "out/#", QoS: 2})
	require.NoError(t, err)
	seen := make(map[string]int)
	var mu sync.Mutex
	go func() {
		for d, err := range observer.Messages(ctx) {
			if err != nil {
				return
			}
			mu.Lock()
			seen[d.Topic]++
			mu.Unlock()
		}
	}()
	// The scenario has about 400 bytes from the server and 500 to it. A cut after its end has no effect.
	const most = 520
	var runs atomic.Int64
	t.Run("cut", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				for at := 1 + lane; at <= most; at += thorough.Pick(8*lanes, lanes) {
					for _, direction := range []string{"read", "sent"} {
						cut := &cutter{addr: b.Addr(), read: -1, sent: -1}
						if direction == "read" {
							cut.read = at
						} else {
							cut.sent = at
						}
						scenario(t, ctx, cut, observer, fmt.Sprintf("%s%d", direction, at))
						runs.Add(1)
					}
				}
			})
		}
	})
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == 2*int(runs.Load())
	}, time.Minute, 10*time.Millisecond, "messages are lost")
	require.NoError(t, observer.Close(ctx))
	mu.Lock()
	defer mu.Unlock()
	for topic, n := range seen {
		if topic[len(topic)-1] == '2' {
			require.Equal(t, 1, n, topic)
		}
	}
}

func scenario(t *testing.T, ctx context.Context, cut *cutter, observer *client.Client, id string) {
	t.Helper()
	c, err := client.New(client.Config{
		Dial: cut.dial, ClientID: id, ConnectRetry: true, ConnectRetryInterval: time.Millisecond,
		MaxReconnectInterval: time.Millisecond,
	})
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx), id)
	defer c.Abort()
	_, err = c.Subscribe(ctx, packets.Subscription{Filter: "in/" + id + "/#", QoS: 2})
	require.NoError(t, err, id)
	ours := make(chan error, 1)
	go func() {
		for q := packets.QoS(1); q <= 2; q++ {
			if err := c.Publish(ctx, client.Message{Topic: fmt.Sprintf("out/%s/%d", id, q), QoS: q, Payload: []byte("x")}); err != nil {
				ours <- err
				return
			}
		}
		ours <- nil
	}()
	for q := packets.QoS(1); q <= 2; q++ {
		require.NoError(t, observer.Publish(ctx, client.Message{Topic: fmt.Sprintf("in/%s/%d", id, q), QoS: q, Payload: []byte("y")}))
	}
	got := make(map[packets.QoS]int)
	for d, err := range c.Messages(ctx) {
		require.NoError(t, err, id)
		if got[d.QoS]++; len(got) == 2 {
			require.NoError(t, d.Ack())
			break
		}
	}
	require.Equal(t, 1, got[packets.ExactlyOnce], id)
	require.NoError(t, <-ours, id)
	require.NoError(t, c.Close(ctx), id)
}
