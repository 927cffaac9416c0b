package config_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

// streamed has every key of the section nats.
const streamed = `connector:
  general: {broker_url: 127.0.0.1:1883, client_id: c}
  advanced: {clean_session: false, auto_reconnect: true}
consumers:
  in:
    topics: [plant/#]
    qos: At Least Once
    on_failure: {retries: 5, then: drop}
    partition: {count: 8, lease: nats, key: "${payload.device}"}
nats:
  urls: [tls://a:4222, "tls://b"]
  username: line
  password: {env: MQTT311_PW}
  tls_server_cert: {pem: "-----BEGIN CA"}
  tls_client_cert: {pem: "-----BEGIN CERT"}
  tls_client_key: {exec: [cat, key.pem]}
  stream: PLANT
  consumer: in
  prefix: plant
  partitions: 32
  replicas: 3
  key: ${payload.device}
  message_id: ${payload.id}
  order: strict
  max_bytes: 1073741824
  keep: 24h
  duplicates: 5m
  ack_timeout: 3s
  group: archive
  bucket: owners
  lease_ttl: 6s
`

const streamedInChinese = `连接器配置:
  通用配置: {Broker URL: 127.0.0.1:1883, Client ID: c}
  高级配置: {是否清除会话: 否, 是否自动重试连接: 是}
Consumer 操作:
  in:
    订阅主题: [plant/#]
    QoS: 至少一次
    on_failure: {retries: 5, then: drop}
    partition: {count: 8, 租约: nats, key: "${payload.device}"}
NATS 流:
  urls: [tls://a:4222, "tls://b"]
  用户名: line
  密码: {env: MQTT311_PW}
  TLS 服务端证书: {pem: "-----BEGIN CA"}
  TLS 客户端证书: {pem: "-----BEGIN CERT"}
  TLS 客户端 Key: {exec: [cat, key.pem]}
  流名称: PLANT
  入流的 Consumer: in
  主题前缀: plant
  分区数: 32
  副本数: 3
  分区键: ${payload.device}
  消息标识: ${payload.id}
  入流顺序: 严格
  最大字节数: 1073741824
  保留时间: 24h
  去重时间: 5分钟
  确认超时时间: 3秒
  工作组: archive
  租约存储桶: owners
  租约有效期: 6s
`

// The section nats can be written in both languages, and both schemas accept it.
func TestNATSIsRead(t *testing.T) {
	t.Setenv("MQTT311_PW", "hunter2")
	of := func(d time.Duration) *time.Duration { return &d }
	want := &connector.NATS{
		URLs: []string{"tls://a:4222", "tls://b"}, UserName: "line", PasswordFrom: &connector.SecretSource{Env: "MQTT311_PW"},
		TLSServerCert: "-----BEGIN CA", TLSClientCert: "-----BEGIN CERT", TLSClientKeyFrom: &connector.SecretSource{Exec: []string{"cat", "key.pem"}},
		Stream: "PLANT", Consumer: "in", Prefix: "plant", Partitions: 32, Replicas: 3, Key: "${payload.device}", MessageID: "${payload.id}", Strict: true, MaxBytes: 1 << 30,
		Keep: of(24 * time.Hour), Duplicates: of(5 * time.Minute), AckTimeout: of(3 * time.Second), Group: "archive", Bucket: "owners", LeaseTTL: of(6 * time.Second),
	}
	for _, text := range []string{streamed, streamedInChinese} {
		cfg, findings := parse(t, text)
		require.Empty(t, findings)
		require.Equal(t, want, cfg.NATS)
		require.Equal(t, &connector.Partition{Count: 8, Key: "${payload.device}", Lease: "nats"}, cfg.Lease())
		require.Equal(t, "in", cfg.NATSConsumer())
		agree(t, editorValidator(t), text)
	}
	require.NoError(t, valid(t, validator(t), asJSON(t, streamed)))
	for _, replace := range [][2]string{
		{"password: {env: MQTT311_PW}", "password: {env: MQTT311_PW}\n  passwort: x"},
		{"replicas: 3", "replicas: 4"},
		{"partitions: 32", "partitions: 0"},
		{"order: strict", "order: sometimes"},
		{"max_bytes: 1073741824", "max_bytes: 1000"},
		{"count: 8, lease", "index: 1, count: 8, lease"},
		{"lease: nats, ", ""},
		{"  urls: [tls://a:4222, \"tls://b\"]\n", ""},
	} {
		text := strings.Replace(streamed, replace[0], replace[1], 1)
		require.NotEqual(t, streamed, text)
		require.Error(t, valid(t, validator(t), asJSON(t, text)), "%s", replace[1])
		_, _, err := config.Parse([]byte(text), "")
		require.Error(t, err, "%s", replace[1])
	}
}

// More partitions than leases can be divided among are refused, and New refuses leases altogether.
func TestLeasesOfAConnector(t *testing.T) {
	leased := strings.Replace(good, "qos: At Least Once", "qos: 1\n    partition: {count: 8, lease: 'nats://127.0.0.1'}", 1)
	cfg, findings := parse(t, leased)
	require.Empty(t, findings)
	_, err := connector.New(*cfg, connector.Options{})
	require.ErrorContains(t, err, "mqtt311-nats")
	_, findings = parse(t, strings.Replace(leased, "count: 8", "count: 1025", 1))
	require.Equal(t, []string{"E137"}, codes(findings))
}

// No secret of the section appears in the output.
func TestNATSSecretsAreNotShown(t *testing.T) {
	cfg, _ := parse(t, strings.Replace(streamed, "password: {env: MQTT311_PW}", "password: hunter2", 1))
	require.Equal(t, "hunter2", string(cfg.NATS.Password))
	b, err := json.Marshal(cfg.NATS)
	require.NoError(t, err)
	require.NotContains(t, string(b), "hunter2")
}

// docs/jetstream.md lists each key of the section with its label and default.
func TestDocumentHasEveryKeyOfNATS(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(config.Schema(), &schema))
	for _, page := range []string{"../../docs/jetstream.md", "../../docs/zh/jetstream.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		documented := make(map[string][]string)
		for line := range strings.SplitSeq(string(text), "\n") {
			if cells := strings.Split(line, " | "); len(cells) == 4 {
				documented[strings.Trim(cells[0], "|` ")] = cells
			}
		}
		for key, p := range schema.Defs["nats"].Properties {
			row := documented[key]
			require.Len(t, row, 4, "%s is not documented", key)
			label, _ := p["x-label-zh"].(string)
			require.Equal(t, label, strings.Trim(row[1], " -"), key)
			if value, ok := p["default"]; ok {
				require.Contains(t, row[2], "`"+strings.Trim(string(mustJSON(t, value)), `"`)+"`", key)
			}
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}
