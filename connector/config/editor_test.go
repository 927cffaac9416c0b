package config_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func editorValidator(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.EditorSchema()))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("editor.json", doc))
	s, err := c.Compile("editor.json")
	require.NoError(t, err)
	return s
}

// agree fails the test if a standard validator refuses a text that Parse accepts.
func agree(t *testing.T, s *jsonschema.Schema, text string) {
	t.Helper()
	if !json.Valid([]byte(text)) {
		text = asJSON(t, text)
	}
	require.NoError(t, valid(t, s, text), text)
}

// The editor schema accepts what Parse accepts: all valid files of the tests, those with warnings,
// and those with labels, headings and other spellings.
func TestEditorSchemaAcceptsWhatCheckAccepts(t *testing.T) {
	t.Setenv("MQTT311_PW", "hunter2")
	s := editorValidator(t)
	texts := []string{good, whole, wholeInChinese}
	for _, c := range planted {
		if c.code[0] == 'W' {
			texts = append(texts, strings.Replace(good, c.old, c.new, 1))
		}
	}
	for _, change := range [][2]string{
		{"client_id: c", "client_id: 7\n    username:\n    password: ~"},
		{"client_id: c", "client_id: 2024\n    username: 7\n    password: 1e3"},
		{"client_id: c", "client_id: c\n    username: {env: MQTT311_PW}\n    password: {exec: cat, timeout: 5秒}"},
		{"client_id: c", "client_id: c\n    username: true\n    password: {exec: [cat, 1, true]}"},
		{"auto_reconnect: true", "auto_reconnect: 'yes'\n    order: 否\n    keep_alive: '30'\n    ping_timeout: 10 秒\n    will_topic: ~"},
		{"qos: At Least Once", "qos: QoS 1\n    concurrency: '8'\n    ledger:\n    order_by: TOPIC"},
		{"qos: At Least Once", "qos: '1'\n    partition: {index: 0, COUNT: '2', key: '${payload.a}'}"},
		{"[plant/+/reading]", "plant/+/reading"},
		{"[plant/+/reading]", "{topic: plant/1}"},
		{"[plant/+/reading]", "[1, {Topic: 2, QoS: 至少一次}]"},
		{"command\"}", "command\", payload: 7, retained: 是, qos: '${variable.q}'}"},
		{"consumers:", "  extension: {tls_min_version: 1.2, failover_urls: 'h:1883', ws_headers: {a: 1, b: {file: FILE}}, session-store: MEMORY}\nConsumer 操作:"},
		{"consumers:", "  extension: {session_store: memory, error_format: Extended, topic_characters: any, tls_alpn: mqtt}\nx-a: {b: c}\n消费者:"},
		{"consumers:", "  扩展配置: {超长消息: SKIP, Malformed: skip}\nconsumers:"},
		{"consumers:", "  extension: {未匹配的消息: in}\nconsumers:"},
		{"consumers:", "  扩展配置: {Unmatched: DROP}\nconsumers:"},
		{"consumers:\n  in:", "操作配置:\n  Consumer 操作:\n   in:\n    输入参数: {mime_type: x}"},
		{"producers:", "其他连接:\n  cloud: {通用配置: {Broker URL: h:1883, Client ID: d}, Advanced: {order: no}}\nproducers:"},
		{"command\"}", "command\", retained: KEEP}"},
		{"command\"}", "command\", 是否保存消息: 保持}"},
		{"connector:", "version: '1'\n连接器:"},
		{"retries: 5, then: drop", "retries: '5', Then: DEAD LETTER, dead-letter: {Topic: dead/x, meta: no}"},
		{"retries: 5, then: drop", "retries: 5, then: drop, retry_on: any"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		require.NotEqual(t, good, text)
		texts = append(texts, text)
	}
	checked := 0
	for _, text := range texts {
		_, findings := parse(t, text)
		if connector.Errors(findings) == nil {
			checked++
			agree(t, s, text)
		} else if !strings.Contains(text, "FILE") && !strings.Contains(text, "{topic: plant/1}") {
			require.NoError(t, connector.Errors(findings), text)
		}
	}
	require.Greater(t, checked, 60)
}

// Both Parse and the editor schema accept every key and label in every spelling.
func TestEditorSchemaKnowsEveryKey(t *testing.T) {
	t.Setenv("MQTT311_PW", "hunter2")
	s := editorValidator(t)
	random := rand.New(rand.NewPCG(3, 4))
	for _, text := range []string{whole, wholeInChinese, good} {
		for range 40 {
			var doc yaml.Node
			require.NoError(t, yaml.Unmarshal([]byte(strings.Replace(text, `\ud83d\ude00`, "😀", 1)), &doc))
			respell(random, doc.Content[0], true)
			out, err := yaml.Marshal(&doc)
			require.NoError(t, err)
			_, findings := parse(t, string(out))
			require.NoError(t, connector.Errors(findings), "%s", out)
			agree(t, s, string(out))
		}
	}
}

// respell changes the case, width and spaces of the keys in a document, except names and keys that
// are not settings.
func respell(random *rand.Rand, n *yaml.Node, keys bool) {
	if n.Kind != yaml.MappingNode {
		for _, below := range n.Content {
			respell(random, below, keys)
		}
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		names := keys && (key.Value == "consumers" || key.Value == "producers" || key.Value == "connections" || key.Value == "其他连接")
		if keys && key.Value != "env" && key.Value != "pem" && key.Value != "<<" {
			var b strings.Builder
			for _, r := range key.Value {
				switch random.IntN(6) {
				case 0:
					b.WriteString(strings.ToUpper(string(r)))
				case 1:
					if r > ' ' && r <= '~' && r != '-' && r != '_' {
						r += '！' - '!'
					}
					b.WriteRune(r)
				case 2:
					b.WriteString(string(r) + "_")
				case 3:
					b.WriteString(" " + string(r))
				default:
					b.WriteRune(r)
				}
			}
			key.Value = strings.TrimSpace(b.String())
		}
		if !names {
			respell(random, value, keys)
			continue
		}
		for j := 1; j < len(value.Content); j += 2 {
			respell(random, value.Content[j], keys)
		}
	}
}

// The editor schema does not accept everything: it finds obvious errors.
func TestEditorSchemaRefuses(t *testing.T) {
	s := editorValidator(t)
	agree(t, s, good)
	for _, change := range [][2]string{
		{"client_id: c", "client_id: c\n    pasword: x"},
		{"producers:", "connections:\n  cloud: {general: {client_id: d}}\nproducers:"},
		{"producers:", "connections: [a]\nproducers:"},
		{"command\"}", "command\", retained: kept}"},
		{"client_id: c", "client_id: [c]"},
		{"    client_id: c\n", ""},
		{"    topics: [plant/+/reading]\n", ""},
		{`topic: "plant/${variable.line}/command"`, "qos: 1"},
		{"auto_reconnect: true", "auto_reconnect: maybe"},
		{"auto_reconnect: true", "auto_reconnect: true\n    keep_alive: soon"},
		{"auto_reconnect: true", "auto_reconnect: true\n    keep_alive: -5"},
		{"At Least Once", "三次"},
		{"At Least Once", "3"},
		{"retries: 5", "retries: -2"},
		{"then: drop", "then: forget"},
		{"[plant/+/reading]", "[]"},
		{"[plant/+/reading]", "{qos: 1}"},
		{"client_id: c", "client_id: c\n    password: {vault: x}"},
		{"client_id: c", "client_id: c\n    password: {env: A, file: b}"},
		{"client_id: c", "client_id: c\n    protocol: QUIC"},
		{"connector:\n", "connectors:\n"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		require.NotEqual(t, good, text, change[0])
		require.Error(t, valid(t, s, asJSON(t, text)), change[1])
		_, findings := parse(t, text)
		require.Error(t, connector.Errors(findings), change[1])
	}
}

// The editor schema lets editors complete keys and labels.
func TestEditorSchemaCompletes(t *testing.T) {
	for _, key := range []string{"broker_url", "Broker URL", "用户名", "password", "密码", "连接器配置", "通用配置"} {
		require.Contains(t, string(config.EditorSchema()), `"`+key+`": {`)
	}
}
