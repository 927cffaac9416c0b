package ui

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRequestsThatAreNotOfThePageAreRefused(t *testing.T) {
	b := openPage(t, Options{File: file(t, "")})
	_, port, err := net.SplitHostPort(b.s.Addr().String())
	require.NoError(t, err)
	for name, c := range map[string]struct {
		method, path string
		change       func(*http.Request)
		status       int
	}{
		"as the page asks":            {"GET", "/api/status", nil, 200},
		"localhost":                   {"GET", "/api/status", func(r *http.Request) { r.Host = "localhost:" + port }, 200},
		"a host of others":            {"GET", "/api/status", func(r *http.Request) { r.Host = "evil.example" }, 403},
		"a host of others, this port": {"GET", "/api/status", func(r *http.Request) { r.Host = "evil.example:" + port }, 403},
		"another port":                {"GET", "/api/status", func(r *http.Request) { r.Host = "127.0.0.1:1" }, 403},
		"no port":                     {"GET", "/api/status", func(r *http.Request) { r.Host = "127.0.0.1" }, 403},
		"a host of others, the files": {"GET", "/", func(r *http.Request) { r.Host = "evil.example" }, 403},
		"an origin of others":         {"POST", "/api/login", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		"an origin, reading":          {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		"origin null":                 {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		"own origin":                  {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:"+port) }, 200},
		"own origin, but TLS":         {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Origin", "https://127.0.0.1:"+port) }, 403},
		"another site":                {"POST", "/api/login", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"another site, reading":       {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"another port of this host":   {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"typed in":                    {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, 403},
		"a link of another site":      {"GET", "/", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 200},
		"no cookie":                   {"GET", "/api/status", func(r *http.Request) { r.Header.Del("Cookie") }, 401},
		"another cookie":              {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Cookie", b.cookie.Name+"=AAAAAAAAAAAAAAAAAAAAAAAAAA") }, 401},
		"the token as cookie":         {"GET", "/api/status", func(r *http.Request) { r.Header.Set("Cookie", b.cookie.Name+"="+b.s.token) }, 401},
		"no cookie, nothing there":    {"GET", "/api/none", func(r *http.Request) { r.Header.Del("Cookie") }, 401},
		"a form":                      {"POST", "/api/status", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415},
		"no handler":                  {"GET", "/api/none", nil, 404},
		"the wrong method":            {"DELETE", "/", nil, 405},
	} {
		r := b.do(c.method, c.path, nil, func(r *http.Request) {
			if r.Method == "POST" {
				r.Header.Set("Content-Type", "application/json")
				r.Body = io.NopCloser(strings.NewReader(`{}`))
			}
			if c.change != nil {
				c.change(r)
			}
		})
		require.Equal(t, c.status, r.StatusCode, name)
		require.Contains(t, r.Header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'", name)
		require.NotContains(t, r.Header.Get("Content-Security-Policy"), "unsafe", name)
		require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"), name)
		require.Equal(t, "no-store", r.Header.Get("Cache-Control"), name)
	}
}

func TestTokenBecomesACookie(t *testing.T) {
	b := openPage(t, Options{File: file(t, "")})
	require.True(t, b.cookie.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, b.cookie.SameSite)
	require.NotEqual(t, b.s.token, b.cookie.Value)
	require.Contains(t, b.s.URL(), "/#token="+b.s.token)
	require.GreaterOrEqual(t, len(b.s.token), 26) // 128 bits

	for _, token := range []string{"", "x", b.s.token + "x", b.s.token[1:], strings.ToLower(b.s.token)} {
		r := b.do("POST", "/api/login", map[string]string{"token": token}, func(r *http.Request) { r.Header.Del("Cookie") })
		require.Equal(t, http.StatusUnauthorized, r.StatusCode, token)
		require.Empty(t, r.Cookies())
	}
	// With too many sessions, the oldest browser has to present the token again.
	for range mostSessions {
		require.Equal(t, http.StatusOK, b.do("POST", "/api/login", map[string]string{"token": b.s.token}, nil).StatusCode)
	}
	require.Equal(t, http.StatusUnauthorized, b.do("GET", "/api/status", nil, nil).StatusCode)
}

func TestPathsLeadToNoFile(t *testing.T) {
	path := file(t, "connector: {}")
	b := openPage(t, Options{File: path})
	for _, trick := range []string{
		"/../connector.yaml", "/..%2fconnector.yaml", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/web/index.html", "/index.html",
		"/./app.js", "/web", "/app.js/", "/app.js%00", "/api", "/api/", "/api/../status", "/API/status", path, "/.env", `/..\app.js`, "/api//status",
	} {
		r := b.do("GET", trick, nil, nil)
		require.Contains(t, []int{http.StatusNotFound, http.StatusForbidden}, r.StatusCode, trick)
	}
}

func TestOtherMachinesNeedTLS(t *testing.T) {
	_, err := Start(Options{File: "x.yaml", Address: "0.0.0.0:0"})
	require.ErrorContains(t, err, "is not a loopback address")
	_, err = Start(Options{File: "x.yaml", Address: "[::]:0"})
	require.ErrorContains(t, err, "is not a loopback address")
	s, err := Start(Options{File: "x.yaml", Address: "0.0.0.0:0", TLS: new(tls.Config), Hosts: []string{"plant.example"}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.Regexp(t, `^https://plant\.example:\d+/#token=`, s.URL())
	require.NoError(t, s.Shutdown(t.Context()))
}

func TestLargeRequestIsRefused(t *testing.T) {
	b := openPage(t, Options{File: file(t, "")})
	require.Equal(t, http.StatusRequestEntityTooLarge, refused(b, "login", map[string]string{"token": strings.Repeat("x", maxBody)}).status)
}

// A stream that nobody ends does not delay Shutdown, and nothing runs afterwards.
func TestShutdownEndsStreams(t *testing.T) {
	s, err := Start(Options{File: "x.yaml", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	over := make(chan struct{})
	s.stream("endless", func(ctx context.Context, _ *http.Request, send func(any) error) error {
		defer close(over)
		if err := send("first"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	b := &browser{t: t, s: s}
	b.cookie = b.do("POST", "/api/login", map[string]string{"token": s.token}, nil).Cookies()[0]
	r := b.do("POST", "/api/endless", struct{}{}, nil)
	line := make([]byte, 8)
	_, err = io.ReadFull(r.Body, line)
	require.NoError(t, err)
	require.Equal(t, "\"first\"\n", string(line))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx))
	<-over
	_, err = net.Dial("tcp", s.Addr().String())
	require.Error(t, err)
}
