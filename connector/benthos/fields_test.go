package benthos

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A configuration of the engine's own mqtt components can be migrated by changing a word: mqtt311 has all their
// fields.
func TestFieldsOfMQTT(t *testing.T) {
	in := (&reader{p: parsed(t, inputSpec(), `
urls: ["ssl://a:18883,ssl://b"]
topics: [a, b/#]
client_id: c
qos: 2
clean_session: false
connect_timeout: 7s
will: {enabled: true, qos: 1, retained: true, topic: gone, payload: bye}
user: u
password: p
keepalive: 12
tls: {enabled: true, skip_cert_verify: true}
`)}).mustInput(t)
	require.Equal(t, connector.General{BrokerURL: "a:18883", Protocol: connector.TLS, ClientID: "c", UserName: "u", Password: "p"}, in.cfg.General)
	require.Equal(t, []string{"b:8883"}, in.cfg.Extension.FailoverURLs)
	require.True(t, in.opts.TLS.InsecureSkipVerify)
	a := in.cfg.Advanced
	require.Equal(t, []any{false, 7 * time.Second, 12 * time.Second, true}, []any{*a.CleanSession, *a.ConnectTimeout, *a.KeepAlive, a.AutoReconnect})
	require.Equal(t, []any{true, "gone", "bye", packets.AtLeastOnce, true}, []any{a.WillEnabled, a.WillTopic, a.WillPayload, a.WillQoS, a.WillRetained})
	p := in.cfg.Consumers[consumerName]
	require.Equal(t, packets.ExactlyOnce, p.QoS)
	require.Equal(t, []connector.TopicQoS{{Topic: "a"}, {Topic: "b/#"}}, p.Topics)

	parsed(t, outputSpec(), `
urls: [tcp://a]
client_id: c
dynamic_client_id_suffix: nanoid
connect_timeout: 7s
will: {enabled: false}
user: u
password: p
keepalive: 12
tls: {enabled: false}
topic: 't/${! metadata("x") }'
qos: 1
write_timeout: 3s
retained: true
retained_interpolated: '${! metadata("r") }'
max_in_flight: 3
`)
}

func (r *reader) mustInput(t *testing.T) *settings {
	t.Helper()
	s := r.input()
	require.NoError(t, r.err)
	_, err := s.checked()
	require.NoError(t, err)
	return s
}

// The fields that only mqtt311 has, and all defaults.
func TestFieldsOfOurs(t *testing.T) {
	s := (&reader{p: parsed(t, inputSpec(), "{urls: [ws://a/mqtt], topics: [t]}")}).mustInput(t)
	require.Equal(t, "a:80/mqtt", s.cfg.General.BrokerURL)
	require.Regexp(t, `^mqtt311-\w{15}$`, s.cfg.General.ClientID)
	p := s.cfg.Consumers[consumerName]
	require.Equal(t, []any{-1, 200 * time.Millisecond, 30 * time.Second, connector.Hold},
		[]any{*p.OnFailure.Retries, *p.OnFailure.InitialDelay, *p.OnFailure.MaxDelay, p.OnFailure.Then})
	require.Equal(t, []any{256, connector.OrderNone, packets.AtLeastOnce, "", false}, []any{p.MaxInFlight, p.OrderBy, p.QoS, p.ShareGroup, p.Ledger})
	require.Nil(t, p.Partition)
	require.Nil(t, s.cfg.Extension.SessionStore)
	require.True(t, s.cfg.Advanced.Clean())

	dir := t.TempDir()
	s = (&reader{p: parsed(t, inputSpec(), `
urls: [tcp://a]
topics: [t]
client_id: c
clean_session: false
partition: {index: 1, count: 3, key: "${payload.id}"}
order: true
max_inflight: 5
batch_size: 7
on_failure: {retries: 2, initial_delay: 1s, max_delay: 2s, then: dead_letter, dead_letter: {topic: dead, meta: true}}
session_store: {dir: "`+dir+`", sync: interval}
ledger: true
`)}).mustInput(t)
	p = s.cfg.Consumers[consumerName]
	require.Equal(t, &connector.Partition{Index: 1, Count: 3, Key: "${payload.id}"}, p.Partition)
	require.Equal(t, []any{5, connector.OrderTopic, true, 2, "dead", true}, []any{p.MaxInFlight, p.OrderBy, p.Ledger, *p.OnFailure.Retries, p.OnFailure.DeadLetterTopic, p.OnFailure.DeadLetterMeta})
	require.Equal(t, dir, s.cfg.Extension.SessionStore.Dir)
}

// A dynamic suffix of the client id is different each time.
func TestDynamicClientID(t *testing.T) {
	fields := "{urls: [tcp://a], topics: [t], client_id: c-, dynamic_client_id_suffix: nanoid}"
	one, two := (&reader{p: parsed(t, inputSpec(), fields)}).mustInput(t), (&reader{p: parsed(t, inputSpec(), fields)}).mustInput(t)
	require.Regexp(t, `^c-\w{21}$`, one.cfg.General.ClientID)
	require.NotEqual(t, one.cfg.General.ClientID, two.cfg.General.ClientID)
}

// Mistakes are refused with the name of the field. Those that can be found in the configuration alone are
// found by lint.
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ kind, fields, lint, refused string }{
		"suffix of a kept session": {"input", "{client_id: c, clean_session: false, dynamic_client_id_suffix: nanoid}", "remove dynamic_client_id_suffix", "dynamic_client_id_suffix"},
		"kept without a client id": {"input", "{clean_session: false}", "clean_session: false needs a client_id", "client_id"},
		"share and partition":      {"input", "{share_group: g, partition: {index: 0, count: 2}}", "share_group and partition", "partition"},
		"ledger without a store":   {"input", "{ledger: true}", "ledger needs a session_store", "ledger"},
		"dead letters to nowhere":  {"input", "{on_failure: {then: dead_letter}}", "then: dead_letter needs", "on_failure.dead_letter"},
		"qos":                      {"input", "{qos: 3}", "0, 1 or 2", "qos"},
		"qos of the output":        {"output", "{qos: -1}", "0, 1 or 2", "qos"},
		"qos of the will":          {"output", "{will: {enabled: true, topic: t, qos: 7}}", "0, 1 or 2", "will.qos"},
		"will without a topic":     {"output", "{will: {enabled: true}}", "needs a topic", "will.topic"},
		"an unknown field":         {"input", "{auto_replay_nacks: true}", "auto_replay_nacks not recognised", ""},
		"a word of then":           {"input", "{on_failure: {then: forget}}", "forget", "on_failure.then"},
		"a filter":                 {"input", "{topics: ['a/#/b']}", "", "topics[0]"},
		"a scheme":                 {"input", "{urls: ['http://a']}", "", "urls"},
		"two schemes":              {"input", "{urls: ['tcp://a', 'ssl://a']}", "", "urls"},
		"a port":                   {"input", "{urls: ['tcp://a:99999']}", "", "urls"},
		"a password in a URL":      {"input", "{urls: ['tcp://user:geheim@a']}", "holds a user name", "urls"},
		"no server":                {"input", "{urls: []}", "there is no server", "urls"},
		"tls over tcp":             {"input", "{tls: {enabled: true}}", "", "tls"},
		"a password without user":  {"output", "{password: geheim}", "password needs a user", "password"},
		"max_inflight":             {"input", "{max_inflight: 0}", "1 or above", "max_inflight"},
		"max_inflight of output":   {"output", "{max_inflight: 0}", "1 or above", "max_inflight"},
		"batch_size":               {"input", "{batch_size: 0}", "1 or above", "batch_size"},
		"ack_timeout":              {"output", "{ack_timeout: 0s}", "", "ack_timeout"},
		"partition":                {"input", "{partition: {index: 2, count: 2}}", "partition.index is 0 to count - 1", "partition.index"},
		"keepalive":                {"input", "{keepalive: 100000}", "0 to 65535", "keepalive"},
		"no topics":                {"input", "{topics: []}", "there is no Topic Filter", ""},
		"retries":                  {"input", "{on_failure: {retries: -2}}", "-1 or above", "on_failure.retries"},
		"share group":              {"input", "{share_group: a/b}", "", "share_group"},
		"a loop of dead letters":   {"input", "{on_failure: {then: dead_letter, dead_letter: {topic: t}}}", "", "on_failure.dead_letter.topic"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, base := inputSpec(), map[string]any{"urls": []any{"tcp://a"}, "topics": []any{"t"}}
			if c.kind == "output" {
				spec, base = outputSpec(), map[string]any{"urls": []any{"tcp://a"}, "topic": "t"}
			}
			fields := merged(t, base, c.fields)
			linter := service.GlobalEnvironment().NewComponentConfigLinter()
			found, err := linterOf(linter, c.kind)([]byte(Name + ": " + fields))
			require.NoError(t, err)
			var said string
			for _, f := range found {
				said += f.Error() + "\n"
			}
			require.NotContains(t, said, "geheim")
			if c.lint == "" {
				require.Empty(t, said)
			} else {
				require.Contains(t, said, c.lint)
			}
			if c.refused == "" {
				return
			}
			p, err := spec.ParseYAML(fields, nil)
			if err == nil {
				if c.kind == "input" {
					_, err = newInput(p, service.MockResources())
				} else {
					_, _, _, err = newOutput(p, service.MockResources())
				}
			}
			require.ErrorContains(t, err, "field '"+c.refused+"'")
			require.NotContains(t, err.Error(), "geheim")
		})
	}
}

// Settings that are probably unintended cause a warning.
func TestWarnings(t *testing.T) {
	var log bytes.Buffer
	res := service.MockResources(service.MockResourcesOptUseLogger(service.NewLoggerFromSlog(slog.New(slog.NewTextHandler(&log, nil)))))
	_, err := newInput(parsed(t, inputSpec(), "{urls: [tcp://a], topics: [t, t/#], keepalive: 0}"), res)
	require.NoError(t, err)
	require.Contains(t, log.String(), "clean_session: is true")
	require.Contains(t, log.String(), "keepalive: ")
	require.NotContains(t, log.String(), "connector.")
	require.NotContains(t, log.String(), "consumers.")
}

// The TLS fields of the engine are used, including authorities and client certificates.
func TestTLS(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	address := b.MTLS[len("mqtts://"):]
	connect := func(tls string) error {
		in, err := newInput(parsed(t, inputSpec(), `{urls: ["ssl://`+address+`"], topics: [t], tls: `+tls+`}`), service.MockResources())
		require.NoError(t, err)
		defer in.Close(t.Context())
		return in.Connect(t.Context())
	}
	require.NoError(t, connect(`{enabled: true, root_cas_file: "`+b.CAFile+`", client_certs: [{cert_file: "`+b.ClientCert+`", key_file: "`+b.ClientKey+`"}]}`))
	require.Error(t, connect(`{enabled: true, root_cas_file: "`+b.CAFile+`"}`), "without the certificate that the server wants")
	require.ErrorContains(t, connect(`{enabled: false}`), "MQTT:TLS_UNTRUSTED")
}

// The log of the connector is written to the engine's, with its attributes.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	to := service.NewLoggerFromSlog(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	muted := newMuted()
	l := slog.New(&logHandler{to: to, muted: muted})
	l.Error("not said")
	muted.Store(false)
	l.With("a", 1).WithGroup("g").With("b", 2).Warn("100 %d", "c", 3, slog.Group("h", "d", 4))
	l.Debug("plain")
	require.NotContains(t, log.String(), "not said")
	for _, want := range []string{"level=WARN", `msg="100 %d"`, "a=1", "g.b=2", "g.c=3", "g.h.d=4", "level=DEBUG msg=plain"} {
		require.Contains(t, log.String(), want)
	}
}

func newMuted() *atomic.Bool {
	muted := new(atomic.Bool)
	muted.Store(true)
	return muted
}

// merged returns the fields of base, with some replaced or added.
func merged(t *testing.T, base map[string]any, fields string) string {
	t.Helper()
	var more map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(fields), &more))
	maps.Copy(base, more)
	b, err := json.Marshal(base)
	require.NoError(t, err)
	return string(b)
}

func linterOf(l *service.ComponentConfigLinter, kind string) func([]byte) ([]service.Lint, error) {
	if kind == "input" {
		return l.LintInputYAML
	}
	return l.LintOutputYAML
}
