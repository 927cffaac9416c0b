package connector

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// Limits of a stream, as in the server and package jetstream.
const (
	mostStreamPartitions    = 1024
	defaultStreamDuplicates = 2 * time.Minute
)

// nats checks the section nats.
func (c *checker) nats() {
	n := c.cfg.NATS
	if n == nil {
		return
	}
	const at = "nats."
	if len(n.URLs) == 0 {
		c.add("E163/none", at+"urls")
	}
	plain := false
	for i, u := range n.URLs {
		plain = !c.natsURL(fmt.Sprintf("%surls[%d]", at, i), u) || plain
	}
	c.natsIdentity(at, n, plain)
	for _, f := range []struct{ key, value string }{
		{"tls_server_cert", n.TLSServerCert}, {"tls_client_cert", n.TLSClientCert}, {"tls_client_key", string(n.TLSClientKey)},
	} {
		if f.value != "" {
			c.pem(at+f.key, f.value)
		}
	}
	c.source(at+"tls_client_key", n.TLSClientKeyFrom)
	switch hasKey := n.TLSClientKey != "" || n.TLSClientKeyFrom != nil; {
	case n.TLSClientCert != "" && !hasKey:
		c.add("E108/cert", at+"tls_client_cert")
	case n.TLSClientCert == "" && hasKey:
		c.add("E108/key", at+"tls_client_key")
	}
	for _, f := range []struct{ key, value string }{{"stream", n.Stream}, {"prefix", n.Prefix}, {"group", n.Group}, {"bucket", n.Bucket}} {
		if f.value != "" && !natsName(f.value) {
			c.add("E164/name", at+f.key, f.value)
		}
	}
	if n.Replicas != 0 && n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5 {
		c.add("E139", at+"replicas", n.Replicas, []string{"1", "3", "5"})
	}
	if n.Partitions < 0 || n.Partitions > mostStreamPartitions {
		c.add("E137", at+"partitions", fmt.Sprint(n.Partitions), 1, mostStreamPartitions)
	}
	c.notNegative("nats", map[string]int{"max_bytes": n.MaxBytes})
	c.noNegativeTime("nats", map[string]*time.Duration{"keep": n.Keep, "duplicates": n.Duplicates, "ack_timeout": n.AckTimeout, "lease_ttl": n.LeaseTTL})
	c.tooShort("nats", map[string]*time.Duration{"ack_timeout": n.AckTimeout, "lease_ttl": n.LeaseTTL})
	if duplicates := cmp.Or(deref(n.Duplicates, 0), defaultStreamDuplicates); deref(n.Keep, 0) > 0 && duplicates > *n.Keep {
		c.add("E164/duplicates", at+"keep", n.Keep.String(), duplicates.String())
	}
	if n.Key != "" && n.Key != keyTopic {
		c.template(at+"key", n.Key)
	}
	if n.MessageID != "" {
		c.template(at+"message_id", n.MessageID)
		if t, err := flow.ParseTemplate(n.MessageID); err == nil && t.Constant() {
			c.add("E164/same", at+"message_id", n.MessageID)
		}
	}
	if n.Stream != "" {
		c.stream(at, n)
	}
}

// stream checks the stream against the consumers, and what its acknowledgement guarantees.
func (c *checker) stream(at string, n *NATS) {
	name := c.cfg.NATSConsumer()
	if _, ok := c.cfg.Consumers[name]; !ok {
		switch {
		case name != "":
			c.add("E164/consumer", at+"consumer", name)
		case len(c.cfg.Consumers) > 0:
			c.add("E164/which", at+"consumer", sortedKeys(c.cfg.Consumers))
		default:
			c.add("E164/without", at+"stream")
		}
	}
	if n.Replicas == 0 {
		c.add("W245", at+"stream")
	}
	if n.MaxBytes == 0 {
		c.add("W249", at+"stream")
	}
	if n.Strict && n.Partitions == 0 {
		c.add("W246", at+"order")
	}
}

// natsIdentity checks the credentials for the server.
func (c *checker) natsIdentity(at string, n *NATS, plain bool) {
	ways := 0
	for _, s := range []struct {
		key  string
		text Secret
		from *SecretSource
	}{{"password", n.Password, n.PasswordFrom}, {"token", n.Token, n.TokenFrom}, {"credentials", n.Credentials, n.CredentialsFrom}} {
		c.secret(at+s.key, s.text)
		c.source(at+s.key, s.from)
		if s.text == "" && s.from == nil {
			continue
		}
		if ways++; ways == 2 {
			c.add("E164/ways", at+s.key)
		}
		if s.key == "password" && n.UserName == "" {
			c.add("E107", at+"password")
		}
		if s.key != "credentials" && plain && n.TLSServerCert == "" { // a seed only signs and is not sent
			c.add("W213/nats", at+s.key)
		}
	}
}

// natsURL checks the address of a server, and reports whether the connection is private: over TLS,
// or within this machine.
func (c *checker) natsURL(at, text string) (private bool) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "nats", text
	}
	if strings.Contains(rest, "@") {
		c.add("E163/credentials", at)
		return true
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || scheme != "nats" && scheme != "tls" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Port() == "" && strings.HasSuffix(u.Host, ":") {
		c.add("E163", at, text)
		return true
	}
	return scheme == "tls" || loopback(net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222")))
}

// natsName reports whether a name is valid for streams, consumers and subjects.
func natsName(s string) bool {
	return len(s) <= 200 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	})
}

// lease checks a partition with a lease.
func (c *checker) lease(at string, p ConsumerParams) {
	at += ".partition.lease"
	switch l := p.Partition.Lease; {
	case l == LeaseByNATS && c.cfg.NATS == nil:
		c.add("E165/section", at)
	case l != LeaseByNATS:
		c.natsURL(at, l)
	}
	if c.cfg.Advanced.Clean() {
		c.add("E165/session", at)
	}
	for _, t := range p.Topics {
		if t.HasQoS && t.QoS == packets.AtMostOnce || !t.HasQoS && p.QoS == packets.AtMostOnce {
			c.add("E165/qos", at, t.Topic)
			break
		}
	}
	for _, name := range sortedKeys(c.cfg.Consumers) {
		if o := c.cfg.Consumers[name].Partition; o == nil || *o != *p.Partition {
			c.add("E165/same", at, name)
			break
		}
	}
	if p.Partition.Count > mostStreamPartitions {
		c.add("E137", strings.TrimSuffix(at, "lease")+"count", fmt.Sprint(p.Partition.Count), 1, mostStreamPartitions)
	}
	if c.cfg.Extension.SessionStore != nil {
		c.add("W247", at)
	}
}
