package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// refused receives a CONNECT, refuses it, and returns it.
func (d *dialogue) refused() *packets.Connect {
	d.Helper()
	conn, err := d.server.Accept(d.ctx)
	require.NoError(d, err)
	defer conn.Close()
	p, err := conn.Receive()
	require.NoError(d, err)
	require.NoError(d, conn.Send(&packets.Connack{Code: packets.NotAuthorized}))
	return p.(*packets.Connect)
}

// A user name and a password from a source are read at every attempt, so that the next attempt uses
// a renewed token: from a file, from the environment, or from a command.
func TestSecretsAreReadAtEveryAttempt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	for name, source := range map[string]connector.SecretSource{
		"file": {File: file},
		"env":  {Env: "MQTT311_TEST_SECRET"},
		"exec": {Exec: []string{"cat", file}},
	} {
		for _, of := range []string{"password", "user name"} {
			t.Run(name+", "+of, func(t *testing.T) {
				t.Setenv("MQTT311_TEST_SECRET", "token-1")
				write("token-1\n")
				// Not in a bubble: a command is waited for outside of it.
				d := &dialogue{T: t, ctx: t.Context(), server: clienttest.NewServer()}
				d.options.Dial = d.server.Dial
				cfg := kept(connector.ConsumerParams{})
				cfg.Advanced.ConnectRetry, cfg.Advanced.ConnectRetryInterval = true, ptr(time.Millisecond)
				cfg.General.UserName = "device"
				if of == "password" {
					cfg.General.PasswordFrom = &source
				} else {
					cfg.General.UserName, cfg.General.UserNameFrom = "", &source
				}
				d.build(cfg, newGate())
				started := d.start(func() error { return d.connector.Start(d.ctx) })
				sent := func(p *packets.Connect) string {
					if of == "password" {
						require.Equal(t, "device", p.UserName)
						return string(p.Password)
					}
					require.False(t, p.HasPassword)
					return p.UserName
				}
				require.Equal(t, "token-1", sent(d.refused()))
				require.NoError(t, os.Setenv("MQTT311_TEST_SECRET", "token-2"))
				write("\ufefftoken-2\r\n")
				for {
					if got := sent(d.refused()); got == "token-2" {
						break // one attempt may have been under way
					} else {
						require.Equal(t, "token-1", got)
					}
				}
				require.NoError(t, d.connector.Stop(d.ctx))
				require.Error(t, started())
			})
		}
	}
}

// A secret that cannot be read fails the attempt, which is repeated. The error names the source and
// contains no part of the secret.
func TestSecretThatCannotBeRead(t *testing.T) {
	folder := t.TempDir()
	script := filepath.Join(folder, "token.sh")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"+`case "$1" in
slow) sleep 60 & echo hunter2; sleep 60;;
fails) echo hunter2; echo hunter2 >&2; exit 3;;
endless) yes hunter2;;
empty) ;;
child) sleep 60 & echo fine;;
esac
`), 0o700))
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	t.Setenv("MQTT311_TEST_EMPTY", "")
	for want, source := range map[string]connector.SecretSource{
		"took longer than 300ms":            {Exec: []string{script, "slow"}, Timeout: 300 * time.Millisecond},
		"ended with exit status 3":          {Exec: []string{script, "fails"}},
		"larger than 65536 bytes":           {Exec: []string{script, "endless"}},
		"token.sh\" is empty":               {Exec: []string{script, "empty"}},
		"":                                  {Exec: []string{script, "child"}},
		"large\" is larger":                 {File: file("large", strings.Repeat("hunter2", 10_000))},
		"utf16\" is UTF-16":                 {File: file("utf16", "\xff\xfeh\x00")},
		"empty\" is empty":                  {File: file("empty", "\n")},
		"_EMPTY\" is empty":                 {Env: "MQTT311_TEST_EMPTY"},
		"/dev/zero\" is not a regular file": {File: "/dev/zero"},
	} {
		t.Run(want, func(t *testing.T) {
			start := time.Now()
			got, err := source.Read(t.Context())
			if want == "" {
				require.NoError(t, err)
				require.Equal(t, "fine", got)
			} else {
				require.ErrorContains(t, err, want)
				require.Equal(t, flow.TypeSecret, flow.AsError(err).Type)
				require.NotContains(t, err.Error(), "hunter2")
			}
			require.Less(t, time.Since(start), 20*time.Second, "what a command leaves behind is not waited for")
		})
	}
}

// The headers of a WebSocket handshake are read for every handshake.
func TestWSHeadersAreReadAtEveryHandshake(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("Bearer old\n"), 0o600))
	seen := make(chan string, 100)
	var old sync.Once
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		seen <- req.Header.Get("Authorization") + ", " + req.Header.Get("X-Plant")
		old.Do(func() { require.NoError(t, os.WriteFile(file, []byte("Bearer new"), 0o600)) })
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer gateway.Close()
	cfg := producing(connector.ProducerParams{Topic: "t"})
	cfg.General.BrokerURL, cfg.General.Protocol = strings.TrimPrefix(gateway.URL, "http://"), connector.WebSocket
	cfg.Advanced.ConnectRetry, cfg.Advanced.ConnectRetryInterval = true, ptr(time.Millisecond)
	cfg.Extension.WSHeaders = map[string]connector.Secret{"X-Plant": "7"}
	cfg.Extension.WSHeadersFrom = map[string]connector.SecretSource{"Authorization": {File: file}}
	c, err := connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	require.Equal(t, "Bearer old, 7", <-seen)
	require.Equal(t, "Bearer new, 7", <-seen)
	require.NoError(t, c.Stop(ctx))
	require.Error(t, <-done)
}

// The URL of a proxy is read for every connection.
func TestProxyIsReadAtEveryAttempt(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	file := filepath.Join(t.TempDir(), "proxy")
	require.NoError(t, os.WriteFile(file, []byte("socks5://user:hunter2@"+closedPort(t)), 0o600))
	cfg := producing(connector.ProducerParams{Topic: "t"})
	cfg.General.BrokerURL = b.Addr
	cfg.Extension.ProxyFrom = &connector.SecretSource{File: file}
	c, err := connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("nonsense: hunter2"), 0o600))
	err = c.Start(t.Context())
	require.ErrorContains(t, err, "holds neither a proxy's URL nor env")
	require.NotContains(t, err.Error(), "hunter2")
	require.NoError(t, c.Stop(t.Context()))
	require.NoError(t, os.WriteFile(file, []byte("env\n"), 0o600))
	t.Setenv("ALL_PROXY", "")
	c, err = connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context()))
	require.NoError(t, c.Stop(t.Context()))
}

// The source of a secret may be shown, but not the arguments of a command.
func TestSecretSourceIsShownWithoutArguments(t *testing.T) {
	for want, s := range map[string]connector.SecretSource{
		`exec "vault"`: {Exec: []string{"vault", "read", "hunter2"}},
		`env "PW"`:     {Env: "PW"},
		`file "/x"`:    {File: "/x"},
	} {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "from", s, "config", connector.General{PasswordFrom: &s})
		text, err := json.Marshal(map[string]any{"s": s, "p": &s})
		require.NoError(t, err)
		for _, shown := range []string{s.String(), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, &s, &s, s)} {
			require.Contains(t, shown, want)
			require.NotContains(t, shown, "hunter2")
		}
		require.NotContains(t, log.String()+string(text), "hunter2")
		require.Contains(t, string(text), strconv.Quote(want))
	}
}

// The zone of an IPv6 address is accepted in the usual form.
func TestIPv6Zone(t *testing.T) {
	for url, mistakes := range map[string]bool{
		"[fe80::1%eth0]:1883": false, "[::1%25lo]:1883": false, "[::1%lo]:8083/mqtt?a=%20b": false, "[::1%lo:1883": true, "::1%lo:1883": true,
	} {
		for _, protocol := range []connector.Protocol{connector.TCP, connector.WebSocket} {
			cfg := producing(connector.ProducerParams{Topic: "t"})
			cfg.General.BrokerURL, cfg.General.Protocol = url, protocol
			_, err := connector.New(cfg, connector.Options{})
			require.Equal(t, mistakes, err != nil, "%s: %v", url, err)
		}
	}
}

// The key of a client certificate may come from a command, for every connection; an invalid key fails
// the attempt.
func TestTLSKeyIsReadAtEveryAttempt(t *testing.T) {
	cert, key, _ := selfSigned(t, "client")
	serverCert, _, server := selfSigned(t, "server")
	address := fronts(t, server, cert)[connector.TLS]
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("hunter2"), 0o600))
	cfg := producing(connector.ProducerParams{Topic: "t"})
	cfg.General.BrokerURL, cfg.General.Protocol, cfg.General.TLSServerCert = address, connector.TLS, serverCert
	cfg.General.TLSClientCert, cfg.General.TLSClientKeyFrom = cert, &connector.SecretSource{Exec: []string{"cat", file}}
	c, err := connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	err = c.Start(t.Context())
	require.ErrorIs(t, err, flow.TypeSecret)
	require.ErrorContains(t, err, "holds no PEM")
	require.NotContains(t, err.Error(), "hunter2")
	require.NoError(t, c.Stop(t.Context()))
	require.NoError(t, os.WriteFile(file, []byte(key), 0o600))
	c, err = connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context()))
	require.NoError(t, c.Stop(t.Context()))
	// With no certificate the key has no use, and with TCP neither.
	cfg.General.TLSClientCert = ""
	_, err = connector.New(cfg, connector.Options{})
	require.ErrorContains(t, err, "E108")
	cfg.General.Protocol, cfg.General.TLSServerCert = connector.TCP, ""
	_, err = connector.New(cfg, connector.Options{})
	require.ErrorContains(t, err, "E101")
}

// A program may write what a file cannot: a secret with no source, or with two. Both are refused.
func TestSecretSourceOfAProgram(t *testing.T) {
	for want, s := range map[string]connector.SecretSource{
		"E147": {}, "E140": {File: "f", Env: "E"}, "E140 ": {Exec: []string{"true"}, File: "f"}, "E147 ": {Exec: []string{}},
	} {
		cfg := producing(connector.ProducerParams{Topic: "t"})
		cfg.General.UserNameFrom = &s
		_, err := connector.New(cfg, connector.Options{})
		require.ErrorContains(t, err, strings.TrimSpace(want)+" connector.general.username")
	}
}
