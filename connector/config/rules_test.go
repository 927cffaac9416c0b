package config_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// good is a configuration without any finding; a test replaces a line of it.
const good = `connector:
  general:
    broker_url: 127.0.0.1:1883
    client_id: c
  advanced:
    clean_session: false
    auto_reconnect: true
consumers:
  in:
    topics: [plant/+/reading]
    qos: At Least Once
    on_failure: {retries: 5, then: drop}
producers:
  out: {topic: "plant/${variable.line}/command"}
`

// withConsumer is the part of good that tests of rules for a connector without consumers replace.
const withConsumer = `  advanced:
    clean_session: false
    auto_reconnect: true
consumers:
  in:
    topics: [plant/+/reading]
    qos: At Least Once
    on_failure: {retries: 5, then: drop}
`

func parse(t *testing.T, text string) (*connector.Config, []connector.Finding) {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(folder, "EVERYONE"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(folder, "EVERYONE"), 0o777))
	cfg, findings, err := config.Parse([]byte(text), folder)
	if err != nil {
		var all *connector.ConfigError
		require.ErrorAs(t, err, &all)
	}
	return cfg, findings
}

func codes(findings []connector.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Code)
	}
	return out
}

func TestGoodConfigurationHasNoFinding(t *testing.T) {
	cfg, findings := parse(t, good)
	require.Empty(t, findings)
	require.Equal(t, "127.0.0.1:1883", cfg.General.BrokerURL)
}

// planted has a fault for every rule: the text that it replaces in good, and the place that the
// finding must name.
var planted = []struct {
	code, old, new string
	at             string // text at the finding's line and column
}{
	{"E101", "client_id: c", "client_id: c\n    tls_server_cert: ca.pem", "ca.pem"},
	{"E102", "auto_reconnect: true", "auto_reconnect: true\n    will_topic: gone", "gone"},
	{"E103/connect", "auto_reconnect: true", "auto_reconnect: true\n    connect_retry_interval: 5s", "5s"},
	{"E104", "client_id: c", `client_id: ""`, `""`},
	{"E105/hash", "[plant/+/reading]", "[a/b, a#]", "a#"},
	{"E105/plus", "[plant/+/reading]", "[a/+b]", "a/+b"},
	{"E106/wildcard", "plant/${variable.line}/command", "plant/+/command", `"plant/+`},
	{"E107", "client_id: c", "client_id: c\n    password: x", "x"},
	{"E108/cert", "client_id: c", "client_id: c\n    protocol: TLS\n    tls_client_cert: {pem: '-----BEGIN'}", "{pem"},
	{"E109", "qos: At Least Once", "qos: 1\n    share_group: g\n    partition: {index: 0, count: 2}", "{index"},
	{"E110", "then: drop", "then: dead_letter, dead_letter: {topic: plant/x/reading}", "plant/x"},
	{"E112/nul", "client_id: c", `client_id: "a\0b"`, `"a`},
	{"E113", "broker_url: 127.0.0.1:1883", `broker_url: ""`, `""`},
	{"E114", "127.0.0.1:1883", "wss://127.0.0.1:1883", "wss"},
	{"E115", "127.0.0.1:1883", "u:p@127.0.0.1:1883", "u:p"},
	{"E116", "127.0.0.1:1883", "127.0.0.1", "127"},
	{"E116/host", "127.0.0.1:1883", "bücher.example:1883", "bücher"},
	{"E116/host", "127.0.0.1:1883", "mqtt://a%zz:1883", "mqtt"},
	{"E116/path", "broker_url: 127.0.0.1:1883", "protocol: WebSocket\n    broker_url: 'h:8083/a#b'", "'h:8083"},
	{"E116/path", "broker_url: 127.0.0.1:1883", "protocol: WebSocket\n    broker_url: 'h:8083/%zz'", "'h:8083"},
	{"E117/missing", "client_id: c", "client_id: c\n    protocol: TLS\n    tls_server_cert: none.pem", "none.pem"},
	{"E118", "auto_reconnect: true", "auto_reconnect: true\n    will_enabled: true\n    will_topic: w\n    will_payload: " + strings.Repeat("x", 65536), "xxx"},
	{"E119", "auto_reconnect: true", "auto_reconnect: true\n    keep_alive: 20h", "20h"},
	{"E120", "[plant/+/reading]", "[]", "[]"},
	{"E121", "qos: At Least Once", "qos: 1\n    share_group: a/b", "a/b"},
	{"E122/missing", "then: drop", "then: dead_letter", "{retries"},
	{"E123", `"plant/${variable.line}/command"`, `""`, `""`},
	{"E124/unknown", "${variable.line}", "${nothing.line}", `"plant`},
	{"E126", "qos: At Least Once", "qos: 1\n    partition: {index: 2, count: 2}", "2, count"},
	{"E127", "producers:", "---\nproducers:", "---"},
	{"E130/near", "broker_url:", "broker_ulr: x\n    broker_url:", "broker_ulr"},
	{"E131", "{retries: 5, then: drop}", "5", "5"},
	{"E132", "client_id: c", "client_id: c\n    Client ID: d", "Client ID"},
	{"E133", "    client_id: c\n", "", "broker_url"},
	{"E134", "client_id: c", "client_id: [c]", "[c]"},
	{"E135", "client_id: c", "client_id: ${env:MQTT311_NOT_SET}", "${env"},
	{"E136", "auto_reconnect: true", "auto_reconnect: maybe", "maybe"},
	{"E137", "retries: 5", "retries: -2", "-2"},
	{"E137", "consumers:", "  extension: {max_inflight: 16385}\nconsumers:", "16385"},
	{"E138", "auto_reconnect: true", "auto_reconnect: true\n    keep_alive: soon", "soon"},
	{"E139", "At Least Once", "Often", "Often"},
	{"E140", "client_id: c", "client_id: c\n    username: u\n    password: {env: A, file: b}", "{env"},
	{"E141", "[plant/+/reading]", "{a: b}", "{a"},
	{"E142/unknown", "client_id: c", "client_id: ${host}", "${host"},
	{"E143", "consumers:", "  extension: {session_store: {dir: ''}}\nconsumers:", "''"},
	{"E144", "qos: At Least Once", "qos: 1\n    ledger: true", "true"},
	{"E110", "then: drop", "then: dead_letter, dead_letter: {topic: plant/x, meta: true}}\n  other:\n    topics: [plant/x/meta]\n    on_failure: {retries: 1, then: drop", "plant/x, meta"},
	{"E122/meta", "then: drop", "then: dead_letter, dead_letter: {file: f, meta: true}", "true"},
	{"E124/unknown", "qos: At Least Once", "qos: 1\n    partition: {index: 0, count: 2, key: '${x}'}", "'${x}"},
	{"E139/type", "then: drop", "then: drop, retry_on: [any, TIMEOUT]", "TIMEOUT"},
	{"E139", "consumers:", "  extension: {qos0_overflow: block}\nconsumers:", "block"},
	{"E145", `command"}`, `command", qos: 1, done_when: stored}`, "stored"},
	{"E124/unknown", `command"}`, `command", qos: "${x}"}`, `"${x}`},
	{"E124/unknown", `command"}`, `command", retained: "${x}"}`, `"${x}`},
	{"E146", "consumers:", "  extension: {proxy: 'ftp://h'}\nconsumers:", "'ftp"},
	{"E116", "consumers:", "  extension: {failover_urls: ['h:1883', h]}\nconsumers:", "h]"},
	{"E116/host", "consumers:", "  extension: {failover_urls: ['h:1883', 'bücher.example:1883']}\nconsumers:", "'bücher"},
	{"E139", "consumers:", "  extension: {tls_min_version: 1.1}\nconsumers:", "1.1"},
	{"E103/reconnect", "auto_reconnect: true", "auto_reconnect: false\n    max_reconnect_interval: 5s", "5s"},
	{"E105/empty", "[plant/+/reading]", "['']", "''"},
	{"E105/nul", "[plant/+/reading]", `["a\0"]`, `"a`},
	{"E105/utf8", "[plant/+/reading]", "[!!binary /w==]", "!!binary"},
	{"E105/long", "[plant/+/reading]", "[" + strings.Repeat("x", 65536) + "]", "xxx"},
	{"E106/empty", "auto_reconnect: true", "auto_reconnect: true\n    will_enabled: true", ""},
	{"E106/nul", "plant/${variable.line}/command", `a\0`, `"a`},
	{"E106/utf8", `{topic: "plant/${variable.line}/command"}`, "{topic: !!binary /w==}", "!!binary"},
	{"E106/long", "plant/${variable.line}/command", strings.Repeat("x", 65536), `"xxx`},
	{"E106/wildcard", "plant/${variable.line}/command", "plant/${variable.line}/#", `"plant/$`},
	{"E106/wildcard", "then: drop", "then: dead_letter, dead_letter: {topic: 'dead/#'}", "'dead"},
	{"E108/key", "client_id: c", "client_id: c\n    protocol: TLS\n    tls_client_key: {pem: '-----BEGIN'}", "{pem"},
	{"E111", "client_id: c\n  advanced:\n    clean_session: false", "client_id: ''\n  advanced:\n    clean_session: true", "''"},
	{"E112/utf8", "client_id: c", "client_id: !!binary /w==", "!!binary"},
	{"E112/long", "client_id: c", "client_id: " + strings.Repeat("x", 65536), "xxx"},
	{"E112/nul", "client_id: c", `client_id: c
    username: "a\0b"`, `"a`},
	{"E112/long", "client_id: c", "client_id: c\n    username: u\n    password: " + strings.Repeat("x", 65536), "xxx"},
	{"E151/name", "consumers:", "  extension: {ws_headers: {'Authorization:': x}}\nconsumers:", "x}"},
	{"E151/name", "consumers:", "  extension: {ws_headers: {'': {env: HOME}}}\nconsumers:", "{env"},
	{"E151/handshake", "consumers:", "  extension: {ws_headers: {upgrade: x}}\nconsumers:", "x}"},
	{"E151/value", "consumers:", `  extension: {ws_headers: {a: "x\r\nHost: y"}}
consumers:`, `"x`},
	{"E153", "topics: [plant/+/reading]", "share_group: g\n    topics: [a, $queue/plant/+]", "$queue"},
	{"E153", "topics: [plant/+/reading]", "share_group: g\n    topics: [{topic: $share/h/plant/+}]", "{topic"},
	{"E152/name", "consumers:", "  extension: {unmatched: rest}\nconsumers:", "rest"},
	{"E152/place", "consumers:", "  extension: {unmatched: Dead Letter}\nconsumers:", "Dead"},
	{"E152/places", withConsumer, "  advanced: {clean_session: false, auto_reconnect: true}\n  extension: {unmatched: dead_letter}\nconsumers:\n" +
		"  a: {topics: [a], qos: At Least Once, on_failure: {retries: 1, then: dead_letter, dead_letter: {topic: x}}}\n  b: {topics: [b], qos: At Least Once, on_failure: {retries: 1, then: dead_letter, dead_letter: {topic: y}}}\n", "dead_letter}"},
	{"E152/word", "consumers:\n", "  extension: {unmatched: drop}\nconsumers:\n  Drop: {topics: [a], qos: At Least Once, on_failure: {retries: 1, then: drop}}\n", "drop}"},
	{"E139", "consumers:", "  extension: {unmatched: ''}\nconsumers:", "''"},
	{"W231", "consumers:", "  extension: {unmatched: hold}\nconsumers:", "hold"},
	{"W232", "consumers:", "  extension: {max_packet_size: 2048}\nconsumers:", "2048"},
	{"W233", "consumers:", "  extension: {max_packet_size: 2048, oversize: stop}\nconsumers:", "stop"},
	{"W234", "then: drop", "then: dead_letter, dead_letter: {file: f, max_oversize: 16777216}", "16777216"},
	{"E122/oversize", "then: drop", "then: dead_letter, dead_letter: {topic: t, max_oversize: 1}", "1}"},
	{"W233", "consumers:", "  extension: {malformed: stop, oversize: skip}\nconsumers:", "stop"},
	{"E139", "consumers:", "  extension: {oversize: drop}\nconsumers:", "drop"},
	{"E122/both", "then: drop", "then: dead_letter, dead_letter: {file: f, topic: t}", "{file"},
	{"E124/field", "${variable.line}", "${variable}", `"plant`},
	{"E130/comma", "  general:\n    broker_url: 127.0.0.1:1883\n    client_id: c\n", "  general: {broker_url: 127.0.0.1:1883, client_id: GID@@@gw1|securemode=3,signmethod=hmacsha1|}\n", "signmethod"},
	{"E130/home", "retries: 5,", "retries: 5, order: true,", "order"},
	{"E130/known", "qos: At Least Once", "qos: 1\n    xyz12345: 1", "xyz12345"},
	{"E131/names", "producers:\n  out: {topic: \"plant/${variable.line}/command\"}", "producers: out", "out"},
	{"E131/unnamed", "  out: {topic: \"plant/${variable.line}/command\"}", "  topic: a\n  qos: 1", "topic"},
	{"E131/list", "  out: {topic: \"plant/${variable.line}/command\"}", "  - topic: a", "- topic"},
	{"E140", "client_id: c", "client_id: c\n    username: {exec: [id], file: x}", "{exec"},
	{"E140", "consumers:", "  extension: {ws_headers: {a: {vault: x}}}\nconsumers:", "{vault"},
	{"E142/unclosed", "client_id: c", "client_id: ${hostname", "${h"},
	{"E147/empty", "client_id: c", "client_id: c\n    username: u\n    password: {exec: []}", "[]"},
	{"E147/empty", "client_id: c", "client_id: c\n    username: {exec: {a: b}}", "{a"},
	{"E147/missing", "client_id: c", "client_id: c\n    username: u\n    password: {exec: [/nowhere/token, x]}", "{exec"},
	{"E147/missing", "consumers:", "  extension: {ws_headers: {a: {exec: no-such-program-here}}}\nconsumers:", "{exec"},
	{"E148", "client_id: c", "client_id: c\n    username: u\n    password: !secret mqtt", "!secret"},
	{"E148", "client_id: c", "client_id: !ENV NAME", "!ENV"},
	{"E148", "topics: [plant/+/reading]", "topics: !include topics.yaml", "!include"},
	{"E148", "on_failure: {retries", "on_failure: !!omap {retries", "!!omap"},
	{"E148", "[plant/+/reading]", "[!x plant/1]", "!x"},
	{"E148", "client_id: c", "!k client_id: c", "!k"},
	{"E148/binary", "client_id: c", "client_id: c\n    username: u\n    password: !!binary '%%%'", "!!binary"},
	{"E149", "plant/${variable.line}/command", `plant/\a/${variable.line}`, `"plant`},
	{"E149", "plant/${variable.line}/command", `plant/\x85`, `"plant`},
	{"E135", "client_id: c", "client_id: c\n    username: u\n    password: {env: MQTT311_NOT_SET}", "{env"},
	{"W219", "auto_reconnect: true", "auto_reconnect: true\n    keep_alive: 1000", "1000"},
	{"W219", "auto_reconnect: true", "auto_reconnect: true\n    keep_alive: 60000", "60000"},
	{"W219", "auto_reconnect: true", "auto_reconnect: true\n    connect_timeout: 5000", "5000"},
	{"W219", "auto_reconnect: true", "auto_reconnect: true\n    max_reconnect_interval: '30000'", "'30000'"},
	{"W219", "retries: 5,", "retries: 5, initial_delay: 2500,", "2500"},
	{"W219", "command\"}", "command\", ack_timeout: 1200}", "1200"},
	{"W219", "qos: At Least Once", "qos: 1\n    flow_timeout: 60000", "60000"},
	{"W220", "auto_reconnect: true", "auto_reconnect: true\n    keep_alive: 60000s", "60000s"},
	{"W220", "auto_reconnect: true", "auto_reconnect: true\n    keep_alive: 21m", "21m"},
	{"W221", "auto_reconnect: true", "auto_reconnect: true\n    connect_timeout: 30us", "30us"},
	{"W221", "auto_reconnect: true", "auto_reconnect: true\n    ping_timeout: 10ms", "10ms"},
	{"W221", "command\"}", "command\", ack_timeout: 30ns}", "30ns"},
	{"W222/space", "[plant/+/reading]", "['plant/7/reading ']", "'plant"},
	{"W222/space", "[plant/+/reading]", "[\"plant/7/reading\u3000\"]", "\"plant"},
	{"W222/space", "client_id: c", "client_id: ' c'", "' c'"},
	{"W222/space", "plant/${variable.line}/command", " plant/${variable.line}", `" plant`},
	{"W222/space", "client_id: c", "client_id: c\n    username: 'u '", "'u '"},
	{"W222/inner", "client_id: c", "client_id: line 7", "line 7"},
	{"W222/hidden", "[plant/+/reading]", `["plant/\u200e7"]`, `"plant`},
	{"W222/hidden", "[plant/+/reading]", `["plant/\a7"]`, `"plant`},
	{"W222/hidden", "client_id: c", `client_id: "a\u202Eb"`, `"a`},
	{"W223/first", "[plant/+/reading]", "[/plant/+/reading]", "/plant"},
	{"W223/first", "plant/${variable.line}/command", "/plant/${variable.line}", `"/plant`},
	{"W223/last", "[plant/+/reading]", "[plant/7/]", "plant/7/"},
	{"W223/inner", "[plant/+/reading]", "[plant//7]", "plant//7"},
	{"W224/wide", "[plant/+/reading]", "[plant／8]", "plant／8"},
	{"W224/wide", "[plant/+/reading]", "[plant/＋]", "plant/＋"},
	{"W224/wide", "[plant/+/reading]", "[plant/＃]", "plant/＃"},
	{"W224/list", "[plant/+/reading]", "[plant/1，plant/2]", "plant/1，"},
	{"W224/list", "[plant/+/reading]", "[plant/1، plant/2]", "plant/1"},
	{"W224/list", "[plant/+/reading]", "[plant/1、plant/2]", "plant/1、"},
	{"W224/list", "[plant/+/reading]", "['a/b, c/d']", "'a/b"},
	{"W224/list", "consumers:", "  extension: {tls_alpn: [mqtt，http]}\nconsumers:", "mqtt，"},
	{"W222/space", "consumers:", "  extension: {tls_server_name: 'h '}\nconsumers:", "'h "},
	{"W225/secret", "client_id: c", "client_id: c\n    username: u\n    password: \"${env:X}\"", `"${env`},
	{"W225/secret", "client_id: c", "client_id: c\n    username: u\n    password: $MQTT_PW", "$MQTT"},
	{"W225/secret", "client_id: c", "client_id: c\n    username: u\n    password: '%MQTT_PW%'", "'%MQTT"},
	{"W225/secret", "client_id: c", "client_id: c\n    username: u\n    password: '{{ pw }}'", "'{{"},
	{"W225/secret", "consumers:", "  extension: {ws_headers: {Authorization: 'Bearer ${env:TOKEN}'}}\nconsumers:", "'Bearer"},
	{"W225/text", "client_id: c", "client_id: $HOSTNAME", "$HOST"},
	{"W225/text", "client_id: c", "client_id: c\n    username: '%USER%'", "'%USER"},
	{"W225/text", "[plant/+/reading]", "['{{ topic }}']", "'{{"},
	{"W227", "client_id: c", "client_id: “c”", "“c”"},
	{"W227", "client_id: c", "client_id: c\n    username: u\n    password: ‘p’", "‘p’"},
	{"W227", "[plant/+/reading]", "[“plant/7”]", "“plant"},
	{"W228/everyone", withConsumer, "  advanced: {clean_session: false, auto_reconnect: true}\n  extension: {session_store: {dir: EVERYONE}}\n", "EVERYONE"},
	{"W201", "qos: At Least Once", "qos: 0", "0"},
	{"W202", "clean_session: false", "clean_session: true", "true"},
	{"W203", "{retries: 5, then: drop}", "{}", "{}"},
	{"W204", "auto_reconnect: true", "auto_reconnect: false", "false"},
	{"W205", "127.0.0.1:1883", "127.0.0.1:8883", ""},
	{"W206", "127.0.0.1:1883", "127.0.0.1:1883/mqtt", "127"},
	{"W207", "client_id: c", "client_id: c-${random:4}", "c-$"},
	{"W208", "auto_reconnect: true", "auto_reconnect: true\n    order: true", ""},
	{"W209", "auto_reconnect: true", "auto_reconnect: true\n    keep_alive: 0", "0"},
	{"W210/same", "[plant/+/reading]", "[plant/+/reading, +/7/reading]", "+/7/reading"},
	{"W210/other", "then: drop}", "then: drop}\n  other:\n    topics: [x, +/7/reading]\n    qos: At Least Once\n    on_failure: {retries: 5, then: drop}", "+/7/reading"},
	{"W211", "consumers:", "  extension: {tls_insecure_skip_verify: true}\nconsumers:", "true"},
	{"W212", `{topic: "plant/${variable.line}/command"}`, `{topic: a, payload: "", retained: true}`, `""`},
	{"W213", "broker_url: 127.0.0.1:1883", "broker_url: mq.example.com:1883\n    username: u\n    password: p", "p"},
	{"W214", "qos: At Least Once", "qos: 1\n    concurrency: 65\n    max_in_flight: 64", "65"},
	{"W214/window", "consumers:", "  extension: {max_inflight: 10, max_inflight_qos2: 11}\nconsumers:", "11"},
	{"W214/window", "command\"}", "command\", max_in_flight: 101}", "101"},
	{"W230/window", "consumers:", "  extension: {max_inflight: 101}\nconsumers:", "101"},
	{"W230/qos2", "consumers:", "  extension: {max_inflight_qos2: 21}\nconsumers:", "21"},
	{"W216", withConsumer, "  advanced: {auto_reconnect: true}\n  extension: {session_store: {dir: s}}\n", "{dir"},
	{"W217", "consumers:\n  in:\n", "  extension: {session_store: {dir: s}}\nconsumers:\n  in:\n    ledger: true\n    ack_mode: immediately\n", "true"},
	{"W215", "qos: At Least Once", "qos: 1\n    share_group: g", "g"},
	{"E160", "producers:", "connections:\n  cloud: {general: {broker_url: 'tcp://localhost:1883', client_id: c}}\nproducers:", "c}"},
	{"E160", "producers:", "connections:\n  a: {general: {broker_url: 'a:1883', client_id: x}}\n  b: {general: {broker_url: 'A:1883', client_id: x}}\nproducers:", "x}}"},
	{"E160", "consumers:", "  extension: {producer_connection: separate}\nconnections:\n  cloud: {general: {broker_url: '127.0.0.1:1883', client_id: c-producers}}\nconsumers:", "c-producers"},
	{"E162/name", producerOut, farAway + `  out: {topic: a, connection: clout}`, "clout"},
	{"E162/none", `command"}`, `command", connection: cloud}`, "cloud"},
	{"E162/unnamed", "producers:", "connections:\n  '': {general: {broker_url: 'h:1883', client_id: d}}\nproducers:", "''"},
	{"E145", producerOut, farAway + `  out: {topic: a, qos: 1, done_when: stored, connection: cloud}`, "stored"},
	{"E130/near", producerOut, strings.Replace(farAway, "client_id", "cleint_id: d, client_id", 1) + `  out: {topic: a, connection: cloud}`, "cleint_id"},
	{"W214/window", producerOut, farAway + `  out: {topic: a, max_in_flight: 101, connection: cloud}`, "101"},
	{"W213", producerOut, strings.Replace(farAway, "client_id: d", "client_id: d, username: u, password: p", 1) + `  out: {topic: a, connection: cloud}`, "p}"},
	{"W240", producerOut, strings.Replace(farAway, "'cloud:1883', client_id: d", "'localhost:2883', client_id: c", 1) + `  out: {topic: a, connection: cloud}`, "c}"},
	{"W240", producerOut, strings.Replace(farAway, "client_id: d}", "client_id: c}, extension: {failover_urls: ['127.0.0.1:1883']}", 1) + `  out: {topic: a, connection: cloud}`, "c}"},
	{"W241", "plant/${variable.line}/command", "plant/${variable.line}/reading", `"plant`},
	{"W241", "plant/${variable.line}/command", "plant/7/reading", `"plant`},
	{"W241", "plant/${variable.line}/command", "${attribute.topic}", `"$`},
	{"W241", producerOut, strings.Replace(farAway, "'cloud:1883'", "'127.0.0.1:1883'", 1) + `  out: {topic: "${attribute.topic}", connection: cloud}`, `"$`},
	{"W241/maybe", producerOut, strings.Replace(farAway, "'cloud:1883'", "'127.0.0.1:2883'", 1) + `  out: {topic: "${attribute.topic}", connection: cloud}`, `"$`},
	{"W242/reconnect", producerOut, strings.Replace(farAway, "auto_reconnect: true", "auto_reconnect: false", 1) + `  out: {topic: a, connection: cloud}`, "false"},
	{"W242/connect", producerOut, strings.Replace(farAway, "connect_retry: true", "connect_retry: false", 1) + `  out: {topic: a, connection: cloud}`, "false"},
	{"W243", producerOut, strings.Replace(farAway, "connect_retry: true", "connect_retry: true, order: true", 1) + `  out: {topic: a, connection: cloud}`, "true}"},
	{"W243", producerOut, strings.Replace(farAway, "client_id: d}", "client_id: d}, extension: {unmatched: drop}", 1) + `  out: {topic: a, connection: cloud}`, "drop"},
	{"W233", producerOut, strings.Replace(farAway, "client_id: d}", "client_id: d}, extension: {malformed: stop}", 1) + `  out: {topic: a, connection: cloud}`, "stop"},
	{"W244", "producers:", farAway, "{general"},
	{"E107", "producers:", "nats: {urls: [nats://127.0.0.1], password: x}\nproducers:", "x}"},
	{"E108/cert", "producers:", "nats: {urls: [nats://127.0.0.1], tls_client_cert: {pem: '-----BEGIN'}}\nproducers:", "{pem"},
	{"E163", "producers:", "nats: {urls: ['nats://127.0.0.1', 'http://h']}\nproducers:", "'http"},
	{"E163", "producers:", "nats: {urls: ['nats://h:']}\nproducers:", "'nats"},
	{"E163/none", "producers:", "nats: {urls: []}\nproducers:", "[]"},
	{"E163/credentials", "producers:", "nats: {urls: ['nats://u:p@h']}\nproducers:", "'nats"},
	{"E164/name", "producers:", "nats: {urls: [nats://h], bucket: a.b}\nproducers:", "a.b"},
	{"E164/name", "producers:", "nats: {urls: [nats://h], stream: 产线, replicas: 1, max_bytes: 1073741824}\nproducers:", "产线"},
	{"E164/duplicates", "producers:", "nats: {urls: [nats://h], keep: 1m}\nproducers:", "1m"},
	{"E164/consumer", "producers:", "nats: {urls: [nats://h], stream: S, replicas: 1, max_bytes: 1073741824, consumer: out}\nproducers:", "out}"},
	{"E164/which", "producers:", "  b: {topics: [b], qos: At Least Once, on_failure: {retries: 1, then: drop}}\nnats: {urls: [nats://h], stream: S, replicas: 1, max_bytes: 1073741824}\nproducers:", "{urls"},
	{"E164/without", withConsumer, "  advanced: {clean_session: false, auto_reconnect: true}\nnats: {urls: [nats://h], stream: S, replicas: 1, max_bytes: 1073741824}\n", "S,"},
	{"E164/same", "producers:", "nats: {urls: [nats://h], message_id: id}\nproducers:", "id}"},
	{"E164/ways", "producers:", "nats: {urls: [tls://h], token: {env: HOME}, credentials: {env: HOME}}\nproducers:", "{env: HOME}}"},
	{"E165/section", "qos: At Least Once", "qos: 1\n    partition: {count: 2, lease: nats}", "nats}"},
	{"E165/session", "clean_session: false\n    auto_reconnect: true\nconsumers:\n  in:\n", "auto_reconnect: true\nconsumers:\n  in:\n    partition: {count: 2, lease: 'nats://h'}\n", "'nats"},
	{"E165/qos", "qos: At Least Once", "qos: 0\n    partition: {count: 2, lease: 'nats://h'}", "'nats"},
	{"E165/same", "qos: At Least Once", "qos: 1\n    partition: {count: 2, lease: 'nats://h'}\n  other:\n    topics: [b]\n    qos: 1\n    on_failure: {retries: 1, then: drop}\n  in2:\n    topics: [c]\n    qos: 1", "'nats"},
	{"E165/index", "qos: At Least Once", "qos: 1\n    partition: {index: 1, count: 2, lease: 'nats://h'}", "1, count"},
	{"E163", "qos: At Least Once", "qos: 1\n    partition: {count: 2, lease: 'mqtt://h'}", "'mqtt"},
	{"E137", "producers:", "nats: {urls: [nats://h], partitions: 1025}\nproducers:", "1025"},
	{"E139", "producers:", "nats: {urls: [nats://h], replicas: 2}\nproducers:", "2}"},
	{"E139", "producers:", "nats: {urls: [nats://h], order: none}\nproducers:", "none"},
	{"E124/unknown", "producers:", "nats: {urls: [nats://h], key: '${x}'}\nproducers:", "'${x}"},
	{"W213/nats", "producers:", "nats: {urls: [nats://h, nats://127.0.0.1], token: {env: HOME}}\nproducers:", "{env"},
	{"W221", "producers:", "nats: {urls: [nats://h], ack_timeout: 5ms}\nproducers:", "5ms"},
	{"W245", "producers:", "nats: {urls: [nats://h], stream: S, max_bytes: 1073741824}\nproducers:", "S,"},
	{"W249", "producers:", "nats: {urls: [nats://h], stream: S, replicas: 3}\nproducers:", "S,"},
	{"W246", "producers:", "nats: {urls: [nats://h], stream: S, replicas: 3, max_bytes: 1073741824, order: strict}\nproducers:", "strict"},
	{"W247", "consumers:\n  in:\n", "  extension: {session_store: {dir: s}}\nconsumers:\n  in:\n    partition: {count: 2, lease: 'nats://h'}\n", "'nats"},
}

// producerOut is the producers section of a good configuration; farAway is a connection to another
// server, placed before it.
const (
	producerOut = "producers:\n  out: {topic: \"plant/${variable.line}/command\"}"
	farAway     = "connections:\n  cloud: {general: {broker_url: 'cloud:1883', client_id: d}, advanced: {clean_session: false, auto_reconnect: true, connect_retry: true}}\nproducers:\n"
)

// The check finds each planted fault, and nothing else, at the right place and in both languages,
// with advice.
func TestRules(t *testing.T) {
	for _, c := range planted {
		t.Run(c.code, func(t *testing.T) {
			require.Contains(t, good, c.old)
			text := strings.Replace(good, c.old, c.new, 1)
			_, findings := parse(t, text)
			if c.code[0] == 'E' {
				findings = slices.DeleteFunc(findings, func(f connector.Finding) bool { return !f.IsError() })
			}
			code, _, _ := strings.Cut(c.code, "/")
			require.Equal(t, []string{code}, codes(findings), "%v", findings)
			f := findings[0]
			require.Equal(t, c.code, f.Rule(), "%v", f)
			for _, s := range []string{f.Path, f.Message, f.MessageZH, f.Fix, f.FixZH} {
				require.NotEmpty(t, s)
			}
			require.NotEqual(t, f.Text("en"), f.Text("zh"))
			lines := strings.Split(text, "\n")
			require.Positive(t, f.Line)
			require.True(t, strings.HasPrefix(lines[f.Line-1][f.Column-1:], c.at), "%s points at %q", f, lines[f.Line-1][f.Column-1:])
			require.NotContains(t, f.String(), "u:p")
		})
	}
}

// A standard validator with the schema finds planted faults of form, and pairs of fields that
// exclude each other; only lint finds the others.
func TestSchemaFindsPlantedFaults(t *testing.T) {
	s := validator(t)
	require.NoError(t, valid(t, s, asJSON(t, good)))
	found, missed := make(map[string]bool), make(map[string]bool)
	for _, c := range planted {
		if c.code == "E127" || c.code == "E132" || strings.HasPrefix(c.code, "E148") {
			continue // there is no single document to validate
		}
		code, _, _ := strings.Cut(c.code, "/")
		if valid(t, s, asJSON(t, strings.Replace(good, c.old, c.new, 1))) != nil {
			found[code] = true
		} else {
			missed[code] = true
		}
	}
	require.Equal(t, []string{"E101", "E102", "E103", "E105", "E106", "E107", "E108", "E109", "E112", "E113", "E120", "E121", "E122", "E123", "E130", "E131",
		"E133", "E134", "E136", "E137", "E138", "E139", "E140", "E141", "E143", "E147", "E163", "E164", "E165"}, slices.Sorted(maps.Keys(found)))
	for code := range found {
		require.Equal(t, byte('E'), code[0], "what is only doubtful is no business of a schema")
		// Of these codes the schema finds only some faults, by a maximum length or a pattern.
		require.True(t, !missed[code] || slices.Contains([]string{"E105", "E106", "E112", "E139", "E147", "E163", "E164", "E165"}, code), code)
	}
}

// asJSON converts YAML to JSON.
func asJSON(t *testing.T, text string) string {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal([]byte(text), &v))
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// Every rule, with each of its texts, has a planted fault.
func TestEveryRuleIsPlanted(t *testing.T) {
	// Except rules about files, which have their own tests, and rules that only apply to
	// configurations made by programs.
	known := map[string]bool{"more": true, "E125": true, "E161": true, "E124/unclosed": true, "E135/hostname": true, "E117/unreadable": true, "E117/denied": true, "W229/denied": true, "W210/many": true, "W241/many": true, "W218/here": true, "W218/changed": true, "E126/ordinal": true, "W248": true}
	for _, c := range planted {
		known[c.code] = true
	}
	for _, c := range broken {
		known[c.rule] = true
	}
	for _, c := range files {
		known[c.rule] = true
	}
	for _, rule := range lint.Rules() {
		code, _, _ := strings.Cut(rule, "/")
		require.True(t, known[rule] || code == rule && known[code], "%s has no planted fault", rule)
	}
}

// All errors are reported at once, in the order of the file, those of form together with those of
// meaning, and none that only follows from another.
func TestEveryMistakeAtOnce(t *testing.T) {
	_, findings := parse(t, `connector:
  general:
    broker_url: nowhere
    protcol: TLS
    client_id: ""
    password: hunter2
  advanced:
    keep_alive: soon
    will_topic: a
    clean_session: no
consumers:
  in:
    topics: ["a#", b]
    qos: Twice
producers:
  out: {topik: a}
`)
	require.Equal(t, []string{"E116", "E130", "E104", "E107", "E138", "E102", "E105", "E139", "E133", "E130"},
		slices.DeleteFunc(codes(findings), func(c string) bool { return c[0] == 'W' }))
	for _, f := range findings {
		require.NotContains(t, f.String(), "hunter2")
	}
	i := slices.IndexFunc(findings, func(f connector.Finding) bool { return f.Code == "E130" })
	require.Equal(t, "4:5: E130 connector.general.protcol: is not a key that is known here → did you mean protocol?", findings[i].String())
	require.Equal(t, "4:5: E130 connector.general.protcol: 不是此处可用的键 → 是否指 protocol？", findings[i].Text("zh"))
}

func TestRelativePathsAreThoseOfTheFile(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "pw"), []byte("s3cret\n"), 0o600))
	file := filepath.Join(folder, "c.yaml")
	text := strings.Replace(good, "client_id: c", "client_id: c\n    username: u\n    password: {file: pw}", 1)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	cfg, _, err := config.Load(file)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(folder, "pw"), cfg.General.PasswordFrom.File)
	_, _, err = config.Load(filepath.Join(folder, "none.yaml"))
	require.ErrorContains(t, err, "none.yaml")
}
