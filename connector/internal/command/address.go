package command

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
	"github.com/spf13/pflag"
)

// A server is the address and identity given by the options. It is made once; connections use its fields, never a
// text composed of them.
type server struct {
	transport.Address

	webSocket *url.URL // path and query; nil without WebSocket
	header    func(context.Context) (http.Header, error)
	topic     string // from --url
	userName  string
	password  *string // nil if not given
	option    string  // that gave the address, for errors
}

// A serverURL is a parsed URL of a server.
type serverURL struct {
	option            string // that gave the URL, for errors
	secure, webSocket bool
	userName          *string
	password          *string
	host              string
	port              int
	topic             string   // for mqtt and mqtts
	uri               *url.URL // for ws and wss
}

var schemeName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]{0,15}$`) })

// badPercent returns an error that does not quote the text, which may be a password.
func badPercent(option string) error {
	return Usage("%s: two hexadecimal digits must follow a %%: write %% itself as %%25", "%s：%% 后必须是两位十六进制数；%% 本身请写成 %%25", option)
}

// parseURL parses mqtt[s]://[user[:password]@]host[:port]/topic, and ws or wss with the path and
// the query of the WebSocket. The authority ends at the first slash, RFC 3986 section 3.2; user
// name, password and topic are percent-decoded. No error quotes the URL.
func parseURL(option, raw string) (*serverURL, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, Usage("%s has no scheme: write mqtt://host/topic", "%s 缺少协议头：请写成 mqtt://host/topic", option)
	}
	u := &serverURL{option: option}
	switch strings.ToLower(scheme) {
	case "mqtt":
	case "mqtts":
		u.secure = true
	case "ws":
		u.webSocket = true
	case "wss":
		u.secure, u.webSocket = true, true
	default:
		if !schemeName().MatchString(scheme) {
			return nil, Usage("%s has no scheme that is known: use mqtt, mqtts, ws or wss", "%s 的协议头无法识别：请使用 mqtt、mqtts、ws 或 wss", option)
		}
		return nil, Usage("%s has the scheme %q: use mqtt, mqtts, ws or wss", "%s 的协议头为 %q：请使用 mqtt、mqtts、ws 或 wss", option, scheme)
	}
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	if u.webSocket {
		if query := strings.IndexByte(rest[:end], '?'); query > strings.LastIndexByte(rest[:end], '@') {
			end = query
		}
	}
	authority, path := rest[:end], rest[end:]
	if strings.ContainsAny(authority, `?#\`) {
		return nil, Usage("%s: a ?, # or \\ stands before the first slash; in a user name or a password write %%3F, %%23 or %%5C",
			"%s：第一个斜杠之前有 ?、# 或 \\；用户名或密码中请写成 %%3F、%%23 或 %%5C", option)
	}
	if err := u.readAuthority(authority); err != nil {
		return nil, err
	}
	return u, u.readPath(path)
}

func (u *serverURL) readAuthority(authority string) error {
	hostPort := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, both := strings.Cut(authority[:i], ":")
		user, err1 := url.PathUnescape(user)
		password, err2 := url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return badPercent(u.option)
		}
		u.userName = &user
		if both {
			u.password = &password
		}
		hostPort = authority[i+1:]
	}
	if zone := strings.Index(hostPort, "%25"); zone >= 0 && strings.HasPrefix(hostPort, "[") {
		hostPort = hostPort[:zone+1] + hostPort[zone+3:] // %25, the escaped percent sign of a zone: RFC 6874
	}
	var err error
	u.host, u.port, err = splitHostPort(u.option, hostPort)
	return err
}

func (u *serverURL) readPath(path string) (err error) {
	if !u.webSocket {
		if u.topic, err = url.PathUnescape(strings.TrimPrefix(path, "/")); err != nil {
			return badPercent(u.option)
		}
		return nil
	}
	if strings.Contains(path, "#") {
		return Usage("%s has a fragment: write # as %%23", "%s 含有片段标识：# 请写成 %%23", u.option)
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u.uri, err = requestURI(u.option, path)
	return err
}

// requestURI parses the path and the query of a WebSocket. Since the query may hold a token, no
// error quotes it.
func requestURI(option, path string) (*url.URL, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, Usage("%s must begin with a slash", "%s 必须以斜杠开头", option)
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, Usage("%s: the path has a control character, or a %% that two hexadecimal digits do not follow: write %% itself as %%25",
			"%s：路径含有控制字符，或 %% 后不是两位十六进制数；%% 本身请写成 %%25", option)
	}
	return u, nil
}

// splitHostPort parses host, host:port, [IPv6] and [IPv6]:port; without a port it returns 0. Its
// errors do not quote the address, which may be a URL with a password by mistake.
func splitHostPort(option, s string) (host string, port int, err error) {
	host, rest := s, ""
	if inner, after, ok := strings.Cut(strings.TrimPrefix(s, "["), "]"); ok && strings.HasPrefix(s, "[") {
		if ip, err := netip.ParseAddr(inner); err != nil || !ip.Is6() {
			return "", 0, Usage("%s: what stands in brackets is no IPv6 address", "%s：方括号中不是 IPv6 地址", option)
		}
		host, rest = inner, after
	} else if strings.Count(s, ":") > 1 {
		return "", 0, Usage("%s: write an IPv6 address in brackets, [::1]:1883; a password belongs in --pw", "%s：IPv6 地址须加方括号，如 [::1]:1883；密码请用 --pw", option)
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, rest = s[:i], s[i:]
	}
	if host == "" {
		return "", 0, Usage("%s has no host", "%s 缺少主机名", option)
	}
	if rest == "" {
		return host, 0, nil
	}
	digits, ok := strings.CutPrefix(rest, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || n == 0 {
		return "", 0, Usage("%s: the port is not a number from 1 to 65535; a slash in a password of a URL is written %%2F",
			"%s：端口不是 1 到 65535 的数字；URL 密码中的斜杠请写成 %%2F", option)
	}
	return host, int(n), nil
}

// namesServer are the options that identify the server or say how to reach it.
var namesServer = []string{"broker", "host", "port", "url", "unix", "ws", "ws-path"}

// useDefaults fills in from a profile, or from the URL in MQTT311_URL, what the options leave open. A profile
// together with an option that names a server is refused, so that its password never goes to another one.
func (c *Connection) useDefaults() error {
	c.ask = c.pwPrompt
	if c.profile == "" {
		raw := os.Getenv("MQTT311_URL")
		if raw == "" || c.givenOf("broker", "host", "url", "unix", "profile") != "" {
			return nil
		}
		c.urlFrom = "MQTT311_URL"
		return c.set.Set("url", raw)
	}
	if o := c.givenOf(namesServer...); o != "" {
		return Usage("--profile and --%s both say which server it is: leave one out", "--profile 与 --%s 都指定了服务端：请去掉其中之一", o)
	}
	if c.given("tls") && !c.tls {
		return Usage("--profile and --tls=false cannot be used together: the profile decides about TLS", "--profile 与 --tls=false 不能同时使用：是否使用 TLS 由配置档决定")
	}
	f, err := openProfiles()
	if err != nil {
		return err
	}
	p, err := f.profile(c.profile)
	if err != nil {
		return err
	}
	return c.adopt(f, p)
}

// adopt sets options that the user did not give to the values of a profile.
func (c *Connection) adopt(f *profiles, p *profile) error {
	given := make(map[string]bool)
	c.set.Visit(func(flag *pflag.Flag) { given[flag.Name] = true })
	user := c.userName
	for _, v := range p.values {
		switch {
		case c.set.Lookup(v.option) == nil: // an option that this command does not have
			continue
		case given[v.option], v.option == "id" && given["id-prefix"], v.option == "id-prefix" && given["id"]:
			continue
		}
		if err := c.set.Set(v.option, v.value); err != nil {
			return Usage("%s:%d: %s has no value that is right: %s", "%s:%d：%s 的取值无效：%s", lint.Show(f.path), v.line, v.option, lint.Show(v.value))
		}
	}
	if given["username"] && user != p.user() || c.givenOf(passwordOptions...) != "" {
		return nil // the profile's password belongs to another user, or another one was given
	}
	c.passwordSource, c.ask = p.from, p.prompt
	return nil
}

// given reports whether the user gave the option.
func (c *Connection) given(option string) bool { return c.set.Changed(option) }

// givenOf returns the first of the options that the user gave, or "".
func (c *Connection) givenOf(options ...string) string {
	for _, o := range options {
		if c.given(o) {
			return o
		}
	}
	return ""
}

// exclusive refuses other options that contradict the given one.
func (c *Connection) exclusive(option string, others ...string) error {
	if other := c.givenOf(others...); other != "" && c.given(option) {
		return Usage("--%s and --%s cannot be used together: leave one out", "--%s 与 --%s 不能同时使用：请去掉其中之一", option, other)
	}
	return nil
}

// tlsOptions are the options that imply TLS.
var tlsOptions = []string{"cafile", "cert", "key", "keyform", "tls-servername", "tls-alpn", "tls-version"}

// tlsOption returns the given option that implies TLS, or "".
func (c *Connection) tlsOption() string {
	switch {
	case c.tls:
		return "tls"
	case c.osCerts:
		return "tls-use-os-certs"
	case c.insecure:
		return "insecure"
	}
	return c.givenOf(tlsOptions...)
}

// check refuses options that make no sense. An empty value often comes from an unset variable:
// without the intended CA file, proxy or socket, the password would be sent another way than
// intended.
func (c *Connection) check() error {
	for _, o := range []string{"broker", "host", "url", "unix", "bind", "proxy", "ws-path", "cafile", "cert", "key", "tls-servername", "tls-alpn", "will-topic", "id-prefix", "profile", "pw-file", "pw-env", "pw-exec"} {
		if c.given(o) && c.set.Lookup(o).Value.String() == "" {
			return Usage("--%s is empty: give a value or leave it out", "--%s 为空：请给出取值或去掉该选项", o)
		}
	}
	unix := append([]string{"port", "ws", "ws-path", "bind", "proxy"}, append(tlsOptions, "tls", "tls-use-os-certs", "insecure")...)
	if err := errors.Join(
		c.exclusive("url", "broker", "host", "unix"),
		c.exclusive("broker", "host", "unix"),
		c.exclusive("unix", append(unix, "host")...),
		c.exclusive("id", "id-prefix"),
		c.exclusive("pw", passwordOptions[1:]...),
		c.exclusive("pw-file", passwordOptions[2:]...),
		c.exclusive("pw-env", passwordOptions[3:]...),
		c.exclusive("pw-exec", "pw-prompt"),
	); err != nil {
		return first(err)
	}
	if c.given("tls") && !c.tls {
		if o := c.tlsOption(); o != "" {
			return Usage("--tls=false and --%s cannot be used together: leave one out", "--tls=false 与 --%s 不能同时使用：请去掉其中之一", o)
		}
	}
	if c.given("cert") != c.given("key") {
		return Usage("--cert and --key belong together: give both or neither", "--cert 与 --key 须同时给出或都不给出")
	}
	if c.given("keyform") && !c.given("key") {
		return Usage("--keyform needs --key", "--keyform 需要 --key")
	}
	if c.keyForm != "pem" {
		return Usage("--keyform %q: pem is the only one", "--keyform %q：仅支持 pem", c.keyForm)
	}
	return nil
}

// first returns the first of several joined errors.
func first(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()[0]
	}
	return err
}

// mostSocketPath is the longest path that any system allows; some allow less.
const mostSocketPath = 107

// server combines the options.
func (c *Connection) server() (*server, error) {
	if err := c.useDefaults(); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &server{option: "--host"}
	u := &serverURL{host: c.host, webSocket: c.websocket}
	var err error
	switch {
	case c.given("unix"):
		s.option, s.Unix = "--unix", c.unix
		if len(c.unix) > mostSocketPath {
			return nil, Usage("--unix: the path has %d bytes, and that of a socket has %d at the most", "--unix：路径有 %d 字节，套接字路径最长 %d 字节", len(c.unix), mostSocketPath)
		}
	case c.given("url"):
		if s.option = c.urlFrom; s.option == "" {
			s.option = "--url"
		}
		if u, err = parseURL(s.option, c.url); err != nil {
			return nil, err
		}
		if c.urlFrom != "" && u.topic != "" {
			return nil, Usage("%s has a topic: it names a server alone", "%s 含有主题：其中只应有服务端地址", c.urlFrom)
		}
	case c.given("broker"):
		s.option = "--broker"
		if u.host, u.port, err = splitHostPort("--broker", c.broker); err != nil {
			return nil, err
		}
	default:
		if inner, ok := strings.CutPrefix(c.host, "["); ok {
			u.host = strings.TrimSuffix(inner, "]")
		}
		if strings.Contains(c.host, "://") {
			return nil, Usage("--host: a name or an address is expected; a URL belongs in --url", "--host：应为主机名或地址；URL 请用 --url")
		}
		if before, after, ok := strings.Cut(u.host, ":"); ok && before != "" && !strings.Contains(after, ":") {
			return nil, Usage("--host: a name or an address is expected; the port belongs in --port, or both in --broker", "--host：应为主机名或地址；端口请用 --port，或用 --broker 同时给出")
		}
	}
	s.Host, s.topic = u.host, u.topic
	if err := errors.Join(c.readPort(s, u), c.readWebSocket(s, u), c.readLogin(s, u)); err != nil {
		return nil, first(err)
	}
	return s, nil
}

// readPort determines the port and whether to use TLS. The rule is the same however the server is
// named: a TLS option, mqtts, wss, port 8883, and port 443 with WebSocket imply TLS.
func (c *Connection) readPort(s *server, u *serverURL) error {
	s.Port = u.port
	if c.given("port") {
		if c.port < 1 || c.port > 65535 {
			return Usage("--port is %d: it must be from 1 to 65535", "--port 为 %d：须为 1 到 65535", c.port)
		}
		if u.port != 0 && u.port != c.port {
			return Usage("%s names port %d, --port names %d: leave one out", "%s 的端口为 %d，--port 为 %d：请去掉其中之一", s.option, u.port, c.port)
		}
		s.Port = c.port
	}
	webSocket := c.websocket || u.webSocket
	plain := c.given("tls") && !c.tls
	if u.secure && plain {
		return Usage("--tls=false does not go with mqtts or wss", "--tls=false 与 mqtts、wss 矛盾")
	}
	s.TLS = u.secure || c.tlsOption() != "" || !plain && (s.Port == 8883 || webSocket && s.Port == 443)
	if s.Port == 0 {
		s.Port = map[[2]bool]int{{false, false}: 1883, {false, true}: 8883, {true, false}: 80, {true, true}: 443}[[2]bool{webSocket, s.TLS}]
	}
	return nil
}

func (c *Connection) readWebSocket(s *server, u *serverURL) (err error) {
	switch {
	case u.uri != nil && c.given("ws-path"):
		return Usage("%s has the path of the WebSocket: leave --ws-path out", "%s 已含 WebSocket 路径：请去掉 --ws-path", s.option)
	case u.uri != nil:
		s.webSocket = u.uri
	case c.websocket:
		s.webSocket, err = requestURI("--ws-path", c.path)
	case c.givenOf("ws-path", "ws-header") != "":
		o := c.givenOf("ws-path", "ws-header")
		return Usage("--%s needs --ws, or a URL with ws or wss", "--%s 需要 --ws，或 ws、wss 的 URL", o)
	}
	if err != nil || len(c.headers) == 0 {
		return err
	}
	header, err := httpHeader("ws-header", c.headers, c.variable)
	s.header = func(context.Context) (http.Header, error) { return header, nil }
	return err
}

// variable returns an environment variable. While a profile is only being written, the variable need not be
// set yet.
func (c *Connection) variable(name string) (string, bool) {
	if c.draft {
		return "", true
	}
	return os.LookupEnv(name)
}

// httpHeader parses lines of the form Name: value, in which ${NAME} is replaced by an environment variable.
// Errors never quote a value.
func httpHeader(option string, lines []string, lookup func(string) (string, bool)) (http.Header, error) {
	header := make(http.Header)
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || !headerName().MatchString(name) {
			return nil, Usage("--%s: write 'Name: value'", "--%s：请写成 'Name: value'", option)
		}
		var missing string
		value = variable().ReplaceAllStringFunc(strings.TrimSpace(value), func(v string) string {
			v = variable().FindStringSubmatch(v)[1]
			text, ok := lookup(v)
			if !ok {
				missing = v
			}
			return text
		})
		if missing != "" {
			return nil, Usage("--%s: %s is not in the environment", "--%s：环境变量 %s 未设置", option, missing)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, Usage("--%s: the value of %s holds a control character, perhaps a line end", "--%s：%s 的值含有控制字符（可能是换行）", option, name)
		}
		header.Add(name, value)
	}
	return header, nil
}

// headerName matches a token, RFC 9110 section 5.6.2.
var headerName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") })

// readLogin takes the user name and password from the options, the URL and the environment.
func (c *Connection) readLogin(s *server, u *serverURL) error {
	hasUser := c.given("username") || u.userName != nil
	switch {
	case u.userName != nil && c.given("username") && *u.userName != c.userName:
		return Usage("%s and --username name different users: leave one out", "%s 与 --username 的用户名不同：请去掉其中之一", s.option)
	case u.userName != nil:
		s.userName = *u.userName
	default:
		s.userName = c.userName
	}
	switch {
	case u.password != nil && c.given("pw") && *u.password != c.password:
		return Usage("%s and --pw give different passwords: leave one out", "%s 与 --pw 的密码不同：请去掉其中之一", s.option)
	case u.password != nil:
		s.password = u.password
	case c.given("pw"):
		s.password = &c.password
	case c.ask || c.passwordFrom() != nil:
	default:
		if v := os.Getenv("MQTT311_PASSWORD"); v != "" {
			s.password = &v
		}
	}
	if option := c.givenOf(passwordOptions[1:]...); option != "" && u.password != nil {
		return Usage("%s has a password, and --%s names another: leave one out", "%s 已含密码，--%s 又给出密码：请去掉其中之一", s.option, option)
	}
	if (s.password != nil || c.ask || c.passwordFrom() != nil) && !hasUser {
		return Usage("a password, from --pw, --pw-..., MQTT311_PASSWORD or a profile, needs a user name: --username", "密码（--pw、--pw-...、MQTT311_PASSWORD 或配置档）需要用户名：--username")
	}
	return nil
}

// dialer returns the function that opens the connection.
func (c *Connection) dialer(s *server, log *slog.Logger) (func(context.Context) (net.Conn, error), error) {
	opts := transport.Options{Logger: log, Timeout: -1, OnStep: c.onStep}
	if c.bind != "" {
		local, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(c.bind, "0"))
		if err != nil {
			return nil, Usage("--bind: %w", "--bind：%w", err)
		}
		opts.NetDial = (&net.Dialer{LocalAddr: local}).DialContext
	}
	if c.proxy != "" {
		through, err := proxy.Dialer(c.proxy, &proxy.Options{NetDial: opts.NetDial})
		if err != nil {
			return nil, Usage("--proxy: %w", "--proxy：%w", err)
		}
		opts.NetDial = through
	}
	if s.TLS {
		t, err := c.tlsConfig()
		if err != nil {
			return nil, err
		}
		opts.TLS = t
	}
	dial, err := transport.AddressDialer(s.Address, &opts)
	if err == nil && s.webSocket != nil {
		dial, err = ws.AddressDialer(s.Address, s.webSocket, &ws.Options{Options: opts, Header: s.header})
	}
	if err != nil {
		return nil, Usage("%s: %w", "%s：%w", s.option, err)
	}
	return dial, nil
}

func (c *Connection) tlsConfig() (*transport.TLSOptions, error) {
	if err := c.filesAreThere(); err != nil {
		return nil, err
	}
	t := &transport.TLSOptions{
		ServerCert: transport.File(c.caFile), WithSystemRoots: c.osCerts,
		ClientCert: transport.File(c.cert), ClientKey: transport.File(c.key),
		ServerName: c.serverName, InsecureSkipHostName: c.insecure,
	}
	if c.alpn != "" {
		t.ALPN = []string{c.alpn}
	}
	switch {
	case !c.given("tls-version") || c.tlsVersion == "tlsv1.2":
	case c.tlsVersion == "tlsv1.3":
		t.MinVersion = tls.VersionTLS13
	default:
		return nil, Usage("--tls-version %q is neither tlsv1.2 nor tlsv1.3", "--tls-version %q 既不是 tlsv1.2 也不是 tlsv1.3", c.tlsVersion)
	}
	return t, nil
}

// filesAreThere reports missing files before anything is dialled; each file is read again at every
// connection.
func (c *Connection) filesAreThere() error {
	for _, f := range []struct{ option, path string }{{"--cafile", c.caFile}, {"--cert", c.cert}, {"--key", c.key}} {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		if err == nil && !info.Mode().IsRegular() && !info.IsDir() { // opening a pipe would block, and a device may be endless
			return Usage("%s: %q is not a regular file", "%s：%q 不是普通文件", f.option, f.path)
		}
		file, err := os.Open(f.path)
		if err == nil {
			_, err = file.Read(make([]byte, 1))
			file.Close()
		}
		if err != nil && err != io.EOF {
			return Usage("%s: %w", "%s：%w", f.option, err)
		}
	}
	return nil
}
