package browser_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/stretchr/testify/require"
)

// running opens the page of a running connector.
func running(t *testing.T, lang string) *tab {
	t.Helper()
	m := mosquitto.Start(t, mosquitto.Options{})
	file := filepath.Join(t.TempDir(), "connector.yaml")
	text := fmt.Sprintf("connector:\n  general: {broker_url: '%s', client_id: c}\nconsumers:\n  in: {topics: [plant/#], qos: 1}\n", m.TCP)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return open(t, start(t, filepath.Dir(file), "run", "-c", file, "--ui").page(), lang)
}

// publish publishes a message with the form of the page Live.
func (b *tab) publish(topic, payload, qos string) {
	b.t.Helper()
	value[bool](b, `(document.querySelector('#page-live details').open = true)`)
	value[bool](b, fmt.Sprintf(`(() => { const f = document.querySelector('#page-live form'); f.querySelector('input').value = %q; f.querySelector('textarea').value = %q; return true })()`, topic, payload))
	b.choose(`#page-live form select`, qos)
	b.click(`#page-live form button.main`)
	b.until(`!document.querySelector('#page-live form button.main').disabled`) // the message is published
}

// A message is published, arrives, is shown in three ways, and is found by searching; markup is
// shown as text.
func TestLiveInTheBrowser(t *testing.T) {
	t.Parallel()
	b := running(t, "zh")
	b.visit("live")
	b.until(`document.querySelector('#live-state').textContent.includes('已连接')`)
	const script = `<img src=x onerror="document.title='broken'">`
	b.publish("plant/"+script, `{"a":12345678901234567890,"b":[{},[]],"c":"<b>x</b>"}`, "1")
	b.until(`document.querySelectorAll('.messages tbody tr').length == 1 && document.querySelector('#page-live form [role=status]').textContent.includes('PUBACK')`)
	require.Equal(t, "plant/"+script, value[string](b, `document.querySelector('.messages tbody button').textContent`))
	b.click(`.messages tbody button`)
	b.visible(`.payload pre`)
	require.Equal(t, `{"a":12345678901234567890,"b":[{},[]],"c":"<b>x</b>"}`, value[string](b, `document.querySelector('.payload pre').textContent`))
	b.click(`.payload button:nth-of-type(2)`)
	require.Equal(t, "{\n  \"a\": 12345678901234567890,\n  \"b\": [\n    {},\n    []\n  ],\n  \"c\": \"<b>x</b>\"\n}", value[string](b, `document.querySelector('.payload pre').textContent`))
	b.click(`.payload button:nth-of-type(3)`)
	require.Contains(t, value[string](b, `document.querySelector('.payload pre').textContent`), "00000000  7b 22 61 22 3a 31 32 33 34 35 36 37 38 39 30 31  {\"a\":12345678901")
	require.Zero(t, value[int](b, `document.querySelectorAll('main img').length`))
	require.Contains(t, value[string](b, `document.querySelector('#topics').textContent`), "plant")

	// Messages that arrive during a pause are counted, and shown afterwards.
	b.click(`#pause`)
	b.publish("plant/7/door", "open", "2")
	b.until(`document.querySelector('#live-state').textContent.includes('已接收 2')`)
	require.Equal(t, 1, value[int](b, `document.querySelectorAll('.messages tbody tr').length`))
	b.click(`#pause`)
	b.until(`document.querySelectorAll('.messages tbody tr').length == 2`)

	// A search applies only to messages that arrive after it started.
	value[bool](b, `(() => { const s = document.querySelector('#page-live [type=search]'); s.value = 'door'; s.dispatchEvent(new Event('change')); return true })()`)
	b.until(`document.querySelector('#live-state').textContent.includes('已连接')`)
	b.publish("plant/7/window", "shut", "1")
	b.publish("plant/7/door", "shut", "1")
	b.until(`document.querySelector('#live-state').textContent.includes('已接收 2')`)
	b.until(`document.querySelectorAll('.messages tbody tr').length == 1`)

	// Leave the page and return.
	b.visit("connector")
	b.visible(`#tab-general`)
	b.visit("live")
	b.until(`document.querySelector('#live-state').textContent.includes('已连接')`)
}

func TestHealthInTheBrowser(t *testing.T) {
	t.Parallel()
	b := running(t, "zh")
	b.visit("live")
	b.until(`document.querySelector('#live-state').textContent.includes('已连接')`)
	b.publish("plant/1", "x", "1")
	b.until(`document.querySelectorAll('.messages tbody tr').length == 1`)
	b.visit("health")
	b.until(`document.querySelector('#ready')?.textContent == '✓ 就绪' && document.querySelectorAll('figure').length == 6`)
	// The charts are updated: they show the message with the next sample or the one after.
	b.until(`document.querySelector('.facts').textContent.includes('接收1') && document.querySelectorAll('.chart .line').length > 3`)
	value[bool](b, `(document.querySelector('figure details').open = true)`)
	b.until(`document.querySelectorAll('figure tbody tr').length > 0`)
}
