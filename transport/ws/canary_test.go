package ws_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// secretive returns a URL and options with a secret in every place where one is possible.
func secretive(log *slog.Logger) (string, *ws.Options) {
	const c = failure.Canary
	var o ws.Options
	o.Logger = log
	o.Header = func(context.Context) (http.Header, error) {
		return http.Header{
			"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+c))},
			"X-Token":       {c, "Bearer " + c},
			"Cookie":        {"session=" + c + "; other=" + c},
		}, nil
	}
	return "ws://broker.test/mqtt?token=" + url.QueryEscape(c) + "&X-Amz-Signature=" + c + "&" + c, &o
}

// If a server echoes the whole request, in any part of its response, no error shows a secret from
// it.
func TestCanaryEchoed(t *testing.T) {
	for about, echo := range map[string]func(request string) string{
		"in the status":     func(r string) string { return "HTTP/1.1 400 " + r + "\r\n\r\n" },
		"in the body":       func(r string) string { return "HTTP/1.1 401 x\r\n\r\n" + r },
		"cut in the body":   func(r string) string { return "HTTP/1.1 401 x\r\n\r\n" + r[:strings.LastIndex(r, "s3cret")+6] },
		"at the body's cut": func(r string) string { return "HTTP/1.1 401 x\r\n\r\n" + strings.Repeat("-", 1010) + failure.Canary },
		"in the location": func(r string) string {
			return "HTTP/1.1 302 x\r\nLocation: http://" + failure.Canary + ".x/" + r + "\r\n\r\n"
		},
		"in the first line": func(r string) string { return r + "\r\n\r\n" },
		"in a header":       func(r string) string { return answer + "Sec-WebSocket-Protocol: " + r + "\r\n\r\n" },
		"in a broken header": func(r string) string {
			return "HTTP/1.1 401 x\r\n" + r + "\r\n\r\n"
		},
		"in the query alone": func(r string) string {
			return "HTTP/1.1 404 x\r\n\r\n" + strings.Fields(r)[1]
		},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rawURL, o := secretive(nil)
				here, there := net.Pipe()
				defer there.Close()
				o.NetDial = func(context.Context, string, string) (net.Conn, error) {
					go func() {
						defer there.Close()
						p := newPeer(t, there)
						p.readRequest()
						dump, _ := httputil.DumpRequest(p.request, false)
						oneLine := strings.NewReplacer("\r", " ", "\n", " ").Replace(string(dump))
						p.send(echo(oneLine))
					}()
					return here, nil
				}
				_, err := ws.Dial(context.Background(), rawURL, o)
				require.Error(t, err)
				var refused *ws.HandshakeError
				require.ErrorAs(t, err, &refused)
				failure.Silent(t, err, refused, refused.Body, refused.Reason, refused.Location, fmt.Sprintf("%q", err))
			})
		})
	}
}

// No failure of any step, and no log, shows a secret from the URL, the headers, the proxy's URL or
// an inline key.
func TestCanaryAtEachStep(t *testing.T) {
	var log bytes.Buffer
	loggers := []*slog.Logger{
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := ln.Addr().String()
	ln.Close()
	viaProxy, err := proxy.Dialer("http://user:"+url.QueryEscape(failure.Canary)+"@"+nobody, nil)
	require.NoError(t, err)
	ending := testcert.SelfSigned(t, testcert.ForClients(), testcert.Valid(-time.Hour, time.Hour))
	for _, logger := range loggers {
		rawURL, o := secretive(logger)
		show := func(err error) {
			t.Helper()
			require.Error(t, err)
			failure.Silent(t, err)
			for _, l := range loggers {
				l.Error("failed", "err", err, "file", o.TLS)
			}
		}
		dial := func(rawURL string) error {
			_, err := ws.Dial(context.Background(), rawURL, o)
			return err
		}
		_, query, _ := strings.Cut(rawURL, "?")
		show(dial("ws://" + nobody + "/?" + query))
		o.NetDial = viaProxy
		show(dial(rawURL))
		o.NetDial = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			there.Close()
			return here, nil
		}
		show(dial(rawURL))
		o.TLS = &transport.TLSOptions{InsecureSkipVerify: true,
			ClientCert: transport.File(ending.CertPEM()), ClientKey: transport.File(ending.KeyPEM(t))}
		show(dial(strings.Replace(rawURL, "ws:", "wss:", 1)))
		o.TLS.ClientKey = transport.File("-----BEGIN PRIVATE KEY-----\n" + failure.Canary + "\n-----END PRIVATE KEY-----\n")
		show(dial(strings.Replace(rawURL, "ws:", "wss:", 1)))
		show(dial(strings.Replace(rawURL, "ws:", "wx:", 1)))
		show(dial(strings.Replace(rawURL, "://", "://user:"+url.QueryEscape(failure.Canary)+"@", 1)))
	}
	require.Contains(t, log.String(), "ends soon")
	require.Contains(t, log.String(), "not verified")
	failure.Silent(t, log.String())
	require.NotContains(t, log.String(), strings.Split(ending.KeyPEM(t), "\n")[1])
}
