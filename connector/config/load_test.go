package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const head = "connector:\n  general: {broker_url: '127.0.0.1:1883', client_id: c}\n"

// Each finding stands where the mistake does. The first word of want is line:column.
var findings = []struct{ text, want string }{
	{"connector:\n  general: {client_id: '', broker_url: '127.0.0.1:1883'}\n  advanced:\n    clean_session: false\n", "2:24 E104 connector.general.client_id"},
	{"connector:\n  general: {broker_url: '127.0.0.1:1883', client_id: ''}\n", "2:54 E111 connector.general.client_id"},
	{"connector:\n  general:\n    broker_url: 127.0.0.1:1883\n    client_id: \"a\\0b\"\n", "4:16 E112 connector.general.client_id"},
	{"connector:\n  general:\n    broker_url: ''\n    client_id: c\n", "3:17 E113 connector.general.broker_url"},
	{"connector:\n  general:\n    broker_url: mqtts://h:1883\n    client_id: c\n", "3:17 E114 connector.general.broker_url"},
	{"connector:\n  general:\n    broker_url: me:you@h:1883\n    client_id: c\n", "3:17 E115 connector.general.broker_url"},
	{"connector:\n  general:\n    broker_url: localhost\n    client_id: c\n", "3:17 E116 connector.general.broker_url"},
	{"connector:\n  general:\n    broker_url: h:99999\n    client_id: c\n", "3:17 E116 connector.general.broker_url"},
	{head + "  advanced:\n    will_qos: 1\n", "4:15 E102 connector.advanced.will_qos"},
	{head + "  advanced:\n    max_reconnect_interval: 5s\n", "4:29 E103 connector.advanced.max_reconnect_interval"},
	{head + "  advanced:\n    connect_retry_interval: 5s\n", "4:29 E103 connector.advanced.connect_retry_interval"},
	{head + "  advanced: {will_enabled: true, will_topic: 'a/#'}\n", "3:46 E106 connector.advanced.will_topic"},
	{head + "  advanced: {will_enabled: true}\n", "3:13 E106 connector.advanced.will_topic"},
	{head + "  advanced: {will_enabled: true, will_topic: t, will_payload: " + strings.Repeat("x", 65536) + "}\n", "3:63 E118 connector.advanced.will_payload"},
	{head + "  advanced: {keep_alive: 20h}\n", "3:26 E119 connector.advanced.keep_alive"},
	{"connector:\n  general:\n    broker_url: 127.0.0.1:1883\n    client_id: c\n    password: p\n", "5:15 E107 connector.general.password"},
	{"connector:\n  general:\n    broker_url: 127.0.0.1:1883\n    client_id: c\n    tls_server_cert: ca.pem\n", "5:22 E101 connector.general.tls_server_cert"},
	{"connector:\n  general:\n    broker_url: 127.0.0.1:8883\n    protocol: TLS\n    client_id: c\n    tls_client_cert: load_test.go\n", "6:22 E108 connector.general.tls_client_cert"},
	{"connector:\n  general:\n    broker_url: 127.0.0.1:8883\n    protocol: TLS\n    client_id: c\n    tls_server_cert: nowhere.pem\n", "6:22 E117 connector.general.tls_server_cert"},
	{head + "consumers:\n  in:\n    topics: []\n", "5:13 E120 consumers.in.topics"},
	{head + "consumers:\n  in:\n    topics: [ok, 'a/b#']\n", "5:18 E105 consumers.in.topics[1]"},
	{head + "consumers:\n  in: {topics: [a], share_group: 'a/b'}\n", "4:34 E121 consumers.in.share_group"},
	{head + "consumers:\n  in: {topics: [a], on_failure: {then: dead_letter}}\n", "4:33 E122 consumers.in.on_failure.dead_letter"},
	{head + "consumers:\n  in: {topics: [a], on_failure: {dead_letter: {topic: b, file: c}}}\n", "4:47 E122 consumers.in.on_failure.dead_letter"},
	{head + "consumers:\n  in: {topics: ['a/#'], on_failure: {dead_letter: {topic: a/dead}}}\n", "4:59 E110 consumers.in.on_failure.dead_letter.topic"},
	{head + "producers:\n  out: {topic: ''}\n", "4:16 E123 producers.out.topic"},
	{head + "producers:\n  out: {topic: 'a/${b}'}\n", "4:16 E124 producers.out.topic"},
	{head + "producers:\n  out: {topic: 'a/${payload.b'}\n", "4:16 E124 producers.out.topic"},
	{head + "producers:\n  out: {topic: a, payload: '${x}'}\n", "4:28 E124 producers.out.payload"},
	{head + "producers:\n  out: {topic: 'a/+'}\n", "4:16 E106 producers.out.topic"},
	{head + "producers:\n  out: {topic: '+/${payload.b}'}\n", "4:16 E106 producers.out.topic"},

	{head + "  advancd: {}\n", "3:3 E130 connector.advancd"},
	{head + "consumers: 7\n", "3:12 E131 consumers"},
	{head + "consumers: {in: 7}\n", "3:17 E131 consumers.in"},
	{"- a\n", "1:1 E131 the file"},
	{"connector:\n  general:\n    broker_url: h:1\n    client_id: c\n    Broker URL: h:2\n", "5:5 E132 connector.general.broker_url"},
	{head + "consumers:\n  in: {topics: [a]}\n  in: {topics: [b]}\n", "5:3 E132 consumers.in"},
	{"version: 1\n", "1:1 E133 connector"},
	{"connector:\n  general: {client_id: c}\n", "2:12 E133 connector.general.broker_url"},
	{head + "producers: {out: {topic: [a]}}\n", "3:26 E134 producers.out.topic"},
	{head + "producers: {out: {topic: '${env:CONFIG_TEST_UNSET}'}}\n", "3:26 E135 producers.out.topic"},
	{head + "  advanced: {order: perhaps}\n", "3:21 E136 connector.advanced.order"},
	{head + "consumers: {in: {topics: [a], concurrency: 0}}\n", "3:44 E137 consumers.in.concurrency"},
	{"version: 2\n" + head, "1:10 E137 version"},
	{head + "  advanced: {keep_alive: soon}\n", "3:26 E138 connector.advanced.keep_alive"},
	{head + "  advanced: {keep_alive: -5s}\n", "3:26 E138 connector.advanced.keep_alive"},
	{head + "consumers: {in: {topics: [a], qos: 3}}\n", "3:36 E139 consumers.in.qos"},
	{"connector:\n  general: {broker_url: 'h:1', client_id: c, username: u, password: {evn: X}}\n", "2:69 E140 connector.general.password"},
	{head + "consumers: {in: {topics: {a: b}}}\n", "3:26 E141 consumers.in.topics"},

	{head + "  advanced: {auto_reconnect: true}\nconsumers: {in: {topics: [a], on_failure: {retries: 1}}}\n", "4:17 W201 consumers.in.qos"},
	{head + "  advanced: {auto_reconnect: true}\nconsumers: {in: {topics: [a], qos: 1, on_failure: {retries: 1}}}\n", "3:13 W202 connector.advanced.clean_session"},
	{head + "  advanced: {auto_reconnect: true, clean_session: false}\nconsumers: {in: {topics: [a], qos: 1}}\n", "4:17 W203 consumers.in.on_failure"},
	{head + "  advanced: {auto_reconnect: false, clean_session: false}\nconsumers: {in: {topics: [a], ack_mode: immediately}}\n", "3:30 W204 connector.advanced.auto_reconnect"},
	{"connector:\n  general: {broker_url: '127.0.0.1:8883', client_id: c}\n", "2:12 W205 connector.general.protocol"},
	{"connector:\n  general: {broker_url: '127.0.0.1:1883/mqtt', client_id: c}\n", "2:25 W206 connector.general.broker_url"},
	{head + "  advanced: {auto_reconnect: true, order: true}\nconsumers: {in: {topics: [a], ack_mode: immediately}}\n", "4:17 W208 consumers.in.flow_timeout"},
	{head + "  advanced: {keep_alive: 0}\n", "3:26 W209 connector.advanced.keep_alive"},
	{head + "  extension: {tls_insecure_skip_verify: true}\n", "3:41 W211 connector.extension.tls_insecure_skip_verify"},
	{head + "producers: {out: {topic: a, payload: '', retained: true}}\n", "3:38 W212 producers.out.payload"},
	{"connector:\n  general: {broker_url: 'h:1883', client_id: c, username: u, password: p}\n", "2:72 W213 connector.general.password"},
	{head + "  advanced: {auto_reconnect: true}\nconsumers: {in: {topics: [a], ack_mode: immediately, concurrency: 9, max_in_flight: 8}}\n", "4:67 W214 consumers.in.concurrency"},
	{head + "  advanced: {auto_reconnect: true, clean_session: false}\nconsumers: {in: {topics: [a], ack_mode: immediately, share_group: g}}\n", "4:67 W215 consumers.in.share_group"},
}

func TestFindings(t *testing.T) {
	for _, c := range findings {
		t.Run(strings.Fields(c.want)[1], func(t *testing.T) {
			cfg, fs, err := config.Parse([]byte(c.text), ".")
			if strings.Contains(c.want, " E") {
				fs = slices.DeleteFunc(fs, func(f connector.Finding) bool { return !f.IsError() })
			}
			require.Len(t, fs, 1, "%v", fs)
			place, rest, _ := strings.Cut(c.want, " ")
			require.True(t, strings.HasPrefix(fs[0].String(), place+": "+rest+": "), "%s\nwant %s", fs[0], c.want)
			require.NotEmpty(t, fs[0].Message)
			require.NotEmpty(t, fs[0].Fix)
			require.Regexp(t, `\p{Han}`, fs[0].MessageZH)
			require.Regexp(t, `\p{Han}`, fs[0].FixZH)
			require.Contains(t, fs[0].Text("zh"), fs[0].MessageZH)
			var known *connector.ConfigError
			if fs[0].IsError() {
				require.ErrorAs(t, err, &known)
				require.Nil(t, cfg)
				require.Contains(t, err.Error(), fs[0].String())
			} else {
				require.NoError(t, err, "a warning is no refusal")
				require.NotNil(t, cfg)
			}
		})
	}
}

// Every code of the sources has a case above, but for what only a Go program can do.
func TestEveryCodeHasACase(t *testing.T) {
	quoted := regexp.MustCompile(`"([EW][0-9]{3})"`)
	for _, file := range []string{"../check.go", "load.go", "values.go"} {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range quoted.FindAllSubmatch(source, -1) {
			code := string(m[1])
			require.True(t, code == "E125" || code == "E102" || slices.ContainsFunc(findings, func(f struct{ text, want string }) bool {
				return strings.Contains(f.want, code)
			}), code)
		}
	}
}

// All mistakes come at once, in the order of the file's tables.
func TestAllMistakesAtOnce(t *testing.T) {
	_, fs, err := config.Parse([]byte(`connector:
  general:
    broker_url: 127.0.0.1
    client_id: c
    password: p
  advanced: {max_reconnect_interval: 5s, will_topic: t}
consumers:
  in: {topics: ['a#']}
producers:
  out: {topic: '#'}
`), "")
	var codes []string
	for _, f := range fs {
		if f.IsError() {
			codes = append(codes, f.Code)
		}
	}
	require.Equal(t, []string{"E116", "E107", "E102", "E103", "E105", "E106"}, codes)
	require.ErrorContains(t, err, "connector: 6 mistakes in the configuration:\n  3:17: E116 ")

	_, fs, _ = config.Parse([]byte("connector:\n  generl: {}\n  advanced: {order: 7, keep_alive: x}\nnothing: 1\n"), "")
	require.Len(t, fs, 5, "%v", fs) // two unknown keys, one of them the missing general, two values
}

func TestUnknownKeysHaveAHint(t *testing.T) {
	for wrong, right := range map[string]string{
		"brokerurl": "broker_url", "Broker_URL": "broker_url", "clientid": "client_id", "user_name": "username", "pasword": "password", "Client-ID": "client_id", "用户": "用户名",
	} {
		_, fs, err := config.Parse([]byte("connector:\n  general: {broker_url: 'h:1', client_id: c, "+wrong+": x}\n"), "")
		require.Error(t, err)
		require.Equal(t, "did you mean "+right+"?", fs[0].Fix, wrong)
	}
	_, fs, _ := config.Parse([]byte("connector:\n  general: {broker_url: 'h:1', client_id: c, zzzzzzzzzzzz: x}\n"), "")
	require.True(t, strings.HasPrefix(fs[0].Fix, "known keys: broker_url, Broker URL, protocol, "))
}

// What is no document at all.
func TestNotADocument(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "config: the file is empty",
		"# only a comment\n":                   "config: the file is empty",
		"null":                                 "config: the file is empty",
		"a: [":                                 "config: not YAML or JSON: line 1: did not find expected node content",
		"\x00":                                 "config: not YAML or JSON: control characters are not allowed",
		head + "---\n" + head:                  "config: line 3: a second document begins here; write one a file",
		"connector: {general: {password: *x}}": "config: not YAML or JSON: a value that begins with '*' or '&' needs quotes around it",
	} {
		_, _, err := config.Parse([]byte(text), "")
		require.EqualError(t, err, want, "%q", text)
	}
	_, _, err := config.Load(filepath.Join(t.TempDir(), "nowhere.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A secret never shows, however wrong it stands.
func TestSecretsNeverInErrors(t *testing.T) {
	const secret = "hunter2"
	t.Setenv("CONFIG_TEST_SECRET", secret)
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
	for _, value := range []string{
		"hunter2", "*hunter2", "&hunter2", "!hunter2 x", "{hunter2}", "{hunter2: x}", "{env: CONFIG_TEST_SECRET, file: hunter2}", "[hunter2]", "{file: [hunter2]}",
		"{env: CONFIG_TEST_SECRET}", "'${env:CONFIG_TEST_SECRET}'", "{file: " + file + "}", "\"hunter2\\q\"", "'hunter2", "@hunter2", "`hunter2", "%hunter2", "hunter2: x", "\"hunter2\xff\"", "|\n hunter2", "? hunter2",
	} {
		for _, key := range []string{"password", "tls_client_key"} {
			text := "connector:\n  general: {broker_url: 'nowhere', client_id: c, protocol: TLS, " + key + ": " + value + "}\n"
			cfg, fs, err := config.Parse([]byte(text), "")
			require.Error(t, err, value)
			require.Nil(t, cfg)
			shown, _ := json.Marshal(fs)
			require.NotContains(t, err.Error()+string(shown), secret, "%s: %s", key, value)
		}
	}
}

func TestExampleLoads(t *testing.T) {
	t.Setenv("MQTT_PASSWORD", "p")
	cfg, fs, err := config.Load("testdata/example.yaml")
	require.NoError(t, err)
	require.Empty(t, fs, "an example has nothing to warn about")
	require.Equal(t, connector.WebSocketSecure, cfg.General.Protocol)
	require.Equal(t, "p", string(cfg.General.Password))
	require.Equal(t, []connector.TopicQoS{{Topic: "plant/+/reading"}, {Topic: "plant/+/alarm", QoS: packets.ExactlyOnce, HasQoS: true}}, cfg.Consumers["readings"].Topics)
	require.Equal(t, connector.DeadLetter, cfg.Consumers["readings"].OnFailure.Then)
	require.Equal(t, "plant/${variable.line}/command", cfg.Producers["commands"].Topic)
	_, err = connector.New(*cfg, connector.Options{})
	require.NoError(t, err)
}

// Paths in a file are relative to its folder.
func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "password"), []byte("p\r\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), nil, 0o600))
	file := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`connector:
  general: {broker_url: 'h:8883', protocol: TLS, client_id: c, username: u, password: {file: password}, tls_server_cert: ca.pem}
consumers:
  in: {topics: [a], on_failure: {then: dead_letter, dead_letter: {file: dead.jsonl}}}
`), 0o600))
	cfg, _, err := config.Load(file)
	require.NoError(t, err)
	require.Equal(t, "p", string(cfg.General.Password))
	require.Equal(t, filepath.Join(dir, "ca.pem"), cfg.General.TLSServerCert)
	require.Equal(t, filepath.Join(dir, "dead.jsonl"), cfg.Consumers["in"].OnFailure.DeadLetterFile)
}

// JSON is read as well, as other programs write it.
func TestJSON(t *testing.T) {
	cfg, _, err := config.Parse([]byte("{\n\t\"connector\": {\n\t\t\"general\": {\"broker_url\": \"127.0.0.1:1883\", \"client_id\": \"\\u4e2d\\ud83d\\ude00\\/\"}\n\t},\n\t\"consumers\": {\"in\": {\"订阅主题\": [\"a\"]}}\n}"), "")
	require.NoError(t, err)
	require.Equal(t, "中😀/", cfg.General.ClientID)
	require.Equal(t, "a", cfg.Consumers["in"].Topics[0].Topic)
	_, fs, _ := config.Parse([]byte("{\n\t\"connector\": {\n\t\t\"general\": {\"broker_url\": \"127.0.0.1:1883\", \"client_ids\": \"c\"}\n\t}\n}"), "")
	require.Equal(t, 3, fs[0].Line)
}

func compiled(t *testing.T) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(config.Schema())))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	s, err := c.Compile("schema.json")
	require.NoError(t, err)
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	var doc any
	require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
	b, err := json.Marshal(doc)
	require.NoError(t, err, text)
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	return s.Validate(instance)
}

// A stock validator takes the example and what warns only, and refuses what it can see of
// what we refuse: not files, the environment, topics, and what stands in a URL.
func TestSchemaAgrees(t *testing.T) {
	s := compiled(t)
	example, err := os.ReadFile("testdata/example.yaml")
	require.NoError(t, err)
	require.NoError(t, valid(t, s, string(example)))
	beyond := []string{"E104", "E105", "E106", "E107", "E108", "E110", "E111", "E112", "E114", "E115", "E116", "E117", "E118", "E119", "E124", "E132", "E135", "E101"}
	for _, f := range findings {
		code := strings.Fields(f.want)[1]
		if strings.Contains(f.want, "E132 consumers.in") || slices.Contains(beyond, code) {
			continue
		}
		err := valid(t, s, f.text)
		switch {
		case code == "E122" && strings.HasSuffix(f.text, "then: dead_letter}}\n"):
		case code == "E102" || code[0] == 'E':
			require.Error(t, err, "%s\n%s", f.want, f.text)
		default:
			require.NoError(t, err, f.want)
		}
	}
}
