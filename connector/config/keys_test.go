package config

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

type object = map[string]any

// A row is a key of a table, what a person may write, and where it must land.
type row struct {
	table, key, zh string
	values         []any // other spellings of one value
	with           object
	get            func(c *connector.Config) any
	want           any
}

const pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"

func in(c *connector.Config) connector.ConsumerParams  { return c.Consumers["in"] }
func out(c *connector.Config) connector.ProducerParams { return c.Producers["out"] }

var (
	tls      = object{"protocol": "TLS"}
	tlsFiles = object{"protocol": "TLS", "tls_client_cert": pem, "tls_client_key": pem}
	will     = object{"will_enabled": true, "will_topic": "state"}
	trueness = []any{true, "true", "True", "yes", "on", "是"}
	quarter  = []any{"15m", 900, "900", "900s", "0h15m"}
	again    = []any{"At Least Once", "at_least_once", "at-least-once", "AT LEAST ONCE", 1, "1"}
)

const minutes = 15 * time.Minute

var rows = []row{
	{"general", "broker_url", "Broker URL", []any{"127.0.0.1:1884"}, nil, func(c *connector.Config) any { return c.General.BrokerURL }, "127.0.0.1:1884"},
	{"general", "protocol", "连接协议", []any{"WebSocket Secure", "websocket_secure", "WSS", "wss"}, nil, func(c *connector.Config) any { return c.General.Protocol }, connector.WebSocketSecure},
	{"general", "client_id", "Client ID", []any{"line-7", "${env:CONFIG_TEST_LINE}"}, nil, func(c *connector.Config) any { return c.General.ClientID }, "line-7"},
	{"general", "username", "用户名", []any{"u"}, nil, func(c *connector.Config) any { return c.General.UserName }, "u"},
	{"general", "password", "密码", []any{"p", object{"env": "CONFIG_TEST_PASSWORD"}, object{"file": "testdata/password"}, "${env:CONFIG_TEST_PASSWORD}"}, object{"username": "u"}, func(c *connector.Config) any { return string(c.General.Password) }, "p"},
	{"general", "tls_client_cert", "TLS 客户端证书", []any{pem, object{"pem": pem}, object{"env": "CONFIG_TEST_PEM"}}, tlsFiles, func(c *connector.Config) any { return c.General.TLSClientCert }, pem},
	{"general", "tls_client_key", "TLS 客户端 Key", []any{pem, object{"pem": pem}, object{"env": "CONFIG_TEST_PEM"}}, tlsFiles, func(c *connector.Config) any { return string(c.General.TLSClientKey) }, pem},
	{"general", "tls_server_cert", "TLS 服务端证书", []any{"testdata/example.yaml", object{"path": "testdata/example.yaml"}}, tls, func(c *connector.Config) any { return c.General.TLSServerCert }, "testdata/example.yaml"},

	{"advanced", "will_enabled", "是否启用遗嘱消息", trueness, object{"will_topic": "state"}, func(c *connector.Config) any { return c.Advanced.WillEnabled }, true},
	{"advanced", "will_topic", "遗嘱主题", []any{"state"}, will, func(c *connector.Config) any { return c.Advanced.WillTopic }, "state"},
	{"advanced", "will_payload", "遗嘱内容", []any{"offline"}, will, func(c *connector.Config) any { return c.Advanced.WillPayload }, "offline"},
	{"advanced", "will_qos", "遗嘱 QoS", again, will, func(c *connector.Config) any { return c.Advanced.WillQoS }, packets.AtLeastOnce},
	{"advanced", "will_retained", "是否保存遗嘱消息", trueness, will, func(c *connector.Config) any { return c.Advanced.WillRetained }, true},
	{"advanced", "clean_session", "是否清除会话", []any{false, "no", "off", "否"}, nil, func(c *connector.Config) any { return c.Advanced.Clean() }, false},
	{"advanced", "order", "是否顺序发送", trueness, nil, func(c *connector.Config) any { return c.Advanced.Order }, true},
	{"advanced", "keep_alive", "keep-alive 超时时间", quarter, nil, func(c *connector.Config) any { return *c.Advanced.KeepAlive }, minutes},
	{"advanced", "ping_timeout", "ping 超时时间", quarter, nil, func(c *connector.Config) any { return *c.Advanced.PingTimeout }, minutes},
	{"advanced", "connect_timeout", "connect 超时时间", quarter, nil, func(c *connector.Config) any { return *c.Advanced.ConnectTimeout }, minutes},
	{"advanced", "auto_reconnect", "是否自动重试连接", trueness, nil, func(c *connector.Config) any { return c.Advanced.AutoReconnect }, true},
	{"advanced", "max_reconnect_interval", "reconnect 最大间隔时间", quarter, object{"auto_reconnect": true}, func(c *connector.Config) any { return *c.Advanced.MaxReconnectInterval }, minutes},
	{"advanced", "connect_retry", "是否重试 connect", trueness, nil, func(c *connector.Config) any { return c.Advanced.ConnectRetry }, true},
	{"advanced", "connect_retry_interval", "connect 重试间隔时间", quarter, object{"connect_retry": true}, func(c *connector.Config) any { return *c.Advanced.ConnectRetryInterval }, minutes},
	{"advanced", "write_timeout", "write 超时时间", quarter, nil, func(c *connector.Config) any { return *c.Advanced.WriteTimeout }, minutes},

	{"extension", "tls_server_name", "", []any{"mq"}, nil, func(c *connector.Config) any { return c.Extension.TLSServerName }, "mq"},
	{"extension", "tls_insecure_skip_verify", "", trueness, nil, func(c *connector.Config) any { return c.Extension.TLSInsecureSkipVerify }, true},
	{"extension", "tls_alpn", "", []any{[]any{"mqtt"}, "mqtt"}, nil, func(c *connector.Config) any { return c.Extension.TLSALPN }, []string{"mqtt"}},
	{"extension", "ws_headers", "", []any{object{"Authorization": "p"}, object{"Authorization": object{"env": "CONFIG_TEST_PASSWORD"}}}, nil, func(c *connector.Config) any { return c.Extension.WSHeaders }, map[string]connector.Secret{"Authorization": "p"}},
	{"extension", "max_packet_size", "", []any{1024, "1024"}, nil, func(c *connector.Config) any { return c.Extension.MaxPacketSize }, 1024},
	{"extension", "ack_timeout", "", quarter, nil, func(c *connector.Config) any { return *c.Extension.AckTimeout }, minutes},

	{"consumer", "topics", "订阅主题", []any{[]any{"a/#"}, "a/#", []any{object{"topic": "a/#"}}}, nil, func(c *connector.Config) any { return in(c).Topics }, []connector.TopicQoS{{Topic: "a/#"}}},
	{"consumer", "qos", "QoS", []any{"Exactly Once", "exactly_once", 2, "2"}, nil, func(c *connector.Config) any { return in(c).QoS }, packets.ExactlyOnce},
	{"consumer", "ack_mode", "确认模式", []any{"immediately", "流开始前立即确认", "消费后立即确认offset，不等待流的触发及运行结果"}, nil, func(c *connector.Config) any { return in(c).AckMode }, connector.Immediately},
	{"consumer", "concurrency", "", []any{8, "8"}, nil, func(c *connector.Config) any { return in(c).Concurrency }, 8},
	{"consumer", "order_by", "", []any{"topic", "Topic"}, nil, func(c *connector.Config) any { return in(c).OrderBy }, connector.OrderTopic},
	{"consumer", "max_in_flight", "", []any{9}, nil, func(c *connector.Config) any { return in(c).MaxInFlight }, 9},
	{"consumer", "max_in_flight_bytes", "", []any{4096}, nil, func(c *connector.Config) any { return in(c).MaxInFlightBytes }, 4096},
	{"consumer", "flow_timeout", "", quarter, nil, func(c *connector.Config) any { return *in(c).FlowTimeout }, minutes},
	{"consumer", "on_failure", "", []any{object{"then": "drop"}}, nil, func(c *connector.Config) any { return in(c).OnFailure.Then }, connector.Drop},
	{"consumer", "share_group", "", []any{"g"}, nil, func(c *connector.Config) any { return in(c).ShareGroup }, "g"},
	{"consumer", "extended_attributes", "", trueness, nil, func(c *connector.Config) any { return in(c).ExtendedAttributes }, true},

	{"on_failure", "retries", "", []any{5, "5"}, nil, func(c *connector.Config) any { return *in(c).OnFailure.Retries }, 5},
	{"on_failure", "initial_delay", "", quarter, nil, func(c *connector.Config) any { return *in(c).OnFailure.InitialDelay }, minutes},
	{"on_failure", "max_delay", "", quarter, nil, func(c *connector.Config) any { return *in(c).OnFailure.MaxDelay }, minutes},
	{"on_failure", "then", "", []any{"stop"}, nil, func(c *connector.Config) any { return in(c).OnFailure.Then }, connector.Halt},
	{"on_failure", "dead_letter", "", []any{object{"topic": "dead"}}, object{"then": "dead_letter"}, func(c *connector.Config) any { return in(c).OnFailure.DeadLetterTopic }, "dead"},
	{"on_failure", "dead_letter", "", []any{object{"file": "dead.jsonl"}}, object{"then": "dead_letter"}, func(c *connector.Config) any { return in(c).OnFailure.DeadLetterFile }, "dead.jsonl"},

	{"producer", "topic", "主题", []any{"a/${variable.line}"}, nil, func(c *connector.Config) any { return out(c).Topic }, "a/${variable.line}"},
	{"producer", "payload", "消息内容", []any{""}, nil, func(c *connector.Config) any { return *out(c).Payload }, ""},
	{"producer", "qos", "QoS", again, nil, func(c *connector.Config) any { return out(c).QoS }, packets.AtLeastOnce},
	{"producer", "retained", "是否保存消息", trueness, nil, func(c *connector.Config) any { return out(c).Retained }, true},
	{"producer", "ack_timeout", "", quarter, nil, func(c *connector.Config) any { return *out(c).AckTimeout }, minutes},
}

// smallest is the smallest configuration with a consumer and a producer; what the row
// says is added, and the key of the row is left out.
func (r row) smallest(labels bool) (doc, table object) {
	general := object{"broker_url": "127.0.0.1:1883", "client_id": "c"}
	advanced, extension, onFailure := object{}, object{}, object{}
	consumer := object{"topics": []any{"t"}, "on_failure": onFailure}
	producer := object{"topic": "t"}
	connector := object{"general": general, "advanced": advanced, "extension": extension}
	if labels {
		connector = object{"通用配置": general, "高级配置": advanced, "extension": extension}
	}
	table = object{"general": general, "advanced": advanced, "extension": extension, "consumer": consumer, "on_failure": onFailure, "producer": producer}[r.table].(object)
	for k, v := range r.with {
		table[k] = v
	}
	delete(table, r.key)
	return object{"version": 1, "connector": connector, "consumers": object{"in": consumer}, "producers": object{"out": producer}}, table
}

func setEnvironment(t *testing.T) {
	t.Setenv("CONFIG_TEST_PASSWORD", "p")
	t.Setenv("CONFIG_TEST_LINE", "line-7")
	t.Setenv("CONFIG_TEST_PEM", pem)
}

// Every key, the seed's label for it, and every spelling of its values.
func TestEveryKeyLandsInItsField(t *testing.T) {
	setEnvironment(t)
	for _, r := range rows {
		for _, key := range []string{r.key, r.zh} {
			for _, value := range r.values {
				if key == "" {
					continue
				}
				doc, table := r.smallest(key == r.zh)
				table[key] = value
				text, err := json.Marshal(doc)
				require.NoError(t, err)
				c, _, err := Parse(text, "")
				require.NoError(t, err, "%s.%s: %v", r.table, key, value)
				require.Equal(t, r.want, r.get(c), "%s.%s: %v", r.table, key, value)
			}
		}
	}
}

// tables are the tables of fields.go by name.
func tables() map[string][]field {
	var c connector.Config
	return map[string][]field{
		"general": general(&c.General), "advanced": advanced(&c.Advanced), "extension": extension(&c.Extension),
		"consumer": consumer(new(connector.ConsumerParams)), "on_failure": onFailure(new(connector.OnFailure)), "producer": producer(new(connector.ProducerParams)),
	}
}

func TestEveryKeyHasARow(t *testing.T) {
	for table, fields := range tables() {
		for _, f := range fields {
			found := false
			for _, r := range rows {
				if r.table == table && r.key == f.key {
					require.Equal(t, f.zh, r.zh)
					found = true
				}
			}
			require.True(t, found, "%s.%s", table, f.key)
		}
	}
}

// The labels are those of the seed's tables.
func TestLabelsAreTheSeeds(t *testing.T) {
	var labels []string
	for _, table := range []string{"general", "advanced", "consumer", "producer"} {
		for _, f := range tables()[table] {
			if f.zh != "" {
				labels = append(labels, f.zh)
			}
		}
	}
	require.Equal(t, strings.Split("Broker URL,连接协议,Client ID,用户名,密码,TLS 客户端证书,TLS 客户端 Key,TLS 服务端证书,"+
		"是否启用遗嘱消息,遗嘱主题,遗嘱内容,遗嘱 QoS,是否保存遗嘱消息,是否清除会话,是否顺序发送,keep-alive 超时时间,ping 超时时间,connect 超时时间,"+
		"是否自动重试连接,reconnect 最大间隔时间,是否重试 connect,connect 重试间隔时间,write 超时时间,"+
		"订阅主题,QoS,确认模式,主题,消息内容,QoS,是否保存消息", ","), labels)
}

// The seed's defaults are what an empty field means.
func TestDefaultsAreTheSeeds(t *testing.T) {
	c, _, err := Parse([]byte("connector: {general: {broker_url: '127.0.0.1:1883', client_id: c}}\nconsumers: {in: {topics: [t]}}\nproducers: {out: {topic: t}}"), "")
	require.NoError(t, err)
	require.Equal(t, connector.TCP, c.General.Protocol)
	require.False(t, c.Advanced.WillEnabled)
	require.True(t, c.Advanced.Clean())
	require.False(t, c.Advanced.Order)
	require.False(t, c.Advanced.AutoReconnect)
	require.False(t, c.Advanced.ConnectRetry)
	require.Equal(t, packets.AtMostOnce, in(c).QoS)
	require.Equal(t, connector.AfterFlowSuccess, in(c).AckMode)
	require.Equal(t, packets.AtMostOnce, out(c).QoS)
	require.Nil(t, out(c).Payload)
	require.False(t, out(c).Retained)
}
