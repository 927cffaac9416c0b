package config_test

import (
	"testing"

	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

// The Chinese text of a mistake says as much as the English one.
func TestChineseTextsNameWhatIsAllowed(t *testing.T) {
	for text, want := range map[string]string{
		"connector: {general: {broker_url: h:1883, client_id: c, protocol: QUIC}}":                         `"QUIC" 不在可选值之中：TCP, TLS, WebSocket, WebSocket Secure`,
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: '${vars.x}'}}":   "${vars.x} 不是以下之一：${payload.path}, ${attribute.name}, ${variable.name}",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: '${variable}'}}": "${variable} 没有字段名，写法如 ${variable.name}",
		"connector:\n\tgeneral: {}\n": "请用空格缩进",
	} {
		_, findings, _ := config.Parse([]byte(text), "")
		all := ""
		for _, f := range findings {
			all += f.MessageZH + " → " + f.FixZH + "\n"
		}
		require.Contains(t, all, want)
	}
}
