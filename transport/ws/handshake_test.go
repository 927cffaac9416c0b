package ws_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// The request conforms to RFC 6455. It offers only the subprotocol "mqtt", and no compression.
func TestRequest_MQTT_6_0_0_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var request *http.Request
		conn, err := dial(t, &ws.Options{Header: func(context.Context) (http.Header, error) {
			return http.Header{"authorization": {"Bearer x"}, "Origin": {"http://here"}}, nil
		}}, func(p *peer) {
			p.accept(answer)
			request = p.request
		})
		require.NoError(t, err)
		defer conn.Close()
		synctest.Wait()
		require.Equal(t, "GET", request.Method)
		require.Equal(t, "/mqtt", request.RequestURI)
		require.Equal(t, "broker.test", request.Host)
		require.Equal(t, []string{"mqtt"}, request.Header.Values("Sec-Websocket-Protocol"))
		require.Equal(t, "13", request.Header.Get("Sec-Websocket-Version"))
		require.Empty(t, request.Header.Values("Sec-Websocket-Extensions"))
		require.Equal(t, "Bearer x", request.Header.Get("Authorization"))
		require.Equal(t, "http://here", request.Header.Get("Origin"))
	})
}

// The Host header omits the port if it is the scheme's default, RFC 6455 section 4.1: the signature
// of a URL covers it.
func TestHostHeader(t *testing.T) {
	for rawURL, want := range map[string]string{
		"ws://broker.test/mqtt":           "broker.test",
		"ws://broker.test:80/mqtt?a=b":    "broker.test",
		"ws://broker.test:080/mqtt":       "broker.test",
		"ws://broker.test:443/mqtt":       "broker.test:443",
		"ws://broker.test:8083/mqtt":      "broker.test:8083",
		"ws://[::1]/mqtt":                 "[::1]",
		"ws://[::1]:80/mqtt":              "[::1]",
		"ws://[::1]:81/mqtt":              "[::1]:81",
		"wss://broker.test/mqtt":          "broker.test",
		"wss://broker.test:443/mqtt":      "broker.test",
		"wss://broker.test:80/mqtt":       "broker.test:80",
		"wss://broker.test:8084/a%2Fb?c=": "broker.test:8084",
	} {
		require.Equal(t, want, hostHeader(t, strings.HasPrefix(rawURL, "wss"), func(o *ws.Options) (dialFunc, error) { return ws.Dialer(rawURL, o) }), rawURL)
	}
	for address, want := range map[transport.Address]string{
		{Host: "broker.test", Port: 80}:              "broker.test",
		{Host: "broker.test", Port: 443}:             "broker.test:443",
		{Host: "broker.test", Port: 443, TLS: true}:  "broker.test",
		{Host: "broker.test", Port: 8883, TLS: true}: "broker.test:8883",
		{Host: "::1", Port: 443, TLS: true}:          "[::1]",
	} {
		require.Equal(t, want, hostHeader(t, address.TLS, func(o *ws.Options) (dialFunc, error) {
			return ws.AddressDialer(address, &url.URL{Path: "/mqtt"}, o)
		}), address)
	}
}

// The path and the query reach the server unchanged.
func TestAddressDialer(t *testing.T) {
	for _, uri := range []string{"/mqtt", "/", "/a%2Fb/c%20d", "/mqtt?token=a%26b&x", "/a@b:c//d"} {
		u, err := url.ParseRequestURI(uri)
		require.NoError(t, err)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, uri, r.RequestURI)
			http.Error(w, "seen", http.StatusTeapot)
		}))
		to := server.Listener.Addr().(*net.TCPAddr)
		dial, err := ws.AddressDialer(transport.Address{Host: "127.0.0.1", Port: to.Port}, u, nil)
		require.NoError(t, err)
		_, err = dial(context.Background())
		require.ErrorContains(t, err, "418")
		server.Close()
	}
	for _, a := range []transport.Address{{}, {Host: "broker.test"}, {Host: "u:secret@broker.test", Port: 1}, {Unix: "/run/mqtt.sock"}} {
		_, err := ws.AddressDialer(a, &url.URL{Path: "/"}, nil)
		var dial *transport.DialError
		require.ErrorAs(t, err, &dial, a)
		require.NotContains(t, err.Error(), "secret")
	}
}

type dialFunc = func(context.Context) (net.Conn, error)

// hostHeader returns the header that the server sees.
func hostHeader(t *testing.T, secure bool, dialer func(*ws.Options) (dialFunc, error)) (host string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host = r.Host
		http.Error(w, "seen", http.StatusTeapot)
	}))
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	dial, err := dialer(&ws.Options{Options: transport.Options{
		TLS: &transport.TLSOptions{InsecureSkipVerify: true},
		NetDial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}})
	require.NoError(t, err)
	defer server.Close()
	_, err = dial(context.Background())
	require.ErrorContains(t, err, "418")
	return host
}

// Invalid handshake responses, and their errors.
func TestRefusals_MQTT_6_0_0_4(t *testing.T) {
	withoutProtocol := strings.Replace(answer, "Sec-WebSocket-Protocol: mqtt\r\n", "", 1)
	for about, test := range map[string]struct{ header, code, says string }{
		"no subprotocol":       {withoutProtocol, "ws-subprotocol", "[MQTT-6.0.0-4]"},
		"another subprotocol":  {withoutProtocol + "Sec-WebSocket-Protocol: mqttv3.1\r\n", "ws-subprotocol", "[MQTT-6.0.0-4]"},
		"compression":          {answer + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n", "ws-answer", "extension"},
		"another extension":    {answer + "Sec-WebSocket-Extensions: x-other\r\n", "ws-answer", "extension"},
		"no upgrade":           {strings.Replace(answer, "Upgrade: websocket\r\n", "", 1), "ws-answer", "do not answer the request"},
		"wrong key":            {answer + "Sec-WebSocket-Accept: wrong\r\n\r\n", "ws-answer", "do not answer the request"},
		"200":                  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "ws-answer", `"200 OK": "hello"`},
		"400":                  {"HTTP/1.0 400 Bad Request\r\n\r\nno upgrade", "ws-refused", `"400 Bad Request": "no upgrade"`},
		"401":                  {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 13\r\n\r\ntoken expired", "ws-login", `"401 Unauthorized": "token expired"`},
		"403":                  {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "ws-login", `"403 Forbidden"`},
		"404":                  {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "ws-path", `"404 Not Found"`},
		"503":                  {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", "ws-refused", `"503 Service Unavailable": "busy"`},
		"redirect":             {"HTTP/1.1 301 Moved\r\nLocation: https://broker.test/mqtt?t=" + failure.Canary + "\r\nContent-Length: 0\r\n\r\n", "ws-redirect", `"301 Moved" to https://broker.test`},
		"a body that is long":  {"HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), "ws-refused", `x..."`},
		"a body that lies":     {"HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\nshort", "ws-refused", `"short"`},
		"not HTTP":             {"\x20\x02\x00\x00\r\n", "ws-answer", "malformed HTTP"},
		"not HTTP, in a line":  {"SSH-2.0-OpenSSH_9.2\r\n", "ws-answer", "malformed HTTP"},
		"half an answer":       {"HTTP/1.1 101 Sw", "closed-websocket", "EOF"},
		"nothing":              {"", "closed-websocket", "EOF"},
		"a TLS alert":          {"\x15\x03\x01\x00\x02\x02\x46", "speaks-tls", "TLS alert"},
		"too long":             {answer + strings.Repeat("X-Padding: "+strings.Repeat("x", 1000)+"\r\n", 20), "ws-answer", "too long"},
		"too long, one header": {answer + "X-Padding: " + strings.Repeat("x", 1_000_000), "ws-answer", "too long"},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				conn, err := dial(t, nil, func(p *peer) {
					if strings.Contains(test.header, " 101 Switching") && !strings.Contains(test.header, "Accept: wrong") {
						p.accept(test.header)
					} else {
						p.readRequest()
						p.send(test.header)
					}
					p.Close()
				})
				require.Nil(t, conn)
				failed := failure.Is(t, test.code, err)
				require.Equal(t, transport.StepWebSocket, failed.Step)
				require.Equal(t, "broker.test:80", failed.Addr)
				require.ErrorContains(t, err, test.says)
				require.LessOrEqual(t, len(err.Error()), 500)
				require.Zero(t, time.Since(start))
			})
		})
	}
}

// The error about a refusal whose body never ends is returned after a second, not after the
// timeout.
func TestRefusalThatStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := dial(t, nil, func(p *peer) {
			p.readRequest()
			p.send("HTTP/1.1 401 Unauthorized\r\n")
			p.send("\r\nbecause of")
		})
		failure.Is(t, "ws-login", err)
		require.ErrorContains(t, err, "because of")
		require.Equal(t, time.Second, time.Since(start))
	})
}

// A handshake that stalls ends at the common deadline, or when the caller gives up, and closes the
// connection.
func TestStalledHandshake(t *testing.T) {
	for about, script := range map[string]func(*peer){
		"does not read":     func(*peer) {},
		"does not answer":   func(p *peer) { p.readRequest() },
		"answers by halves": func(p *peer) { p.readRequest(); p.send("HTTP/1.1 101 Sw") },
		"answers for ever": func(p *peer) {
			p.readRequest()
			p.send("HTTP/1.1 101 Switching Protocols\r\nX: ")
			var err error
			for each := time.NewTicker(time.Second); err == nil; <-each.C {
				_, err = io.WriteString(p, "x")
			}
		},
	} {
		t.Run(about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := dial(t, nil, script)
				require.Equal(t, 30*time.Second, time.Since(start))
				failure.Is(t, "timeout-websocket", err)
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				ctx, cancel := context.WithCancel(context.Background())
				time.AfterFunc(time.Minute, cancel)
				var o ws.Options
				o.Timeout = -1
				o.NetDial = func(context.Context, string, string) (net.Conn, error) {
					go func() { io.Copy(io.Discard, there); there.Close() }()
					return here, nil
				}
				_, err := ws.Dial(ctx, "ws://broker.test", &o)
				failure.Is(t, "canceled", err)
				require.ErrorIs(t, err, context.Canceled)
				_, err = here.Write([]byte("x"))
				require.ErrorIs(t, err, io.ErrClosedPipe, "the connection is closed")
			})
		})
	}
}

// The functions for the headers and the URL are called for each connection.
func TestFreshForEachConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var urls, tokens []string
		attempt := ""
		var o ws.Options
		o.URL = func(context.Context) (string, error) { return "ws://broker.test/" + attempt + "?sign=" + attempt, nil }
		o.Header = func(context.Context) (http.Header, error) { return http.Header{"X-Token": {attempt}}, nil }
		o.NetDial = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				p := newPeer(t, there)
				p.accept(answer)
				urls, tokens = append(urls, p.request.RequestURI), append(tokens, p.request.Header.Get("X-Token"))
			}()
			return here, nil
		}
		dial, err := ws.Dialer("ws://broker.test", &o)
		require.NoError(t, err)
		for _, attempt = range []string{"one", "two"} {
			conn, err := dial(context.Background())
			require.NoError(t, err)
			synctest.Wait()
			conn.Close()
		}
		require.Equal(t, []string{"/one?sign=one", "/two?sign=two"}, urls)
		require.Equal(t, []string{"one", "two"}, tokens)
	})
}

// The results of these functions are checked, and if they are invalid nothing is dialled.
func TestWrongHeaders(t *testing.T) {
	sign := errors.New("the signer is out of order")
	header := func(name, value string) ws.Options {
		return ws.Options{Header: func(context.Context) (http.Header, error) { return http.Header{name: {value}}, nil }}
	}
	for says, o := range map[string]ws.Options{
		"Upgrade belongs":                  header("upgrade", "x"),
		"Connection belongs":               header("Connection", "x"),
		"Sec-Websocket-Protocol belongs":   header("Sec-WebSocket-Protocol", "x"),
		"Sec-Websocket-Extensions belongs": header("sec-websocket-extensions", "x"),
		"Sec-Websocket-Key belongs":        header("Sec-Websocket-Key", "x"),
		"Content-Length belongs":           header("Content-Length", "5"),
		"of the header X-Token holds":      header("X-Token", failure.Canary+"\r\nHost: evil"),
		"a name that is not a token":       header("X "+failure.Canary, "x"),
		"user name or a password": {URL: func(context.Context) (string, error) {
			return "ws://user:cAnArY@broker.test", nil
		}},
	} {
		o.NetDial = func(context.Context, string, string) (net.Conn, error) { panic("dialled") }
		_, err := ws.Dial(context.Background(), "ws://broker.test", &o)
		failure.Is(t, "options", err)
		require.ErrorContains(t, err, says)
	}
	for _, o := range []ws.Options{
		{URL: func(context.Context) (string, error) { return "", sign }},
		{Header: func(context.Context) (http.Header, error) { return nil, sign }},
	} {
		_, err := ws.Dial(context.Background(), "ws://broker.test", &o)
		require.ErrorIs(t, err, sign)
	}
}

func TestWrongURLs(t *testing.T) {
	for url, says := range map[string]string{
		"broker/mqtt":                         "no scheme",
		"mqtt://broker":                       "package transport dials",
		"http://broker":                       `scheme "http" is not known`,
		"wss:///mqtt":                         "no host",
		"ws://user:cAnArY@broker/mqtt":        "user name or a password",
		"ws://broker/mqtt?token=cAnArY#c":     "fragment",
		"ws://broker/%zz?t=" + failure.Canary: "two hexadecimal digits",
	} {
		_, err := ws.Dialer(url, nil)
		failure.Is(t, "options", err)
		require.ErrorContains(t, err, says)
	}
	var o ws.Options
	o.TLS = &transport.TLSOptions{ClientKey: "key.pem"}
	_, err := ws.Dialer("wss://broker", &o)
	failure.Is(t, "options", err)
}
