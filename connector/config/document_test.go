package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

const chinese = `连接器配置:
  通用配置标签页:
    Broker URL: mq.example.com   # 服务器
    Client ID: line-7
操作配置:
  Consumer 操作:
    读数:
      输入参数:
        订阅主题: [plant/#]
`

func edited(t *testing.T, text, path, value string) string {
	t.Helper()
	out, err := config.Read([]byte(text), ".", nil).Set(strings.Split(path, "/"), json.RawMessage(value))
	require.NoError(t, err)
	return string(out)
}

// A value set in a document is placed in the order of the schema, under the keys or labels that the
// file uses.
func TestDocumentIsChangedInItsOwnWords(t *testing.T) {
	require.Equal(t, strings.Replace(chinese, "mq.example.com", "h:1", 1), edited(t, chinese, "connector/general/broker_url", `"h:1"`))
	require.Equal(t, strings.Replace(chinese, "    Client ID", "    连接协议: TLS\n    Client ID", 1), edited(t, chinese, "connector/general/protocol", `"TLS"`))
	require.Equal(t, strings.Replace(chinese, "操作配置", "  高级配置:\n    是否自动重试连接: true\n操作配置", 1), edited(t, chinese, "connector/advanced/auto_reconnect", `true`))
	require.Equal(t, chinese+"        QoS: At Least Once\n", edited(t, chinese, "consumers/读数/qos", `"At Least Once"`))
	require.Equal(t, chinese+"        失败时:\n          重试次数: 3\n", edited(t, chinese, "consumers/读数/on_failure/retries", `3`))
	require.Equal(t, chinese+"    qos:\n      订阅主题:\n        - a\n", edited(t, chinese, "consumers/qos/topics", `["a"]`))
	require.Equal(t, strings.Replace(chinese, "[plant/#]", `[plant/#, b]`, 1), edited(t, chinese, "consumers/读数/topics/1", `"b"`))
	require.Equal(t, strings.Replace(chinese, "    Client ID: line-7\n", "", 1), edited(t, chinese, "connector/general/client_id", `null`))

	d := config.Read([]byte(chinese), ".", nil)
	out, err := d.Rename([]string{"consumers", "读数"}, "readings")
	require.NoError(t, err)
	require.Equal(t, strings.Replace(chinese, "读数", "readings", 1), string(out))
	require.Equal(t, "connector", d.Values.Values[0].Key)
	require.Equal(t, "连接器配置", d.Values.Values[0].Word)
	general := d.Values.Values[0].Values[0]
	require.Equal(t, config.Value{Key: "broker_url", Word: "Broker URL", Kind: "text", Text: "mq.example.com", Line: 3}, general.Values[0])
	require.Equal(t, []config.Value{{Key: "0", Kind: "text", Text: "plant/#", Line: 9}}, d.Values.Values[1].Values[0].Values[0].Values)
}

func TestDocumentFromNothing(t *testing.T) {
	text := ""
	for _, step := range [][2]string{
		{"connector/general/client_id", `"c"`}, {"connector/general/broker_url", `"h"`}, {"connector/advanced/order", `true`},
		{"producers/out", `{"topic": "a", "qos": 1}`}, {"consumers/in/topics", `["a", {"topic": "b", "qos": 2}]`}, {"connector/general/password", `{"file": "p"}`},
	} {
		text = edited(t, text, step[0], step[1])
	}
	require.Equal(t, `connector:
  general:
    broker_url: h
    client_id: c
    password: {file: p}
  advanced:
    order: true
consumers:
  in:
    topics:
      - a
      - topic: b
        qos: 2
producers:
  out:
    topic: a
    qos: 1
`, text)
}

func TestDocumentThatCannotBeChanged(t *testing.T) {
	for text, why := range map[string]string{
		`{"connector": {}}`: "json", "{\n\t\"connector\": {}}": "json", "a: &x 1\nconnector: *x": "anchors", "connector: {<<: {}}": "anchors", "a: [": "unreadable", "a: 1\n---\nb: 2": "",
		"": "", "# only\n  # comments\n": "", "connector:": "",
	} {
		d := config.Read([]byte(text), ".", nil)
		require.Equal(t, why, d.ReadOnly, text)
		if why != "" {
			_, err := d.Set([]string{"connector", "general", "client_id"}, json.RawMessage(`"x"`))
			require.ErrorIs(t, err, config.ErrReadOnly)
			_, err = d.Rename([]string{"connector"}, "x")
			require.ErrorIs(t, err, config.ErrReadOnly)
		}
	}
	for _, bad := range []string{``, `{`, `[1`, `1 2`, strings.Repeat("[", 100000)} {
		_, err := config.Read([]byte(chinese), ".", nil).Set([]string{"connector"}, json.RawMessage(bad))
		require.ErrorIs(t, err, config.ErrReadOnly, "%.20s", bad)
	}
}

// References that may not be examined are not: files and variables are not read, and commands are
// not looked up.
func TestWithheldReferencesAreNotLookedAt(t *testing.T) {
	t.Setenv("MQTT311_TEST_SECRET", "hunter2")
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "secret"), []byte("hunter2"), 0o666))
	require.NoError(t, os.Chmod(filepath.Join(folder, "secret"), 0o666))
	text := `connector:
  general:
    broker_url: ${env:MQTT311_TEST_SECRET}
    protocol: WebSocket Secure
    client_id: a-${env:MQTT311_TEST_SECRET}
    username: {env: MQTT311_TEST_SECRET}
    password: {file: secret}
    tls_client_cert: secret
    tls_client_key: {exec: [./secret, --x]}
    tls_server_cert: {env: MQTT311_TEST_SECRET}
  advanced: {auto_reconnect: true, clean_session: false}
  extension:
    proxy: {exec: secret}
    ws_headers: {X: {file: secret}}
    session_store: {dir: secret}
consumers:
  in:
    topics: ["a/${env:MQTT311_TEST_SECRET}#"]
    qos: 1
    on_failure: {then: dead_letter, dead_letter: {file: secret/x}}
`
	all := config.Read([]byte(text), folder, nil)
	require.NotEmpty(t, all.Findings)
	require.Contains(t, findingsText(all), "hunter2")
	require.Empty(t, all.Withheld)

	d := config.Read([]byte(text), folder, func(config.Reference) bool { return false })
	require.Empty(t, findingsText(d))
	require.Nil(t, d.Config)
	var kinds, fields []string
	for _, r := range d.Withheld {
		kinds, fields = append(kinds, r.Kind), append(fields, r.Field())
		require.NotZero(t, r.Line)
	}
	require.Equal(t, []string{"env", "env", "env", "file", "file", "exec", "env", "exec", "file", "file", "env", "file"}, kinds)
	require.Equal(t, []string{
		"broker_url", "client_id", "username", "password", "tls_client_cert", "tls_client_key", "tls_server_cert", "proxy", "X", "dir", "topics", "file",
	}, fields)
	require.Equal(t, filepath.Join(folder, "secret"), d.Withheld[3].Name)

	// One withheld reference is enough to make the configuration unusable.
	d = config.Read([]byte(text), folder, func(r config.Reference) bool { return r.Field() != "password" })
	require.Len(t, d.Withheld, 1)
	require.Nil(t, d.Config)
}

func findingsText(d *config.Document) string {
	var b strings.Builder
	for _, f := range d.Findings {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}
