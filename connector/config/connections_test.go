package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

// A further connection has the same settings and labels as the connector's own, and a producer
// refers to it by name.
func TestConnectionsAreRead(t *testing.T) {
	for _, text := range []string{`
connector: {general: {broker_url: "h:1883", client_id: c}}
connections:
  cloud:
    general: {broker_url: "cloud:8883", protocol: TLS, client_id: d, username: u, password: {env: MQTT311_PW}}
    advanced: {clean_session: false, auto_reconnect: true, connect_retry: true, keep_alive: 45s}
    extension: {session_store: {dir: s}, max_inflight: 50}
producers:
  up: {topic: "${attribute.topic}", connection: cloud, retained: keep}
`, `
连接器配置: {通用配置: {Broker URL: "h:1883", Client ID: c}}
其他连接:
  cloud:
    通用配置标签页: {Broker URL: "cloud:8883", 连接协议: TLS, Client ID: d, 用户名: u, 密码: {env: MQTT311_PW}}
    高级配置标签页: {是否清除会话: 否, 是否自动重试连接: 是, 是否重试 connect: 是, keep-alive 超时时间: 45}
    扩展配置: {session_store: {dir: s}, 最大在途消息数: 50}
操作配置:
  Producer 操作:
    up: {输入参数: {主题: "${attribute.topic}"}, 所用连接: cloud, 是否保存消息: 保持}
`} {
		cfg := read(t, text)
		n := cfg.Connections["cloud"]
		require.True(t, strings.HasSuffix(n.Extension.SessionStore.Dir, "/s"), "relative to the file")
		n.Extension.SessionStore = nil
		require.Equal(t, connector.Connection{
			General:   connector.General{BrokerURL: "cloud:8883", Protocol: connector.TLS, ClientID: "d", UserName: "u", PasswordFrom: &connector.SecretSource{Env: "MQTT311_PW"}},
			Advanced:  connector.Advanced{CleanSession: ptr(false), AutoReconnect: true, ConnectRetry: true, KeepAlive: ptr(45 * time.Second)},
			Extension: connector.Extension{MaxInflight: 50},
		}, n)
		require.Equal(t, connector.ProducerParams{Topic: "${attribute.topic}", Connection: "cloud", KeepRetained: true}, cfg.Producers["up"])
	}
}

// For a key in the wrong section of a connection, the finding names the right section of the same
// connection.
func TestKeyOfAnotherSectionOfAConnection(t *testing.T) {
	for _, where := range []string{"general: {broker_url: h:1883, client_id: d, order: no}", "general: {broker_url: h:1883, client_id: d}, order: no"} {
		_, findings := parse(t, strings.Replace(good, "producers:", "connections: {a.b: {"+where+"}}\nproducers:", 1))
		fixes := ""
		for _, f := range findings {
			fixes += f.Fix + "\n"
		}
		require.Contains(t, fixes, "it belongs in connections.a.b.advanced")
	}
}

// Findings about a connection name it.
func TestFindingsNameTheConnection(t *testing.T) {
	_, findings := parse(t, strings.Replace(good, "producers:", "connections:\n  cloud:\n    general: {broker_url: cloud, client_id: d}\n    advanced: {keep_alive: soon}\nproducers:", 1))
	var errs []string
	for _, f := range findings {
		if f.IsError() {
			errs = append(errs, f.Code+" "+f.Path)
		}
	}
	require.Equal(t, []string{"E116 connections.cloud.general.broker_url", "E138 connections.cloud.advanced.keep_alive"}, errs)
}
