package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/spf13/cobra"
)

// connection is what pub and sub know about the way to the server. The letters are those
// of mosquitto_pub and mosquitto_sub.
type connection struct {
	host, broker, url, unix, bind string
	port                          int
	websocket                     bool
	path                          string
	id, idPrefix                  string
	userName, password            string
	keepAlive                     int
	keepSession                   bool
	qos                           int
	inflight                      int
	caFile, cert, key             string
	serverName, alpn, tlsVersion  string
	insecure                      bool
	willTopic, willPayload        string
	willQoS                       int
	willRetain                    bool
	debug, quiet                  bool
	timeout                       time.Duration
}

func (c *connection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&c.broker, "broker", "b", "", "server as `host:port`")
	f.StringVarP(&c.host, "host", "h", "localhost", "server's host")
	f.IntVarP(&c.port, "port", "p", 0, "server's port (default 1883; 8883 with TLS, 80 and 443 with WebSocket)")
	f.StringVarP(&c.url, "url", "L", "", "server as `mqtt[s]://[user[:password]@]host[:port]/topic`; ws and wss too")
	f.StringVar(&c.unix, "unix", "", "connect through this unix socket")
	f.BoolVar(&c.websocket, "ws", false, "use WebSocket")
	f.StringVar(&c.path, "ws-path", "/mqtt", "path of the WebSocket")
	f.StringVarP(&c.bind, "bind", "A", "", "connect from this local `address`")
	f.StringVarP(&c.id, "id", "i", "", "client id (default: mqtt311- and a random name)")
	f.StringVarP(&c.idPrefix, "id-prefix", "I", "", "client id: this and a random name")
	f.StringVarP(&c.userName, "username", "u", "", "user name")
	f.StringVarP(&c.password, "pw", "P", "", "password (MQTT311_PASSWORD in the environment keeps it off the process list)")
	f.IntVarP(&c.keepAlive, "keepalive", "k", 60, "keep alive in seconds; 0 turns it off")
	f.BoolVarP(&c.keepSession, "disable-clean-session", "c", false, "keep the session at the server; needs -i")
	f.IntVarP(&c.qos, "qos", "q", 0, "quality of service: 0, 1 or 2")
	f.IntVarP(&c.inflight, "max-inflight", "M", 20, "messages that may be unanswered")
	f.StringVar(&c.caFile, "cafile", "", "use TLS and trust the certificates in this file instead of the system's")
	f.StringVar(&c.cert, "cert", "", "client certificate for TLS")
	f.StringVar(&c.key, "key", "", "key of the client certificate")
	f.StringVar(&c.serverName, "tls-servername", "", "name that the server's certificate must bear")
	f.StringVar(&c.alpn, "tls-alpn", "", "protocol to offer in the TLS handshake")
	f.StringVar(&c.tlsVersion, "tls-version", "", "oldest TLS version: tlsv1.2 or tlsv1.3")
	f.BoolVar(&c.insecure, "insecure", false, "accept any certificate; for tests only")
	f.StringVar(&c.willTopic, "will-topic", "", "topic of the will")
	f.StringVar(&c.willPayload, "will-payload", "", "payload of the will")
	f.IntVar(&c.willQoS, "will-qos", 0, "quality of service of the will")
	f.BoolVar(&c.willRetain, "will-retain", false, "the will is retained")
	f.BoolVarP(&c.debug, "debug", "d", false, "log what happens to the connection")
	f.BoolVar(&c.quiet, "quiet", false, "print no errors")
	f.DurationVar(&c.timeout, "connect-timeout", 30*time.Second, "give up connecting after this time")
}

// applyURL takes -L apart; the path of mqtt and mqtts is a topic.
func (c *connection) applyURL(topic *string) error {
	if c.url == "" {
		return nil
	}
	scheme, rest, ok := strings.Cut(c.url, "://")
	if !ok {
		return usage("--url has no scheme: write mqtt://host/topic")
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		c.userName, c.password, _ = strings.Cut(rest[:i], ":")
		rest = rest[i+1:]
	}
	hostPort, path, _ := strings.Cut(rest, "/")
	switch scheme {
	case "mqtt", "mqtts":
		if path != "" && *topic == "" {
			*topic = path
		}
	case "ws", "wss":
		c.websocket, c.path = true, "/"+path
	default:
		return usage("--url has the scheme %q: use mqtt, mqtts, ws or wss", scheme)
	}
	c.broker = hostPort
	if _, _, err := net.SplitHostPort(hostPort); err != nil {
		c.host, c.broker = hostPort, ""
	}
	if scheme == "mqtts" || scheme == "wss" {
		c.port = firstNonzero(c.port, map[string]int{"mqtts": 8883, "wss": 443}[scheme])
		if c.caFile == "" {
			c.caFile = systemRoots
		}
	}
	return nil
}

// systemRoots stands for TLS without a bundle of one's own.
const systemRoots = "system"

func firstNonzero(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

func (c *connection) secure() bool {
	return c.caFile != "" || c.cert != "" || c.insecure || c.tlsVersion != "" || c.alpn != "" || c.serverName != "" ||
		c.broker == "" && c.unix == "" && c.port == 8883
}

// dialer returns the function that opens the connection.
func (c *connection) dialer(log *slog.Logger) (func(context.Context) (net.Conn, error), error) {
	opts := transport.Options{Logger: log, Timeout: -1}
	if c.bind != "" {
		local, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(c.bind, "0"))
		if err != nil {
			return nil, usage("--bind: %w", err)
		}
		opts.NetDial = (&net.Dialer{LocalAddr: local}).DialContext
	}
	if c.unix != "" {
		return transport.Dialer("unix:"+c.unix, &opts)
	}
	if c.secure() {
		if err := c.readable(); err != nil {
			return nil, err
		}
		t := &transport.TLSOptions{
			ClientCert: transport.File(c.cert), ClientKey: transport.File(c.key),
			ServerName: c.serverName, InsecureSkipVerify: c.insecure,
		}
		if c.caFile != systemRoots {
			t.ServerCert = transport.File(c.caFile)
		}
		if c.alpn != "" {
			t.ALPN = []string{c.alpn}
		}
		switch c.tlsVersion {
		case "", "tlsv1.2":
		case "tlsv1.3":
			t.MinVersion = tls.VersionTLS13
		default:
			return nil, usage("--tls-version %q is neither tlsv1.2 nor tlsv1.3", c.tlsVersion)
		}
		opts.TLS = t
	}
	if c.websocket {
		return ws.Dialer(c.scheme("ws", "wss")+c.address(80, 443)+c.path, &ws.Options{Options: opts})
	}
	return transport.Dialer(c.scheme("mqtt", "mqtts")+c.address(1883, 8883), &opts)
}

// readable reports files that are not there before anything is dialled; each is read
// again at every connection.
func (c *connection) readable() error {
	for flag, path := range map[string]string{"--cafile": c.caFile, "--cert": c.cert, "--key": c.key} {
		if path == "" || path == systemRoots {
			continue
		}
		if _, err := os.ReadFile(path); err != nil {
			return usage("%s: %w", flag, err)
		}
	}
	return nil
}

func (c *connection) scheme(plain, secure string) string {
	if c.secure() {
		return secure + "://"
	}
	return plain + "://"
}

func (c *connection) address(plain, secure int) string {
	if c.broker != "" {
		return c.broker
	}
	port := plain
	if c.secure() {
		port = secure
	}
	return net.JoinHostPort(c.host, strconv.Itoa(firstNonzero(c.port, port)))
}

// config is the client's configuration; the caller adds to it.
func (c *connection) config(p *program) (client.Config, error) {
	var log *slog.Logger
	if c.debug {
		log = slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if c.qos < 0 || c.qos > 2 || c.willQoS < 0 || c.willQoS > 2 {
		return client.Config{}, usage("--qos and --will-qos are 0, 1 or 2")
	}
	if c.keepAlive < 0 || c.keepAlive > 65535 {
		return client.Config{}, usage("--keepalive is 0 to 65535 seconds")
	}
	if c.keepSession && c.id == "" {
		return client.Config{}, usage("--disable-clean-session needs --id: a session that is kept has a name")
	}
	dial, err := c.dialer(log)
	if err != nil {
		var known *codedError
		if errors.As(err, &known) {
			return client.Config{}, err
		}
		return client.Config{}, coded(exitUsage, err)
	}
	password := c.password
	if password == "" {
		password = os.Getenv("MQTT311_PASSWORD")
	}
	cfg := client.Config{
		Dial:           dial,
		ClientID:       c.clientID(),
		UserName:       c.userName,
		Password:       []byte(password),
		CleanSession:   !c.keepSession,
		KeepAlive:      time.Duration(c.keepAlive) * time.Second,
		ConnectTimeout: c.timeout,
		MaxInflight:    c.inflight,
		Logger:         log,
	}
	if c.keepAlive == 0 {
		cfg.KeepAlive = -1
	}
	if c.willTopic != "" {
		cfg.Will = &packets.Will{Topic: c.willTopic, Payload: []byte(c.willPayload), QoS: packets.QoS(c.willQoS), Retain: c.willRetain}
	} else if c.willPayload != "" || c.willRetain || c.willQoS != 0 {
		return client.Config{}, usage("--will-payload, --will-qos and --will-retain need --will-topic")
	}
	return cfg, nil
}

func (c *connection) clientID() string {
	switch {
	case c.id != "":
		return c.id
	case c.idPrefix != "":
		return c.idPrefix + rand.Text()[:10]
	}
	return "mqtt311-" + strings.ToLower(rand.Text()[:10])
}

// connect makes a client of cfg and connects it.
func connect(ctx context.Context, cfg client.Config) (*client.Client, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, coded(exitUsage, err)
	}
	if err := c.Connect(ctx); err != nil {
		err = unwrapClosed(err)
		return nil, coded(exitConnection, fmt.Errorf("connect: %w", err))
	}
	return c, nil
}

// unwrapClosed leaves out that the client is over: the cause is what a person needs.
func unwrapClosed(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs := joined.Unwrap()
		return errs[len(errs)-1]
	}
	return err
}
