package browser_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// ready brings each page of the navigation into a state that shows most of its elements.
var ready = map[string]func(b *tab){
	"connector": func(b *tab) {
		b.put(`.yaml`, `s => s.replace('qos: At Least Once', 'qos: nonsense')`)
		b.until(`document.querySelector('.all .bad')`)
	},
	"live": func(b *tab) {
		b.until(`document.querySelector('#live-state').textContent.includes('connected')`)
		b.until(`document.querySelector('.messages tbody tr')`)
		b.click(`.messages td button`)
		b.click(`.payload .row button:not([disabled])`)
		b.click(`.card summary`)
	},
	"health": func(b *tab) {
		b.until(`document.querySelectorAll('.chart .line').length > 3`)
		b.unfold()
	},
	"deadletters": func(b *tab) {
		b.until(letters + `.length == 1`)
		b.click(`td button`)
		b.visible(`.facts`)
		b.click(`td input`)
		b.click(button("Delete"))
		b.visible(`[role=alertdialog]`)
	},
}

// axe-core finds no violation on any page, in both colour schemes and on a narrow screen, which
// must not need horizontal scrolling.
func TestPagesAreAccessible(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile("../../../bin/axe/node_modules/axe-core/axe.min.js")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("axe-core is not installed: make axe")
	}
	require.NoError(t, err)
	p := startPlant(t)
	publish(t, p.broker, "plant/8/celsius", "-999")
	p.process.until("put away as a dead letter")
	for _, look := range []struct {
		name, scheme string
		width        int64
		rules        string // rules of axe-core
	}{
		{"light", "light", width, `{}`},
		{"dark", "dark", width, `{runOnly: ['cat.color']}`}, // all other rules have the same result as in light
		{"narrow", "light", 360, `{}`},
	} {
		t.Run(look.name, func(t *testing.T) {
			t.Parallel()
			b := open(t, p.process.page(), "en")
			value[bool](b, string(axe)+`; true`)
			b.do(chromedp.EmulateViewport(look.width, 1000))
			b.choose(`header select`, look.scheme)
			scan := func(name, within string) {
				t.Helper()
				require.LessOrEqual(t, value[int64](b, `document.documentElement.scrollWidth`), look.width, "%s is too wide", name)
				require.Empty(t, value[[]string](b, muddle), name)
				require.Empty(t, b.violations(within, look.rules), name)
			}
			pages := value[[]string](b, `[...document.querySelectorAll('nav a')].map(a => a.hash.slice(2))`)
			require.Len(t, pages, len(ready))
			for _, page := range pages {
				require.Contains(t, ready, page)
				b.visit(page)
				if page == "live" { // this page shows only messages that arrive while it is open
					b.until(`document.querySelector('#live-state').textContent.includes('connected')`)
					publish(t, p.broker, "plant/7/celsius", `{"celsius":21.5}`)
				}
				ready[page](b)
				scan(page, `document`)
				if look.name == "light" || look.name == "dark" && page == "health" {
					b.shot(page + "-" + look.name)
				}
				for _, tab := range value[[]string](b, `[...document.querySelectorAll('[role=tab]')].map(t => t.id)`) {
					b.click(`#` + tab)
					b.unfold()
					scan(tab, `document.querySelector('[role=tabpanel]:not([hidden])')`)
				}
			}
		})
	}
}

// muddle is a JavaScript expression for elements that are visible although they have the attribute
// hidden, and elements of a form that overlap.
const muddle = `(() => {
	const seen = e => e.getClientRects().length > 0 && !e.closest('.hidden'), name = e => e.outerHTML.slice(0, 200)
	const over = (e, f) => {
		const a = e.getBoundingClientRect(), b = f.getBoundingClientRect()
		return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1
	}
	const found = new Set([...document.querySelectorAll('[hidden]')].filter(seen).map(e => 'not hidden: ' + name(e)))
	for (const form of document.querySelectorAll('main form, main .fields')) {
		const all = [...form.querySelectorAll('input, select, textarea, button, .help, .finding')].filter(seen)
		all.forEach((e, i) => all.slice(i + 1).forEach(f => { if (!e.contains(f) && over(e, f)) found.add(name(e) + ' lies over ' + name(f)) }))
	}
	return [...found].slice(0, 10)
})()`

// unfold opens all details elements.
func (b *tab) unfold() {
	b.t.Helper()
	value[bool](b, `(document.querySelectorAll('details').forEach(d => { d.open = true }), true)`)
}

// violations returns what axe-core finds within an element.
func (b *tab) violations(within, rules string) []string {
	b.t.Helper()
	text := value[string](b, `axe.run(`+within+`, {resultTypes: ['violations'], ...`+rules+`}).then(r => JSON.stringify(r.violations.map(v =>
		v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 5).map(n => n.html + ' ' + n.failureSummary).join('\n'))))`)
	var found []string
	require.NoError(b.t, json.Unmarshal([]byte(text), &found))
	return found
}
