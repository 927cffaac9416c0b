package paho_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	mqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/stretchr/testify/require"
)

// Readers return what the setters set.
func TestOptionsReader(t *testing.T) {
	config, headers, web := &tls.Config{}, http.Header{"A": {"b"}}, &mqtt.WebsocketOptions{}
	o := mqtt.NewClientOptions().AddBroker("one:1").SetClientID("c").SetUsername("u").SetPassword("p").SetCleanSession(false).
		SetOrderMatters(false).SetBinaryWill("w", []byte("x"), 2, true).SetProtocolVersion(4).SetTLSConfig(config).
		SetKeepAlive(time.Minute).SetPingTimeout(time.Second).SetConnectTimeout(2 * time.Second).SetMaxReconnectInterval(3 * time.Second).
		SetAutoReconnect(false).SetConnectRetryInterval(4 * time.Second).SetConnectRetry(true).SetWriteTimeout(5 * time.Second).
		SetMessageChannelDepth(6).SetResumeSubs(true).SetHTTPHeaders(headers).SetWebsocketOptions(web)
	r := mqtt.NewClient(o).OptionsReader()
	o.SetClientID("changed later")
	require.Equal(t, []any{
		"c", "u", "p", false, false, true, "w", []byte("x"), byte(2), true, uint(4), time.Minute, time.Second, 2 * time.Second, 3 * time.Second,
		false, 4 * time.Second, true, 5 * time.Second, uint(6), true, headers,
	}, []any{
		r.ClientID(), r.Username(), r.Password(), r.CleanSession(), r.Order(), r.WillEnabled(), r.WillTopic(), r.WillPayload(), r.WillQos(),
		r.WillRetained(), r.ProtocolVersion(), r.KeepAlive(), r.PingTimeout(), r.ConnectTimeout(), r.MaxReconnectInterval(),
		r.AutoReconnect(), r.ConnectRetryInterval(), r.ConnectRetry(), r.WriteTimeout(), r.MessageChannelDepth(), r.ResumeSubs(), r.HTTPHeaders(),
	})
	require.Same(t, config, r.TLSConfig())
	require.Same(t, web, r.WebsocketOptions())
	require.Equal(t, []*url.URL{{Scheme: "tcp", Host: "one:1"}}, r.Servers())
	r.Servers()[0].Host = "x"
	require.Equal(t, "one:1", r.Servers()[0].Host)
	mock := mqtt.NewOptionsReader(mqtt.NewClientOptions().SetClientID("mock"))
	require.Equal(t, "mock", mock.ClientID())
	plain := mqtt.NewClient(mqtt.NewClientOptions()).OptionsReader()
	require.EqualValues(t, 4, plain.ProtocolVersion())
}

// docs/paho.md has a row for every setter, and its programs compile.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/paho.md")
	require.NoError(t, err)
	text := string(b)
	options := reflect.TypeFor[*mqtt.ClientOptions]()
	for i := range options.NumMethod() {
		require.Contains(t, text, "`"+options.Method(i).Name+"`", "no row")
	}
	n := 0
	for _, part := range strings.Split(text, "```go\n")[1:] {
		program, _, ok := strings.Cut(part, "```")
		require.True(t, ok)
		if !strings.HasPrefix(program, "package main") {
			continue
		}
		file := filepath.Join(t.TempDir(), "main.go")
		require.NoError(t, os.WriteFile(file, []byte(program), 0o600))
		out, err := exec.Command("go", "vet", file).CombinedOutput()
		require.NoError(t, err, "%s", out)
		n++
	}
	require.Positive(t, n)
}
