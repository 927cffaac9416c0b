package browser_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/stretchr/testify/require"
)

// A user fills in both tabs from an empty file, in Chinese, corrects the errors that are reported,
// tests the connection over TLS, and saves the file. The connector then runs: a message arrives;
// another one fails, is found among the dead letters, and is replayed.
func TestConnectorFromNothingInChinese(t *testing.T) {
	t.Parallel()
	m := mosquitto.Start(t, mosquitto.Options{})
	broker, err := url.Parse(m.TLS)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "new.yaml")
	b := open(t, start(t, filepath.Dir(file), "ui", file).page(), "zh")
	require.Equal(t, "zh-CN", value[string](b, `document.documentElement.lang`))
	require.Equal(t, "通用配置 高级配置 扩展配置 Consumer 操作 Producer 操作 其他连接", value[string](b, `[...document.querySelectorAll('[role=tab]')].map(t => t.firstChild.textContent).join(' ')`))
	// The rows are those of the platform, in its order; a field that depends on a switch is hidden
	// until the switch is on.
	require.Equal(t, "Broker URL,连接协议,Client ID,用户名,密码", value[string](b, rows))

	b.write(field("connector.general.broker_url", "input"), broker.Host)
	b.choose(field("connector.general.protocol", "select"), "TLS")
	b.until(`document.querySelector('.yaml').value.includes('protocol: TLS')`)
	require.Equal(t, "Broker URL,连接协议,Client ID,用户名,密码,TLS 客户端证书,TLS 客户端 Key,TLS 服务端证书", value[string](b, rows))
	b.write(field("connector.general.password", "input"), "hunter2")
	b.until(`[...document.querySelectorAll('[data-path="connector.general.password"] .finding code, [data-path="connector.general.username"] .finding code')].some(e => e.textContent == 'E107')`)
	b.until(`document.querySelector('[data-path="connector.general.client_id"]').classList.contains('wrong')`)
	b.shot("mistakes-zh")
	b.write(field("connector.general.client_id", "input"), "line-7")
	b.write(field("connector.general.username", "input"), "me")
	b.choose(field("connector.general.tls_server_cert", "select"), "pem")
	b.write(field("connector.general.tls_server_cert", "input[type=file]"), m.CAFile)
	b.until(`document.querySelector('.yaml').value.includes('BEGIN CERTIFICATE')`)

	b.click(`#tab-advanced`)
	b.visible(field("connector.advanced.will_enabled", "input"))
	require.Equal(t, "是否启用遗嘱消息,是否清除会话,是否顺序发送,keep-alive 超时时间,ping 超时时间,connect 超时时间,是否自动重试连接,是否重试 connect,write 超时时间", value[string](b, rows))
	b.click(field("connector.advanced.will_enabled", "input"))
	b.visible(field("connector.advanced.will_topic", "input"))
	b.write(field("connector.advanced.will_topic", "input"), "plant/gone")
	b.click(field("connector.advanced.auto_reconnect", "input"))
	b.visible(field("connector.advanced.max_reconnect_interval", "input"))
	b.until(`document.querySelector('.yaml').value.includes('auto_reconnect: true')`)
	require.Equal(t, "是否启用遗嘱消息,遗嘱主题,遗嘱内容,遗嘱 QoS,是否保存遗嘱消息,是否清除会话,是否顺序发送,keep-alive 超时时间,ping 超时时间,connect 超时时间,是否自动重试连接,reconnect 最大间隔时间,是否重试 connect,write 超时时间", value[string](b, rows))
	b.write(field("connector.advanced.keep_alive", "input"), "60000")
	b.until(`document.querySelector('[data-path="connector.advanced.keep_alive"] .finding') !== null`)
	value[bool](b, `(document.querySelector('[data-path="connector.advanced.keep_alive"] input').value = '', true)`)
	b.write(field("connector.advanced.keep_alive", "input"), "60s")
	b.until(`document.querySelector('.yaml').value.includes('keep_alive: 60s')`)

	b.click(`#tab-consumers`)
	b.write(`[role=tabpanel]:not([hidden]) form input`, "读数\r")
	b.visible(`.card`)
	b.click(field("consumers.读数.topics", "button"))
	b.write(field("consumers.读数.topics", "input"), "plant/#")
	b.until(`document.querySelector('.yaml').value.includes('- plant/#')`)
	b.choose(field("consumers.读数.qos", "select"), "At Least Once")
	b.until(`document.querySelector('#changed').textContent == '未保存'`)

	b.click(`#test`)
	b.until(`document.querySelectorAll('.steps li.good').length == 6 && document.querySelector('.test').textContent.includes('连接成功')`)
	b.shot("test-zh") // tcp, tls, connect, subscribe, disconnect, and the granted QoS
	// Dead letters go to a file, which the page opens only after the configuration was saved and
	// run.
	value[bool](b, `(document.querySelector('[data-path="consumers.读数.on_failure"]').closest('details').open = true)`)
	b.write(field("consumers.读数.on_failure.retries", "input"), "0")
	b.choose(field("consumers.读数.on_failure.then", "select"), "dead_letter")
	b.write(field("consumers.读数.on_failure.dead_letter.file", "input"), "dead.jsonl")
	b.until(`document.querySelector('.yaml').value.includes('file: dead.jsonl')`)
	b.click(`#save`)
	b.until(`document.querySelector('#changed').textContent == '已保存'`)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), "password: hunter2")
	require.NotContains(t, value[string](b, `document.documentElement.outerHTML + document.querySelector('.yaml').value`), "hunter2")

	// The connector runs, with a flow that fails for one reading until it is repaired.
	dir := filepath.Dir(file)
	p := start(t, dir, "run", "-c", file, "--ui", "--exec", `p=$(cat) && { test -e mended || test "$p" != -999; } && echo "flow: $p"`)
	b = open(t, p.page(), "zh")
	p.until(`"msg":"started"`)
	b.visit("live")
	b.until(`document.querySelector('#live-state').textContent.includes('已连接')`)
	publish(t, m, "plant/7/celsius", "21")
	b.until(messages + ` == 'plant/7/celsius 2 21'`)
	p.until("flow: 21")
	publish(t, m, "plant/8/celsius", "-999")
	b.until(messages + ` == 'plant/8/celsius 4 -999,plant/7/celsius 2 21'`)
	b.shot("live-zh")
	p.until("put away as a dead letter")

	b.visit("deadletters")
	b.until(letters + `.length == 1`)
	require.Equal(t, "plant/8/celsius 读数 待处理 4 command: exit status 1", value[string](b, letters+`[0]`))
	b.click(`td button`)
	b.visible(`.facts`)
	require.Equal(t, "-999", value[string](b, `document.querySelector('.yaml').value`))
	b.shot("deadletters-zh")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "mended"), nil, 0o600))
	b.click(`td input`)
	b.click(button("重放到"))
	b.visible(`[role=alertdialog]`)
	require.Equal(t, "将 1 条死信发布到 {topic}？", value[string](b, `document.querySelector('[role=alertdialog] span').textContent`))
	b.click(button("否"))
	b.click(button("交给流程重放"))
	b.visible(`[role=alertdialog]`)
	require.Equal(t, "将 1 条死信重新交给流程处理？", value[string](b, `document.querySelector('[role=alertdialog] span').textContent`))
	b.click(button("是"))
	p.until("flow: -999") // the replay succeeded
	b.until(`document.querySelector('.notes .note')?.textContent.includes('已重放 1 条。')`)
	b.until(letters + `.length == 0`)
	b.click(`.toolbar input[type=checkbox]`)
	b.until(letters + `[0] == 'plant/8/celsius 读数 已重放 4 command: exit status 1'`)
}

// messages is a JavaScript expression for the messages that the page lists, newest first, each
// from its topic on.
const messages = `[...document.querySelectorAll('.messages tbody tr')].map(r => [...r.cells].slice(1).map(c => c.textContent).join(' ')).join()`

// letters is a JavaScript expression for the dead letters that the page lists, each from its topic
// on.
const letters = `[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].slice(2).map(c => c.textContent).join(' '))`
