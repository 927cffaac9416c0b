package connector

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/proxy"
)

// A Finding is an error (code E...) or a warning (code W...) about a configuration.
type Finding = lint.Finding

// A ConfigError holds all errors found in a configuration.
type ConfigError = lint.Error

// Errors returns the errors among findings as a [*ConfigError], or nil if there are none.
func Errors(findings []Finding) error { return lint.Errors(findings) }

// checker collects findings.
type checker struct {
	cfg     *Config
	name    string        // of the connection being checked; empty for the main connection
	at      string        // its path, ending in a dot
	conn    *Connection   // and its settings
	filters *lint.Filters // of all consumers
	out     lint.List

	entries  []lint.Entry // of consumers that run live messages
	compared int          // characters of templates and filters: see mayReceive
}

func (c *checker) add(rule, path string, args ...any) {
	if !c.out.Count(rule) {
		c.out.Add(lint.New(rule, path, args...))
	}
}

// Check returns the errors in a configuration (E...) and warnings about what is probably a mistake
// (W...), in the order of its fields, with at most [lint.MaxOfRule] findings of each code. Its only
// I/O is to examine the files that the configuration names.
func (cfg *Config) Check() []Finding {
	c := &checker{cfg: cfg, filters: cfg.filters()}
	c.connection("", "connector.", cfg.own())
	for _, name := range sortedKeys(cfg.Connections) {
		conn := cfg.Connections[name]
		if name == "" {
			c.add("E162/unnamed", "connections")
			continue
		}
		c.connection(name, "connections."+name+".", &conn)
	}
	c.further()
	c.overlaps()
	for _, name := range sortedKeys(cfg.Consumers) {
		c.consumer(name, cfg.Consumers[name])
	}
	for _, name := range sortedKeys(cfg.Producers) {
		c.producer("producers."+name, cfg.Producers[name])
	}
	c.loops()
	c.nats()
	return c.out.Findings()
}

// connection checks the settings of a connection.
func (c *checker) connection(name, at string, conn *Connection) {
	c.name, c.at, c.conn = name, at, conn
	c.general()
	c.tlsFiles()
	c.will()
	c.intervals()
	c.extension()
	c.windows()
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
	at := c.at + "general."
	g := &c.conn.General
	c.brokerURL(at+"broker_url", g.BrokerURL)
	for i, url := range c.conn.Extension.FailoverURLs {
		c.brokerURL(fmt.Sprintf("%sextension.failover_urls[%d]", c.at, i), url)
	}
	c.clientID(at+"client_id", g.ClientID)
	if fault := textFault(g.UserName); fault != "" {
		c.add("E112/"+fault, at+"username")
	} else {
		c.variable(at+"username", g.UserName)
		c.whiteSpace(at+"username", g.UserName)
	}
	if len(g.Password) > 65535 {
		c.add("E112/long", at+"password")
	}
	c.source(at+"username", g.UserNameFrom)
	c.secret(at+"password", g.Password)
	c.source(at+"password", g.PasswordFrom)
	if !g.hasPassword() {
		return
	}
	if g.UserName == "" && g.UserNameFrom == nil {
		c.add("E107", at+"password")
	}
	if !g.Protocol.Secure() && !loopback(g.BrokerURL) {
		c.add("W213", at+"password")
	}
}

func (c *checker) clientID(at, id string) {
	clean := c.conn.Advanced.Clean()
	if id == "" {
		if clean {
			c.add("E111", at)
		} else {
			c.add("E104", at)
		}
		return
	}
	if fault := textFault(id); fault != "" {
		c.add("E112/"+fault, at)
		return
	}
	if strings.Contains(id, "${random") && (!clean || c.conn.Extension.SessionStore != nil) {
		c.add("W207", at)
	}
	c.variable(at, id)
	if !c.whiteSpace(at, id) && strings.ContainsFunc(id, blank) {
		c.add("W222/inner", at, id)
	}
}

var schemes = map[string]Protocol{
	"mqtt": TCP, "tcp": TCP, "mqtts": TLS, "tls": TLS, "ssl": TLS, "ws": WebSocket, "wss": WebSocketSecure,
}

var usualPorts = map[string][]Protocol{
	"1883": {TCP}, "8883": {TLS}, "80": {WebSocket}, "443": {WebSocketSecure}, "8083": {WebSocket}, "8084": {WebSocketSecure},
}

func (c *checker) brokerURL(at, address string) {
	g := &c.conn.General
	if address == "" {
		c.add("E113", at)
		return
	}
	if scheme, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
		p, known := schemes[strings.ToLower(scheme)]
		if !known || p != g.Protocol {
			c.add("E114", at, scheme, g.Protocol.String())
		}
	}
	hostPort, path, hasPath := strings.Cut(address, "/")
	if strings.Contains(hostPort, "@") {
		c.add("E115", at)
		return
	}
	host, port, err := net.SplitHostPort(hostPort)
	if n, perr := strconv.Atoi(port); err != nil || host == "" || strings.ContainsFunc(host, blank) || perr != nil || n < 1 || n > 65535 {
		c.add("E116", at, hostPort)
		return
	}
	w := &way{cfg: c.conn} // New is to accept what is accepted here
	if _, err := w.keyedDialer(hostPort, new(transport.Options)); err != nil {
		c.add("E116/host", at, host)
	} else if _, err := w.keyedDialer(address, new(transport.Options)); err != nil {
		c.add("E116/path", at, path)
	}
	if usual := usualPorts[port]; usual != nil && !slices.Contains(usual, g.Protocol) {
		c.add("W205", c.at+"general.protocol", g.Protocol.String(), port, usual[0].String())
	}
	if hasPath && path != "" && g.Protocol != WebSocket && g.Protocol != WebSocketSecure {
		c.add("W206", at, g.Protocol.String())
	}
}

func loopback(url string) bool {
	host, _, _ := strings.Cut(withoutScheme(url), "/")
	host, _, err := net.SplitHostPort(host)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (c *checker) tlsFiles() {
	at := c.at + "general."
	g := &c.conn.General
	for _, f := range []struct{ key, value string }{
		{"tls_client_cert", g.TLSClientCert}, {"tls_client_key", string(g.TLSClientKey)}, {"tls_server_cert", g.TLSServerCert},
	} {
		switch {
		case f.value == "":
		case !g.Protocol.Secure():
			c.add("E101", at+f.key, g.Protocol.String())
		default:
			c.pem(at+f.key, f.value)
		}
	}
	hasKey := g.TLSClientKey != "" || g.TLSClientKeyFrom != nil
	if g.TLSClientKeyFrom != nil && !g.Protocol.Secure() {
		c.add("E101", at+"tls_client_key", g.Protocol.String())
	} else {
		c.source(at+"tls_client_key", g.TLSClientKeyFrom)
	}
	switch {
	case g.TLSClientCert != "" && !hasKey:
		c.add("E108/cert", at+"tls_client_cert")
	case g.TLSClientCert == "" && hasKey:
		c.add("E108/key", at+"tls_client_key")
	}
	if c.conn.Extension.TLSInsecureSkipVerify {
		c.add("W211", c.at+"extension.tls_insecure_skip_verify")
	}
}

func (c *checker) will() {
	at := c.at + "advanced."
	a := &c.conn.Advanced
	if !a.WillEnabled {
		set := map[string]bool{
			"will_topic": a.WillTopic != "", "will_payload": a.WillPayload != "",
			"will_qos": a.WillQoS != 0, "will_retained": a.WillRetained,
		}
		for _, key := range sortedKeys(set) {
			if set[key] {
				c.add("E102", at+key)
			}
		}
		return
	}
	c.topicName(at+"will_topic", a.WillTopic)
	c.variable(at+"will_payload", a.WillPayload)
	if len(a.WillPayload) > 65535 {
		c.add("E118", at+"will_payload")
	}
}

func (c *checker) intervals() {
	at := c.at + "advanced."
	a, x := &c.conn.Advanced, &c.conn.Extension
	c.noNegativeTime(c.at+"advanced", map[string]*time.Duration{
		"keep_alive": a.KeepAlive, "ping_timeout": a.PingTimeout, "connect_timeout": a.ConnectTimeout, "write_timeout": a.WriteTimeout,
		"max_reconnect_interval": a.MaxReconnectInterval, "connect_retry_interval": a.ConnectRetryInterval,
	})
	c.noNegativeTime(c.at+"extension", map[string]*time.Duration{"ack_timeout": x.AckTimeout, "stall_timeout": x.StallTimeout})
	c.tooShort(c.at+"advanced", map[string]*time.Duration{
		"keep_alive": a.KeepAlive, "ping_timeout": a.PingTimeout, "connect_timeout": a.ConnectTimeout, "write_timeout": a.WriteTimeout,
	})
	c.tooShort(c.at+"extension", map[string]*time.Duration{"ack_timeout": x.AckTimeout})
	if a.MaxReconnectInterval != nil && !a.AutoReconnect {
		c.add("E103/reconnect", at+"max_reconnect_interval")
	}
	if a.ConnectRetryInterval != nil && !a.ConnectRetry {
		c.add("E103/connect", at+"connect_retry_interval")
	}
	switch keep := deref(a.KeepAlive, 30*time.Second); {
	case keep.Seconds() > 65535:
		c.add("E119", at+"keep_alive")
	case keep > longestKeepAlive:
		c.add("W220", at+"keep_alive", keep.String())
	case keep == 0:
		c.add("W209", at+"keep_alive")
	}
	if c.name == "" && len(c.cfg.Consumers) > 0 && !a.AutoReconnect {
		c.add("W204", at+"auto_reconnect")
	}
}

// longestKeepAlive is the limit of the strictest of the large cloud services.
const longestKeepAlive = 20 * time.Minute

// tooShort warns of time limits that no network can meet, as when the unit is wrong by a factor of
// 1,000.
func (c *checker) tooShort(at string, values map[string]*time.Duration) {
	for _, key := range sortedKeys(values) {
		if d := deref(values[key], 0); d > 0 && d < 100*time.Millisecond {
			c.add("W221", at+"."+key, d.String())
		}
	}
}

func (c *checker) extension() {
	at := c.at + "extension."
	x := &c.conn.Extension
	c.secret(at+"proxy", x.Proxy)
	if url, ok := string(x.Proxy), x.Proxy != ""; x.ProxyFrom != nil || ok {
		if x.ProxyFrom != nil && c.source(at+"proxy", x.ProxyFrom) {
			url, ok = x.ProxyFrom.now()
		}
		if _, err := proxy.Dialer(url, nil); ok && url != "env" && err != nil {
			c.add("E146", at+"proxy")
		}
	}
	c.whiteSpace(at+"tls_server_name", x.TLSServerName)
	for i, protocol := range x.TLSALPN {
		c.topicText(fmt.Sprintf("%stls_alpn[%d]", at, i), protocol, len(x.TLSALPN) == 1)
	}
	for _, name := range slices.Concat(sortedKeys(x.WSHeaders), sortedKeys(x.WSHeadersFrom)) {
		c.headerName(at+"ws_headers."+name, name)
	}
	for _, name := range sortedKeys(x.WSHeaders) {
		if strings.ContainsFunc(string(x.WSHeaders[name]), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			c.add("E151/value", at+"ws_headers."+name)
		}
		c.secret(at+"ws_headers."+name, x.WSHeaders[name])
	}
	for _, name := range sortedKeys(x.WSHeadersFrom) {
		from := x.WSHeadersFrom[name]
		c.source(at+"ws_headers."+name, &from)
	}
	if x.TLSMinVersion != "" && x.TLSMinVersion != "1.2" && x.TLSMinVersion != "1.3" {
		c.add("E139", at+"tls_min_version", x.TLSMinVersion, []string{"1.2", "1.3"})
	}
	if c.name == "" {
		c.checkUnmatched(at + "unmatched")
	}
	c.faultPolicies(at)
	k := x.SessionStore
	if k == nil {
		return
	}
	if k.Dir == "" {
		c.add("E143", at+"session_store.dir")
	} else {
		c.storeFolder(at+"session_store.dir", k)
	}
	if c.conn.Advanced.Clean() {
		c.add("W216", at+"session_store")
	}
}

// Several hosted services allow at most mostInflight unacknowledged messages, and mosquitto 2.0.11
// loses messages of QoS 2 beyond mostInflightQoS2. mostWindow is the limit of the client.
const (
	mostInflight     = 100
	mostInflightQoS2 = 20
	mostWindow       = 16384
)

// windows checks how many messages may be in flight to the server.
func (c *checker) windows() {
	at := c.at + "extension."
	x := &c.conn.Extension
	for _, w := range []struct {
		key, rule     string
		value, likely int
	}{
		{"max_inflight", "W230/window", x.MaxInflight, mostInflight},
		{"max_inflight_qos2", "W230/qos2", x.MaxInflightQoS2, mostInflightQoS2},
	} {
		switch {
		case w.value < 0 || w.value > mostWindow:
			c.add("E137", at+w.key, strconv.Itoa(w.value), 1, mostWindow)
		case w.value > w.likely:
			c.add(w.rule, at+w.key, w.likely)
		}
	}
	all := cmp.Or(x.MaxInflight, defaultWindow)
	if x.MaxInflightQoS2 > all {
		c.add("W214/window", at+"max_inflight_qos2", all)
	}
	for _, name := range sortedKeys(c.cfg.Producers) {
		p := c.cfg.Producers[name]
		if p.Connection != c.name {
			continue
		}
		if p.DoneWhen != DoneWhenStored && p.MaxInFlight > all {
			c.add("W214/window", "producers."+name+".max_in_flight", all)
		}
	}
}

// faultPolicies checks the policies for messages that cannot be accepted.
func (c *checker) faultPolicies(at string) {
	x := &c.conn.Extension
	if x.Oversize == FaultStop {
		c.add("W233", at+"oversize")
	}
	if x.Malformed == FaultStop {
		c.add("W233", at+"malformed")
	}
	if c.name != "" || x.MaxPacketSize == 0 || x.Oversize != FaultDefault { // another connection has no consumers
		return
	}
	for _, name := range sortedKeys(c.cfg.Consumers) {
		if p := c.cfg.Consumers[name]; p.AckMode == AfterFlowSuccess && p.highest() > packets.AtMostOnce && p.OnFailure.DeadLetterFile == "" {
			c.add("W232", at+"max_packet_size", name)
			return
		}
	}
}

// maxOversize checks that the limit for a dead letter file is above max_packet_size.
func (c *checker) maxOversize(at string, f *OnFailure) {
	least := cmp.Or(c.cfg.Extension.MaxPacketSize, defaultMaxPacket)
	if most := f.DeadLetterMaxOversize; most != nil && 0 < *most && *most <= least {
		c.add("W234", at, least)
	}
}

// defaultMaxPacket is the client's default for max_packet_size.
const defaultMaxPacket = 16 << 20

// defaultWindow is the client's default for max_inflight.
const defaultWindow = 100

// highest returns the highest QoS that the consumer requests.
func (p *ConsumerParams) highest() packets.QoS {
	highest := p.QoS
	for _, t := range p.Topics {
		if t.HasQoS {
			highest = max(highest, t.QoS)
		}
	}
	return highest
}

// headerName checks a header name as package ws does for every attempt.
func (c *checker) headerName(at, name string) {
	letter := func(r rune) bool {
		return 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r < 0x7f && strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return !letter(r) }): // RFC 9110, section 5.6.2
		c.add("E151/name", at, name)
	case slices.Contains(handshake, strings.ToLower(name)):
		c.add("E151/handshake", at)
	}
}

// handshake lists the headers that a handshake sets itself.
var handshake = []string{
	"upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol", "content-length", "transfer-encoding",
}

// ledger checks that the ledger has a session store and is useful.
func (c *checker) ledger(at string, p ConsumerParams, highest packets.QoS) {
	switch {
	case !p.Ledger:
	case c.cfg.Extension.SessionStore == nil:
		c.add("E144", at+".ledger")
	case p.AckMode == Immediately || highest == packets.AtMostOnce:
		c.add("W217", at+".ledger")
	}
}

func (c *checker) consumer(name string, p ConsumerParams) {
	at := "consumers." + name
	if len(p.Topics) == 0 {
		c.add("E120", at+".topics")
	}
	highest := p.highest()
	for i, t := range p.Topics {
		c.topicFilter(fmt.Sprintf("%s.topics[%d]", at, i), t.Topic, len(p.Topics) == 1)
	}
	if p.ShareGroup != "" && strings.ContainsAny(p.ShareGroup, "/+#") {
		c.add("E121", at+".share_group")
	}
	c.whiteSpace(at+".share_group", p.ShareGroup)
	for i, t := range p.Topics {
		if _, ok := packets.Undecorated(t.Topic); ok && p.ShareGroup != "" {
			c.add("E153", fmt.Sprintf("%s.topics[%d]", at, i), t.Topic)
		}
	}
	if p.Partition != nil {
		c.partition(at, p)
	}
	c.notNegative(at, map[string]int{"concurrency": p.Concurrency, "max_in_flight": p.MaxInFlight, "max_in_flight_bytes": p.MaxInFlightBytes})
	c.noNegativeTime(at, map[string]*time.Duration{
		"flow_timeout": p.FlowTimeout, "on_failure.initial_delay": p.OnFailure.InitialDelay, "on_failure.max_delay": p.OnFailure.MaxDelay,
	})
	c.failurePolicy(at+".on_failure", p)
	c.ledger(at, p, highest)
	c.consumerWarnings(at, p, highest)
}

func (c *checker) notNegative(at string, values map[string]int) {
	for _, key := range sortedKeys(values) {
		if values[key] < 0 {
			c.add("E125", at+"."+key)
		}
	}
}

func (c *checker) noNegativeTime(at string, values map[string]*time.Duration) {
	for _, key := range sortedKeys(values) {
		if deref(values[key], 0) < 0 {
			c.add("E125", at+"."+key)
		}
	}
}

func (c *checker) failurePolicy(at string, p ConsumerParams) {
	f := &p.OnFailure
	for i, t := range f.RetryOn {
		if _, err := ParseErrorType(string(t)); err != nil {
			c.add("E139/type", fmt.Sprintf("%s.retry_on[%d]", at, i), string(t))
		}
	}
	switch {
	case f.DeadLetterTopic != "" && f.DeadLetterFile != "":
		c.add("E122/both", at+".dead_letter")
	case f.DeadLetterMeta && f.DeadLetterTopic == "":
		c.add("E122/meta", at+".dead_letter.meta")
	case f.DeadLetterMaxOversize != nil && f.DeadLetterFile == "":
		c.add("E122/oversize", at+".dead_letter.max_oversize")
	case f.Then == DeadLetter && f.DeadLetterTopic == "" && f.DeadLetterFile == "":
		c.add("E122/missing", at+".dead_letter")
	}
	if f.DeadLetterFile != "" {
		c.deadLetterFile(at+".dead_letter.file", f.DeadLetterFile)
		c.maxOversize(at+".dead_letter.max_oversize", f)
	}
	if f.DeadLetterTopic == "" {
		return
	}
	c.topicName(at+".dead_letter.topic", f.DeadLetterTopic)
	loop := c.filters.Matching(f.DeadLetterTopic)
	if loop == nil && f.DeadLetterMeta {
		loop = c.filters.Matching(f.DeadLetterTopic + metaLevel)
	}
	if loop != nil {
		c.add("E110", at+".dead_letter.topic", loop.Filter, loop.Owner)
	}
}

func (c *checker) partition(at string, p ConsumerParams) {
	if p.ShareGroup != "" {
		c.add("E109", at+".partition")
	}
	if p.Partition.Lease != "" {
		c.lease(at, p)
	}
	if p.Partition.Count < 1 || p.Partition.Index < 0 || p.Partition.Index >= p.Partition.Count {
		c.add("E126", at+".partition.index", p.Partition.Index, p.Partition.Count)
	}
	if p.Partition.Key != keyTopic {
		c.template(at+".partition.key", p.Partition.Key)
	}
}

func (c *checker) consumerWarnings(at string, p ConsumerParams, highest packets.QoS) {
	clean := c.cfg.Advanced.Clean()
	if p.AckMode == AfterFlowSuccess {
		switch {
		case highest == packets.AtMostOnce:
			c.add("W201", at+".qos")
		case clean:
			c.add("W202", "connector.advanced.clean_session")
		}
		if deref(p.OnFailure.Retries, -1) < 0 {
			c.add("W203", at+".on_failure")
		}
	}
	if concurrency := cmp.Or(p.Concurrency, defaultConcurrency); concurrency > cmp.Or(p.MaxInFlight, defaultInFlight) {
		c.add("W214", at+".concurrency")
	}
	if p.ShareGroup != "" && !clean {
		c.add("W215", at+".share_group")
	}
	if c.cfg.Advanced.Order && deref(p.FlowTimeout, 0) == 0 {
		c.add("W208", at+".flow_timeout")
	}
}

func (c *checker) producer(at string, p ProducerParams) {
	c.noNegativeTime(at, map[string]*time.Duration{"ack_timeout": p.AckTimeout})
	c.tooShort(at, map[string]*time.Duration{"ack_timeout": p.AckTimeout})
	c.template(at+".qos", p.QoSFrom)
	c.template(at+".retained", p.RetainedFrom)
	over := c.over(at+".connection", p.Connection)
	if over == nil {
		over = c.cfg.own()
	}
	c.producerTopic(at+".topic", p, over)
	if p.DoneWhen == DoneWhenStored && (over.Extension.SessionStore == nil || p.QoSFrom == "" && p.QoS == packets.AtMostOnce) {
		path := "connector"
		if p.Connection != "" {
			path = "connections." + p.Connection
		}
		c.add("E145", at+".done_when", path)
	}
	if p.Payload == nil {
		return
	}
	c.template(at+".payload", *p.Payload)
	if *p.Payload == "" && p.Retained {
		c.add("W212", at+".payload")
	}
}

func (c *checker) producerTopic(at string, p ProducerParams, over *Connection) {
	t, err := flow.ParseTemplate(p.Topic)
	switch {
	case p.Topic == "":
		c.add("E123", at)
		return
	case err != nil:
		c.template(at, p.Topic)
		return
	case t.Constant():
		if !c.topicName(at, p.Topic) {
			return
		}
	default:
		if strings.ContainsAny(t.Literal(), "+#") {
			c.add("E106/wildcard", at)
		}
		c.topicText(at, p.Topic, false)
	}
	if i := packets.Discouraged(p.Topic); i >= 0 && p.topicCharacters(&over.Extension) == StrictTopics {
		c.add("E149", at, escapedRune(p.Topic[i:]))
	}
}

// template checks that a template is valid.
func (c *checker) template(at, text string) {
	_, err := flow.ParseTemplate(text)
	var bad *flow.TemplateError
	if errors.As(err, &bad) {
		c.add("E124/"+bad.Kind, at, bad.Expr, bad.Root)
	}
}
