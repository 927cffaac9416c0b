package benthos

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	fieldURLs           = "urls"
	fieldClientID       = "client_id"
	fieldSuffix         = "dynamic_client_id_suffix"
	fieldConnectTimeout = "connect_timeout"
	fieldKeepAlive      = "keepalive"
	fieldWill           = "will"
	fieldUser           = "user"
	fieldPassword       = "password"
	fieldTLS            = "tls"
	fieldQoS            = "qos"
	fieldTopics         = "topics"
	fieldCleanSession   = "clean_session"
	fieldShareGroup     = "share_group"
	fieldPartition      = "partition"
	fieldOrder          = "order"
	fieldMaxInflight    = "max_inflight"
	fieldBatchSize      = "batch_size"
	fieldOnFailure      = "on_failure"
	fieldSessionStore   = "session_store"
	fieldLedger         = "ledger"
	fieldTopic          = "topic"
	fieldRetained       = "retained"
	fieldRetainedBy     = "retained_interpolated"
	fieldWriteTimeout   = "write_timeout"
	fieldAckTimeout     = "ack_timeout"
	fieldBatching       = "batching"
)

const qosRule = `root = if ![0, 1, 2].contains(this) { ["it is 0, 1 or 2"] }`

// atLeast returns a lint rule for an integer.
func atLeast(n int) string {
	return fmt.Sprintf(`root = if this.number(%[1]d) < %[1]d { ["it is %[1]d or above"] }`, n)
}

// keepAliveRule is a lint rule: two bytes have the seconds [MQTT-3.1.2.10].
const keepAliveRule = `root = if this.number(0) < 0 || this.number(0) > 65535 { ["it is 0 to 65535 seconds"] }`

// lintRule returns the lint rule of a component, from its own rules and those of the connection. It
// does not repeat contents of a URL, which may be a password.
func lintRule(own ...string) string {
	return "root = [\n" + strings.Join(append(own,
		`if (this.urls | null).type() == "array" && this.urls.length() == 0 { "there is no server in urls" } else { deleted() }`,
		`if (this.urls | null).type() == "array" && this.urls.any(u -> u.string().re_match("^[^/]*://[^/]*@")) { "an item of urls holds a user name: use the fields user and password" } else { deleted() }`,
		`if (this.user | "") == "" && (this.password | "") != "" { "password needs a user" } else { deleted() }`,
		`if (this.will.enabled | false) && (this.will.topic | "") == "" { "a will that is enabled needs a topic" } else { deleted() }`,
	), ",\n") + "\n]"
}

// connectionFields returns the fields that the input and the output have in common.
func connectionFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewURLListField(fieldURLs).
			Description("The servers, as `tcp://host:1883`, `ssl://host:8883`, `ws://host:80/mqtt` or `wss://host:443/mqtt`; the schemes `mqtt`, `mqtts` and `tls` " +
				"are accepted too. Further servers must share their sessions with the first, as the nodes of a cluster do, and are tried in turn. An item with commas is several URLs.").
			Example([]string{"tcp://localhost:1883"}),
		service.NewStringField(fieldClientID).
			Description("Identifies the session to the server. Two connections with the same client id keep disconnecting each other. If empty, a random one is used, which requires a clean session.").
			Default(""),
		service.NewStringAnnotatedEnumField(fieldSuffix, map[string]string{"nanoid": "append 21 random characters"}).
			Description("Append a suffix to `client_id` that is different in each run. A persistent session would never be resumed, so it is an error with `clean_session: false`.").
			Optional().Advanced(),
		service.NewDurationField(fieldConnectTimeout).
			Description("How long an attempt to connect may take, from name resolution to the server's answer.").
			Default("30s").Examples("1s", "500ms"),
		service.NewObjectField(fieldWill,
			service.NewBoolField("enabled").Description("Whether there is a will.").Default(false),
			service.NewIntField("qos").Description("The QoS of the will: 0, 1 or 2.").Default(0).LintRule(qosRule),
			service.NewBoolField("retained").Description("Whether the server keeps the will for later subscribers.").Default(false),
			service.NewStringField("topic").Description("The topic of the will.").Default(""),
			service.NewStringField("payload").Description("The content of the will.").Default(""),
		).Description("A message that the server publishes when the connection ends without a DISCONNECT.").Advanced(),
		service.NewStringField(fieldUser).Description("The user name.").Default("").Advanced(),
		service.NewStringField(fieldPassword).Description("The password. It needs a user name.").Default("").Secret().Advanced(),
		service.NewIntField(fieldKeepAlive).
			Description("How many seconds the connection may be silent before the client asks whether the server is there. 0: it never does.").
			Default(30).LintRule(keepAliveRule).Advanced(),
		service.NewTLSToggledField(fieldTLS),
	}
}

// settings are the parsed fields of a component.
type settings struct {
	cfg  connector.Config
	opts connector.Options
}

// A reader reads fields and keeps the first error.
type reader struct {
	p   *service.ParsedConfig
	err error
}

func read[T any](r *reader, get func(...string) (T, error), path ...string) T {
	v, err := get(path...)
	if r.err == nil {
		r.err = err
	}
	return v
}

func (r *reader) text(path ...string) string            { return read(r, r.p.FieldString, path...) }
func (r *reader) yes(path ...string) bool               { return read(r, r.p.FieldBool, path...) }
func (r *reader) number(path ...string) int             { return read(r, r.p.FieldInt, path...) }
func (r *reader) duration(path ...string) time.Duration { return read(r, r.p.FieldDuration, path...) }

// fail records an error of a field.
func (r *reader) fail(field, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("field '%s': "+format, append([]any{field}, args...)...)
	}
}

// qos reads a QoS.
func (r *reader) qos(path ...string) packets.QoS {
	n := r.number(path...)
	if n < 0 || n > 2 {
		r.fail(strings.Join(path, "."), "%d is not 0, 1 or 2", n)
		return 0
	}
	return packets.QoS(n)
}

// connection reads the fields that the input and the output have in common. clean says whether the
// session is clean.
func (r *reader) connection(s *settings, clean bool) {
	g, a := &s.cfg.General, &s.cfg.Advanced
	r.servers(s)
	g.ClientID = r.text(fieldClientID)
	suffix := ""
	if r.p.Contains(fieldSuffix) {
		suffix = r.text(fieldSuffix)
	}
	switch {
	case suffix != "" && suffix != "nanoid":
		r.fail(fieldSuffix, "%q is not nanoid", suffix)
	case suffix != "" && !clean:
		r.fail(fieldSuffix, "a session that is kept needs a client id that stays the same: remove the suffix, or set clean_session to true")
	case suffix != "":
		g.ClientID += rand.Text()[:21]
	case g.ClientID == "" && !clean:
		r.fail(fieldClientID, "a session that is kept needs one")
	case g.ClientID == "":
		g.ClientID = Name + "-" + rand.Text()[:15] // not above 23 characters [MQTT-3.1.3-5]
	}
	g.UserName, g.Password = r.text(fieldUser), connector.Secret(r.text(fieldPassword))
	connectTimeout, keepAlive := r.duration(fieldConnectTimeout), time.Duration(r.number(fieldKeepAlive))*time.Second
	a.CleanSession, a.AutoReconnect = &clean, true
	a.ConnectTimeout, a.KeepAlive = &connectTimeout, &keepAlive
	if r.yes(fieldWill, "enabled") {
		a.WillEnabled = true
		a.WillTopic, a.WillPayload = r.text(fieldWill, "topic"), r.text(fieldWill, "payload")
		a.WillQoS, a.WillRetained = r.qos(fieldWill, "qos"), r.yes(fieldWill, "retained")
	}
}

// protocols maps the schemes of URLs to protocols and default ports.
var protocols = map[string]struct {
	protocol connector.Protocol
	port     string
}{
	"tcp": {connector.TCP, "1883"}, "mqtt": {connector.TCP, "1883"},
	"ssl": {connector.TLS, "8883"}, "tls": {connector.TLS, "8883"}, "mqtts": {connector.TLS, "8883"},
	"ws": {connector.WebSocket, "80"}, "wss": {connector.WebSocketSecure, "443"},
}

// servers reads the servers and their protocol.
func (r *reader) servers(s *settings) {
	urls := read(r, r.p.FieldURLList, fieldURLs)
	conf, enabled := r.tls()
	if r.err != nil {
		return
	}
	if len(urls) == 0 {
		r.fail(fieldURLs, "there is no server")
		return
	}
	for i, u := range urls {
		known, ok := protocols[strings.ToLower(u.Scheme)]
		switch {
		case !ok:
			r.fail(fieldURLs, "the scheme %q of item %d is not tcp, ssl, ws or wss", u.Scheme, i+1)
			return
		case u.User != nil:
			r.fail(fieldURLs, "item %d holds a user name: use the fields user and password", i+1)
			return
		case i > 0 && known.protocol != s.cfg.General.Protocol:
			r.fail(fieldURLs, "item %d uses another protocol than the first: all are spoken to in the same way", i+1)
			return
		}
		s.cfg.General.Protocol = known.protocol
		if i == 0 {
			s.cfg.General.BrokerURL = address(u, known.port)
		} else {
			s.cfg.Extension.FailoverURLs = append(s.cfg.Extension.FailoverURLs, address(u, known.port))
		}
	}
	if enabled && !s.cfg.General.Protocol.Secure() {
		r.fail(fieldTLS, "enabled has no effect on %s://: use ssl:// or wss://, or set enabled to false", urls[0].Scheme)
	}
	s.opts.TLS = conf
}

func (r *reader) tls() (*tls.Config, bool) {
	conf, enabled, err := r.p.FieldTLSToggled(fieldTLS)
	if r.err == nil {
		r.err = err
	}
	if conf != nil {
		alwaysShown(conf)
	}
	return conf, enabled
}

// alwaysShown sends the client certificate to every server that requests one, so that the server
// reports what is wrong with it; crypto/tls sends none if the list of authorities does not match.
func alwaysShown(conf *tls.Config) {
	if len(conf.Certificates) == 1 {
		cert := &conf.Certificates[0]
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
}

// address returns host:port/path of a URL.
func address(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	a := net.JoinHostPort(u.Hostname(), port) + u.EscapedPath()
	if u.RawQuery != "" {
		a += "?" + u.RawQuery
	}
	return a
}

// checked returns the errors and warnings of a configuration, both with the names of the fields.
func (s *settings) checked() (warnings []connector.Finding, err error) {
	var mistakes []error
	for _, f := range s.cfg.Check() {
		f.Path = fieldOf(f.Path)
		switch {
		case strings.HasPrefix(f.Code, "E"):
			mistakes = append(mistakes, fmt.Errorf("field '%s': %s: %s", f.Path, f.Message, f.Fix))
		case !slices.Contains(expected, f.Code):
			warnings = append(warnings, f)
		}
	}
	return warnings, errors.Join(mistakes...)
}

// warn writes warnings to the log.
func (s *settings) warn(log *service.Logger, warnings []connector.Finding) {
	for _, f := range warnings {
		log.Warnf("%s: %s. %s [%s]", f.Path, f.Message, f.Fix, f.Code)
	}
}

// expected are warnings about what Benthos decides: W203, unlimited retries, as in Benthos; W208,
// flows without a time limit.
var expected = []string{"W203", "W208"}

// fieldNames maps paths of a connector's configuration to fields with other names, or to none.
var fieldNames = map[string]string{
	"broker_url": fieldURLs, "failover_urls": fieldURLs, "username": fieldUser, "keep_alive": fieldKeepAlive, "max_in_flight": fieldMaxInflight,
	"protocol": fieldURLs, "order_by": fieldOrder, "will_topic": "will.topic", "will_payload": "will.payload", "will_qos": "will.qos",
}

// fieldOf returns the field for a path of a connector's configuration.
func fieldOf(path string) string {
	for _, prefix := range []string{"connector.general.", "connector.advanced.", "connector.extension.", "consumers." + consumerName + ".", "producers." + producerName + "."} {
		path = strings.TrimPrefix(path, prefix)
	}
	first, rest := path, ""
	if i := strings.IndexAny(path, ".["); i >= 0 {
		first, rest = path[:i], path[i:]
	}
	if name, ok := fieldNames[first]; ok {
		return name + rest
	}
	return path
}
