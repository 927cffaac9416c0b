package config_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// whole has every setting of the platform's tables under its canonical key.
const whole = `{
	"version": 1,
	"connector": {
		"general": {"broker_url": "mq.example.com:8084/mqtt", "protocol": "WebSocket Secure", "client_id": "line-7",
			"username": "line7", "password": {"env": "MQTT311_PW"},
			"tls_client_cert": {"pem": "-----BEGIN CERTIFICATE"}, "tls_client_key": {"pem": "-----BEGIN KEY"}, "tls_server_cert": {"pem": "-----BEGIN CA"}},
		"advanced": {"will_enabled": true, "will_topic": "state", "will_payload": "\ud83d\ude00", "will_qos": "At Least Once", "will_retained": true,
			"clean_session": false, "order": true, "keep_alive": "45s", "ping_timeout": 5, "connect_timeout": "1m30s",
			"auto_reconnect": true, "max_reconnect_interval": "30", "connect_retry": true, "connect_retry_interval": "500ms", "write_timeout": 0}
	},
	"consumers": {"in": {"topics": ["plant/+/reading", {"topic": "plant/+/alarm", "qos": "Exactly Once"}], "qos": "At Least Once", "ack_mode": "immediately",
		"flow_timeout": "1m"}},
	"producers": {"out": {"topic": "a/${attribute.topic}", "payload": "x", "qos": "Exactly Once", "retained": true}}
}`

// The platform's labels, as it writes them, are equivalent to the keys.
const wholeInChinese = `
connector:
  通用配置:
    Broker URL: mq.example.com:8084/mqtt
    连接协议: wss
    Client ID: line-7
    用户名: line7
    密码: {env: MQTT311_PW}
    TLS 客户端证书: {pem: "-----BEGIN CERTIFICATE"}
    TLS 客户端 Key: {pem: "-----BEGIN KEY"}
    TLS 服务端证书: {pem: "-----BEGIN CA"}
  高级配置:
    是否启用遗嘱消息: true
    遗嘱主题: state
    遗嘱内容: 😀
    遗嘱 QoS: at_least_once
    是否保存遗嘱消息: 是
    是否清除会话: 否
    是否顺序发送: true
    keep-alive 超时时间: 45s
    ping 超时时间: 5
    connec t超时时间: 1m30s
    是否自动重试连接: true
    reconnect 最大间隔时间: 30
    是否重试 connect: true
    connect 重试间隔时间: 500ms
    write 超时时间: 0
consumers:
  in:
    订阅主题: [plant/+/reading, {topic: plant/+/alarm, QoS: 2}]
    QoS: 1
    确认模式: 流开始前立即确认
    flow_timeout: 1m
producers:
  out:
    主题: a/${attribute.topic}
    消息内容: x
    QoS: exactly-once
    是否保存消息: true
`

func read(t *testing.T, text string) connector.Config {
	t.Helper()
	t.Setenv("MQTT311_PW", "hunter2")
	cfg, _, err := config.Parse([]byte(text), t.TempDir())
	require.NoError(t, err)
	return *cfg
}

func ptr[T any](v T) *T { return &v }

func TestEveryRowOfThePlatformIsRead(t *testing.T) {
	want := connector.Config{
		General: connector.General{
			BrokerURL: "mq.example.com:8084/mqtt", Protocol: connector.WebSocketSecure, ClientID: "line-7",
			UserName: "line7", PasswordFrom: &connector.SecretSource{Env: "MQTT311_PW"},
			TLSClientCert: "-----BEGIN CERTIFICATE", TLSClientKey: "-----BEGIN KEY", TLSServerCert: "-----BEGIN CA",
		},
		Advanced: connector.Advanced{
			WillEnabled: true, WillTopic: "state", WillPayload: "😀", WillQoS: packets.AtLeastOnce, WillRetained: true,
			CleanSession: ptr(false), Order: true, KeepAlive: ptr(45 * time.Second), PingTimeout: ptr(5 * time.Second),
			ConnectTimeout: ptr(90 * time.Second), AutoReconnect: true, MaxReconnectInterval: ptr(30 * time.Second),
			ConnectRetry: true, ConnectRetryInterval: ptr(500 * time.Millisecond), WriteTimeout: ptr(time.Duration(0)),
		},
		Consumers: map[string]connector.ConsumerParams{"in": {
			Topics: []connector.TopicQoS{{Topic: "plant/+/reading"}, {Topic: "plant/+/alarm", QoS: packets.ExactlyOnce, HasQoS: true}},
			QoS:    packets.AtLeastOnce, AckMode: connector.Immediately, FlowTimeout: ptr(time.Minute),
		}},
		Producers: map[string]connector.ProducerParams{"out": {
			Topic: "a/${attribute.topic}", Payload: ptr("x"), QoS: packets.ExactlyOnce, Retained: true,
		}},
	}
	require.Equal(t, want, read(t, whole))
	require.Equal(t, want, read(t, wholeInChinese))
}

// Templates, which are expanded for each message, are kept apart from constant values.
func TestProducerTemplatesAreRead(t *testing.T) {
	cfg := read(t, `{"connector": {"general": {"broker_url": "h:1883", "client_id": "c"}}, "producers": {"out": {"topic": "a", "qos": "${variable.q}", "是否保存消息": "${attribute.r}"}}}`)
	require.Equal(t, connector.ProducerParams{Topic: "a", QoSFrom: "${variable.q}", RetainedFrom: "${attribute.r}"}, cfg.Producers["out"])
}

// The folder of the session store becomes absolute; "memory" means no store.
func TestSessionStoreIsRead(t *testing.T) {
	folder := t.TempDir()
	for text, want := range map[string]*connector.SessionStore{
		`memory`:                    nil,
		`{dir: s}`:                  {Dir: filepath.Join(folder, "s")},
		`{dir: /s, sync: interval}`: {Dir: "/s", Sync: wal.SyncInterval},
		`{dir: /s, sync: "never", max_bytes: 100000, max_messages: 7}`: {Dir: "/s", Sync: wal.UnsafeNoSync, MaxBytes: 100000, MaxMessages: 7},
		`{dir: "/${env:MQTT311_DIR}", sync: always}`:                   {Dir: "/x"},
	} {
		t.Setenv("MQTT311_DIR", "x")
		cfg, _, err := config.Parse([]byte("connector:\n  general: {broker_url: h:1883, client_id: c}\n  extension: {session_store: "+text+"}\n"), folder)
		require.NoError(t, err, text)
		require.Equal(t, want, cfg.Extension.SessionStore, text)
	}
}

// The defaults are those of the platform.
func TestDefaultsOfTheSeed(t *testing.T) {
	cfg := read(t, `{"connector": {"general": {"broker_url": "h:1883", "client_id": "c"}}, "consumers": {"in": {"topics": ["a"]}}, "producers": {"out": {"topic": "a"}}}`)
	require.Equal(t, connector.TCP, cfg.General.Protocol)
	require.Equal(t, connector.Advanced{}, cfg.Advanced)
	require.True(t, cfg.Advanced.Clean())
	in, out := cfg.Consumers["in"], cfg.Producers["out"]
	require.Equal(t, packets.AtMostOnce, in.QoS)
	require.Equal(t, connector.AfterFlowSuccess, in.AckMode)
	require.Equal(t, connector.Hold, in.OnFailure.Then)
	require.Equal(t, packets.AtMostOnce, out.QoS)
	require.False(t, out.Retained)
	require.Nil(t, out.Payload)
}

func validator(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	s, err := c.Compile("schema.json")
	require.NoError(t, err)
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	return s.Validate(v)
}

// A standard validator and the reader agree on everything that the schema can express.
func TestSchemaAgreesWithTheReader(t *testing.T) {
	t.Setenv("MQTT311_PW", "hunter2")
	t.Setenv("MQTT311_PROXY", "socks5://u:p@h")
	s := validator(t)
	require.NoError(t, valid(t, s, whole))
	for _, change := range [][2]string{
		{`"version": 1`, `"version": 2`},
		{`"client_id": "line-7",`, ``},
		{`"broker_url": "mq.example.com:8084/mqtt",`, ``},
		{`"protocol": "WebSocket Secure",`, ``},
		{`"protocol": "WebSocket Secure"`, `"protocol": "UDP"`},
		{`"username": "line7",`, ``},
		{`"tls_client_key": {"pem": "-----BEGIN KEY"}, `, ``},
		{`{"env": "MQTT311_PW"}`, `{"env": "MQTT311_PW", "file": "x"}`},
		{`"will_enabled": true`, `"will_enabled": false`},
		{`"will_topic": "state", `, ``},
		{`"will_topic": "state"`, `"will_topic": "a/#"`},
		{`"auto_reconnect": true`, `"auto_reconnect": false`},
		{`"connect_retry": true`, `"connect_retry": false`},
		{`"keep_alive": "45s"`, `"keep_alive": "soon"`},
		{`"keep_alive": "45s"`, `"keep_alive": -1`},
		{`"order": true`, `"order": "maybe"`},
		{`"order": true`, `"ordre": true`},
		{`"qos": "At Least Once"`, `"qos": 3`},
		{`"ack_mode": "immediately"`, `"ack_mode": "never"`},
		{`["plant/+/reading", {"topic": "plant/+/alarm", "qos": "Exactly Once"}]`, `[]`},
		{`{"topic": "plant/+/alarm", "qos": "Exactly Once"}`, `{"qos": 1}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"then": "dead_letter"}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"retries": -2}`},
		{`"flow_timeout": "1m"`, `"share_group": "g", "partition": {"index": 0, "count": 1}`},
		{`"flow_timeout": "1m"`, `"partition": {"index": 0}`},
		{`"general":`, `"extension": {"session_store": "disk"}, "general":`},
		{`"general":`, `"extension": {"session_store": {"sync": "always"}}, "general":`},
		{`"general":`, `"extension": {"session_store": {"dir": "d", "sync": "often"}}, "general":`},
		{`"general":`, `"extension": {"session_store": {"dir": "d", "max_bytes": 1}}, "general":`},
		{`"general":`, `"extension": {"tls_min_version": "1.1"}, "general":`},
		{`"general":`, `"extension": {"failover_urls": [""]}, "general":`},
		{`"flow_timeout": "1m"`, `"concurrency": 0`},
		{`"topic": "a/${attribute.topic}", `, ``},
		{`"retained": true`, `"retained": "maybe"`},
		{`"flow_timeout": "1m"`, `"on_failure": {"retry_on": ["TIMEOUT"]}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"then": "dead_letter", "dead_letter": {"file": "f", "meta": true}}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"then": "dead_letter", "dead_letter": {"file": "f", "topic": "t"}}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"then": "dead_letter", "dead_letter": {"topic": "t", "max_oversize": 1}}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"then": "dead_letter", "dead_letter": {"file": "f", "max_oversize": -1}}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"then": "dead_letter", "dead_letter": {}}`},
		{`"retained": true`, `"retained": true, "done_when": "sent"`},
		{`"general":`, `"extension": {"producer_connection": "two"}, "general":`},
		{`"general":`, `"extension": {"error_format": "long"}, "general":`},
		{`"general":`, `"extension": {"max_inflight": 0}, "general":`},
		{`"general":`, `"extension": {"max_inflight_qos2": 16385}, "general":`},
	} {
		text := strings.Replace(whole, change[0], change[1], 1)
		require.NotEqual(t, whole, text, change[0])
		require.Error(t, valid(t, s, text), "the schema allows %s", change[1])
		_, _, err := config.Parse([]byte(text), t.TempDir())
		require.Error(t, err, "the reader allows %s for %s", change[1], change[0])
	}
	for _, change := range [][2]string{
		{`"flow_timeout": "1m"`, `"flow_timeout": 60, "concurrency": 8, "max_in_flight": 9, "max_in_flight_bytes": 4096, "order_by": "connection", "retained": "skip", "extended_attributes": true,
			"on_failure": {"retries": 3, "initial_delay": "1s", "max_delay": "2s", "then": "dead_letter", "dead_letter": {"file": "dead.jsonl", "max_oversize": 100000000}}`},
		{`"flow_timeout": "1m"`, `"share_group": "g"`},
		{`"flow_timeout": "1m"`, `"partition": {"index": 1, "count": 2}`},
		{`"retained": true`, `"retained": false, "ack_timeout": "5s"`},
		{`"retained": true`, `"retained": "${variable.keep}"`},
		{`"qos": "Exactly Once", "retained"`, `"qos": "${variable.qos}", "retained"`},
		{`"general":`, `"extension": {"producer_connection": "separate", "stall_timeout": 0, "error_format": "extended"}, "general":`},
		{`"flow_timeout": "1m"`, `"trigger_on_error": true, "mime_type": "text/plain", "encoding": "UTF-8", "partition": {"index": 0, "count": 2, "key": "${payload.device}"}`},
		{`"flow_timeout": "1m"`, `"on_failure": {"retry_on": ["any", "MQTT:*", "SHOP:FULL"], "retries": 1, "then": "dead_letter", "dead_letter": {"topic": "dlq", "meta": true}}`},
		{`"general":`, `"extension": {"qos0_overflow": "drop_newest"}, "general":`},
		{`"general":`, `"extension": {"max_inflight": 1024, "max_inflight_qos2": 20}, "general":`},
		{`"tls_client_key": {"pem": "-----BEGIN KEY"}`, `"tls_client_key": {"exec": ["cat", "key.pem"], "timeout": "5s"}`},
		{`{"env": "MQTT311_PW"}`, `{"exec": ["cat", "x"]}`},
		{`"username": "line7"`, `"username": {"env": "MQTT311_PW"}`},
		{`"version": 1,`, ``},
		{`"general":`, `"extension": {"session_store": "memory"}, "general":`},
		{`"general":`, `"extension": {"session_store": {"dir": "d", "sync": "interval", "max_bytes": 65536, "max_messages": 1}, "failover_urls": ["h:8084"], "proxy": {"env": "MQTT311_PROXY"}, "tls_min_version": "1.3"}, "general":`},
	} {
		text := strings.Replace(whole, change[0], change[1], 1)
		require.NoError(t, valid(t, s, text))
		read(t, text)
	}
}

// The reader knows every key of the schema, and every key that belongs to the platform has a label.
func TestSchemaAndReaderKnowTheSameKeys(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(config.Schema(), &schema))
	for def, where := range map[string]string{
		"connection": `{"connections": {"x": {%}}}`,
		"general":    `{"connector": {"general": {%}}}`, "advanced": `{"connector": {"advanced": {%}}}`, "extension": `{"connector": {"extension": {%}}}`,
		"nats": `{"nats": {%}}`, "consumer": `{"consumers": {"x": {%}}}`, "producer": `{"producers": {"x": {%}}}`,
	} {
		require.NotEmpty(t, schema.Defs[def].Properties)
		var known []string
		_, findings := parse(t, strings.Replace(where, "%", `"?": 1`, 1))
		for _, f := range findings {
			if f.Code == "E130" {
				known = strings.Split(strings.TrimPrefix(f.Fix, "known keys: "), ", ")
			}
		}
		var want []string
		for key, p := range schema.Defs[def].Properties {
			want = append(want, key)
			if zh, ok := p["x-label-zh"].(string); ok {
				want = append(want, zh)
			}
		}
		require.ElementsMatch(t, want, known, def)
	}
}

// No text makes the reader panic. What it accepts, New accepts too, except for the contents of
// certificates, which only New reads.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(whole))
	f.Add([]byte(wholeInChinese))
	f.Add([]byte("&a [*a]"))
	f.Add([]byte("connector: &a {general: *a}"))
	for _, c := range planted {
		if len(c.new) < 1000 {
			f.Add([]byte(strings.Replace(good, c.old, c.new, 1)))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, _, err := config.Parse(text, "/nowhere")
		if err != nil {
			return
		}
		_, err = connector.New(*cfg, connector.Options{})
		secure := cfg.General.Protocol.Secure()
		for _, n := range cfg.Connections {
			secure = secure || n.General.Protocol.Secure()
		}
		if err != nil && !secure && cfg.Lease() == nil { // New does not support partitions by lease
			t.Fatalf("accepted, but New says: %v", err)
		}
	})
}

// The platform's document, copied with its headings, is a valid configuration.
func TestPlatformHeadings(t *testing.T) {
	text := `
连接器配置:
  通用配置标签页:
    Broker URL: 127.0.0.1:1883
    Client ID: line-7
    用户名: line7
  高级配置标签页:
    connec t超时时间: 5秒
    是否清除会话: 否
  扩展配置:
    stall_timeout: 10分钟
操作配置:
  Consumer 操作:
    读数:
      输入参数:
        订阅主题: [plant/+/reading]
        QoS: QoS 1
        确认模式: 流运行成功后确认
      on_failure: {retries: 3, then: drop}
  Producer 操作:
    指令:
      输入参数（通用）:
        主题: plant/command
        QoS: 至少一次
`
	cfg := read(t, text)
	require.Equal(t, "line7", cfg.General.UserName)
	require.Equal(t, 5*time.Second, *cfg.Advanced.ConnectTimeout)
	require.Equal(t, 10*time.Minute, *cfg.Extension.StallTimeout)
	require.Equal(t, packets.AtLeastOnce, cfg.Consumers["读数"].QoS)
	require.Equal(t, 3, *cfg.Consumers["读数"].OnFailure.Retries)
	require.Equal(t, connector.ProducerParams{Topic: "plant/command", QoS: packets.AtLeastOnce}, cfg.Producers["指令"])
	// Tabs without their suffix, and sections without their heading.
	text = strings.NewReplacer("标签页", "", "操作配置:\n  Consumer 操作", "Consumer", "  Producer 操作", "生产者", "（通用）", "").Replace(text)
	require.Equal(t, cfg, read(t, text))
	// A section that occurs twice, once below a heading, is an error.
	_, findings := parse(t, text+"操作配置:\n  消费者: {}\n")
	require.Contains(t, codes(findings), "E132")
}

// Keys and choices may be spelled in the ways that people use.
func TestSpellings(t *testing.T) {
	for word, want := range map[string]packets.QoS{
		"0": 0, "1": 1, "2": 2, "QoS 0": 0, "qos1": 1, "QoS-2": 2, "ＱｏＳ　１": 1, "QoS１": 1, "at most once": 0, "AT_LEAST_ONCE": 1, "ExactlyOnce": 2, "QoS 1 ": 1,
		"最多一次": 0, "至多一次": 0, "至少一次": 1, "恰好一次": 2, "仅一次": 2, "只有一次": 2,
	} {
		for _, key := range []string{"QoS", "qos", "QOS", "ｑｏｓ"} {
			cfg := read(t, strings.Replace(good, "qos: At Least Once", key+`: "`+word+`"`, 1))
			require.Equal(t, want, cfg.Consumers["in"].QoS, word)
		}
	}
	for word, want := range map[string]bool{"是": true, "否": false, "启用": true, "关闭": false, "True": true, "OFF": false, "ｔｒｕｅ": true} {
		require.Equal(t, want, read(t, strings.Replace(good, "auto_reconnect: true", "是否自动重试连接: "+word, 1)).Advanced.AutoReconnect, word)
	}
	for word, want := range map[string]connector.AckMode{
		"流运行成功后确认": 0, "消费后直到触发的流成功结束后才确认 offset": 0, "消费后立即确认offset，不等待流的触发及运行结果": 1, "立即确认": 1, "Immediately": 1, "after-flow-success": 0,
	} {
		require.Equal(t, want, read(t, strings.Replace(good, "qos: At Least Once", "qos: 1\n    确认模式: "+word, 1)).Consumers["in"].AckMode, word)
	}
	for word, want := range map[string]time.Duration{
		"30秒": 30 * time.Second, "1分30秒": 90 * time.Second, "500毫秒": 500 * time.Millisecond, "2小时": 2 * time.Hour, "1 分钟": time.Minute, "30 s": 30 * time.Second,
		"30S": 30 * time.Second, "5 min": 5 * time.Minute, "90 seconds": 90 * time.Second, "３０": 30 * time.Second, "45": 45 * time.Second, "1m30s": 90 * time.Second,
	} {
		require.Equal(t, want, *read(t, strings.Replace(good, "qos: At Least Once", "qos: 1\n    flow_timeout: "+word, 1)).Consumers["in"].FlowTimeout, word)
	}
	for word, want := range map[string]connector.ErrorFormat{"seed": 0, "platform": 0, "Extended": 1} {
		require.Equal(t, want, read(t, strings.Replace(good, "consumers:", "  扩展配置: {error_format: "+word+", 主题字符: any}\nconsumers:", 1)).Extension.ErrorFormat)
	}
	for key, want := range map[string]string{"brokerUrl": "E132", "broker-url": "E132", "Broker URL": "E132", "BrokerURL": "E132", "broker": "E130"} {
		_, findings := parse(t, strings.Replace(good, "client_id: c", "client_id: c\n    "+key+": x:1", 1))
		require.Equal(t, []string{want}, codes(findings), key)
	}
}

// The settings for messages that no flow gets are read in their usual spellings. Any other word for
// unmatched is the name of a consumer, taken as written.
func TestUnmatchedAndFaultPoliciesAreRead(t *testing.T) {
	x := read(t, good).Extension
	require.Zero(t, x.Unmatched)
	require.Zero(t, x.Oversize)
	require.Zero(t, x.Malformed)
	for word, want := range map[string]connector.Unmatched{
		"drop": connector.UnmatchedDrop, "Drop": connector.UnmatchedDrop, "HOLD": connector.UnmatchedHold, "in": "in",
	} {
		require.Equal(t, want, read(t, strings.Replace(good, "consumers:", "  扩展配置: {未匹配的消息: "+word+"}\nconsumers:", 1)).Extension.Unmatched)
	}
	text := strings.Replace(good, "then: drop", "then: dead_letter, dead_letter: {topic: dead}", 1)
	for _, word := range []string{"dead_letter", "dead-letter", "Dead Letter"} {
		require.Equal(t, connector.UnmatchedDeadLetter, read(t, strings.Replace(text, "consumers:", "  extension: {unmatched: "+word+"}\nconsumers:", 1)).Extension.Unmatched)
	}
	x = read(t, strings.Replace(good, "consumers:", "  扩展配置: {超长消息: Skip, malformed: STOP}\nconsumers:", 1)).Extension
	require.Equal(t, connector.FaultSkip, x.Oversize)
	require.Equal(t, connector.FaultStop, x.Malformed)
}

// A merge adds only keys that the object does not have itself; x- keys are places for anchors.
func TestMerge(t *testing.T) {
	cfg := read(t, `
x-common: &c {qos: 1, on_failure: {retries: 1, then: drop}}
x-more: &m {qos: 2, flow_timeout: 5s}
connector:
  general: {broker_url: 127.0.0.1:1883, client_id: c1}
consumers:
  in: {<<: [*c, *m], topics: [a/b]}
  in2:
    topics: [c/d]
    qos: 0
    <<: *c
    flow_timeout: 7s
`)
	in, in2 := cfg.Consumers["in"], cfg.Consumers["in2"]
	require.Equal(t, packets.AtLeastOnce, in.QoS, "the first of several merges counts")
	require.Equal(t, 5*time.Second, *in.FlowTimeout)
	require.Equal(t, packets.AtMostOnce, in2.QoS, "what stands there itself counts")
	require.Equal(t, 1, *in2.OnFailure.Retries)
	// A key may be an alias, and JSON may contain what YAML does not allow.
	require.Equal(t, "u", read(t, "x-a: &k username\n"+strings.Replace(good, "client_id: c", "client_id: c\n    *k : u", 1)).General.UserName)
	require.Equal(t, ptr("a\x7f"), read(t, `{"connector": {"general": {"broker_url": "h:1", "client_id": "c"}}, "producers": {"p": {"topic": "t", "payload": "a`+"\x7f"+`"}}}`).Producers["p"].Payload)
	for _, text := range []string{"<<: 5", "<<: [*c, 5]", "<<: [[*c]]"} {
		_, findings := parse(t, "x-c: &c {qos: 1}\n"+strings.Replace(good, "qos: At Least Once", text+"\n    qos: 1", 1))
		require.Equal(t, []string{"E131"}, codes(findings), text)
	}
}

// The text may come from any editor: with a byte order mark, in UTF-16, or with CR LF.
func TestEncodings(t *testing.T) {
	want := read(t, wholeInChinese)
	for name, text := range map[string]string{
		"mark": "\ufeff" + wholeInChinese, "CR LF": strings.ReplaceAll(wholeInChinese, "\n", "\r\n"), "both": "\ufeff" + strings.ReplaceAll(wholeInChinese, "\n", "\r\n"),
		"UTF-16LE": utf16Text(wholeInChinese, false), "UTF-16BE": utf16Text(wholeInChinese, true), "JSON with a mark": "\ufeff" + whole, "JSON in UTF-16": utf16Text(whole, false),
	} {
		require.Equal(t, want, read(t, text), name)
	}
	_, findings := parse(t, utf16Text(strings.Replace(good, "client_id: c", "用户名: u\n    client：x", 1), false))
	require.Equal(t, "E128/colon", findings[0].Rule())
	require.Equal(t, []int{5, 11}, []int{findings[0].Line, findings[0].Column})
}

func utf16Text(s string, big bool) string {
	var order binary.AppendByteOrder = binary.LittleEndian
	if big {
		order = binary.BigEndian
	}
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}
