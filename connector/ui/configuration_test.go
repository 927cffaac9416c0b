package ui

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// load requests the configuration, as the page does first.
func load(b *browser) view {
	b.t.Helper()
	r := b.do("GET", "/api/config", nil, nil)
	var v view
	text, err := io.ReadAll(r.Body)
	require.NoError(b.t, err)
	require.Equal(b.t, http.StatusOK, r.StatusCode, "%s", text)
	require.NoError(b.t, json.Unmarshal(text, &v))
	return v
}

func codes(v view) []string {
	out := []string{}
	for _, f := range v.Findings {
		out = append(out, f.Code)
	}
	return out
}

const plant = `# The plant.
connector:
  general:
    broker_url: 127.0.0.1:%
    client_id: line-7   # the seventh
    username: me
    password: hunter2
  advanced: {auto_reconnect: true}
`

func TestFormAndTextAreInStep(t *testing.T) {
	path := file(t, strings.Replace(plant, "%", "1883", 1))
	b := openPage(t, Options{File: path})
	v := load(b)
	require.NotContains(t, v.Text, "hunter2")
	require.Empty(t, codes(v))

	v2 := post[view](b, "config/edit", map[string]any{"text": v.Text, "path": []string{"connector", "general", "client_id"}, "value": "line-8"})
	require.Equal(t, strings.Replace(v.Text, "line-7", "line-8", 1), v2.Text)
	v2 = post[view](b, "config/edit", map[string]any{"text": v2.Text, "path": []string{"connector", "general", "protocol"}, "value": "nonsense"})
	require.Equal(t, strings.Replace(v.Text, "    client_id: line-7", "    protocol: nonsense\n    client_id: line-8", 1), v2.Text)
	require.Equal(t, []string{"E139"}, codes(v2))
	require.Equal(t, "connector.general.protocol", v2.Findings[0].Path)
	require.Equal(t, 5, v2.Findings[0].Line)

	// Change the text instead of a single value.
	v2 = post[view](b, "config/check", map[string]any{"text": strings.Replace(v.Text, "line-7", "line-9", 1)})
	require.Equal(t, "line-9", child(child(child(v2.Values, "connector"), "general"), "client_id").Text)
	require.Equal(t, "unreadable", post[view](b, "config/check", map[string]any{"text": "a: ["}).ReadOnly)
	v2 = post[view](b, "config/check", map[string]any{"text": v.Text + "x: &a 1\ny: *a\n"})
	require.Equal(t, "anchors", v2.ReadOnly)
	require.Equal(t, errEdit.EN, refused(b, "config/edit", map[string]any{"text": v2.Text, "path": []string{"connector"}, "value": 1}).EN)

	// Nothing of that was written to the file.
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strings.Replace(plant, "%", "1883", 1), string(now))
}

func TestSaveKeepsWhatItDoesNotChange(t *testing.T) {
	text := strings.Replace(plant, "%", "1883", 1)
	path := file(t, "\ufeff"+strings.ReplaceAll(text, "\n", "\r\n"))
	require.NoError(t, os.Chmod(path, 0o640))
	link := filepath.Join(t.TempDir(), "link.yaml")
	require.NoError(t, os.Symlink(path, link))
	b := openPage(t, Options{File: link})
	v := load(b)
	changed := strings.Replace(v.Text, "line-7", "line-8", 1)
	saved := post[view](b, "config/save", map[string]any{"text": changed, "revision": v.Revision})
	require.NotEqual(t, v.Revision, saved.Revision)
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "\ufeff"+strings.ReplaceAll(strings.Replace(text, "line-7", "line-8", 1), "\n", "\r\n"), string(now))
	old, err := os.ReadFile(path + "~")
	require.NoError(t, err)
	require.Equal(t, "\ufeff"+strings.ReplaceAll(text, "\n", "\r\n"), string(old))
	for _, name := range []string{path, path + "~"} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), info.Mode())
	}
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	beside, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, beside, 2) // no temporary file is left
	require.NotContains(t, saved.Text, "hunter2")
}

func TestSaveRefusesAFileThatHasChanged(t *testing.T) {
	path := file(t, strings.Replace(plant, "%", "1883", 1))
	b := openPage(t, Options{File: path})
	v := load(b)
	require.NoError(t, os.WriteFile(path, []byte("connector: {}"), 0o600))
	require.Equal(t, errChanged.EN, refused(b, "config/save", map[string]any{"text": v.Text, "revision": v.Revision}).EN)
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "connector: {}", string(now))
	v = load(b)
	require.Equal(t, "connector: {}", v.Text)
	require.Equal(t, "connector: {}\n", post[view](b, "config/save", map[string]any{"text": v.Text + "\n", "revision": v.Revision}).Text)

	// A file that was created meanwhile must not be overwritten either.
	fresh := filepath.Join(t.TempDir(), "new.yaml")
	b = openPage(t, Options{File: fresh})
	v = load(b)
	require.Empty(t, v.Text)
	require.NoError(t, os.WriteFile(fresh, []byte("x: 1"), 0o600))
	require.Equal(t, errChanged.EN, refused(b, "config/save", map[string]any{"text": "y: 1", "revision": v.Revision}).EN)
	require.NoError(t, os.Remove(fresh))
	post[view](b, "config/save", map[string]any{"text": "y: 1", "revision": ""})
	info, err := os.Stat(fresh)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestFilesThatThePageDoesNotShow(t *testing.T) {
	for text, why := range map[string]string{
		"a: [\npassword: hunter2":                "The file cannot be read",
		"password: !!str hunter2":                "cannot be hidden",
		"\xff\xfe":                               "not UTF-8",
		strings.Repeat("# x\n", maxText/4) + "x": "larger than 1 MiB",
	} {
		b := openPage(t, Options{File: file(t, text)})
		r := b.do("GET", "/api/config", nil, nil)
		require.Equal(t, http.StatusConflict, r.StatusCode)
		answer, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Contains(t, string(answer), why)
		require.NotContains(t, string(answer), "hunter2")
		require.Equal(t, errReload.EN, refused(b, "config/check", map[string]any{"text": "x"}).EN)
	}
	b := openPage(t, Options{File: t.TempDir()})
	require.Equal(t, http.StatusConflict, b.do("GET", "/api/config", nil, nil).StatusCode)
}

// counting starts a server that only counts its connections.
func counting(t *testing.T) (addr string, count func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	came := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(came)
				return
			}
			came <- struct{}{}
			c.Close()
		}
	}()
	return l.Addr().String(), func() int {
		l.Close()
		n := 0
		for range came {
			n++
		}
		return n
	}
}

// If another NATS server were saved, the next run would send the secret to it.
func TestSecretsOfNATSGoToTheirServerAlone(t *testing.T) {
	for name, c := range map[string]struct{ section, old, new string }{
		"a password":            {"{urls: ['nats://a:1'], username: u, password: hunter2", "a:1", "evil:1"},
		"a token, more servers": {"{urls: ['nats://a:1'], token: hunter2", "['nats://a:1'", "['nats://a:1', 'nats://evil:1'"},
		"in the address":        {"{urls: ['nats://u:hunter2@a:1']", "@a:1", "@evil:1"},
		"another authority":     {"{urls: ['tls://a:1'], token: hunter2", "{urls", "{tls_server_cert: {pem: x}, urls"},
	} {
		path := file(t, "connector: {general: {broker_url: '127.0.0.1:1', client_id: c}}\nnats: "+c.section+", stream: S}\nconsumers: {in: {topics: [a], qos: 1}}\n")
		b := openPage(t, Options{File: path})
		v := load(b)
		require.NotContains(t, v.Text, "hunter2", name)
		f := refused(b, "config/save", map[string]any{"text": strings.Replace(v.Text, c.old, c.new, 1), "revision": v.Revision})
		require.Contains(t, f.EN, "enter the secret again", name)
		post[view](b, "config/save", map[string]any{"text": strings.Replace(v.Text, "stream: S", "stream: T", 1), "revision": v.Revision})
	}
}

// A secret may be a prefix of another one.
func TestScrubTakesTheLongestSecretFirst(t *testing.T) {
	v, err := newVeil("connector: {general: {password: abc}}\nconnections: {a: {general: {password: abcdef}}, b: {general: {password: abcdefghi}}}\n")
	require.NoError(t, err)
	for range 20 {
		require.Equal(t, "x [redacted] y", v.scrub("x abcdefghi y"))
	}
}

// A secret of the file is never sent to a server that was changed on the page, neither at once nor
// after the change is saved.
func TestSecretsGoToTheirServerAlone(t *testing.T) {
	t.Setenv("MQTT311_TEST_PASSWORD", "hunter2")
	evil, came := counting(t)
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "pw"), []byte("hunter2"), 0o600))
	for name, c := range map[string]struct {
		password, old, new string
		save               bool // saving is refused too
	}{
		"the address":           {"hunter2", "127.0.0.1:1", evil, true},
		"the port":              {"hunter2", "127.0.0.1:1", "127.0.0.1:2", true},
		"another, too":          {"hunter2", "extension:", "extension:\n    failover_urls: [" + evil + "]", true},
		"a proxy":               {"hunter2", "extension:", "extension:\n    proxy: http://" + evil, true},
		"without TLS":           {"hunter2", "protocol: TLS", "protocol: TCP", true},
		"without a look":        {"hunter2", "extension:", "extension:\n    tls_insecure_skip_verify: true", true},
		"another authority":     {"hunter2", "    client_id", "    tls_server_cert: {pem: x}\n    client_id", true},
		"a secret in a file":    {"{file: pw}", "127.0.0.1:1", evil, false},
		"a secret in a var":     {"{env: MQTT311_TEST_PASSWORD}", "127.0.0.1:1", evil, false},
		"a secret of a command": {"{exec: [cat, pw]}", "127.0.0.1:1", evil, false},
	} {
		path := filepath.Join(folder, "c.yaml")
		text := "connector:\n  general:\n    broker_url: 127.0.0.1:1\n    protocol: TLS\n    client_id: c\n    username: u\n    password: " + c.password + "\n  extension:\n    tls_alpn: []\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		b := openPage(t, Options{File: path, Apply: func(context.Context, *connector.Config) (connector.Changes, error) {
			t.Error(name, "was applied")
			return connector.Changes{}, nil
		}})
		v := load(b)
		changed := strings.Replace(v.Text, c.old, c.new, 1)
		require.NotEqual(t, v.Text, changed)
		for _, act := range []string{"test", "apply"} {
			f := refused(b, "config/"+act, map[string]any{"text": changed})
			require.Equal(t, http.StatusConflict, f.status, name)
			require.Regexp(t, "enter the secret again|belong to another server", f.EN, name)
		}
		if c.save {
			f := refused(b, "config/save", map[string]any{"text": changed, "revision": v.Revision})
			require.Contains(t, f.EN, "enter the secret again", name)
		}
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(now))
	}
	require.Zero(t, came())
}

// Files, variables and commands that were not in the file at the start are shown, but not used,
// even if they have been saved since.
func TestNewReferencesAreNotResolved(t *testing.T) {
	t.Setenv("MQTT311_TEST_PASSWORD", "hunter2")
	folder := t.TempDir()
	mark := filepath.Join(folder, "was-run")
	path := filepath.Join(folder, "c.yaml")
	text := "connector:\n  general:\n    broker_url: 127.0.0.1:1\n    client_id: c\n    username: u\n  advanced: {auto_reconnect: true}\n"
	for name, add := range map[string]string{
		"a command":             "    password: {exec: [touch, " + mark + "]}\n",
		"a file":                "    password: {file: /etc/passwd}\n",
		"a variable":            "    password: {env: MQTT311_TEST_PASSWORD}\n",
		"a variable in a topic": "    client_id: ${env:MQTT311_TEST_PASSWORD}\n",
		"a certificate":         "    tls_server_cert: /etc/passwd\n",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		b := openPage(t, Options{File: path, Apply: func(context.Context, *connector.Config) (connector.Changes, error) {
			t.Error(name, "was applied")
			return connector.Changes{}, nil
		}})
		v := load(b)
		changed := strings.Replace(v.Text, "    username: u\n", "    username: u\n"+add, 1)
		if strings.Contains(add, "client_id") {
			changed = strings.Replace(v.Text, "    client_id: c\n", add, 1)
		}
		for range 2 {
			checked := post[view](b, "config/check", map[string]any{"text": changed})
			require.Len(t, checked.Withheld, 1, name)
			answer, err := json.Marshal(checked)
			require.NoError(t, err)
			require.NotContains(t, string(answer), "hunter2", name)
			require.NotContains(t, string(answer), "root:", name)
			require.Equal(t, errWithheld.EN, refused(b, "config/test", map[string]any{"text": changed}).EN, name)
			require.Equal(t, errWithheld.EN, refused(b, "config/apply", map[string]any{"text": changed}).EN, name)
			changed = post[view](b, "config/save", map[string]any{"text": changed, "revision": load(b).Revision}).Text
		}
	}
	require.NoFileExists(t, mark)
}

// A reference that was in the file is used only where it was, and only for the same purpose.
func TestReferencesServeWhatTheyServed(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "pw"), []byte("hunter2"), 0o600))
	path := filepath.Join(folder, "c.yaml")
	require.NoError(t, os.WriteFile(path, []byte("connector:\n  general: {broker_url: 127.0.0.1:1, client_id: c, username: u, password: {file: pw}}\n  advanced: {auto_reconnect: true}\n"), 0o600))
	b := openPage(t, Options{File: path})
	v := load(b)
	require.Empty(t, v.Withheld)
	require.Empty(t, codes(v))
	v = post[view](b, "config/check", map[string]any{"text": strings.Replace(v.Text, "username: u", "username: {file: pw}", 1)})
	require.Len(t, v.Withheld, 1)
	require.Equal(t, "connector.general.username", v.Withheld[0].Path)
}

// The connection test reports each step, and the server's answer for each topic.
func TestConnectionIsTestedFromThePage(t *testing.T) {
	s, err := broker.Start()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	b := openPage(t, Options{File: file(t, strings.Replace(plant, "%", port, 1))})
	v := load(b)
	lines := tested(b, v.Text+"consumers:\n  in:\n    topics: [a/<b>]\n")
	var steps []string
	for _, l := range lines {
		steps = append(steps, l.Step+l.Filter)
		require.True(t, l.OK, l)
	}
	require.Equal(t, []string{"tcp", "connect", "subscribe", "disconnect", "a/<b>", ""}, steps)
	require.True(t, lines[len(lines)-1].Done)
	require.Regexp(t, "^line-7-test-", lines[len(lines)-1].ClientID)

	require.NoError(t, s.Close())
	lines = tested(b, v.Text)
	require.False(t, lines[len(lines)-1].OK)
	failed := lines[len(lines)-2]
	require.Equal(t, "tcp", failed.Step)
	require.NotEmpty(t, failed.Error)
	require.NotEmpty(t, failed.Hint.EN)
	require.NotEmpty(t, failed.Hint.ZH)
	require.Equal(t, errMistakes.EN, refused(b, "config/test", map[string]any{"text": "connector: {}"}).EN)
}

func tested(b *browser, text string) (lines []testLine) {
	b.t.Helper()
	r := b.do("POST", "/api/config/test", map[string]any{"text": text}, nil)
	require.Equal(b.t, http.StatusOK, r.StatusCode)
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		var l testLine
		require.NoError(b.t, json.Unmarshal(s.Bytes(), &l))
		lines = append(lines, l)
	}
	require.NotEmpty(b.t, lines)
	return lines
}

// The page treats the contents of the file as data, whatever they look like.
func TestMarkupInTheFileIsText(t *testing.T) {
	script := "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
	b := openPage(t, Options{File: file(t, "connector: {general: {broker_url: h, client_id: '"+script+"'}}")})
	r := b.do("GET", "/api/config", nil, nil)
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	answer, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NotContains(t, string(answer), "<script") // encoding/json escapes it
	var v view
	require.NoError(t, json.Unmarshal(answer, &v))
	require.Contains(t, v.Text, script)

	// The page makes elements and texts, and never parses text as markup.
	for name, a := range assets {
		for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "srcdoc", "javascript:", "<style", "style=", "onclick="} {
			require.NotContains(t, string(a.text), way, name)
		}
	}
}

func TestApplyIsOfARunningConnector(t *testing.T) {
	b := openPage(t, Options{File: file(t, strings.Replace(plant, "%", "1", 1))})
	require.Equal(t, errApply.EN, refused(b, "config/apply", map[string]any{"text": load(b).Text}).EN)

	var got *connector.Config
	b = openPage(t, Options{File: file(t, strings.Replace(plant, "%", "1", 1)), Apply: func(_ context.Context, c *connector.Config) (connector.Changes, error) {
		got = c
		return connector.Changes{Applied: []string{"consumers.in"}}, nil
	}})
	v := load(b)
	changes := post[connector.Changes](b, "config/apply", map[string]any{"text": v.Text})
	require.Equal(t, []string{"consumers.in"}, changes.Applied)
	require.Equal(t, "hunter2", string(got.General.Password))
}

func TestPageIsSmall(t *testing.T) {
	total := 0
	for path, a := range assets {
		total += len(a.text)
		require.NotEmpty(t, a.kind, path)
	}
	require.Less(t, total, 150_000)
}
