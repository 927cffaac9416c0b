package config_test

import (
	"slices"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

// The Chinese text of a finding says as much as the English one.
func TestChineseTextsNameWhatIsAllowed(t *testing.T) {
	for text, want := range map[string]string{
		"connector: {general: {broker_url: h:1883, client_id: c, protocol: QUIC}}":                             `“QUIC”不在可选值之中：TCP、TLS、WebSocket、WebSocket Secure`,
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: '${vars.x}'}}":       "${vars.x} 不是 ${payload.path}、${attribute.name}、${variable.name} 之一",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: '${variable}'}}":     "${variable} 缺少字段名 → 写作 ${variable.字段名}",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nconsumers: {c: {topics: ['a#', b/+c]}}":     "“#”必须独占最后一级 [MQTT-4.7.1-2]",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nproducers: {p: {topic: 'a+'}}":              "包含通配符 [MQTT-4.7.1-1] [MQTT-3.3.2-2]",
		"connector: {general: {broker_url: h:1883, client_id: c}}\nconsumers: {c: {topics: [a], order: true}}": "不是此处可用的键 → 该键属于 connector.advanced",
		"connector:\n\tgeneral: {}\n": "请改用空格缩进",
	} {
		_, findings, _ := config.Parse([]byte(text), "")
		all := ""
		for _, f := range findings {
			all += f.MessageZH + " → " + f.FixZH + "\n"
		}
		require.Contains(t, all, want)
	}
}

// For a key in the wrong section the finding names the right section, in whatever spelling the key
// is. A mistyped key is not taken for one of another section.
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

// A value refused with E105 is not compared with other values.
func TestRefusedFiltersDoNotOverlap(t *testing.T) {
	_, findings, _ := config.Parse([]byte("connector: {general: {broker_url: h:1883, client_id: c}}\nconsumers: {c: {topics: ['a/#/b', 'a/+', 'a+/#'], qos: 1}}"), "")
	codes := ""
	for _, f := range findings {
		codes += f.Code + " "
	}
	require.Contains(t, codes, "E105")
	require.NotContains(t, codes, "W210")
}

// A finding names a field as the file does, and a missing field in the style of the file.
func TestFindingsUseTheWordsOfTheFile(t *testing.T) {
	_, findings := parse(t, `连接器配置:
  通用配置标签页:
    Broker URL: 127.0.0.1
    用户名: ${host}
    密码: p
  高级配置:
    遗嘱主题: w
    reconnect 最大间隔时间: 5s
Consumer 操作:
  读数:
    订阅主题: [a#]
    QoS: 三次
    on_failure: {retries: -5}
`)
	text := ""
	for _, f := range findings {
		text += f.Text("zh") + "\n"
		if f.IsError() {
			require.NotContains(t, f.Text("zh"), "general.")
			require.NotContains(t, f.Text("zh"), "username")
		}
	}
	for _, want := range []string{
		"连接器配置.通用配置标签页.Broker URL: “127.0.0.1”不是 host:port 格式",
		"E142 连接器配置.通用配置标签页.用户名: ${host} 在此处无意义",
		"E133 连接器配置.通用配置标签页.Client ID: 缺失",
		"E102 连接器配置.高级配置.遗嘱主题: 已填写，但 是否启用遗嘱消息 为 false",
		"E103 连接器配置.高级配置.reconnect 最大间隔时间: 已填写，但 是否自动重试连接 为 false",
		"E105 Consumer 操作.读数.订阅主题[0]: “#”必须独占最后一级",
		"E139 Consumer 操作.读数.QoS: “三次”不在可选值之中",
		"E137 Consumer 操作.读数.on_failure.retries: ",
		"W204 连接器配置.高级配置.是否自动重试连接: ",
	} {
		require.Contains(t, text, want)
	}
	// The path, which is meant for programs, does not depend on the file.
	require.Equal(t, "connector.general.broker_url", findings[slices.IndexFunc(findings, func(f connector.Finding) bool { return f.Code == "E116" })].Path)
	// The user name is missing: the advice names the field in the style of the file.
	_, findings = parse(t, "connector:\n  通用配置:\n    Broker URL: 127.0.0.1:1883\n    Client ID: c\n    密码: p\n")
	require.Equal(t, "5:9: E107 connector.通用配置.密码: is set without a user name [MQTT-3.1.2-22] → set 用户名", findings[0].String())
	// If the file uses keys, there is no label.
	_, findings = parse(t, "connector: {general: {broker_url: h:1, client_id: c, password: p}}")
	require.Equal(t, "E107 connector.general.password: 已填写，但没有用户名 [MQTT-3.1.2-22] → 请填写 username", findings[0].Text("zh")[6:])
	require.Empty(t, findings[0].Label)
}

// Consumers and producers that have no name, or are a list, lead to a finding with useful advice.
func TestConsumerWithoutAName(t *testing.T) {
	for text, want := range map[string]string{
		"consumers:\n  topics: [a]\n  qos: 1\n":      "3:3: E131 consumers: 是参数，而此处应为名称 → 请在上一级加一个自定的名称：“名称: {topics: ...}”",
		"consumers:\n  订阅主题: [a]\n":                  "3:3: E131 consumers: 是参数，而此处应为名称 → 请在上一级加一个自定的名称：“名称: {订阅主题: ...}”",
		"consumers:\n  - topics: [a]\n":              "3:3: E131 consumers: 是列表，而其中各项都需要名称 → 请去掉“-”，每项写成“名称: {...}”",
		"producers:\n  topic: a\n":                   "3:3: E131 producers: 是参数，而此处应为名称 → 请在上一级加一个自定的名称：“名称: {topic: ...}”",
		"consumers: {in: {topics: [a]}, out: [a]}\n": "2:37: E131 consumers.out: 应为“键: 值”形式的对象 → 请逐行填写“键: 值”，冒号用半角且后面加空格",
		"consumers: a\n":                             "2:12: E131 consumers: 应为以名称为键的对象 → 请写成“名称: {...}”，名称可自定",
	} {
		_, findings := parse(t, "connector: {general: {broker_url: h:1, client_id: c}}\n"+text)
		var all []string
		for _, f := range findings {
			all = append(all, f.Text("zh"))
		}
		require.Contains(t, all, want)
	}
	// A consumer may have the same name as a setting.
	_, findings := parse(t, "connector: {general: {broker_url: h:1, client_id: c}}\nproducers: {topic: {topic: a}}\n")
	require.Empty(t, findings)
}
