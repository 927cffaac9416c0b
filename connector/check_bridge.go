package connector

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/packets"
)

// over returns the settings of the connection that a producer names, or nil if there is none.
func (c *checker) over(at, name string) *Connection {
	if name == "" {
		return c.cfg.own()
	}
	conn, ok := c.cfg.Connections[name]
	switch {
	case ok:
		return &conn
	case len(c.cfg.Connections) == 0:
		c.add("E162/none", at, name)
	default:
		c.add("E162/name", at, name, sortedKeys(c.cfg.Connections))
	}
	return nil
}

// further checks the additional connections against each other and the producers.
func (c *checker) further() {
	used := make(map[string]bool)
	for _, p := range c.cfg.Producers {
		used[p.Connection] = true
	}
	names := sortedKeys(c.cfg.Connections)
	for i, name := range names {
		conn, at := c.cfg.Connections[name], "connections."+name
		if !used[name] {
			c.add("W244", at)
		}
		if !conn.Advanced.AutoReconnect {
			c.add("W242/reconnect", at+".advanced.auto_reconnect")
		}
		if !conn.Advanced.ConnectRetry {
			c.add("W242/connect", at+".advanced.connect_retry")
		}
		c.ofConsumers(at, &conn)
		c.sameID(at, &conn, "connector", c.cfg.own())
		for _, before := range names[:i] {
			other := c.cfg.Connections[before]
			c.sameID(at, &conn, "connections."+before, &other)
		}
	}
}

// ofConsumers warns of settings for consumers in a connection without consumers.
func (c *checker) ofConsumers(at string, conn *Connection) {
	x := &conn.Extension
	for _, s := range []struct {
		key string
		set bool
	}{
		{".advanced.order", conn.Advanced.Order},
		{".extension.qos0_overflow", x.QoS0Overflow != 0},
		{".extension.producer_connection", x.ProducerConnection != SharedConnection},
		{".extension.stall_timeout", x.StallTimeout != nil},
		{".extension.unmatched", x.Unmatched != ""},
		{".extension.error_format", x.ErrorFormat != 0},
	} {
		if s.set {
			c.add("W243", at+s.key)
		}
	}
}

// sameID finds two connections with the same client id at the same server, which would keep
// disconnecting each other.
func (c *checker) sameID(at string, conn *Connection, otherAt string, other *Connection) {
	if !sharesID(conn, other) {
		return
	}
	switch relationOf(conn, other) {
	case sameServer:
		c.add("E160", at+".general.client_id", otherAt)
	case maybeSameServer:
		c.add("W240", at+".general.client_id", otherAt)
	}
}

// sharesID reports whether a connection has the client id of another one, or of the latter's
// producer connection.
func sharesID(conn, other *Connection) bool {
	id, taken := conn.General.ClientID, other.General.ClientID
	if id == "" || strings.Contains(id, "${random") {
		return false
	}
	return id == taken || other.Extension.ProducerConnection != SharedConnection && id == taken+producersSuffix
}

type relation byte

const (
	otherServer relation = iota
	maybeSameServer
	sameServer
)

// relationOf reports whether two connections lead to the same server. The same host with different
// ports or paths may be the same server, as may servers in failover_urls.
func relationOf(a, b *Connection) relation {
	if r := sameAddress(a.General.BrokerURL, b.General.BrokerURL); r != otherServer {
		return r
	}
	for _, x := range append([]string{a.General.BrokerURL}, a.Extension.FailoverURLs...) {
		for _, y := range append([]string{b.General.BrokerURL}, b.Extension.FailoverURLs...) {
			if sameAddress(x, y) != otherServer {
				return maybeSameServer
			}
		}
	}
	return otherServer
}

func sameAddress(a, b string) relation {
	aHost, aPort, aPath := addressOf(a)
	bHost, bPort, bPath := addressOf(b)
	switch {
	case aHost == "" || aHost != bHost:
		return otherServer
	case aPort == bPort && aPath == bPath:
		return sameServer
	}
	return maybeSameServer
}

// addressOf splits a broker URL. All names of this machine are treated as the same.
func addressOf(url string) (host, port, path string) {
	address, path, _ := strings.Cut(withoutScheme(url), "/")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", "", ""
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		host = "127.0.0.1"
	}
	return host, port, path
}

// loops warns of producers that publish to the consumers' server what a consumer may receive. Only
// the program knows whether the flow of that consumer uses the producer: see CheckThen.
func (c *checker) loops() {
	for _, name := range sortedKeys(c.cfg.Producers) {
		p := c.cfg.Producers[name]
		over := c.cfg.own()
		if p.Connection != "" {
			conn, ok := c.cfg.Connections[p.Connection]
			if !ok || relationOf(c.cfg.own(), &conn) == otherServer {
				continue
			}
			over = &conn
		}
		if e := c.mayReceive(p); e != nil {
			rule := "W241"
			if p.Connection != "" && relationOf(c.cfg.own(), over) == maybeSameServer {
				rule = "W241/maybe"
			}
			c.add(rule, "producers."+name+".topic", e.Filter, e.Owner)
		}
	}
	if c.compared > mostCompared {
		c.add("W241/many", "producers")
	}
}

// mayReceive returns a filter of a consumer that a topic of the producer may match. It returns nil
// if there is none, or if the topics are unknown because they start with a value from the message.
func (c *checker) mayReceive(p ProducerParams) *lint.Entry {
	t := topicPattern(p.Topic)
	if t.exprs == nil {
		if packets.ValidTopicName(p.Topic) != nil {
			return nil
		}
		if e := c.filters.Matching(p.Topic); e != nil && !c.retainedOnly(e.Owner) {
			return e
		}
		return nil
	}
	if t.texts[0] == "" && t.exprs[0] != expressionTopic {
		return nil
	}
	if c.compared > mostCompared {
		return nil
	}
	if c.entries == nil {
		c.entries = c.live()
	}
	entries := c.entries
	topics := t.topics(entries)
	c.compared += len(topics)
	for _, e := range entries {
		if t.exact() {
			return &e
		}
		f, hash := filterRunes(e.Filter)
		for _, topic := range topics {
			if c.compared += len(topic) * (len(f) + 2); c.compared > mostCompared {
				return nil
			}
			if f[0] < 0 && topic[0] == '$' { // [MQTT-4.7.2-1]
				continue
			}
			if common(topic, f) || hash && common(topic, withHash(f)) {
				return &e
			}
		}
	}
	return nil
}

// live returns the valid filters of the consumers that process live messages.
func (c *checker) live() (entries []lint.Entry) {
	for _, name := range sortedKeys(c.cfg.Consumers) {
		if c.retainedOnly(name) {
			continue
		}
		consumer := c.cfg.Consumers[name]
		for _, topic := range consumer.Topics {
			if packets.ValidTopicFilter(topic.Topic) == nil {
				entries = append(entries, consumer.entry(name, topic))
			}
		}
	}
	return entries
}

// retainedOnly reports whether a consumer processes only retained messages, so that there is no
// loop.
func (c *checker) retainedOnly(name string) bool {
	return c.cfg.Consumers[name].Retained == RetainedOnly
}

const expressionTopic = "attribute.topic"

// A pattern is a template of a topic: texts and the expressions between them.
type pattern struct{ texts, exprs []string }

func topicPattern(template string) (p pattern) {
	for {
		text, rest, ok := strings.Cut(template, "${")
		p.texts = append(p.texts, text)
		if !ok {
			return p
		}
		expr, after, _ := strings.Cut(rest, "}")
		p.exprs = append(p.exprs, strings.TrimSpace(expr))
		template = after
	}
}

// exact reports whether the topic is that of the message.
func (p pattern) exact() bool {
	return len(p.exprs) == 1 && p.exprs[0] == expressionTopic && p.texts[0]+p.texts[1] == ""
}

const (
	anyText  rune = -1 - iota // any characters
	anyLevel                  // any but '/'
)

// topics returns patterns of the topics that p can produce. The topic of a message is one that a
// consumer receives; other expressions may have any value.
func (p pattern) topics(entries []lint.Entry) [][]rune {
	first := slices.Index(p.exprs, expressionTopic)
	made := func(topic ...rune) (out []rune) {
		for i, text := range p.texts {
			switch {
			case i == 0:
			case i-1 == first:
				out = append(out, topic...)
			default:
				out = append(out, anyText)
			}
			out = append(out, []rune(text)...)
		}
		return out
	}
	if first < 0 {
		return [][]rune{made()}
	}
	var all [][]rune
	for _, e := range entries {
		f, hash := filterRunes(e.Filter)
		all = append(all, made(f...))
		if hash {
			all = append(all, made(withHash(f)...))
		}
	}
	return all
}

// withHash appends the pattern for "/#" at the end of a filter.
func withHash(f []rune) []rune { return append(slices.Clone(f), '/', anyText) }

// filterRunes returns the pattern of what a filter matches, without "/#" at its end, and whether it
// ends so.
func filterRunes(filter string) (out []rune, hash bool) {
	rest, hash := strings.CutSuffix(filter, "/#")
	if rest == "#" {
		return []rune{anyText}, false
	}
	for _, r := range rest {
		if r == '+' { // a whole level, or the filter would not be valid
			r = anyLevel
		}
		out = append(out, r)
	}
	return out, hash
}

// mostCompared limits the work of comparing templates with filters.
const mostCompared = 1 << 20

// common reports whether two patterns have a text in common.
func common(a, b []rune) bool {
	reached := make([]bool, len(b)+1) // positions in b reached with the runes of a so far
	reached[0] = true
	for i := 0; ; i++ {
		for j, r := range b { // a wildcard may match nothing
			reached[j+1] = reached[j+1] || reached[j] && (r < 0 || i > 0 && a[i-1] < 0 && fits(a[i-1], r))
		}
		if i == len(a) {
			return reached[len(b)]
		}
		next := make([]bool, len(b)+1)
		for j := range reached {
			switch {
			case !reached[j]:
			case a[i] < 0:
				next[j] = true
			case j < len(b) && b[j] == a[i]:
				next[j+1] = true
			}
			if reached[j] && a[i] >= 0 && j < len(b) && b[j] < 0 && fits(b[j], a[i]) {
				next[j] = true
			}
		}
		reached = next
	}
}

// fits reports whether a wildcard may match the character.
func fits(wildcard, r rune) bool { return wildcard == anyText || r != '/' }

// CheckThen checks a flow in which producer publishes the messages of consumer, with their
// attributes. It returns E161 if that certainly is an endless loop. Check warns of possible loops.
func (cfg *Config) CheckThen(consumer, producer string) []Finding {
	k, p := cfg.Consumers[consumer], cfg.Producers[producer]
	over := cfg.own()
	if p.Connection != "" {
		conn := cfg.Connections[p.Connection]
		over = &conn
	}
	if k.Retained == RetainedOnly || relationOf(cfg.own(), over) != sameServer {
		return nil
	}
	t := topicPattern(p.Topic)
	for _, topic := range k.Topics {
		if f := plain(topic.Topic); t.returns(f) {
			return []Finding{lint.New("E161", "producers."+producer+".topic", topic.Topic, consumer)}
		}
	}
	return nil
}

// returns reports whether every topic that p makes from a topic that matches the filter also
// matches the filter.
func (p pattern) returns(filter string) bool {
	switch {
	case len(p.exprs) == 0:
		return packets.Match(filter, p.texts[0])
	case p.exact():
		return true
	case len(p.exprs) != 1 || p.exprs[0] != expressionTopic:
		return false
	}
	before, after := p.texts[0], p.texts[1]
	below := filter == "#" || strings.HasSuffix(filter, "/#")
	return filter == "#" && !strings.HasPrefix(before, "$") || below && before == "" && strings.HasPrefix(after, "/")
}
