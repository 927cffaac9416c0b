// Package browser tests the page in a real browser. It is a separate module, so that programs that
// import the connector do not depend on the packages that control the browser.
package browser_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// rows is a JavaScript expression for the labels of the visible fields.
const rows = `[...document.querySelectorAll('[role=tabpanel]:not([hidden]) > .fields > .field:not([hidden]) > .name > span:first-child')].map(e => e.textContent).join()`

const shown = `# The plant's connector.
connector:
  general:
    broker_url: mq.example.com:8883   # the cluster
    protocol: TLS
    client_id: line-7
    username: line-7
    password: hunter2
  advanced:
    auto_reconnect: true
    clean_session: false
  extension:
    ws_headers: {X-Key: abc}
    failover_urls: [mq2.example.com:8883]
consumers:
  readings:
    topics:
      - plant/+/temperature
      - {topic: plant/door, qos: 2}
    qos: nonsense
    on_failure: {retries: 3, then: dead_letter, dead_letter: {file: dead.jsonl}}
producers:
  commands:
    topic: plant/${payload.device}/<script>alert(1)</script>
`

// The page can be used with the keyboard alone, the language changes in place, and markup is shown
// as text.
func TestPageByKeyboardAndInBothLanguages(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "connector.yaml")
	require.NoError(t, os.WriteFile(file, []byte(shown), 0o600))
	b := open(t, start(t, filepath.Dir(file), "ui", file).page(), "zh")
	b.do(chromedp.Focus(`#tab-general`), chromedp.KeyEvent(kb.ArrowRight))
	require.Equal(t, "tab-advanced", value[string](b, `document.activeElement.id`))
	require.Equal(t, "true", value[string](b, `document.activeElement.getAttribute('aria-selected')`))

	// A field keeps its text and the focus when the language changes.
	b.click(`#tab-general`)
	b.do(chromedp.Focus(field("connector.general.client_id", "input")))
	value[bool](b, `(document.querySelector('#language').click(), true)`)
	require.Equal(t, "en", value[string](b, `document.documentElement.lang`))
	require.Equal(t, "Protocol", value[string](b, `document.querySelector('[data-path="connector.general.protocol"] .name span').textContent`))
	require.Equal(t, "line-7", value[string](b, `document.activeElement.value`))

	b.click(`#tab-producers`)
	require.Equal(t, "plant/${payload.device}/<script>alert(1)</script>", value[string](b, `document.querySelector('[data-path="producers.commands.topic"] input').value`))
	require.Equal(t, 1, value[int](b, `document.scripts.length`))

	// Changes of the text also change the form.
	b.put(`.yaml`, `s => s.replace('line-7', 'line-8')`)
	b.until(`document.querySelector('[data-path="connector.general.client_id"] input').value == 'line-8'`)
	// A finding has a button that focuses its field.
	b.click(`.all .one button`)
	b.until(`document.activeElement.closest('.field')?.dataset.path == 'consumers.readings.qos'`)
}
