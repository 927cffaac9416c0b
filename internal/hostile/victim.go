package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
)

const victimEnv = "MQTT311_HOSTILE_VICTIM"

// An Order tells a victim what to do.
type Order struct {
	Kind  Kind
	Addr  string // host:port of the server
	Over  Carrier
	Dir   string // the victim's own directory
	CA    string // a file
	Times Times
	Files uint64 // limit of file descriptors; 0: the system's

	// Hunger is for how long the victim has no file descriptor left, soon after it has connected.
	Hunger time.Duration
}

// Times are the timeouts of the victim.
type Times struct {
	KeepAlive, Ping, Connect, Write, Reconnect time.Duration
}

// A Report is a line that a victim writes to its standard output at intervals.
type Report struct {
	Goroutines int
	Slowest    time.Duration // the slowest call of Stats
	Received   uint64        // messages
	Published  uint64        // messages that the server has acknowledged
	Packets    uint64        // packets received
}

// Main is the TestMain of a package with victims. In the process of a victim it does not return.
func Main(m *testing.M) {
	told := os.Getenv(victimEnv)
	if told == "" {
		os.Exit(m.Run())
	}
	var o Order
	err := json.Unmarshal([]byte(told), &o)
	if err == nil {
		err = o.suffer()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// suffer subscribes and publishes until the process is asked to end, or until its standard input
// ends because the parent has died.
func (o *Order) suffer() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if o.Files > 0 {
		if err := limitFiles(o.Files); err != nil {
			return err
		}
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	dial, err := o.dialer()
	if err != nil {
		return err
	}
	cfg := client.Config{
		Dial: dial, ClientID: "victim", ConnectRetry: true, SkipMalformed: true, SkipOversize: true, Logger: log,
		KeepAlive: o.Times.KeepAlive, PingTimeout: o.Times.Ping, ConnectTimeout: o.Times.Connect,
		WriteTimeout: o.Times.Write, MaxReconnectInterval: o.Times.Reconnect,
	}
	if o.Kind == Store {
		store, err := wal.Open(wal.Options{Dir: o.Dir, Server: o.Addr, ClientID: cfg.ClientID, Logger: log, SegmentBytes: 1 << 20})
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
	err = o.live(ctx, c)
	closing, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(err, c.Close(closing))
}

const (
	patience = TooLong // for closing the client

	// TooLong is how long a call takes that hangs: longer than a busy machine lets a process wait.
	TooLong = 10 * time.Second
)

func (o *Order) live(ctx context.Context, c *client.Client) error {
	var received, published atomic.Uint64
	if err := c.HandleUnmatched(func(context.Context, *client.Delivery) { received.Add(1) }); err != nil {
		return err
	}
	payload := []byte("something")
	if o.Hunger > 0 {
		payload = make([]byte, 64<<10) // large enough to begin and remove segments of the store
	}
	go func() {
		if c.Connect(ctx) == nil && o.Hunger > 0 {
			starve(o.Hunger)
		}
	}()
	go c.Subscribe(ctx, packets.Subscription{Filter: "in/#", QoS: packets.ExactlyOnce})
	for _, qos := range []packets.QoS{packets.AtLeastOnce, packets.ExactlyOnce} {
		go func() {
			for ctx.Err() == nil {
				call, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				begun := time.Now()
				if c.Publish(call, client.Message{Topic: "out", Payload: payload, QoS: qos}) == nil {
					published.Add(1)
				}
				if d := time.Since(begun); d > TooLong {
					fmt.Fprintf(os.Stderr, "VICTIM: Publish with a context of 0.3 s took %v\n", d)
				}
				cancel()
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
	var slowest time.Duration
	out := json.NewEncoder(os.Stdout)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		begun := time.Now()
		s := c.Stats()
		slowest = max(slowest, time.Since(begun))
		r := Report{Goroutines: runtime.NumGoroutine(), Slowest: slowest, Received: received.Load(), Published: published.Load()}
		for _, n := range s.PacketsReceived {
			r.Packets += n
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

// Hungry and Fed are what a victim logs when it has no file descriptor left, and when it has some again.
const (
	Hungry = "no descriptor is left"
	Fed    = "descriptors are there again"
)

// starve takes all free file descriptors for a while.
func starve(d time.Duration) {
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	slog.Warn(Hungry, "taken", len(taken))
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f, err := os.Open(os.DevNull); err == nil { // a descriptor became free
			taken = append(taken, f)
		}
	}
	for _, f := range taken {
		f.Close()
	}
	slog.Warn(Fed, "taken", len(taken))
}

// dialer returns a dial function, made as a program would make it.
func (o *Order) dialer() (func(context.Context) (net.Conn, error), error) {
	opts := transport.Options{TLS: &transport.TLSOptions{ServerCert: transport.File(o.CA)}}
	switch o.Over {
	case TLS:
		return transport.Dialer("mqtts://"+o.Addr, &opts)
	case WS:
		return ws.Dialer("ws://"+o.Addr+"/mqtt", &ws.Options{Options: opts})
	case WSS:
		return ws.Dialer("wss://"+o.Addr+"/mqtt", &ws.Options{Options: opts})
	case Socks, HTTP:
		var err error
		if opts.NetDial, err = proxy.Dialer(o.proxyURL(), nil); err != nil {
			return nil, err
		}
		return transport.Dialer("mqtt://server.example:1883", &opts)
	}
	return transport.Dialer("mqtt://"+o.Addr, &opts)
}

func (o *Order) proxyURL() string {
	u := url.URL{Scheme: "http", Host: o.Addr, User: url.UserPassword("somebody", "canary-of-the-proxy")}
	if o.Over == Socks {
		u.Scheme, u.User = "socks5", nil
	}
	return u.String()
}

// config returns the configuration of a connector that does the same as suffer.
func (o *Order) config() string {
	address, protocol, more := o.Addr, "TCP", ""
	switch o.Over {
	case TLS:
		protocol = "TLS"
	case WS:
		protocol, address = "WebSocket", o.Addr+"/mqtt"
	case WSS:
		protocol, address = "WebSocket Secure", o.Addr+"/mqtt"
	case Socks, HTTP:
		address, more = "server.example:1883", "    proxy: \""+o.proxyURL()+"\"\n"
	}
	general := fmt.Sprintf("    broker_url: %q\n    protocol: %s\n    client_id: victim\n", address, protocol)
	if o.Over == TLS || o.Over == WSS {
		general += fmt.Sprintf("    tls_server_cert: %q\n", o.CA)
	}
	return "connector:\n  general:\n" + general + fmt.Sprintf(`  advanced:
    clean_session: false
    auto_reconnect: true
    connect_retry: true
    keep_alive: %v
    ping_timeout: %v
    connect_timeout: %v
    write_timeout: %v
    connect_retry_interval: %v
    max_reconnect_interval: %v
  extension:
%s    ack_timeout: 10m
    session_store: {dir: %q}
consumers:
  all: {topics: ["in/#"], qos: Exactly Once}
producers:
  out: {topic: out, qos: At Least Once, done_when: stored}
`, o.Times.KeepAlive, o.Times.Ping, o.Times.Connect, o.Times.Write, o.Times.Reconnect, o.Times.Reconnect, more, o.Dir)
}
