package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for each thing that normally happens at once.
const patience = 2 * time.Minute

var (
	binary  string          // path of the command
	browser context.Context // the one browser, or nil if there is none
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "mqtt311-browser")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "mqtt311")
		build := exec.Command("go", "build", "-o", binary, "./connector/cmd/mqtt311")
		build.Dir = "../../.."
		output := new(strings.Builder)
		build.Stdout, build.Stderr = output, output
		if err := build.Start(); err != nil {
			panic(err)
		}
		built := sync.OnceValue(build.Wait)
		defer built()
		if path, err := exec.LookPath("chromium"); err == nil { // without a browser, each test says so
			options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
				chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
				chromedp.Flag("force-prefers-reduced-motion", true), // colours change at once
				chromedp.UserDataDir(filepath.Join(dir, "profile")))
			allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
			defer cancel()
			browser, cancel = chromedp.NewContext(allocator)
			defer cancel()
			if err := chromedp.Do(browser); err != nil { // starts the browser while the command is built
				fmt.Fprintf(os.Stderr, "chromium: %v\n", err)
				return 1
			}
		}
		if err := built(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
			return 1
		}
		return m.Run()
	}())
}

// A tab is a page in a browser. Complaints make the test fail: errors and exceptions on the
// console, including violations of the Content-Security-Policy and Trusted Types, and dialogs,
// which the page never opens.
type tab struct {
	t   *testing.T
	ctx context.Context

	marked chan struct{} // receives a value for each mark on the console

	mu         sync.Mutex
	complaints []string
}

// mark is the line that heard writes to the console.
const mark = "mark of the test"

// open opens a page, in the given language, in a tab that shares nothing with others.
func open(t *testing.T, url, lang string) *tab {
	t.Helper()
	if browser == nil && os.Getenv("CI") == "" {
		t.Skip("chromium is not installed: apt-get install chromium")
	}
	require.NotNil(t, browser, "chromium is not installed")
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, marked: make(chan struct{}, 1)}
	require.NoError(t, chromedp.Do(ctx))
	b.listen(cancel)
	b.do(chromedp.EmulateViewport(width, 1000), chromedp.Navigate(url))
	b.until(`document.querySelector('.toolbar') && document.querySelector('.field')`)
	if value[string](b, `document.documentElement.lang`)[:2] != lang {
		b.click(`#language`)
	}
	return b
}

// width is the width of a tab in pixels.
const width = 1200

func (b *tab) listen(cancel func()) {
	messages, dialogs := chromedp.Console(b.ctx), chromedp.Events(b.ctx, page.JavascriptDialogOpening)
	var listening sync.WaitGroup
	listening.Go(func() {
		for m, err := range messages {
			switch {
			case err != nil:
				return
			case m.Text == mark:
				b.marked <- struct{}{}
			case m.IsException() || m.Type == chromedp.ConsoleError:
				b.complain("the console: %s %s", m, m.URL)
			}
		}
	})
	listening.Go(func() {
		for d, err := range dialogs {
			if err != nil {
				return
			}
			b.complain("a dialog: %s", d.Message)
			chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}
	})
	b.t.Cleanup(func() {
		for _, c := range b.heard() {
			b.t.Error(c)
		}
		cancel()
		listening.Wait()
	})
}

func (b *tab) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, fmt.Sprintf(format, args...))
}

// heard returns all complaints so far, and clears them.
func (b *tab) heard() []string {
	b.t.Helper()
	value[bool](b, fmt.Sprintf(`(console.debug(%q), true)`, mark))
	select {
	case <-b.marked:
	case <-time.After(patience):
		b.t.Fatal("the console is not heard")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.complaints
	b.complaints = nil
	return all
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for i, s := range steps {
		_, err := run(b, s)
		b.require(err, "step %d", i)
	}
}

// run runs a step, for at most the patience of a test.
func run[T any](b *tab, step chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, step)
}

// require ends the test if there is an error, and logs what the page shows.
func (b *tab) require(err error, format string, args ...any) {
	b.t.Helper()
	if err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	text, failed := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText + '\n' + (document.querySelector('.yaml')?.value ?? '')`))
	if failed != nil {
		text = failed.Error()
	}
	b.t.Fatalf("%s: %v; the page:\n%s", fmt.Sprintf(format, args...), err, text)
}

// until waits until a JavaScript expression is true.
func (b *tab) until(expression string) {
	b.t.Helper()
	_, err := run(b, chromedp.Poll[bool]("Boolean("+expression+")", chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(0)))
	b.require(err, "%s", expression)
}

func value[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := run(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	b.require(err, "%s", expression[:min(len(expression), 200)])
	return v
}

// click clicks the first element that matches a selector, which may also be an XPath.
func (b *tab) click(selector string) {
	b.t.Helper()
	if strings.HasPrefix(selector, "//") {
		b.do(chromedp.Click(chromedp.Search(selector)))
		return
	}
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// write types text into an element, key by key, or chooses a file.
func (b *tab) write(selector, keys string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(selector), keys))
}

func (b *tab) visible(selector string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// field returns the selector of a control in the field with the given path.
func field(path, control string) string { return fmt.Sprintf(`[data-path="%s"] %s`, path, control) }

// choose chooses a word of a select element, as a user does.
func (b *tab) choose(selector, word string) {
	b.t.Helper()
	b.visible(selector)
	script := fmt.Sprintf(`(() => {
		const s = document.querySelector(%q)
		s.value = %q
		s.dispatchEvent(new Event('change', {bubbles: true}))
		return s.value
	})()`, selector, word)
	require.Equal(b.t, word, value[string](b, script), "%s has other words", selector)
}

// put changes the text of an input with a JavaScript function, as if the result were typed.
func (b *tab) put(selector, function string) {
	b.t.Helper()
	b.visible(selector)
	b.until(fmt.Sprintf(`!document.querySelector(%q).disabled`, selector))
	value[bool](b, fmt.Sprintf(`(() => {
		const e = document.querySelector(%q)
		e.focus()
		e.value = (%s)(e.value)
		e.dispatchEvent(new Event('input', {bubbles: true}))
		return true
	})()`, selector, function))
}

// visit opens another page of the navigation.
func (b *tab) visit(id string) {
	b.t.Helper()
	// The page is rebuilt a moment after the click, unless it is the current one.
	value[bool](b, fmt.Sprintf(`(() => { if (location.hash != '#/%s') document.querySelector('main .page')?.setAttribute('data-left', ''); return true })()`, id))
	b.click(`nav a[href="#/` + id + `"]`)
	b.visible(`#page-` + id + `:not([data-left])`)
}

// button returns the XPath of the button with a text.
func button(text string) string { return fmt.Sprintf(`//button[normalize-space()=%q]`, text) }
