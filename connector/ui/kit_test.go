package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for something that normally happens at once.
const patience = time.Minute

// A browser is one that has presented the token.
type browser struct {
	t      *testing.T
	s      *Server
	cookie *http.Cookie
}

// openPage starts a server for a configuration and presents the token to it.
func openPage(t *testing.T, o Options) *browser {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := Start(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		http.DefaultClient.CloseIdleConnections()
	})
	b := &browser{t: t, s: s}
	r := b.do("POST", "/api/login", map[string]string{"token": s.token}, nil)
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Len(t, r.Cookies(), 1)
	b.cookie = r.Cookies()[0]
	return b
}

// file writes a configuration file for a test.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "connector.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// do sends a request as the page does, except for what change modifies.
func (b *browser) do(method, path string, body any, change func(*http.Request)) *http.Response {
	b.t.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(b.t, err)
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, "http://"+b.s.Addr().String()+"/", in)
	require.NoError(b.t, err)
	r.URL.Opaque = path // without normalising it
	if u, err := url.Parse(path); err == nil && !strings.Contains(path, "//") {
		r.URL.Opaque, r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "", u.Path, u.RawPath, u.RawQuery
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// post sends a request that must succeed, and returns the response.
func post[T any](b *browser, path string, body any) T {
	b.t.Helper()
	r := b.do("POST", "/api/"+path, body, nil)
	text, err := io.ReadAll(r.Body)
	require.NoError(b.t, err)
	require.Equal(b.t, http.StatusOK, r.StatusCode, "%s", text)
	var v T
	require.NoError(b.t, json.Unmarshal(text, &v))
	return v
}

// refused sends a request that must be refused, and returns the fault.
func refused(b *browser, path string, body any) fault {
	b.t.Helper()
	r := b.do("POST", "/api/"+path, body, nil)
	text, err := io.ReadAll(r.Body)
	require.NoError(b.t, err)
	require.GreaterOrEqual(b.t, r.StatusCode, 400, "%s", text)
	f := fault{status: r.StatusCode}
	require.NoError(b.t, json.Unmarshal(text, &f))
	return f
}
