package connector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// A connection is a client with its session store, if it has one.
type connection struct {
	cfg     client.Config // without the store
	keep    *SessionStore // nil: in memory
	server  string        // name of the server for the store
	current atomic.Pointer[client.Client]
	store   *wal.Store
	lost    atomic.Uint64 // lost connections and failed attempts to connect

	name            string // in Config.Connections; empty for the main connection
	settings        *Connection
	certificatesEnd atomic.Int64               // seconds since 1970; 0: no certificate
	problem         atomic.Pointer[flow.Error] // of an additional connection; nil while it is up
	begun           atomic.Bool                // an additional connection has been up
	unretained      atomic.Uint64              // messages that arrived retained and were published without the flag
}

// newConnection checks cfg. A client with a session store is created by open, so that nothing is
// locked before Start.
func newConnection(settings *Connection, cfg client.Config) (*connection, error) {
	n := &connection{settings: settings, keep: settings.Extension.SessionStore, server: withoutScheme(settings.General.BrokerURL)}
	cfg.Dial = noted(&n.certificatesEnd, cfg.Dial)
	cfg.Fallbacks = slices.Clone(cfg.Fallbacks)
	for i, dial := range cfg.Fallbacks {
		cfg.Fallbacks[i] = noted(&n.certificatesEnd, dial)
	}
	n.cfg = cfg
	c, err := client.New(cfg)
	if err != nil {
		return nil, flow.NewError(flow.TypeConfig, err)
	}
	if n.keep == nil {
		n.current.Store(c)
	}
	return n, nil
}

// connections creates the connection of the consumers, that of the producers, and the additional
// ones.
func (c *Connector) connections() error {
	settings := c.cfg.own()
	cfg, err := (&way{cfg: settings, opts: c.opts}).clientConfig()
	if err != nil {
		return err
	}
	own := cfg
	own.OnEvent = func(e client.Event) { c.observe(c.conn, e) }
	own.TakeOversize = c.takeOversize
	if c.conn, err = newConnection(settings, own); err != nil {
		return err
	}
	if err := c.newOthers(); err != nil {
		return err
	}
	c.out = c.conn
	if c.cfg.Extension.ProducerConnection == SharedConnection {
		return nil
	}
	cfg.ClientID += producersSuffix
	cfg.Will = nil // only the connection of the consumers has a Will
	cfg.OnEvent = func(e client.Event) { c.observe(c.out, e) }
	c.out, err = newConnection(settings, cfg)
	return err
}

const producersSuffix = "-producers"

// open opens all session stores; if one fails, it closes those that it has opened.
func (c *Connector) open() error {
	var opened []*connection
	for _, n := range c.all() {
		if err := n.open(c); err != nil {
			for _, o := range opened {
				o.closeStore()
			}
			return err
		}
		opened = append(opened, n)
	}
	return nil
}

// all returns all connections, that of the consumers first.
func (c *Connector) all() []*connection {
	all := []*connection{c.conn}
	if c.out != c.conn {
		all = append(all, c.out)
	}
	for _, name := range sortedKeys(c.others) {
		all = append(all, c.others[name])
	}
	return all
}

// connect connects all, that of the consumers last: the Server may send messages at once, and their
// flows publish.
func (c *Connector) connect(ctx context.Context) error {
	if err := c.connectOthers(ctx); err != nil {
		return err
	}
	if c.out != c.conn {
		if err := c.out.client().Connect(ctx); err != nil {
			return fmt.Errorf("connector: the producers' connection: %w", err)
		}
		go func() { // pump does so for the other
			select {
			case <-c.out.client().Done():
				c.over(c.out.client().Err())
			case <-c.stopping:
			}
		}()
	}
	return c.conn.client().Connect(ctx)
}

// close closes all, that of the consumers first, so that its acknowledgements do not wait for
// producers. The others are closed concurrently.
func (c *Connector) close(ctx context.Context) error {
	all := c.all()
	errs := make([]error, len(all))
	errs[0] = all[0].close(ctx)
	var closing sync.WaitGroup
	for i, n := range all[1:] {
		closing.Go(func() { errs[i+1] = n.close(ctx) })
	}
	closing.Wait()
	return errors.Join(errs...)
}

// open opens the session store and makes the client that it belongs to.
func (n *connection) open(c *Connector) error {
	if n.keep == nil {
		return nil
	}
	var err error
	n.store, err = wal.Open(wal.Options{
		Dir: n.keep.Dir, Server: n.server, ClientID: n.cfg.ClientID,
		Sync: n.keep.Sync, MaxBytes: int64(n.keep.MaxBytes), AllowShared: n.keep.AllowShared, Logger: c.log,
	})
	if err != nil {
		return flow.NewError(flow.TypeStore, err)
	}
	cfg := n.cfg
	cfg.Store, cfg.QueueMessages = n.store, n.keep.MaxMessages
	if n.keep.MaxBytes != 0 {
		cfg.QueueBytes = -1 // limited by the store itself
	}
	made, err := client.New(cfg)
	if err != nil {
		return flow.NewError(flow.TypeStore, errors.Join(err, n.store.Close()))
	}
	n.current.Store(made)
	return nil
}

// client returns the client, or nil before open.
func (n *connection) client() *client.Client { return n.current.Load() }

// close closes the client gracefully until ctx is done, and then the store.
func (n *connection) close(ctx context.Context) error {
	var err error
	if c := n.client(); c != nil {
		err = c.Close(ctx)
	}
	return errors.Join(err, n.closeStore())
}

// abort closes the client at once, without DISCONNECT.
func (n *connection) abort() {
	if c := n.client(); c != nil {
		c.Abort()
	}
	n.closeStore() // no guarantee depends on its error
}

func (n *connection) closeStore() error {
	if n.store == nil {
		return nil
	}
	if err := n.store.Close(); err != nil {
		return flow.NewError(flow.TypeStore, err)
	}
	return nil
}

// publish publishes over the connection.
func (n *connection) publish(ctx context.Context, m client.Message) error {
	c := n.client()
	if c == nil {
		return errNotStarted
	}
	return c.Publish(ctx, m)
}

// errNotStarted: a producer with a session store is used before Start.
var errNotStarted = fmt.Errorf("connector: the session store opens with Start: %w", client.ErrNotConnected)

// A way is the settings for connecting to a server.
type way struct {
	cfg    *Connection
	opts   Options
	onStep func(transport.StepTime) // of Test
}

// clientConfig returns the configuration of a client.
func (w *way) clientConfig() (client.Config, error) {
	g, a, x := &w.cfg.General, &w.cfg.Advanced, &w.cfg.Extension
	cfg := client.Config{
		Dial:                 w.opts.Dial,
		ClientID:             withRandom(g.ClientID),
		Credentials:          g.credentials(),
		CleanSession:         a.Clean(),
		KeepAlive:            offAtZero(a.KeepAlive),
		PingTimeout:          deref(a.PingTimeout, 0),
		ConnectTimeout:       offAtZero(a.ConnectTimeout),
		WriteTimeout:         offAtZero(a.WriteTimeout),
		NoReconnect:          !a.AutoReconnect,
		MaxReconnectInterval: deref(a.MaxReconnectInterval, 0),
		ConnectRetry:         a.ConnectRetry,
		ConnectRetryInterval: deref(a.ConnectRetryInterval, 30*time.Second),
		MaxInflight:          x.MaxInflight,
		MaxInflightQoS2:      x.MaxInflightQoS2,
		MaxPacketSize:        x.MaxPacketSize,
		SkipOversize:         x.Oversize != FaultStop,
		SkipMalformed:        x.Malformed != FaultStop,
		ManualAck:            true,
		QoS0Overflow:         x.QoS0Overflow,
		OnEvent:              w.opts.OnEvent,
		Logger:               w.opts.Logger,
	}
	if cfg.Credentials == nil {
		cfg.UserName, cfg.Password = g.UserName, passwordOf(g.Password)
	}
	if a.WillEnabled {
		cfg.Will = &packets.Will{Topic: a.WillTopic, Payload: []byte(a.WillPayload), QoS: a.WillQoS, Retain: a.WillRetained}
	}
	if cfg.Dial != nil {
		return cfg, nil
	}
	opts, err := w.transport()
	if err != nil {
		return cfg, flow.NewError(flow.TypeConfig, err)
	}
	for i, url := range append([]string{g.BrokerURL}, x.FailoverURLs...) {
		dial, err := w.dialer(url, opts)
		switch {
		case err != nil:
			return cfg, flow.NewError(flow.TypeConfig, err)
		case i == 0:
			cfg.Dial = dial
		default:
			cfg.Fallbacks = append(cfg.Fallbacks, dial)
		}
	}
	return cfg, nil
}

func offAtZero(d *time.Duration) time.Duration {
	if d != nil && *d == 0 {
		return -1
	}
	return deref(d, 0)
}

// transport returns the options for opening connections, to whatever server.
func (w *way) transport() (*transport.Options, error) {
	g, x := &w.cfg.General, &w.cfg.Extension
	opts := &transport.Options{Logger: w.opts.Logger, OnStep: w.onStep, Timeout: -1} // limited by the client's ConnectTimeout
	if g.Protocol.Secure() {
		opts.TLS = &transport.TLSOptions{
			ClientCert:         transport.File(g.TLSClientCert),
			ClientKey:          transport.File(g.TLSClientKey),
			ServerCert:         transport.File(g.TLSServerCert),
			ServerName:         x.TLSServerName,
			ALPN:               x.TLSALPN,
			InsecureSkipVerify: x.TLSInsecureSkipVerify,
			Base:               w.opts.TLS,
		}
		if x.TLSMinVersion == "1.3" {
			opts.TLS.MinVersion = tls.VersionTLS13
		}
	}
	var err error
	if x.ProxyFrom != nil {
		opts.NetDial = x.ProxyFrom.dialProxy
	} else if x.Proxy != "" {
		opts.NetDial, err = proxyDialer(string(x.Proxy))
	}
	return opts, err
}

func proxyDialer(url string) (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	if url == "env" {
		return proxy.FromEnvironment(nil)
	}
	return proxy.Dialer(url, nil)
}

// dialProxy dials through the proxy whose URL is read from the source.
func (s *SecretSource) dialProxy(ctx context.Context, network, addr string) (net.Conn, error) {
	url, err := s.Read(ctx)
	if err != nil {
		return nil, err
	}
	dial, err := proxyDialer(url)
	if err != nil {
		return nil, &secretError{source: *s, kind: "proxy"}
	}
	if dial == nil { // no proxy in the environment
		dial = new(net.Dialer).DialContext
	}
	return dial(ctx, network, addr)
}

// dialer returns a function that opens connections to a server with the protocol of General.
func (w *way) dialer(url string, opts *transport.Options) (func(context.Context) (net.Conn, error), error) {
	from := w.cfg.General.TLSClientKeyFrom
	if from == nil || opts.TLS == nil {
		return w.keyedDialer(url, opts)
	}
	with := func(key string) *transport.Options {
		o, t := *opts, *opts.TLS
		t.ClientKey, o.TLS = transport.File(key), &t
		return &o
	}
	if _, err := w.keyedDialer(url, with("-----BEGIN")); err != nil { // which reads no key
		return nil, err
	}
	return func(ctx context.Context) (net.Conn, error) {
		key, err := from.Read(ctx)
		if err == nil && !strings.Contains(key, "-----BEGIN") {
			err = &secretError{source: *from, kind: "pem"}
		}
		if err != nil {
			return nil, err
		}
		dial, err := w.keyedDialer(url, with(key))
		if err != nil {
			return nil, err
		}
		return dial(ctx)
	}, nil
}

// keyedDialer is dialer with the key in opts.
func (w *way) keyedDialer(url string, opts *transport.Options) (func(context.Context) (net.Conn, error), error) {
	address := withZone(withoutScheme(url))
	host, _, _ := strings.Cut(address, "/")
	switch w.cfg.General.Protocol {
	case TLS:
		return transport.Dialer("mqtts://"+host, opts)
	case WebSocket:
		return ws.Dialer("ws://"+address, &ws.Options{Options: *opts, Header: w.wsHeader})
	case WebSocketSecure:
		return ws.Dialer("wss://"+address, &ws.Options{Options: *opts, Header: w.wsHeader})
	}
	return transport.Dialer("mqtt://"+host, opts)
}

// wsHeader returns the headers for a handshake.
func (w *way) wsHeader(ctx context.Context) (http.Header, error) {
	header := make(http.Header)
	for k, v := range w.cfg.Extension.WSHeaders {
		header.Set(k, string(v))
	}
	for k, from := range w.cfg.Extension.WSHeadersFrom {
		v, err := from.Read(ctx)
		if err != nil {
			return nil, err
		}
		header.Set(k, v)
	}
	return header, nil
}

// withZone escapes the zone of an IPv6 address, as in [fe80::1%eth0]:1883, for a URL (RFC 6874).
func withZone(address string) string {
	host, rest, ok := strings.Cut(address, "]")
	if before, zone, has := strings.Cut(host, "%"); ok && has && !strings.HasPrefix(zone, "25") {
		return before + "%25" + zone + "]" + rest
	}
	return address
}

func withoutScheme(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		return rest
	}
	return url
}
