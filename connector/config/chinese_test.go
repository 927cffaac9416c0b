package config_test

import (
	"testing"

	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

// The Chinese text of a mistake says as much as the English one.
func TestChineseTextsNameWhatIsAllowed(t *testing.T) {
	for text, want := range map[string]string{
		"connector: {general: {broker_url: h:1883, client_id: c, protocol: QUIC}}":                             `"QUIC" 不在可选值之中：TCP, TLS, WebSocket, WebSocket Secure`,
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: '${vars.x}'}}":       "${vars.x} 不是以下之一：${payload.path}, ${attribute.name}, ${variable.name}",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: '${variable}'}}":     "${variable} 没有字段名，写法如 ${variable.name}",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nconsumers: {c: {topics: ['a#', b/+c]}}":     "中的“#”不是整个最后一级 [MQTT-4.7.1-2]",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: 'a+'}}":              "包含通配符 [MQTT-4.7.1-1] [MQTT-3.3.2-2]",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nconsumers: {c: {topics: [a], order: true}}": "不是此处可用的键 → 该键属于 connector.advanced",
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

// A key of another section is sent there, by whatever name it has; a mistyped one is not.
func TestKeyOfAnotherSection(t *testing.T) {
	for key, want := range map[string]string{
		"order": "it belongs in connector.advanced", "是否顺序发送": "it belongs in connector.advanced", "ack_timeout": "it belongs in connector.extension",
		"username": "it belongs in connector.general", "topicss": "did you mean topics?", "strange": "known keys: topics, ",
	} {
		_, findings, _ := config.Parse([]byte("connector: {general: {broker_url: h:1883, client_id: c}}\nconsumers: {c: {topics: [a], "+key+": x}}"), "")
		fixes := ""
		for _, f := range findings {
			if f.Code == "E130" {
				fixes += f.Fix
			}
		}
		require.Contains(t, fixes, want, key)
	}
}

// What E105 refuses is not compared with others.
func TestRefusedFiltersDoNotOverlap(t *testing.T) {
	_, findings, _ := config.Parse([]byte("connector: {general: {broker_url: h:1883, client_id: c}}\nconsumers: {c: {topics: ['a/#/b', 'a/+', 'a+/#'], qos: 1}}"), "")
	codes := ""
	for _, f := range findings {
		codes += f.Code + " "
	}
	require.Contains(t, codes, "E105")
	require.NotContains(t, codes, "W210")
}
