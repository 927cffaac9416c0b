package torture_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/internal/torture"
	"github.com/mqtt311/mqtt311/packets"
)

var (
	number = flag.Int("torture.n", thorough.Pick(4, 11), "how many acts a history has, of each broker; more than 200 make several histories")
	broker = flag.String("torture.broker", "mosquitto", "mosquitto, nats, rabbitmq or all")
	kinds  = flag.String("torture.acts", "", "the acts, with a comma between; empty: all")
	seed   = flag.Uint64("torture.seed", 0, "of the acts; 0: another one each time")
	keep   = flag.String("torture.keep", "", "a folder for journals, packets and stores")
	draw   = flag.String("torture.pictures", "", "a folder for pictures of all histories; those that failed are drawn in any case")
)

func TestMain(m *testing.M) { torture.Main(m, child) }

// mostActs is the maximum length of a history: its picture must be readable.
const mostActs = 200

// TestTorture does everything at once to a client with a store: no promised message is lost, and none
// arrives twice at QoS 2, except for what a broker that was rolled back has forgotten.
func TestTorture(t *testing.T) {
	names := []string{*broker}
	if *broker == "all" {
		names = torture.Brokers
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			first, safe := seedOr(*seed), 0
			for i := uint64(0); int(i)*mostActs < *number; i++ {
				acts := min(mostActs, *number-int(i)*mostActs)
				o := torture.Options{Broker: name, Acts: acts, Kinds: wanted(t), Seed: first + i, Kind: kindOf(first + i)}
				if *keep != "" {
					o.Keep = filepath.Join(*keep, fmt.Sprintf("%s-%d", name, o.Seed))
					require.NoError(t, os.MkdirAll(o.Keep, 0o700))
				}
				o.Progress = progress(name, int(i)*mostActs)
				h := torture.Run(t, o)
				t.Logf("consumed by a %s: %v", o.Kind, h)
				if *draw != "" || h.Verdict.Failed() {
					t.Logf("the picture: %s", picture(t, h))
				}
				require.False(t, h.Verdict.Failed(), "repeat it with: %s", again(name, acts, o.Seed))
				require.Empty(t, childrenOf(t), "a history ends with all its processes, the broker as well")
				safe += h.Verdict.Safe
			}
			if *number >= mostActs/2 { // in a short history every loss may be excused by the broker
				require.NotZero(t, safe, "nothing was at stake")
			}
		})
	}
}

// childrenOf returns the running child processes of this process, if the system lists them.
func childrenOf(t *testing.T) (found []string) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, f := range files {
		stat, err := os.ReadFile(f)
		if err != nil {
			continue // the process has exited
		}
		// 12 (a name, with anything in it) S 11 ...
		end := bytes.LastIndexByte(stat, ')')
		if fields := strings.Fields(string(stat[end+1:])); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) && fields[0] != "Z" {
			found = append(found, string(stat[:end+1]))
		}
	}
	return found
}

// kindOf returns what consumes in the history of a seed: a client, or in one of four a connector.
// The publisher is always a client.
func kindOf(seed uint64) string {
	if seed%4 == 0 {
		return "connector"
	}
	return "store"
}

// again returns the command that repeats a history.
func again(name string, acts int, seed uint64) string {
	return fmt.Sprintf("make torture BROKER=%s N=%d SEED=%d ACTS=%s CONTROL=0", name, acts, seed, *kinds)
}

func wanted(t *testing.T) (all []torture.Kind) {
	for word := range strings.SplitSeq(*kinds, ",") {
		if word == "" {
			continue
		}
		require.Contains(t, torture.Kinds, torture.Kind(word), "-torture.acts")
		all = append(all, torture.Kind(word))
	}
	return all
}

// progress returns a function that shows the progress on a terminal.
func progress(name string, before int) func(int) {
	if info, err := os.Stdout.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	begin := time.Now()
	return func(done int) {
		done += before
		fmt.Printf("\r%s: %d of %d acts, %d %%, %v ", name, done, *number, done*100 / *number, time.Since(begin).Round(time.Second))
		if done == *number {
			fmt.Println()
		}
	}
}

func picture(t *testing.T, h *torture.History) string {
	dir := *draw
	if dir == "" {
		dir = filepath.Join("..", "..", "bin")
		if _, err := os.Stat("bin"); err == nil { // at the top of the repository
			dir = "bin"
		}
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	name := filepath.Join(dir, fmt.Sprintf("torture-%s-%d.svg", h.Options.Broker, h.Options.Seed))
	require.NoError(t, os.WriteFile(name, h.SVG(), 0o644))
	return name
}

// TestTortureSeesLoss kills a client without a store, which promises nothing, while links are dead and the broker
// is stopped: the checker must notice the losses. A few kills may hit no message in flight.
func TestTortureSeesLoss(t *testing.T) {
	thorough.Only(t)
	const mostTries = 5
	kinds := []torture.Kind{torture.Kill}
	for range 4 { // other acts, four times as likely as a kill
		kinds = append(kinds, torture.Dead, torture.BrokerStop)
	}
	for try := uint64(0); try < mostTries; try++ {
		h := torture.Run(t, torture.Options{Broker: "mosquitto", Acts: 15, Kinds: kinds, Seed: seedOr(*seed) + try, Kind: "memory"})
		t.Logf("a client without a store: %v", h)
		if slices.ContainsFunc(h.Verdict.Findings, func(f torture.Finding) bool { return f.Fault == torture.Unfinished }) {
			return
		}
	}
	t.Fatal("the harness sees nothing")
}

func seedOr(s uint64) uint64 {
	if s == 0 {
		return rand.Uint64() >> 16 // short enough to read aloud
	}
	return s
}

// child is the program of a tortured process.
func child(ctx context.Context, told *torture.Child) error {
	if told.Kind == "connector" && told.Role == torture.Consumer {
		return consumeByConnector(ctx, told)
	}
	cfg := client.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", told.Addr)
		},
		ClientID: told.ClientID, ConnectRetry: true, ConnectRetryInterval: 5 * time.Millisecond,
		MaxReconnectInterval: 50 * time.Millisecond, ConnectTimeout: time.Second,
		KeepAlive: torture.KeepAlive, PingTimeout: 500 * time.Millisecond, ManualAck: true,
	}
	if told.Trace {
		fmt.Println("run")
		cfg.Trace = func(p client.Packet) {
			fmt.Printf("%s sent=%v %s\n", p.Time.Format("05.000000"), p.Sent, p.Text)
		}
		cfg.OnEvent = func(e client.Event) { fmt.Printf("%s %v\n", time.Now().Format("05.000000"), e) }
	}
	if told.Kind != "memory" {
		store, err := wal.Open(wal.Options{
			Dir: filepath.Join(told.Dir, "wal"), Server: "broker", ClientID: told.ClientID, Disk: told.Disk,
			SegmentBytes: 1 << 16, // small, so that segments are begun, moved and removed all the time
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
	run(look)
	if told.Role == torture.Consumer {
		run(consume)
	} else {
		run(publish)
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
	if told.Role != torture.Consumer {
		return nil
	}
	if _, err := c.Subscribe(ctx, packets.Subscription{Filter: torture.Filter, QoS: 2}); err != nil {
		return err
	}
	told.Subscribed()
	return nil
}

// look calls Stats, which must not wait for anything.
func look(ctx context.Context, told *torture.Child, c *client.Client) error {
	for ctx.Err() == nil {
		told.Timed("Stats", 0, func() { c.Stats() })
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// publish publishes numbers at each QoS that the broker supports, each on its own goroutine, until
// Calm. Then it waits until all messages are completed.
func publish(ctx context.Context, told *torture.Child, c *client.Client) error {
	levels := 2
	if told.QoS2 {
		levels = 3
	}
	ended := make(chan error, levels)
	for q := range levels {
		go func() { ended <- publishAt(ctx, told, c, byte(q)) }()
	}
	for range levels {
		if err := <-ended; err != nil {
			return err
		}
	}
	for c.Stats().Unfinished > 0 {
		time.Sleep(time.Millisecond)
	}
	told.Drained()
	return nil
}

func publishAt(ctx context.Context, told *torture.Child, c *client.Client, qos byte) error {
	for {
		// At most a hundred unfinished messages and about a thousand a second.
		for pause := time.Duration(rand.IntN(4)) * time.Millisecond; pause > 0 || c.Stats().Unfinished > 100; pause = 0 {
			select {
			case <-time.After(max(pause, time.Millisecond)):
			case <-told.Calm():
				return nil
			}
		}
		select {
		case <-told.Calm():
			return nil
		default:
		}
		n := told.Intend(qos)
		m := client.Message{Topic: torture.OutTopic(qos), QoS: packets.QoS(qos), Payload: torture.Payload(n)}
		var err error
		if rand.IntN(20) == 0 {
			err = publishFor(ctx, told, c, m, time.Duration(rand.IntN(300))*time.Millisecond)
		} else {
			err = publishAsync(ctx, told, c, m, qos, n)
		}
		switch {
		case err == nil:
			told.Accepted(qos, n)
		case errors.Is(err, client.ErrNotSent):
			told.Unsent(qos, n)
		case errors.Is(err, client.ErrUnknown) && !errors.Is(err, client.ErrPoison) && !errors.Is(err, client.ErrClosed):
		case errors.Is(err, client.ErrPoison):
			told.GivenUp(qos, n, err)
		default:
			return err
		}
	}
}

// publishFor calls Publish with a context that ends soon.
func publishFor(ctx context.Context, told *torture.Child, c *client.Client, m client.Message, may time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, may)
	defer cancel()
	told.Timed("Publish", may, func() { err = c.Publish(ctx, m) })
	return err
}

// publishAsync returns when the client has accepted the message.
func publishAsync(ctx context.Context, told *torture.Child, c *client.Client, m client.Message, qos byte, n int) error {
	r, err := c.PublishAsync(ctx, m)
	if err != nil {
		return err
	}
	select {
	case <-r.Accepted():
	case <-r.Done():
		return r.Err()
	}
	go func() {
		<-r.Done()
		if err := r.Err(); errors.Is(err, client.ErrPoison) {
			told.GivenUp(qos, n, err)
		}
	}()
	return nil
}

// consume notes each number and acknowledges it. At QoS 2 it takes the next one only when the
// acknowledgement is on record: SaveNote returns when everything before it is, too.
func consume(ctx context.Context, told *torture.Child, c *client.Client) error {
	for d, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		qos, n, ok := told.Noted(d.Topic, d.Payload)
		if err := d.Ack(); err != nil && !errors.Is(err, client.ErrStale) {
			return err
		}
		if ok && d.QoS == packets.ExactlyOnce && told.Kind == "store" {
			if err := c.SaveNote(ctx, "last", d.Payload); err != nil {
				return err
			}
			told.Finished(qos, n)
		}
	}
	return nil
}
