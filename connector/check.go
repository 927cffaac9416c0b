package connector

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport/proxy"
)

// A Finding is a mistake (E...) or a warning (W...) about a configuration.
type Finding struct {
	Code      string `json:"code"`
	Path      string `json:"path"` // as connector.general.broker_url
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	Message   string `json:"message"`
	MessageZH string `json:"message_zh"`
	Fix       string `json:"fix"`
	FixZH     string `json:"fix_zh"`
}

// IsError tells a mistake from a warning.
func (f Finding) IsError() bool { return strings.HasPrefix(f.Code, "E") }

// String returns the finding in one line, in English.
func (f Finding) String() string { return f.Text("en") }

// Text returns the finding in one line, in "en" or "zh".
func (f Finding) Text(lang string) string {
	var at string
	if f.Line > 0 {
		at = strconv.Itoa(f.Line) + ":" + strconv.Itoa(f.Column) + ": "
	}
	message, fix := f.Message, f.Fix
	if lang == "zh" {
		message, fix = f.MessageZH, f.FixZH
	}
	return at + f.Code + " " + f.Path + ": " + message + " → " + fix
}

// A ConfigError is every mistake in a configuration.
type ConfigError struct{ Findings []Finding }

func (e *ConfigError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connector: %d mistakes in the configuration:", len(e.Findings))
	if len(e.Findings) == 1 {
		b.Reset()
		b.WriteString("connector: a mistake in the configuration:")
	}
	for _, f := range e.Findings {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

// Errors returns the mistakes among findings as a [*ConfigError]; nil if there are none.
func Errors(findings []Finding) error {
	var errs []Finding
	for _, f := range findings {
		if f.IsError() {
			errs = append(errs, f)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &ConfigError{errs}
}

// checker gathers findings.
type checker struct {
	cfg *Config
	out []Finding
}

func (c *checker) add(code, path, en, zh, fix, fixZH string) {
	c.out = append(c.out, Finding{Code: code, Path: path, Message: en, MessageZH: zh, Fix: fix, FixZH: fixZH})
}

// Check returns everything that is wrong with a configuration (E...) or likely not what
// was meant (W...), in the order of its fields. It does no I/O but for looking whether
// files are there.
func (cfg *Config) Check() []Finding {
	c := &checker{cfg: cfg}
	c.general()
	c.tlsFiles()
	c.will()
	c.intervals()
	c.extension()
	for _, name := range sortedKeys(cfg.Consumers) {
		c.consumer(name, cfg.Consumers[name])
	}
	for _, name := range sortedKeys(cfg.Producers) {
		c.producer("producers."+name, cfg.Producers[name])
	}
	return c.out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (c *checker) general() {
	const at = "connector.general."
	g := &c.cfg.General
	c.brokerURL(at+"broker_url", g.BrokerURL)
	for i, url := range c.cfg.Extension.FailoverURLs {
		c.brokerURL(fmt.Sprintf("connector.extension.failover_urls[%d]", i), url)
	}
	if g.ClientID == "" {
		if c.cfg.Advanced.Clean() {
			c.add("E111", at+"client_id", "is empty", "为空", "name this connector: one id per running process", "填写客户端 ID，每个运行的进程各用一个")
		} else {
			c.add("E104", at+"client_id", "is empty, and a session that is kept needs a name [MQTT-3.1.3-7]",
				"为空，而保留会话需要客户端 ID [MQTT-3.1.3-7]", "set client_id, or clean_session: true", "填写 client_id，或将 clean_session 设为 true")
		}
	} else if _, err := (&packets.Connect{ClientID: g.ClientID, CleanSession: true}).AppendBinary(nil); err != nil {
		c.add("E112", at+"client_id", reason(err), "不是合法的 MQTT 字符串", "use printable UTF-8 text", "请使用可打印的 UTF-8 文本")
	}
	if strings.Contains(g.ClientID, "${random") && (!c.cfg.Advanced.Clean() || c.cfg.Extension.SessionStore != nil) {
		c.add("W207", at+"client_id", "is random, and the session is kept: each start leaves one behind that nobody finds again",
			"为随机值，而会话会被保留：每次启动都会遗留一个再也找不到的会话", "use a fixed id, or ${hostname}", "使用固定 ID 或 ${hostname}")
	}
	if g.Password != "" && g.UserName == "" {
		c.add("E107", at+"password", "is set without a user name [MQTT-3.1.2-22]", "已填写密码但没有用户名 [MQTT-3.1.2-22]",
			"set username", "填写用户名")
	}
	if g.Password != "" && !g.Protocol.Secure() && !loopback(g.BrokerURL) {
		c.add("W213", at+"password", "goes over the network in clear text", "将以明文在网络上传输",
			"use protocol TLS or WebSocket Secure", "使用 TLS 或 WebSocket Secure 协议")
	}
}

var schemes = map[string]Protocol{
	"mqtt": TCP, "tcp": TCP, "mqtts": TLS, "tls": TLS, "ssl": TLS, "ws": WebSocket, "wss": WebSocketSecure,
}

var usualPorts = map[string][]Protocol{
	"1883": {TCP}, "8883": {TLS}, "80": {WebSocket}, "443": {WebSocketSecure}, "8083": {WebSocket}, "8084": {WebSocketSecure},
}

func (c *checker) brokerURL(at, address string) {
	g := &c.cfg.General
	if address == "" {
		c.add("E113", at, "is empty", "为空", "set it to host:port, or host:port/path for WebSocket", "填写 ip:port/path 或 url:port/path")
		return
	}
	if scheme, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
		p, known := schemes[strings.ToLower(scheme)]
		if !known || p != g.Protocol {
			c.add("E114", at, fmt.Sprintf("has the scheme %q, and protocol is %s", scheme, g.Protocol),
				fmt.Sprintf("协议头为 %q，而连接协议为 %s", scheme, g.Protocol), "drop the scheme, or set protocol to fit", "去掉协议头，或修改连接协议")
		}
	}
	if strings.Contains(address, "@") {
		c.add("E115", at, "holds credentials", "包含用户名或密码", "move them to username and password", "请改填到用户名和密码中")
		return
	}
	hostPort, path, hasPath := strings.Cut(address, "/")
	host, port, err := net.SplitHostPort(hostPort)
	if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
		c.add("E116", at, fmt.Sprintf("%q is not host:port", hostPort), fmt.Sprintf("%q 不是 host:port 格式", hostPort),
			"write it as broker.example.com:1883, or [::1]:1883 for IPv6", "例如 broker.example.com:1883，IPv6 用 [::1]:1883")
		return
	}
	if usual := usualPorts[port]; usual != nil && !slices.Contains(usual, g.Protocol) {
		c.add("W205", "connector.general.protocol", fmt.Sprintf("is %s, but port %s is usually %s", g.Protocol, port, usual[0]),
			fmt.Sprintf("为 %s，而端口 %s 通常用于 %s", g.Protocol, port, usual[0]), "check protocol and port", "请核对连接协议与端口")
	}
	if hasPath && path != "" && g.Protocol != WebSocket && g.Protocol != WebSocketSecure {
		c.add("W206", at, "has a path, which "+g.Protocol.String()+" does not use", "包含路径，而 "+g.Protocol.String()+" 不使用路径",
			"drop the path", "去掉路径")
	}
}

func loopback(url string) bool {
	host, _, _ := strings.Cut(withoutScheme(url), "/")
	host, _, err := net.SplitHostPort(host)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *checker) tlsFiles() {
	const at = "connector.general."
	g := &c.cfg.General
	files := []struct{ key, value string }{
		{"tls_client_cert", g.TLSClientCert}, {"tls_client_key", string(g.TLSClientKey)}, {"tls_server_cert", g.TLSServerCert},
	}
	for _, f := range files {
		if f.value == "" {
			continue
		}
		if !g.Protocol.Secure() {
			c.add("E101", at+f.key, "is set, but protocol is "+g.Protocol.String(), "已填写，而连接协议为 "+g.Protocol.String(),
				"set protocol to TLS or WebSocket Secure, or drop the file", "将连接协议设为 TLS 或 WebSocket Secure，或去掉该文件")
			continue
		}
		if strings.Contains(f.value, "-----BEGIN") {
			continue
		}
		if _, err := os.Stat(f.value); err != nil {
			why := err.Error()
			if cause := errors.Unwrap(err); cause != nil && f.key == "tls_client_key" {
				why = cause.Error() // what stands for a path may be the key itself
			}
			c.add("E117", at+f.key, "cannot be read: "+why, "无法读取："+why, "check the path", "请检查路径")
		}
	}
	if (g.TLSClientCert == "") != (g.TLSClientKey == "") {
		key, other := "tls_client_cert", "tls_client_key"
		if g.TLSClientCert == "" {
			key, other = other, key
		}
		c.add("E108", at+key, "is set without "+other, "已填写但缺少 "+other, "set both or neither", "两者需同时填写或同时为空")
	}
	if c.cfg.Extension.TLSInsecureSkipVerify {
		c.add("W211", "connector.extension.tls_insecure_skip_verify", "accepts any server", "不验证服务端身份",
			"set tls_server_cert instead", "改为填写 TLS 服务端证书")
	}
}

func (c *checker) will() {
	const at = "connector.advanced."
	a := &c.cfg.Advanced
	if !a.WillEnabled {
		set := map[string]bool{
			"will_topic": a.WillTopic != "", "will_payload": a.WillPayload != "",
			"will_qos": a.WillQoS != 0, "will_retained": a.WillRetained,
		}
		for _, key := range sortedKeys(set) {
			if set[key] {
				c.add("E102", at+key, "is set, but will_enabled is false", "已填写，但未启用遗嘱消息",
					"set will_enabled: true, or drop it", "启用遗嘱消息，或去掉该项")
			}
		}
		return
	}
	if err := packets.ValidTopicName(a.WillTopic); err != nil {
		c.add("E106", at+"will_topic", reason(err), reasonZH(err), "set a topic without wildcards", "填写不含通配符的主题")
	}
	if len(a.WillPayload) > 65535 {
		c.add("E118", at+"will_payload", "is above 65,535 bytes", "超过 65535 字节", "shorten it", "请缩短")
	}
}

func (c *checker) intervals() {
	const at = "connector.advanced."
	a := &c.cfg.Advanced
	c.noNegativeTime("connector.advanced", map[string]*time.Duration{
		"keep_alive": a.KeepAlive, "ping_timeout": a.PingTimeout, "connect_timeout": a.ConnectTimeout, "write_timeout": a.WriteTimeout,
		"max_reconnect_interval": a.MaxReconnectInterval, "connect_retry_interval": a.ConnectRetryInterval,
	})
	c.noNegativeTime("connector.extension", map[string]*time.Duration{"ack_timeout": c.cfg.Extension.AckTimeout, "stall_timeout": c.cfg.Extension.StallTimeout})
	if a.MaxReconnectInterval != nil && !a.AutoReconnect {
		c.add("E103", at+"max_reconnect_interval", "is set, but auto_reconnect is false", "已填写，但未启用自动重试连接",
			"set auto_reconnect: true, or drop it", "启用自动重试连接，或去掉该项")
	}
	if a.ConnectRetryInterval != nil && !a.ConnectRetry {
		c.add("E103", at+"connect_retry_interval", "is set, but connect_retry is false", "已填写，但未启用重试 connect",
			"set connect_retry: true, or drop it", "启用重试 connect，或去掉该项")
	}
	if a.KeepAlive != nil && a.KeepAlive.Seconds() > 65535 {
		c.add("E119", at+"keep_alive", "is above 65,535 seconds", "超过 65535 秒", "set 18h12m15s at the most", "最大为 18h12m15s")
	}
	if a.KeepAlive != nil && *a.KeepAlive == 0 {
		c.add("W209", at+"keep_alive", "is off: a dead server may go unnoticed, and some servers refuse it", "已关闭：可能无法发现失效的服务端，部分服务端会拒绝",
			"set 30s", "设为 30s")
	}
	if len(c.cfg.Consumers) > 0 && !a.AutoReconnect {
		c.add("W204", at+"auto_reconnect", "is false: consumers stop at the first loss of the connection", "为 false：连接一旦断开，消费即停止",
			"set auto_reconnect: true", "设为 true")
	}
}

func (c *checker) extension() {
	const at = "connector.extension."
	x := &c.cfg.Extension
	if x.Proxy != "" && x.Proxy != "env" {
		if _, err := proxy.Dialer(string(x.Proxy), nil); err != nil {
			c.add("E146", at+"proxy", "is neither a proxy's URL nor env", "既不是代理 URL，也不是 env",
				"write socks5://host:1080, http://host:3128, or env", "例如 socks5://host:1080、http://host:3128 或 env")
		}
	}
	if x.TLSMinVersion != "" && x.TLSMinVersion != "1.2" && x.TLSMinVersion != "1.3" {
		c.add("E139", at+"tls_min_version", "is neither 1.2 nor 1.3", "不是 1.2 或 1.3", "choose one of them", "请从可选值中选择")
	}
	k := x.SessionStore
	if k == nil {
		return
	}
	if k.Dir == "" {
		c.add("E143", at+"session_store.dir", "is empty", "为空", "name a folder", "填写目录")
	}
	if c.cfg.Advanced.Clean() {
		c.add("W216", at+"session_store", "with a clean session: what was received is not kept, and what may have been sent is sent anew",
			"与清除会话同用：不保留已接收的内容，可能已发送的消息会重新发送", "set clean_session: false", "将 clean_session 设为 false")
	}
}

// ledger checks that the ledger has a place and a use.
func (c *checker) ledger(at string, p ConsumerParams, highest packets.QoS) {
	switch {
	case !p.Ledger:
	case c.cfg.Extension.SessionStore == nil:
		c.add("E144", at+".ledger", "is on, but there is no session_store to keep it", "已启用，但没有 session_store 可供保存",
			"set connector.extension.session_store", "设置 connector.extension.session_store")
	case p.AckMode == Immediately || highest == packets.AtMostOnce:
		c.add("W217", at+".ledger", "has no use: nothing is acknowledged after its flow", "不起作用：没有消息在流之后确认",
			"drop it, or set qos and ack_mode", "去掉该项，或设置 qos 与 ack_mode")
	}
}

func (c *checker) consumer(name string, p ConsumerParams) {
	at := "consumers." + name
	if len(p.Topics) == 0 {
		c.add("E120", at+".topics", "is empty", "为空", "name one topic at the least", "至少填写一个订阅主题")
	}
	highest := p.QoS
	for i, t := range p.Topics {
		if err := packets.ValidTopicFilter(t.Topic); err != nil {
			c.add("E105", fmt.Sprintf("%s.topics[%d]", at, i), reason(err), reasonZH(err),
				"'+' is a whole level, '#' the whole last one", "“+”须占整个层级，“#”须为整个最后一级")
		}
		if t.HasQoS {
			highest = max(highest, t.QoS)
		}
	}
	if p.ShareGroup != "" && strings.ContainsAny(p.ShareGroup, "/+#") {
		c.add("E121", at+".share_group", "holds '/', '+' or '#'", "包含“/”、“+”或“#”", "use a plain name", "请使用普通名称")
	}
	if p.Partition != nil {
		c.partition(at, p)
	}
	c.notNegative(at, map[string]int{"concurrency": p.Concurrency, "max_in_flight": p.MaxInFlight, "max_in_flight_bytes": p.MaxInFlightBytes})
	c.noNegativeTime(at, map[string]*time.Duration{
		"flow_timeout": p.FlowTimeout, "on_failure.initial_delay": p.OnFailure.InitialDelay, "on_failure.max_delay": p.OnFailure.MaxDelay,
	})
	c.failurePolicy(at+".on_failure", p)
	c.overlaps(name, at, p)
	c.ledger(at, p, highest)
	c.consumerWarnings(at, p, highest)
}

func (c *checker) notNegative(at string, values map[string]int) {
	for _, key := range sortedKeys(values) {
		if values[key] < 0 {
			c.add("E125", at+"."+key, "is negative", "为负数", "leave it out for the default", "不填写则使用默认值")
		}
	}
}

func (c *checker) noNegativeTime(at string, values map[string]*time.Duration) {
	for _, key := range sortedKeys(values) {
		if deref(values[key], 0) < 0 {
			c.add("E125", at+"."+key, "is negative", "为负数", "leave it out for the default", "不填写则使用默认值")
		}
	}
}

func (c *checker) failurePolicy(at string, p ConsumerParams) {
	f := &p.OnFailure
	for i, t := range f.RetryOn {
		if _, err := ParseErrorType(string(t)); err != nil {
			c.add("E139", fmt.Sprintf("%s.retry_on[%d]", at, i), err.Error(), fmt.Sprintf("%q 不是错误类型", string(t)), "write any, NAMESPACE:IDENTIFIER or NAMESPACE:*", "请填写 any、NAMESPACE:IDENTIFIER 或 NAMESPACE:*")
		}
	}
	targets := f.DeadLetterTopic != "" || f.DeadLetterFile != ""
	switch {
	case f.DeadLetterTopic != "" && f.DeadLetterFile != "":
		c.add("E122", at+".dead_letter", "has a topic and a file", "同时填写了主题和文件", "keep one", "只保留一个")
	case f.DeadLetterMeta && f.DeadLetterTopic == "":
		c.add("E122", at+".dead_letter.meta", "is about a topic, and there is none", "仅用于主题，而未填写主题", "drop it: a file has it all", "去掉该项：文件中已包含全部信息")
	case f.Then == DeadLetter && !targets:
		c.add("E122", at+".dead_letter", "is missing", "缺失", "name a topic or a file", "填写主题或文件")
	}
	if f.DeadLetterTopic == "" {
		return
	}
	if err := packets.ValidTopicName(f.DeadLetterTopic); err != nil {
		c.add("E106", at+".dead_letter.topic", reason(err), reasonZH(err), "set a topic without wildcards", "填写不含通配符的主题")
	}
	for _, name := range sortedKeys(c.cfg.Consumers) {
		for _, t := range c.cfg.Consumers[name].Topics {
			if packets.Match(matched(t.Topic), f.DeadLetterTopic) || f.DeadLetterMeta && packets.Match(matched(t.Topic), f.DeadLetterTopic+metaLevel) {
				c.add("E110", at+".dead_letter.topic", fmt.Sprintf("is matched by the topic %q of consumer %s: an endless loop", t.Topic, name),
					fmt.Sprintf("与 Consumer %s 的订阅主题 %q 匹配，会无限循环", name, t.Topic), "choose a topic outside", "请选择订阅范围之外的主题")
				return
			}
		}
	}
}

func (c *checker) partition(at string, p ConsumerParams) {
	if p.ShareGroup != "" {
		c.add("E109", at+".partition", "stands beside share_group: messages would be divided twice, and some lost", "与 share_group 同时填写：消息会被划分两次而丢失",
			"keep one", "只保留一个")
	}
	if p.Partition.Count < 1 || p.Partition.Index < 0 || p.Partition.Index >= p.Partition.Count {
		c.add("E126", at+".partition.index", fmt.Sprintf("is %d of %d", p.Partition.Index, p.Partition.Count),
			fmt.Sprintf("为 %d，总数为 %d", p.Partition.Index, p.Partition.Count), "number the processes from 0 to count - 1", "进程从 0 编号到 count - 1")
	}
	if p.Partition.Key != keyTopic {
		c.template(at+".partition.key", p.Partition.Key)
	}
}

// overlaps warns of filters that one message may match twice: the Server may then
// deliver it once for each [MQTT-3.3.5-1]. A filter that two consumers have in common is
// subscribed to once.
func (c *checker) overlaps(name, at string, p ConsumerParams) {
	for i, t := range p.Topics {
		here := fmt.Sprintf("%s.topics[%d]", at, i)
		if packets.ValidTopicFilter(t.Topic) != nil {
			continue
		}
		for _, u := range p.Topics[:i] {
			if overlapping(t, u) {
				c.add("W210", here, fmt.Sprintf("overlaps with %q: a message that matches both may come twice", u.Topic),
					fmt.Sprintf("与 %q 重叠：同时匹配的消息可能收到两次", u.Topic), "keep the wider one", "只保留范围较大的一个")
				break
			}
		}
		for _, before := range sortedKeys(c.cfg.Consumers) {
			if before == name {
				break
			}
			o := c.cfg.Consumers[before]
			for _, u := range o.Topics {
				if o.subscribed(u) != p.subscribed(t) && overlapping(t, u) {
					c.add("W210", here, fmt.Sprintf("overlaps with %q of consumer %s: the server may send a message that matches both twice, and each copy runs both flows", u.Topic, before),
						fmt.Sprintf("与 Consumer %s 的 %q 重叠：同时匹配的消息可能收到两次，且每次都会运行两个流", before, u.Topic),
						"give both the same filter, or use a connector for each", "为两者填写相同的订阅主题，或各用一个连接器")
					break
				}
			}
		}
	}
}

func overlapping(t, u TopicQoS) bool {
	return packets.ValidTopicFilter(u.Topic) == nil && overlap(matched(t.Topic), matched(u.Topic))
}

// overlap tells whether some Topic Name matches both filters.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; ; i++ {
		moreX, moreY := i < len(x), i < len(y)
		switch {
		case moreX && x[i] == "#", moreY && y[i] == "#":
			return true
		case !moreX || !moreY:
			return !moreX && !moreY
		case x[i] == "+" || y[i] == "+" || x[i] == y[i]:
			if i == 0 && x[0] != y[0] && (strings.HasPrefix(x[0], "$") || strings.HasPrefix(y[0], "$")) {
				return false // [MQTT-4.7.2-1]
			}
		default:
			return false
		}
	}
}

func (c *checker) consumerWarnings(at string, p ConsumerParams, highest packets.QoS) {
	clean := c.cfg.Advanced.Clean()
	if p.AckMode == AfterFlowSuccess {
		switch {
		case highest == packets.AtMostOnce:
			c.add("W201", at+".qos", "is At Most Once: nothing is ever acknowledged, and a crash loses what is being processed",
				"为 At Most Once：不存在确认，崩溃会丢失处理中的消息", "set qos: At Least Once", "设为 At Least Once")
		case clean:
			c.add("W202", "connector.advanced.clean_session", "is true: messages that are not acknowledged die with the connection",
				"为 true：未确认的消息会随连接丢失", "set clean_session: false", "设为 false")
		}
		if deref(p.OnFailure.Retries, -1) < 0 {
			c.add("W203", at+".on_failure", "has no limit of retries: a message that never succeeds is kept for ever and holds those behind it back",
				"没有重试上限：始终失败的消息会一直保留并阻塞其后的确认", "set retries and then: dead_letter", "设置 retries 以及 then: dead_letter")
		}
	}
	if concurrency := orDefault(p.Concurrency, defaultConcurrency); concurrency > orDefault(p.MaxInFlight, defaultInFlight) {
		c.add("W214", at+".concurrency", "is above max_in_flight, which bounds it", "大于 max_in_flight，实际受后者限制", "raise max_in_flight, or lower it", "调大 max_in_flight 或调小该值")
	}
	if p.ShareGroup != "" && !clean {
		c.add("W215", at+".share_group", "with a kept session: the server goes on giving an absent member its share",
			"与保留会话同用：服务端会继续把消息分给离线成员", "set clean_session: true, or stop only after draining", "将 clean_session 设为 true，或先排空再停止")
	}
	if c.cfg.Advanced.Order && deref(p.FlowTimeout, 0) == 0 {
		c.add("W208", at+".flow_timeout", "is unset with order: true: a flow that hangs stops the consumer", "顺序处理时未设置：流卡住会使消费停止",
			"set a flow_timeout", "设置 flow_timeout")
	}
}

func (c *checker) producer(at string, p ProducerParams) {
	t, err := parseTemplate(p.Topic)
	switch {
	case p.Topic == "":
		c.add("E123", at+".topic", "is empty", "为空", "set the topic to publish to", "填写要发布的主题")
	case err != nil:
		c.template(at+".topic", p.Topic)
	case t.constant():
		if err := packets.ValidTopicName(p.Topic); err != nil {
			c.add("E106", at+".topic", reason(err), reasonZH(err), "set a topic without wildcards", "填写不含通配符的主题")
		}
	case strings.ContainsAny(strings.Join(t.text, ""), "+#"):
		c.add("E106", at+".topic", "holds a wildcard [MQTT-3.3.2-2]", "包含通配符 [MQTT-3.3.2-2]", "set a topic without wildcards", "填写不含通配符的主题")
	}
	c.noNegativeTime(at, map[string]*time.Duration{"ack_timeout": p.AckTimeout})
	c.template(at+".qos", p.QoSFrom)
	c.template(at+".retained", p.RetainedFrom)
	if p.DoneWhen == DoneWhenStored && (c.cfg.Extension.SessionStore == nil || p.QoSFrom == "" && p.QoS == packets.AtMostOnce) {
		c.add("E145", at+".done_when", "is stored, but nothing is stored without a session_store, or at QoS 0", "为 stored，但没有 session_store 或 QoS 为 0 时不会存储",
			"set connector.extension.session_store and a qos above 0, or leave it out", "设置 connector.extension.session_store 以及大于 0 的 QoS，或去掉该项")
	}
	if p.Payload == nil {
		return
	}
	c.template(at+".payload", *p.Payload)
	if *p.Payload == "" && p.Retained {
		c.add("W212", at+".payload", "is empty and retained: it deletes the retained message", "为空且保存：会删除已保存的消息",
			"leave payload out to publish that of the message", "若要发布流中的内容，请不要填写消息内容")
	}
}

// template checks that a template can be read.
func (c *checker) template(at, text string) {
	if _, err := parseTemplate(text); err != nil {
		zh := strings.NewReplacer(" is none of ", " 不是以下之一：", " names no field, as in ", " 没有字段名，写法如 ", `has "${" without "}"`, "中的“${”缺少“}”").Replace(err.Error())
		c.add("E124", at, err.Error(), "表达式有误："+zh, "write ${payload.path}, ${attribute.name} or ${variable.name}", "使用 ${payload.path}、${attribute.name} 或 ${variable.name}")
	}
}

// reason is the part of an encoding error that a person who fills in a form needs.
func reason(err error) string {
	s := err.Error()
	if _, after, ok := strings.Cut(s, "packets: "); ok {
		parts := strings.SplitN(after, ": ", 3)
		return parts[len(parts)-1]
	}
	return s
}

// reasonZH is the reason in Chinese, with its statement.
func reasonZH(err error) string {
	return strings.NewReplacer("is empty", "为空", "is longer than 65,535 bytes", "超过 65535 字节", "holds a wildcard", "包含通配符",
		"has '#' not as its whole last level", "中的“#”不是整个最后一级", "has '+' not as a whole level", "中的“+”未占整个层级",
		"holds a NUL character", "包含空字符 U+0000", "is not well-formed UTF-8", "不是合法的 UTF-8").Replace(reason(err))
}
