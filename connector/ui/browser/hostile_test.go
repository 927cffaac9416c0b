package browser_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	hostileTopic   = `plant/<img src=x onerror=alert(1)>/celsius`
	hostilePayload = `{"celsius":"<script>alert(2)</script><img src=x onerror=alert(3)><iframe src=javascript:alert(4)>"}`
)

// Topics and payloads that are markup and scripts appear as text wherever the page shows them.
// Every dialog, and everything that the browser had to block, makes the test fail.
func TestHostileMessagesAreText(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	b := open(t, p.process.page(), "en")
	inert := func() {
		t.Helper()
		require.Zero(t, value[int](b, `document.querySelectorAll('main img, main iframe, main script, body script').length`))
	}
	b.visit("live")
	b.until(`document.querySelector('#live-state').textContent.includes('connected')`)
	publish(t, p.broker, hostileTopic, hostilePayload)
	b.until(`document.querySelector('.messages tbody tr')`)
	require.Equal(t, hostileTopic, value[string](b, `document.querySelector('.messages td button').textContent`))
	require.Equal(t, hostilePayload, value[string](b, `document.querySelector('.messages .begin').textContent`))
	b.until(`document.querySelector('.beside').textContent.includes('<img src=x onerror=alert(1)>')`) // the tree of topics
	b.click(`.messages td button`)
	require.Equal(t, hostileTopic, value[string](b, `document.querySelector('.payload h2').textContent`))
	require.Equal(t, hostilePayload, value[string](b, `document.querySelector('.payload pre').textContent`))
	b.click(button("JSON"))
	require.JSONEq(t, hostilePayload, value[string](b, `document.querySelector('.payload pre').textContent`))
	inert()

	p.process.until("put away as a dead letter")
	b.visit("deadletters")
	b.until(letters + `.length == 1`)
	require.Equal(t, hostileTopic, value[string](b, `document.querySelector('td button').textContent`))
	b.click(`td button`)
	b.visible(`.facts`)
	require.Equal(t, hostilePayload, value[string](b, `document.querySelector('.yaml').value`))
	inert()

	// The same for names and texts of the configuration, and for findings about them.
	b.visit("connector")
	b.until(`document.querySelector('[role=tab]')`)
	b.put(`.yaml`, `s => s.replace('  readings:', "  '<img src=x onerror=alert(5)>':").replace('qos: At Least Once', 'qos: "<script>alert(6)</script>"')`)
	b.until(`document.querySelector('.all .bad')?.textContent.includes('<script>alert(6)</script>')`)
	b.click(`#tab-consumers`)
	require.Equal(t, `<img src=x onerror=alert(5)>`, value[string](b, `document.querySelector('#' + document.querySelector('#tab-consumers').getAttribute('aria-controls') + ' .card').getAttribute('aria-label')`))
	inert()
}

// heard returns what a tab fails for: otherwise the other tests would prove nothing.
func TestComplaintsAreHeard(t *testing.T) {
	t.Parallel()
	b := open(t, start(t, t.TempDir(), "ui", "new.yaml").page(), "en")
	require.Empty(t, b.heard())
	for _, c := range []struct{ complaint, script string }{
		{"a dialog: 1", `alert(1)`},
		{"an error", `console.error('an error')`},
		{"a mistake", `throw new Error('a mistake')`},
		{"refused", `Promise.reject(new Error('refused'))`},
		{"Content Security Policy", `document.body.setAttribute('style', 'color: red')`},
		{"TrustedScript", `document.createElement('button').setAttribute('onclick', 'alert(2)')`},
		{"TrustedHTML", `document.body.innerHTML = '<b>'`},
	} {
		value[bool](b, `new Promise(done => { setTimeout(() => { `+c.script+` }); setTimeout(() => done(true)) })`)
		require.Contains(t, strings.Join(b.heard(), "\n"), c.complaint, c.script)
	}
}
