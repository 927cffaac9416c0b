package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/spf13/cobra"
)

// connection is what pub and sub know about the way to the server. The letters are those
// of mosquitto_pub and mosquitto_sub.
type connection struct {
	host, broker, url, unix, bind, proxy string
	protocol                             string
	port                                 int
	websocket                            bool
	path                                 string
	id, idPrefix                         string
	userName, password                   string
	keepAlive                            int
	keepSession                          bool
	qos                                  int
	inflight                             int
	caFile, cert, key                    string
	serverName, alpn, tlsVersion         string
	insecure                             bool
	willTopic, willPayload               string
	willQoS                              int
	willRetain                           bool
	debug                                bool
	timeout                              time.Duration
}

func (c *connection) flags(p *program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&c.broker, "broker", "b", "", p.say("server as `host:port`", "服务端地址，如 `host:port`"))
	f.StringVarP(&c.host, "host", "h", "localhost", p.say("server's `host`", "服务端主机 `host`"))
	f.IntVarP(&c.port, "port", "p", 0, p.say("server's `port` (1883; 8883 with TLS, 80 and 443 with WebSocket)", "服务端端口 `port`（1883；TLS 为 8883，WebSocket 为 80 和 443）"))
	f.StringVarP(&c.url, "url", "L", "", p.say("server as `mqtt[s]://[user[:password]@]host[:port]/topic`; ws and wss too", "服务端 `mqtt[s]://[user[:password]@]host[:port]/topic`；也可用 ws 和 wss"))
	f.StringVar(&c.unix, "unix", "", p.say("connect through this unix `socket`", "通过 unix 套接字 `socket` 连接"))
	f.StringVar(&c.proxy, "proxy", "", p.say("connect through this proxy: socks5h or http `URL`", "通过代理连接：socks5h 或 http 的 `URL`"))
	f.BoolVar(&c.websocket, "ws", false, p.say("use WebSocket", "使用 WebSocket"))
	f.StringVar(&c.path, "ws-path", "/mqtt", p.say("`path` of the WebSocket", "WebSocket 路径 `path`"))
	f.StringVarP(&c.bind, "bind", "A", "", p.say("connect from this local `address`", "使用本机地址 `address` 发起连接"))
	f.StringVarP(&c.id, "id", "i", "", p.say("client id (mqtt311- and a random name)", "客户端 ID（缺省为 mqtt311- 加随机名）"))
	f.StringVarP(&c.idPrefix, "id-prefix", "I", "", p.say("client id: this `prefix` and a random name", "客户端 ID：前缀 `prefix` 加随机名"))
	f.StringVarP(&c.userName, "username", "u", "", p.say("user `name`", "用户名 `name`"))
	f.StringVarP(&c.password, "pw", "P", "", p.say("`password` (MQTT311_PASSWORD in the environment keeps it off the process list)", "密码 `password`（用环境变量 MQTT311_PASSWORD 可避免出现在进程列表中）"))
	f.IntVarP(&c.keepAlive, "keepalive", "k", 60, p.say("keep alive in `seconds`; 0 turns it off", "keep alive 秒数 `seconds`；0 为关闭"))
	f.BoolVarP(&c.keepSession, "disable-clean-session", "c", false, p.say("keep the session at the server; needs -i", "在服务端保留会话；需同时给出 -i"))
	f.IntVarP(&c.qos, "qos", "q", 0, p.say("quality of service: 0, 1 or 2", "QoS：0、1 或 2"))
	f.IntVarP(&c.inflight, "max-inflight", "M", 20, p.say("messages that may be unanswered", "允许未应答的消息数"))
	f.StringVar(&c.caFile, "cafile", "", p.say("use TLS and trust the certificates in this `file` instead of the system's", "使用 TLS，信任 `file` 中的证书而非系统证书"))
	f.StringVar(&c.cert, "cert", "", p.say("client certificate for TLS, a `file`", "TLS 客户端证书 `file`"))
	f.StringVar(&c.key, "key", "", p.say("key of the client certificate, a `file`", "TLS 客户端 Key `file`"))
	f.StringVar(&c.serverName, "tls-servername", "", p.say("`name` that the server's certificate must bear", "服务端证书必须具有的名称 `name`"))
	f.StringVar(&c.alpn, "tls-alpn", "", p.say("`protocol` to offer in the TLS handshake", "TLS 握手时提供的应用层协议 `protocol`"))
	f.StringVar(&c.tlsVersion, "tls-version", "", p.say("oldest TLS `version`: tlsv1.2 or tlsv1.3", "最低 TLS 版本 `version`：tlsv1.2 或 tlsv1.3"))
	f.BoolVar(&c.insecure, "insecure", false, p.say("accept any certificate; for tests only", "接受任何证书；仅用于测试"))
	f.StringVar(&c.willTopic, "will-topic", "", p.say("`topic` of the will", "遗嘱主题 `topic`"))
	f.StringVar(&c.willPayload, "will-payload", "", p.say("`payload` of the will", "遗嘱内容 `payload`"))
	f.IntVar(&c.willQoS, "will-qos", 0, p.say("quality of service of the will", "遗嘱 QoS"))
	f.BoolVar(&c.willRetain, "will-retain", false, p.say("the will is retained", "保存遗嘱消息"))
	f.StringVarP(&c.protocol, "protocol-version", "V", "311", p.say("`version` of MQTT: 311 is the only one", "MQTT 版本 `version`：仅支持 311"))
	f.BoolVarP(&c.debug, "debug", "d", false, p.say("log what happens to the connection; with --json as JSON lines", "记录连接日志；加 --json 时为 JSON 行"))
	f.BoolVar(&p.quiet, "quiet", false, p.say("print no errors", "不输出错误"))
	f.DurationVar(&c.timeout, "connect-timeout", 30*time.Second, p.say("give up connecting after this `time`", "连接超时 `time`"))
	complete(cmd, "qos", p.qualities())
	complete(cmd, "will-qos", p.qualities())
	complete(cmd, "tls-version", values("tlsv1.2", "tlsv1.3"))
	complete(cmd, "protocol-version", values("311"))
	for _, flag := range []string{"broker", "host", "port", "url", "proxy", "ws-path", "bind", "id", "id-prefix", "username", "pw", "keepalive", "max-inflight",
		"tls-servername", "tls-alpn", "will-topic", "will-payload", "connect-timeout"} {
		complete(cmd, flag, cobra.NoFileCompletions)
	}
}

// applyURL takes -L apart; the path of mqtt and mqtts is a topic.
func (c *connection) applyURL(topic *string) error {
	if c.url == "" {
		return nil
	}
	scheme, rest, ok := strings.Cut(c.url, "://")
	if !ok {
		return usage("--url has no scheme: write mqtt://host/topic", "--url 缺少协议头：请写成 mqtt://host/topic")
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
		return usage("--url has the scheme %q: use mqtt, mqtts, ws or wss", "--url 的协议头为 %q：请使用 mqtt、mqtts、ws 或 wss", scheme)
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
			return nil, usage("--bind: %w", "--bind：%w", err)
		}
		opts.NetDial = (&net.Dialer{LocalAddr: local}).DialContext
	}
	if c.proxy != "" {
		through, err := proxy.Dialer(c.proxy, &proxy.Options{NetDial: opts.NetDial})
		if err != nil {
			return nil, usage("--proxy: %w", "--proxy：%w", err)
		}
		opts.NetDial = through
	}
	if c.unix != "" {
		return transport.Dialer("unix:"+c.unix, &opts)
	}
	if c.secure() {
		if err := c.filesAreThere(); err != nil {
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
			return nil, usage("--tls-version %q is neither tlsv1.2 nor tlsv1.3", "--tls-version %q 既不是 tlsv1.2 也不是 tlsv1.3", c.tlsVersion)
		}
		opts.TLS = t
	}
	if c.websocket {
		return ws.Dialer(c.scheme("ws", "wss")+c.address(80, 443)+c.path, &ws.Options{Options: opts})
	}
	return transport.Dialer(c.scheme("mqtt", "mqtts")+c.address(1883, 8883), &opts)
}

// filesAreThere reports files that are not there before anything is dialled; each is read
// again at every connection.
func (c *connection) filesAreThere() error {
	for flag, path := range map[string]string{"--cafile": c.caFile, "--cert": c.cert, "--key": c.key} {
		if path == "" || path == systemRoots {
			continue
		}
		if _, err := os.ReadFile(path); err != nil {
			return usage("%s: %w", "%s：%w", flag, err)
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
	if level := (&slog.HandlerOptions{Level: slog.LevelDebug}); c.debug && p.json {
		log = slog.New(slog.NewJSONHandler(p.stderr, level))
	} else if c.debug {
		log = slog.New(slog.NewTextHandler(p.stderr, level))
	}
	switch c.protocol {
	case "311", "mqttv311":
	default:
		return client.Config{}, usage("--protocol-version %q: MQTT 3.1.1, 311, is all there is", "--protocol-version %q：仅支持 MQTT 3.1.1，即 311", c.protocol)
	}
	if c.qos < 0 || c.qos > 2 || c.willQoS < 0 || c.willQoS > 2 {
		return client.Config{}, usage("--qos and --will-qos are 0, 1 or 2", "--qos 和 --will-qos 只能是 0、1 或 2")
	}
	if c.keepAlive < 0 || c.keepAlive > 65535 {
		return client.Config{}, usage("--keepalive is 0 to 65535 seconds", "--keepalive 为 0 到 65535 秒")
	}
	if c.keepSession && c.id == "" {
		return client.Config{}, usage("--disable-clean-session needs --id: a session that is kept has a name", "--disable-clean-session 需要 --id：保留的会话必须有名称")
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
	if password != "" && c.userName == "" {
		return client.Config{}, usage("a password needs a user name: --username", "密码需要用户名：--username")
	}
	var sent []byte // nil is not sent
	if password != "" {
		sent = []byte(password)
	}
	cfg := client.Config{
		Dial:           dial,
		ClientID:       c.clientID(),
		UserName:       c.userName,
		Password:       sent,
		CleanSession:   !c.keepSession,
		KeepAlive:      time.Duration(c.keepAlive) * time.Second,
		ConnectTimeout: c.timeout,
		MaxInflight:    c.inflight,

		MaxInflightQoS2: c.inflight, // what is asked for holds at any QoS
		Logger:          log,
	}
	if c.keepAlive == 0 {
		cfg.KeepAlive = -1
	}
	if c.willTopic != "" {
		cfg.Will = &packets.Will{Topic: c.willTopic, Payload: []byte(c.willPayload), QoS: packets.QoS(c.willQoS), Retain: c.willRetain}
	} else if c.willPayload != "" || c.willRetain || c.willQoS != 0 {
		return client.Config{}, usage("--will-payload, --will-qos and --will-retain need --will-topic", "--will-payload、--will-qos 和 --will-retain 需要 --will-topic")
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
		return nil, fail(exitConnection, "connect: %w", "连接失败：%w", err)
	}
	return c, nil
}

// closing is the time for leaving in order: little of it when the user's patience has ended,
// and none after a second interrupt.
func (p *program) closing(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := 5 * time.Second
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		limit = 200 * time.Millisecond
	}
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	go func() {
		select {
		case <-p.hurry:
			cancel()
		case <-out.Done():
		}
	}()
	return out, cancel
}

// unwrapClosed leaves out that the client is over: the cause is what a person needs.
func unwrapClosed(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs := joined.Unwrap()
		return errs[len(errs)-1]
	}
	return err
}
