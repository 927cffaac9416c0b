package torture_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/internal/torture"
	"github.com/mqtt311/mqtt311/packets"
)

var (
	kills = flag.Int("torture.n", 5, "how often the client is killed")
	keep  = flag.String("torture.keep", "", "a folder for the journal and the packets of TestTorture")
	seed  = flag.Uint64("torture.seed", 0, "of the times of kills and cuts; 0: another one each time")
)

func TestMain(m *testing.M) { torture.Main(m, child) }

// TestTorture kills a client with a store: nothing that was accepted is lost, and nothing comes
// twice at QoS 2, but for what the application had in work.
func TestTorture(t *testing.T) {
	r := torture.Run(t, torture.Options{Kills: *kills, Seed: seedOr(*seed), Kind: "store", Keep: *keep})
	t.Logf("a client with client/wal: %v", r)
	require.Zero(t, r.Lost(), "lost")
	require.Zero(t, r.Duplicated(), "duplicated at QoS 2")
	require.LessOrEqual(t, r.Consumed[2].InWork, r.Kills+1, "one a kill")
	require.NotZero(t, r.Published[2].Promised)
	require.NotZero(t, r.Consumed[2].Promised)
}

// TestTortureSeesLoss kills a client without a store, which promises nothing: the harness
// has to see that.
func TestTortureSeesLoss(t *testing.T) {
	r := torture.Run(t, torture.Options{Kills: 10, Seed: seedOr(*seed), Kind: "memory"})
	t.Logf("a client without a store: %v", r)
	require.NotZero(t, r.Published[1].Lost+r.Published[2].Lost)
}

func seedOr(s uint64) uint64 {
	if s == 0 {
		return rand.Uint64()
	}
	return s
}

// child is the program that is killed.
func child(ctx context.Context, told *torture.Child) error {
	cfg := client.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", told.Addr)
		},
		ClientID: told.ClientID, ConnectRetry: true, ConnectRetryInterval: 5 * time.Millisecond,
		MaxReconnectInterval: 20 * time.Millisecond, ConnectTimeout: time.Second,
		KeepAlive: time.Second, PingTimeout: 500 * time.Millisecond, ManualAck: true,
	}
	if told.Trace {
		fmt.Println("run")
		cfg.Trace = func(p client.Packet) {
			fmt.Printf("%s sent=%v %s\n", p.Time.Format("05.000000"), p.Sent, p.Text)
		}
		cfg.OnEvent = func(e client.Event) { fmt.Printf("%s %v\n", time.Now().Format("05.000000"), e) }
	}
	if told.Kind == "store" {
		store, err := wal.Open(wal.Options{
			Dir: filepath.Join(told.Dir, "wal"), Server: "mosquitto", ClientID: told.ClientID,
			SegmentBytes: 1 << 16, // so that segments are begun, moved and removed all the time
		})
		if err != nil {
			return err
		}
		defer store.Close()
		cfg.Store = store
	}
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	failed := make(chan error, 8)
	run := func(f func(context.Context, *torture.Child, *client.Client) error) {
		go func() {
			if err := f(ctx, told, c); err != nil && ctx.Err() == nil {
				failed <- err
			}
		}()
	}
	run(connect)
	run(consume)
	if told.Drain {
		run(drain)
	} else {
		for q := byte(1); q <= 2; q++ {
			publish := func(ctx context.Context, told *torture.Child, c *client.Client) error {
				return publish(ctx, told, c, q)
			}
			run(publish)
			run(publish)
		}
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return c.Close(context.Background())
}

func connect(ctx context.Context, told *torture.Child, c *client.Client) error {
	if err := c.Connect(ctx); err != nil {
		return err
	}
	if _, err := c.Subscribe(ctx, packets.Subscription{Filter: torture.InFilter, QoS: 2}); err != nil {
		return err
	}
	told.Subscribed()
	return nil
}

// publish publishes numbers, with a hundred unfinished at most.
func publish(ctx context.Context, told *torture.Child, c *client.Client, qos byte) error {
	for {
		for c.Stats().Unfinished > 100 {
			time.Sleep(time.Millisecond)
		}
		n := told.Intend(qos)
		r, err := c.PublishAsync(ctx, client.Message{Topic: torture.OutTopic(qos), QoS: packets.QoS(qos), Payload: torture.Payload(n)})
		if err != nil {
			return err
		}
		<-r.Accepted()
		if err := r.Err(); err != nil {
			return err
		}
		told.Accepted(qos, n)
	}
}

// consume notes each number, acknowledges it, and at QoS 2 takes the next one when the
// acknowledgement is on record: SaveNote returns when everything before it is, too.
func consume(ctx context.Context, told *torture.Child, c *client.Client) error {
	for d, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		n, err := torture.Number(d.Payload)
		if err != nil {
			return err
		}
		told.Noted(byte(d.QoS), n)
		if err := d.Ack(); err != nil && !errors.Is(err, client.ErrStale) {
			return err
		}
		if d.QoS == packets.ExactlyOnce && told.Kind == "store" {
			if err := c.SaveNote(ctx, "last", d.Payload); err != nil {
				return err
			}
		}
	}
	return nil
}

func drain(ctx context.Context, told *torture.Child, c *client.Client) error {
	for c.Stats().Unfinished > 0 {
		time.Sleep(time.Millisecond)
	}
	told.Drained()
	return nil
}
