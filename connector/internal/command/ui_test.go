package command

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/stretchr/testify/require"
)

var pageURL = regexp.MustCompile(`(https?://[^/"\s]+)/#token=(\w+)`)

// visit opens the page whose address a command has printed.
func visit(t *testing.T, told string) (ask func(method, path string, body any) (int, string)) {
	t.Helper()
	m := pageURL.FindStringSubmatch(told)
	require.NotNil(t, m, told)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	c := &http.Client{Jar: jar}
	t.Cleanup(c.CloseIdleConnections)
	ask = func(method, path string, body any) (int, string) {
		t.Helper()
		text, err := json.Marshal(body)
		require.NoError(t, err)
		r, err := http.NewRequestWithContext(t.Context(), method, m[1]+"/api/"+path, bytes.NewReader(text))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		a, err := c.Do(r)
		require.NoError(t, err)
		defer a.Body.Close()
		answer, err := io.ReadAll(a.Body)
		require.NoError(t, err)
		return a.StatusCode, string(answer)
	}
	status, answer := ask("POST", "login", map[string]string{"token": m[2]})
	require.Equal(t, http.StatusOK, status, answer)
	return ask
}

// The address that a command prints in Chinese opens the page in Chinese.
func TestUIAddressHasTheLanguage(t *testing.T) {
	require.Equal(t, "Open http://h/#token=x", (&Program{Lang: "en"}).openPage("http://h/#token=x"))
	require.Equal(t, "请在浏览器中打开 http://h/#token=x&lang=zh", (&Program{Lang: "zh"}).openPage("http://h/#token=x"))
}

func TestUIWritesAFileThatWasNotThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new.yaml")
	ctx, interrupt := context.WithCancel(t.Context())
	out, errs, code := newOutput(), newOutput(), make(chan int, 1)
	go func() {
		code <- (&Program{Stdin: strings.NewReader(""), Stdout: out, Stderr: errs}).run(ctx, []string{"ui", file})
	}()
	out.until(t, "#token=")
	ask := visit(t, out.String())
	status, answer := ask("GET", "config", nil)
	require.Equal(t, http.StatusOK, status, answer)
	status, answer = ask("POST", "config/edit", map[string]any{"text": "", "path": []string{"connector", "general", "broker_url"}, "value": "h:1"})
	require.Equal(t, http.StatusOK, status, answer)
	status, answer = ask("POST", "config/save", map[string]any{"text": "connector: {}\n", "revision": ""})
	require.Equal(t, http.StatusOK, status, answer)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "connector: {}\n", string(text))
	interrupt()
	require.Zero(t, <-code)
	require.Contains(t, errs.String(), "ui: saved the configuration")
}

func TestRunUIAppliesWhatThePageShows(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, "consumers:\n  in: {topics: [a], qos: 1}\n")
	r, _ := startReloadable(t, "run", "-c", file, "--ui", "-v")
	r.err.until(t, `"msg":"started"`)
	ask := visit(t, r.err.String())
	status, answer := ask("GET", "status", nil)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"file": "`+filepath.Base(file)+`", "running": true, "apply": true}`, answer)
	status, answer = ask("GET", "config", nil)
	require.Equal(t, http.StatusOK, status, answer)
	var v struct{ Text string }
	require.NoError(t, json.Unmarshal([]byte(answer), &v))
	status, answer = ask("POST", "config/apply", map[string]string{"text": strings.Replace(v.Text, "[a]", "[a, b]", 1)})
	require.Equal(t, http.StatusOK, status, answer)
	require.JSONEq(t, `{"applied": ["consumers.in.topics"]}`, answer)
	ok(t, "pub", "-b", addr, "-t", "b", "-m", "hello", "-q", "1")
	r.out.until(t, "hello")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(text), "[a, b]") // Apply does not save the file
	r.stop()
	require.Zero(t, <-r.code)
}

func TestUIOptionsThatCannotBeMeant(t *testing.T) {
	file := writeFile(t, "c.yaml", "")
	cert, key := testcert.SelfSigned(t).Write(t, t.TempDir(), "page")
	for _, args := range [][]string{
		{"ui"},
		{"ui", file, "--listen", "0.0.0.0:0"},
		{"ui", file, "--cert", cert},
		{"ui", file, "--cert", cert, "--key", cert},
		{"ui", file, "--key", key},
		{"ui", file, "--listen", "127.0.0.1"},
		{"run", "-c", configFile(t, "127.0.0.1:1", consumes), "--ui", "--watch"},
	} {
		r := mqtt311(t, args...)
		require.Equal(t, ExitUsage, r.code, "%v %s", args, r.err)
		require.Empty(t, r.out)
	}
}
