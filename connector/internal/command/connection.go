package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Connection is what the options say about the connection to the server and its session. The
// option letters are those of mosquitto_pub and mosquitto_sub.
type Connection struct {
	host, broker, url, unix, bind, proxy string
	protocol                             string
	port                                 int
	websocket                            bool
	path                                 string
	id, idPrefix                         string
	userName, password                   string
	pwFile, pwEnv, pwExec                string
	pwPrompt                             bool
	profile                              string
	urlFrom                              string                  // the source of url, if not an option
	passwordSource                       *connector.SecretSource // from the profile
	ask                                  bool                    // ask for the password on the terminal
	keepAlive                            int
	keepSession                          bool
	qos                                  int
	inflight                             int
	caFile, cert, key                    string
	keyForm                              string
	serverName, alpn, tlsVersion         string
	tls, osCerts, insecure               bool
	headers                              []string
	draft                                bool // the options are only written to a profile
	noDelay                              bool
	willTopic, willPayload               string
	willQoS                              int
	willRetain                           bool
	debug                                bool
	timeout                              time.Duration

	set    *pflag.FlagSet // to find out which flags were given
	onStep func(transport.StepTime)
}

// Flags adds all options about a connection and its session to a command.
func (c *Connection) Flags(p *Program, cmd *cobra.Command) {
	c.begin(cmd)
	c.addressFlags(p, cmd)
	c.identityFlags(p, cmd)
	c.loginFlags(p, cmd)
	c.sessionFlags(p, cmd)
	c.tlsFlags(p, cmd)
	c.willFlags(p, cmd)
	c.otherFlags(p, cmd)
}

// ServerFlags adds only the options about how to reach the server; the command decides about client ids and
// sessions.
func (c *Connection) ServerFlags(p *Program, cmd *cobra.Command) {
	c.begin(cmd)
	c.protocol, c.keepAlive = "311", 60
	c.addressFlags(p, cmd)
	c.loginFlags(p, cmd)
	c.tlsFlags(p, cmd)
	c.otherFlags(p, cmd)
}

func (c *Connection) begin(cmd *cobra.Command) {
	c.set = cmd.Flags()
	c.set.SortFlags = false
}

func (c *Connection) addressFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.broker, "broker", "b", "", p.Say("server as `host:port`, [::1]:port for IPv6", "服务端地址 `host:port`，IPv6 如 [::1]:port"))
	f.StringVar(&c.profile, "profile", "", p.Say("server and options of this `profile`: mqtt311 profile --help", "使用此配置档 `profile` 的服务端与选项：见 mqtt311 profile --help"))
	f.StringVarP(&c.host, "host", "h", "localhost", p.Say("server's `host`", "服务端主机 `host`"))
	f.IntVarP(&c.port, "port", "p", 0, p.Say("server's `port` (1883; 8883 with TLS, 80 and 443 with WebSocket)", "服务端端口 `port`（1883；TLS 为 8883，WebSocket 为 80 和 443）"))
	f.StringVarP(&c.url, "url", "L", "", p.Say("server as `mqtt[s]://[user[:password]@]host[:port]/topic`; ws and wss too (MQTT311_URL in the environment)", "服务端 `mqtt[s]://[user[:password]@]host[:port]/topic`；也可用 ws 和 wss（默认取环境变量 MQTT311_URL）"))
	f.StringVar(&c.unix, "unix", "", p.Say("connect through this unix `socket`", "通过 unix 套接字 `socket` 连接"))
	f.StringVar(&c.proxy, "proxy", "", p.Say("connect through this proxy: socks5h or http `URL`", "通过代理连接：socks5h 或 http 的 `URL`"))
	f.BoolVar(&c.websocket, "ws", false, p.Say("use WebSocket", "使用 WebSocket"))
	f.StringVar(&c.path, "ws-path", "/mqtt", p.Say("`path` of the WebSocket", "WebSocket 路径 `path`"))
	f.StringArrayVar(&c.headers, "ws-header", nil, p.Say("`header` of the WebSocket request, 'Name: value'; ${NAME} comes from the environment", "WebSocket 请求头 `header`，如 'Name: value'；${NAME} 取自环境变量"))
	f.BoolVar(&c.noDelay, "nodelay", true, p.Say("send small packets at once; it is always so", "立即发送小报文；始终如此"))
	f.StringVarP(&c.bind, "bind", "A", "", p.Say("connect from this local `address`", "使用本机地址 `address` 发起连接"))
	Complete(cmd, "profile", profileNames)
	noFiles(cmd, "broker", "host", "port", "url", "proxy", "ws-path", "ws-header", "bind")
}

func (c *Connection) identityFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.id, "id", "i", "", p.Say("client id (mqtt311- and a random name)", "客户端 ID（默认为 mqtt311- 加随机名）"))
	f.StringVarP(&c.idPrefix, "id-prefix", "I", "", p.Say("client id: this `prefix` and a random name", "客户端 ID：前缀 `prefix` 加随机名"))
	noFiles(cmd, "id", "id-prefix")
}

func (c *Connection) loginFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.userName, "username", "u", "", p.Say("user `name`", "用户名 `name`"))
	f.StringVarP(&c.password, "pw", "P", "", p.Say("`password` (MQTT311_PASSWORD in the environment keeps it off the process list)", "密码 `password`（用环境变量 MQTT311_PASSWORD 可避免出现在进程列表中）"))
	f.StringVar(&c.pwFile, "pw-file", "", p.Say("password from this `file`", "从文件 `file` 读取密码"))
	f.StringVar(&c.pwEnv, "pw-env", "", p.Say("password from this `variable` of the environment", "从环境变量 `variable` 读取密码"))
	f.StringVar(&c.pwExec, "pw-exec", "", p.Say("password from the output of this shell `command`", "从 shell 命令 `command` 的输出读取密码"))
	f.BoolVar(&c.pwPrompt, "pw-prompt", false, p.Say("ask for the password on the terminal", "在终端上输入密码"))
	noFiles(cmd, "username", "pw", "pw-env", "pw-exec")
}

func (c *Connection) sessionFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVarP(&c.keepAlive, "keepalive", "k", 60, p.Say("keep alive in `seconds`; 0 turns it off", "keep alive 秒数 `seconds`；0 为关闭"))
	f.BoolVarP(&c.keepSession, "disable-clean-session", "c", false, p.Say("keep the session at the server; needs -i", "在服务端保留会话；需同时给出 -i"))
	f.IntVarP(&c.qos, "qos", "q", 0, p.Say("quality of service: 0, 1 or 2", "QoS：0、1 或 2"))
	f.IntVarP(&c.inflight, "max-inflight", "M", 0, p.Say("messages that may be unanswered (100; 2,000 with -l; 16 of QoS 2)", "允许未应答的消息数（100；使用 -l 时为 2,000；QoS 2 为 16）"))
	Complete(cmd, "qos", p.qualities())
	noFiles(cmd, "keepalive", "max-inflight")
}

func (c *Connection) tlsFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&c.tls, "tls", false, p.Say("use TLS; port 8883, mqtts, wss and every TLS option imply it", "使用 TLS；端口 8883、mqtts、wss 和任一 TLS 选项均隐含此项"))
	f.StringVar(&c.caFile, "cafile", "", p.Say("use TLS and trust the certificates in this `file` instead of the system's", "使用 TLS，信任 `file` 中的证书而非系统证书"))
	f.StringVar(&c.cert, "cert", "", p.Say("client certificate for TLS, a `file`", "TLS 客户端证书 `file`"))
	f.StringVar(&c.key, "key", "", p.Say("key of the client certificate, a `file`", "TLS 客户端 Key `file`"))
	f.StringVar(&c.keyForm, "keyform", "pem", p.Say("`form` of the key: pem is the only one", "Key 的格式 `form`：仅支持 pem"))
	f.BoolVar(&c.osCerts, "tls-use-os-certs", false, p.Say("use TLS and trust the system's certificates, also beside --cafile", "使用 TLS，信任系统证书；可与 --cafile 并用"))
	f.StringVar(&c.serverName, "tls-servername", "", p.Say("`name` that the server's certificate must bear", "服务端证书必须具有的名称 `name`"))
	f.StringVar(&c.alpn, "tls-alpn", "", p.Say("`protocol` to offer in the TLS handshake", "TLS 握手时提供的应用层协议 `protocol`"))
	f.StringVar(&c.tlsVersion, "tls-version", "", p.Say("oldest TLS `version`: tlsv1.2 or tlsv1.3", "最低 TLS 版本 `version`：tlsv1.2 或 tlsv1.3"))
	f.BoolVar(&c.insecure, "insecure", false, p.Say("accept a certificate for any host name; the chain is verified", "不校验证书中的主机名；仍校验证书链"))
	Complete(cmd, "tls-version", Values("tlsv1.2", "tlsv1.3"))
	Complete(cmd, "keyform", Values("pem"))
	noFiles(cmd, "tls-servername", "tls-alpn")
}

func (c *Connection) willFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.willTopic, "will-topic", "", p.Say("`topic` of the will", "遗嘱主题 `topic`"))
	f.StringVar(&c.willPayload, "will-payload", "", p.Say("`payload` of the will", "遗嘱内容 `payload`"))
	f.IntVar(&c.willQoS, "will-qos", 0, p.Say("quality of service of the will", "遗嘱 QoS"))
	f.BoolVar(&c.willRetain, "will-retain", false, p.Say("the will is retained", "保存遗嘱消息"))
	f.StringVarP(&c.protocol, "protocol-version", "V", "311", p.Say("`version` of MQTT: 311 is the only one", "MQTT 版本 `version`：仅支持 311"))
	Complete(cmd, "will-qos", p.qualities())
	Complete(cmd, "protocol-version", Values("311"))
	noFiles(cmd, "will-topic", "will-payload")
}

func (c *Connection) otherFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&c.debug, "debug", "d", false, p.Say("log what happens to the connection, and every packet; JSON lines, text on a terminal", "记录连接日志与每个报文；终端上为文本，否则为 JSON 行"))
	f.BoolVar(&p.Quiet, "quiet", false, p.Say("print no errors", "不输出错误"))
	f.DurationVar(&c.timeout, "connect-timeout", 30*time.Second, p.Say("give up connecting after this `time`", "连接超时 `time`"))
	noFiles(cmd, "connect-timeout")
}

// mostInflight is the largest window of the client.
const mostInflight = 16384

// mostSeconds is more than anybody will wait: a hundred years.
const mostSeconds = 100 * 366 * 24 * 3600

// A bound is the range of an option's value.
type bound struct {
	option             string
	value, least, most float64
}

// within refuses values out of range.
func (c *Connection) within(bounds ...bound) error {
	for _, b := range bounds {
		if !(b.least <= b.value && b.value <= b.most) { // false for NaN as well
			text := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
			return Usage("--%s is %s: it must be from %s to %s", "--%s 为 %s：须为 %s 到 %s", b.option, text(b.value), text(b.least), text(b.most))
		}
	}
	return nil
}

// Config returns the client's configuration, for a command that takes no topic from --url; the caller completes it.
// Hints about errors of this client name options.
func (c *Connection) Config(ctx context.Context, p *Program) (client.Config, error) {
	s, err := c.server()
	if err != nil {
		return client.Config{}, err
	}
	if s.topic != "" {
		return client.Config{}, Usage("%s has a topic, which has no use here: leave it out", "%s 含有主题，此处用不到：请去掉", s.option)
	}
	return c.config(ctx, p, s)
}

// config returns the client's configuration; the caller completes it.
func (c *Connection) config(ctx context.Context, p *Program, s *server) (client.Config, error) {
	p.byOptions = true
	var log *slog.Logger
	if c.debug {
		screen, _ := p.Stderr.(*terminal.Screen)
		w := p.Stderr
		if screen != nil {
			w = screen.Raw()
		}
		log = p.logTo(w, screen, slog.LevelDebug)
	}
	switch c.protocol {
	case "311", "mqttv311":
	default:
		return client.Config{}, Usage("--protocol-version %q: MQTT 3.1.1, 311, is all there is", "--protocol-version %q：仅支持 MQTT 3.1.1，即 311", c.protocol)
	}
	if err := c.numbers(); err != nil {
		return client.Config{}, err
	}
	if c.keepSession && c.id == "" {
		return client.Config{}, Usage("--disable-clean-session needs --id: a session that is kept has a name", "--disable-clean-session 需要 --id：保留的会话必须有名称")
	}
	dial, err := c.dialer(s, log)
	if err != nil {
		return client.Config{}, err
	}
	var password []byte // nil: no password is sent
	from := c.passwordFrom()
	switch {
	case c.ask:
		text, err := p.askPassword(ctx, s.userName)
		if err != nil {
			return client.Config{}, err
		}
		password = []byte(text)
	case from != nil:
		if _, err := p.readSecret(ctx, from); err != nil {
			return client.Config{}, err
		}
	case s.password != nil:
		password = append([]byte{}, *s.password...)
	}
	if c.insecure {
		p.Warn("--insecure: the host name in the server's certificate is not verified; whoever holds any trusted certificate can pose as the server",
			"--insecure：不校验服务端证书中的主机名；持有任一受信任证书者均可冒充服务端")
	}
	cfg := client.Config{
		Dial:            dial,
		ClientID:        c.clientID(),
		UserName:        s.userName,
		Password:        password,
		CleanSession:    !c.keepSession,
		KeepAlive:       time.Duration(c.keepAlive) * time.Second,
		ConnectTimeout:  c.timeout,
		MaxInflight:     min(c.inflight, mostInflight),
		MaxInflightQoS2: min(c.inflight, mostInflight), // --max-inflight applies to QoS 2 as well
		Logger:          log,
	}
	if from != nil { // read the password again for each attempt
		cfg.UserName, cfg.Password = "", nil
		cfg.Credentials = func(ctx context.Context) (string, []byte, error) {
			text, err := from.Read(ctx)
			return s.userName, []byte(text), err
		}
	}
	if c.debug {
		cfg.Trace = func(packet client.Packet) { tracePacket(log, packet) }
	}
	if c.keepAlive == 0 {
		cfg.KeepAlive = -1
	}
	if c.willTopic != "" {
		if err := packets.ValidTopicName(c.willTopic); err != nil {
			return client.Config{}, Usage("--will-topic %q cannot be published to: %w", "不能向 --will-topic %q 发布：%w", c.willTopic, err)
		}
		cfg.Will = &packets.Will{Topic: c.willTopic, Payload: []byte(c.willPayload), QoS: packets.QoS(c.willQoS), Retain: c.willRetain}
	} else if c.willPayload != "" || c.willRetain || c.willQoS != 0 {
		return client.Config{}, Usage("--will-payload, --will-qos and --will-retain need --will-topic", "--will-payload、--will-qos 和 --will-retain 需要 --will-topic")
	}
	return cfg, nil
}

// numbers refuses values that no connection can have.
func (c *Connection) numbers() error {
	if c.given("max-inflight") {
		if err := c.within(bound{"max-inflight", float64(c.inflight), 1, math.MaxUint16}); err != nil {
			return err
		}
	}
	if err := c.within(bound{"connect-timeout", c.timeout.Seconds(), 0.001, mostSeconds}); err != nil {
		return err
	}
	if c.qos < 0 || c.qos > 2 || c.willQoS < 0 || c.willQoS > 2 {
		return Usage("--qos and --will-qos are 0, 1 or 2", "--qos 和 --will-qos 只能是 0、1 或 2")
	}
	if c.keepAlive < 0 || c.keepAlive > 65535 {
		return Usage("--keepalive is 0 to 65535 seconds", "--keepalive 为 0 到 65535 秒")
	}
	return nil
}

func (c *Connection) clientID() string {
	switch {
	case c.id != "":
		return c.id
	case c.idPrefix != "":
		return c.idPrefix + rand.Text()[:10]
	}
	return "mqtt311-" + randomEnd()
}

func randomEnd() string { return strings.ToLower(rand.Text()[:10]) }

// tracePacket logs a packet that was sent or received.
func tracePacket(log *slog.Logger, packet client.Packet) {
	message := "received"
	if packet.Sent {
		message = "sent"
	}
	r := slog.NewRecord(packet.Time, slog.LevelDebug, message, 0)
	r.AddAttrs(slog.String("packet", packet.Text))
	log.Handler().Handle(context.Background(), r)
}

// Outages returns an event function for a client. It reports lost and restored connections, and that another client
// may be using the same client id.
func (p *Program) Outages() func(client.Event) { return p.outages() }

// outages is Outages; it reports each outage once.
func (p *Program) outages() func(client.Event) {
	lost, takeover := false, false
	return func(e client.Event) {
		switch {
		case e.Kind == client.ConnectionLost && !lost:
			lost = true
			p.note(fmt.Sprintf("the connection was lost (%s): connecting again", plainly(e.Err)), fmt.Sprintf("连接断开（%s）：正在重连", chinese.Of(plainly(e.Err))))
		case e.Kind == client.ConnectionUp && lost:
			lost = false
			p.note("connected again", "已重新连接")
		case e.Session != nil && e.Session.Kind == session.EventTakeover && !takeover:
			takeover = true
			p.Warn("the server closes the connection again and again: another client probably uses the same client id", "服务端反复断开连接：可能有另一客户端使用同一客户端 ID")
		}
	}
}

// Connect makes a client of cfg and connects it.
func Connect(ctx context.Context, cfg client.Config) (*client.Client, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, Coded(ExitUsage, err)
	}
	if err := c.Connect(ctx); err != nil {
		err = unwrapClosed(err)
		text := plainly(err)
		return nil, &codedError{code: ExitConnection, err: &toldError{"connect: " + strings.TrimPrefix(text, "connect: "), err}, zh: "连接失败：" + chinese.Of(text)}
	}
	return c, nil
}

// Leave closes a client and waits until its last messages to the user have been printed.
func Leave(ctx context.Context, c *client.Client) error {
	err := c.Close(ctx)
	c.WaitCallbacks(ctx)
	return err
}

// Closing returns a context for closing in order. It is short when the user's patience has ended,
// and over after a second interrupt.
func (p *Program) Closing(ctx context.Context) (context.Context, context.CancelFunc) {
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

// unwrapClosed removes client.ErrClosed from an error: the user needs the cause.
func unwrapClosed(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs := joined.Unwrap()
		return errs[len(errs)-1]
	}
	return err
}
