package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// TestOutcomesAreTrue compares the result of every call with what the server saw, over connections
// that break after any number of bytes, with contexts that end at any time, and with callers that
// reuse their memory. After nil the message is there, at QoS 2 once; after ErrNotSent it never was
// and never will be; and every call returns. All messages that come back are taken in the end,
// although the inbox is small and the consumer slow.
func TestOutcomesAreTrue(t *testing.T) {
	seeds := 300
	if raceEnabled || testing.Short() {
		seeds = 60
	}
	total := make(map[string]int)
	for seed := range uint64(seeds) {
		outcomesAreTrue(t, seed, total)
	}
	t.Log(total)
	for _, o := range []string{"ok", "not sent", "unknown"} {
		for qos := range 3 {
			require.NotZero(t, total[fmt.Sprintf("QoS %d %s", qos, o)], "a test in which that does not happen proves little")
		}
	}
	require.NotZero(t, total["left to the server"])
}

func outcomesAreTrue(t *testing.T, seed uint64, total map[string]int) {
	r := rand.New(rand.NewPCG(seed, 1))
	synctest.Test(t, func(t *testing.T) {
		server := clienttest.NewServer()
		calm := make(chan struct{}) // closed when connections hold
		var luck sync.Mutex
		cfg := client.Config{
			ClientID: "c", NoScrub: true, ConnectRetry: true, MaxReconnectInterval: 20 * time.Millisecond,
			MaxInflight: 1 + r.IntN(4), QueueMessages: 2 + r.IntN(8), QueueQoS0: r.IntN(2) == 0, InboxMessages: 1 + r.IntN(8), InboxBytes: 2048,
			Dial: func(ctx context.Context) (net.Conn, error) {
				conn, err := server.Dial(ctx)
				if err != nil {
					return nil, err
				}
				select {
				case <-calm:
					return conn, nil
				default:
				}
				luck.Lock()
				defer luck.Unlock()
				f := &frail{Conn: conn, read: -1, write: -1}
				if r.IntN(2) == 0 {
					f.read = 4 + r.IntN(200)
				} else {
					f.write = 30 + r.IntN(400)
				}
				return f, nil
			},
		}
		if r.IntN(3) == 0 {
			disk := newDisk()
			disk.takes = time.Duration(r.IntN(5)) * time.Millisecond
			cfg.Store = disk
		}
		c, err := client.New(cfg)
		require.NoError(t, err)
		e := newEcho(1 + r.IntN(24))
		e.saw = make(map[string]int)
		e.lag = func() time.Duration {
			luck.Lock()
			defer luck.Unlock()
			return time.Duration(r.IntN(3)) * time.Millisecond
		}
		go e.serve(t.Context(), server)
		go c.Connect(t.Context())

		var mu sync.Mutex
		outcomes := make(map[string]error)
		var all, consumers sync.WaitGroup
		for i := range 6 {
			calls := rand.New(rand.NewPCG(seed, uint64(i)+2))
			all.Go(func() {
				buf := make([]byte, 0, 64)
				for n := range 15 {
					qos := packets.QoS(calls.IntN(3))
					key := fmt.Sprintf("%d-%d-%d", qos, i, n)
					buf = append(append(buf[:0], key...), bytes.Repeat([]byte{' '}, calls.IntN(20))...)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(calls.IntN(40))*time.Millisecond)
					err := c.Publish(ctx, client.Message{Topic: "t", QoS: qos, Payload: buf})
					cancel()
					for k := range buf {
						buf[k] = '!'
					}
					mu.Lock()
					outcomes[key] = err
					mu.Unlock()
					if calls.IntN(8) == 0 {
						c.Subscribe(t.Context(), packets.Subscription{Filter: "t"})
					}
					time.Sleep(time.Duration(calls.IntN(3)) * time.Millisecond)
				}
			})
		}
		consumers.Go(func() {
			for range c.Messages(t.Context()) {
				time.Sleep(20 * time.Millisecond)
			}
		})
		all.Wait()
		close(calm)
		time.Sleep(10 * time.Minute)
		n := c.Stats().Unfinished
		require.Zero(t, n, "seed %d", seed)
		require.Empty(t, e.unfinished(), "seed %d: left to the server and not fetched", seed)
		total["left to the server"] += int(c.Stats().Session.Shed)
		require.NoError(t, c.Close(t.Context()))
		consumers.Wait()
		e.close()
		time.Sleep(time.Second) // until the server has seen it

		for key, err := range outcomes {
			n, qos := e.saw[key], int(key[0]-'0')
			what := fmt.Sprintf("seed %d: %s came %d times: %v", seed, key, n, err)
			switch {
			case err == nil:
				total[fmt.Sprintf("QoS %d ok", qos)]++
				require.True(t, n > 0 || qos == 0, what)
			case client.SafeToRetry(err):
				total[fmt.Sprintf("QoS %d not sent", qos)]++
				require.Zero(t, n, what)
			case errors.Is(err, client.ErrUnknown):
				total[fmt.Sprintf("QoS %d unknown", qos)]++
				require.True(t, n > 0 || qos == 0, what) // it stayed in flight
			default:
				require.NoError(t, err, what)
			}
			require.True(t, n <= 1 || qos == 1, what)
		}
		for key := range e.saw {
			require.False(t, strings.Contains(key, "!"), "seed %d: memory of the caller was sent: %s", seed, key)
		}
	})
}
