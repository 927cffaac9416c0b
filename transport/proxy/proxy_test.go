package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
	"github.com/mqtt311/mqtt311/transport/proxy"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// login formats a user name and password for a URL.
func login(name, password string) string { return url.UserPassword(name, password).String() + "@" }

// lines starts a server that echoes lines.
func lines(t *testing.T, config *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				line, _ := bufio.NewReader(conn).ReadString('\n')
				io.WriteString(conn, line)
				io.Copy(io.Discard, conn)
			}()
		}
	}()
	return addr
}

// messages starts a WebSocket server that echoes messages.
func messages(t *testing.T, config *tls.Config) string {
	upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for kind, data, err := conn.ReadMessage(); err == nil; kind, data, err = conn.ReadMessage() {
			conn.WriteMessage(kind, data)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	if server.TLS = config; config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	return server.Listener.Addr().String()
}

// Every scheme works through every kind of proxy. Only the proxy knows the server's address, and
// certificates are verified end to end.
func TestSchemesThroughProxies(t *testing.T) {
	ca := testcert.Authority(t)
	right := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, testcert.Names("broker.test")).TLS()}}
	wrong := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, testcert.Names("other.test")).TLS()}}
	ofProxy := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t).TLS()}}
	for kind, p := range map[string]struct {
		config *tls.Config
		accept func(*stub, net.Conn)
		asked  string
	}{
		"http":   {nil, serveHTTP, "CONNECT broker.test:77 broker.test:77"},
		"https":  {ofProxy, serveHTTP, "CONNECT broker.test:77 broker.test:77"},
		"socks5": {nil, serveSOCKS, "broker.test:77"},
	} {
		for scheme, server := range map[string]string{
			"mqtt": lines(t, nil), "mqtts": lines(t, right), "mqtts, wrong name": lines(t, wrong),
			"ws": messages(t, nil), "wss": messages(t, right), "wss, wrong name": messages(t, wrong),
		} {
			t.Run(scheme+" through "+kind, func(t *testing.T) {
				s := start(t, server, p.config, p.accept)
				dial, err := proxy.Dialer(kind+"://"+login(user, password)+s.addr, &proxy.Options{TLS: &tls.Config{RootCAs: ca.Pool()}})
				require.NoError(t, err)
				conn, err := dialScheme(scheme, ca, dial)
				require.Equal(t, []string{p.asked}, s.targets())
				if len(scheme) > 5 {
					failure.Is(t, "wrong-name", err)
					return
				}
				require.NoError(t, err)
				defer conn.Close()
				_, err = io.WriteString(conn, "hello\n")
				require.NoError(t, err)
				got := make([]byte, 6)
				_, err = io.ReadFull(conn, got)
				require.NoError(t, err)
				require.Equal(t, "hello\n", string(got))
				require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
				_, err = conn.Read(got)
				require.ErrorIs(t, err, io.EOF, "the half-close went through")
			})
		}
	}
}

func dialScheme(scheme string, ca *testcert.Pair, dial proxy.NetDial) (net.Conn, error) {
	opts := transport.Options{TLS: &transport.TLSOptions{ServerCert: transport.File(ca.CertPEM())}, NetDial: dial}
	switch scheme[:2] {
	case "ws":
		scheme := scheme[:2+len(scheme)%2] // ws, or wss of "wss" and "wss, wrong name"
		return ws.Dial(context.Background(), scheme+"://broker.test:77/mqtt", &ws.Options{Options: opts})
	default:
		if scheme != "mqtt" {
			scheme = "mqtts"
		}
		return transport.Dial(context.Background(), scheme+"://broker.test:77", &opts)
	}
}

// through dials host through the proxy and returns the error.
func through(t *testing.T, proxyURL, host string) error {
	t.Helper()
	dial, err := proxy.Dialer(proxyURL, nil)
	require.NoError(t, err)
	_, err = transport.Dial(context.Background(), "mqtt://"+host, &transport.Options{NetDial: dial})
	return err
}

func TestRefusals(t *testing.T) {
	web := start(t, "", nil, serveHTTP)
	socks := start(t, "", nil, serveSOCKS)
	closed := start(t, "", nil, func(_ *stub, conn net.Conn) { conn.Read(make([]byte, 1000)) })
	other := start(t, "", nil, func(_ *stub, conn net.Conn) {
		io.WriteString(conn, "SSH-2.0-OpenSSH\r\n")
		io.Copy(io.Discard, conn)
	})
	endless := start(t, "", nil, func(_ *stub, conn net.Conn) {
		go io.Copy(io.Discard, conn)
		for _, err := io.WriteString(conn, "HTTP/1.1 200 "); err == nil; _, err = io.WriteString(conn, "xxxxxxxxxxxxxxxx") {
		}
	})
	noMethod := start(t, "", nil, func(_ *stub, conn net.Conn) { conn.Read(make([]byte, 9)); conn.Write([]byte{5, 0xff}) })
	good, bad := login(user, password), login(user, "x"+password)
	for _, test := range []struct{ url, host, code, says string }{
		{"http://" + web.addr, "broker.test", "proxy-login", `"407 not`},
		{"http://" + bad + web.addr, "broker.test", "proxy-login", `[redacted]`},
		{"http://" + good + web.addr, "elsewhere.test", "proxy-refused", `"403 Forbidden"`},
		{"socks5://" + socks.addr, "broker.test", "proxy-login", "no acceptable"},
		{"socks5://" + bad + socks.addr, "broker.test", "proxy-login", "authentication failed"},
		{"socks5://" + good + socks.addr, "elsewhere.test", "proxy-refused", "not allowed"},
		{"socks5://" + good + noMethod.addr, "broker.test", "proxy-login", "no acceptable"},
		{"http://" + good + closed.addr, "broker.test", "closed-proxy", "EOF"},
		{"socks5://" + good + closed.addr, "broker.test", "closed-proxy", "EOF"},
		{"http://" + good + other.addr, "broker.test", "proxy-answer", "not that of an HTTP proxy"},
		{"socks5://" + good + other.addr, "broker.test", "proxy-answer", "not that of a SOCKS5 proxy"},
		{"http://" + good + endless.addr, "broker.test", "proxy-answer", "too long"},
		{"http://" + good + "127.0.0.1:1", "broker.test", "proxy-unreachable", "127.0.0.1:1"},
	} {
		err := through(t, test.url, test.host)
		failed := failure.Is(t, test.code, err)
		require.Equal(t, transport.StepProxy, failed.Step, test.url)
		require.Equal(t, test.host+":1883", failed.Addr)
		require.ErrorContains(t, err, test.says)
	}
}

// The certificate of an https proxy is verified like a server's.
func TestProxyCertificate(t *testing.T) {
	cert := testcert.SelfSigned(t)
	s := start(t, "", &tls.Config{Certificates: []tls.Certificate{cert.TLS()}}, serveHTTP)
	err := through(t, "https://"+login(user, password)+s.addr, "broker.test")
	require.Equal(t, transport.StepProxy, failure.Is(t, "unknown-authority", err).Step)
}

// A proxy that stalls at any point is given up at the common deadline or when the caller gives up.
func TestStalls(t *testing.T) {
	for about, test := range map[string]struct {
		url    string
		script func(net.Conn)
	}{
		"http does not read":    {"http://proxy.test", func(net.Conn) {}},
		"http does not answer":  {"http://proxy.test", func(conn net.Conn) { io.Copy(io.Discard, conn) }},
		"http answers half":     {"http://proxy.test", func(conn net.Conn) { conn.Read(make([]byte, 999)); io.WriteString(conn, "HTTP/1.1 200 OK\r\n") }},
		"https does not answer": {"https://proxy.test", func(conn net.Conn) { io.Copy(io.Discard, conn) }},
		"socks does not read":   {"socks5://proxy.test", func(net.Conn) {}},
		"socks answers half":    {"socks5://proxy.test", func(conn net.Conn) { conn.Read(make([]byte, 999)); conn.Write([]byte{5}) }},
	} {
		for code, timeout := range map[string]time.Duration{"timeout-proxy": 5 * time.Second, "canceled": -1} {
			t.Run(about+", "+code, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					here, there := net.Pipe()
					defer there.Close()
					dial, err := proxy.Dialer(test.url, &proxy.Options{NetDial: func(context.Context, string, string) (net.Conn, error) {
						go test.script(there)
						return here, nil
					}})
					require.NoError(t, err)
					ctx, cancel := context.WithCancel(context.Background())
					time.AfterFunc(9*time.Second, cancel)
					_, err = transport.Dial(ctx, "mqtt://broker.test", &transport.Options{NetDial: dial, Timeout: timeout})
					require.Equal(t, transport.StepProxy, failure.Is(t, code, err).Step)
					_, err = here.Write([]byte("x"))
					require.ErrorIs(t, err, io.ErrClosedPipe, "the connection is closed")
				})
			})
		}
	}
}

func TestWrongProxyURLs(t *testing.T) {
	for url, says := range map[string]string{
		"":                                "is not like",
		"proxy:3128":                      "is not like",
		"ftp://proxy":                     "is not like",
		"http://":                         "no host",
		"http://proxy:0":                  "between 1 and 65535",
		"http://u:cAnArY@proxy:x":         "port is not a number",
		"http://u:cAnArY/x@proxy":         "port is not a number",
		"http://u:cAnArY@proxy/path":      "a path, a query or a fragment",
		"http://u:cAnArY@proxy?q":         "a path, a query or a fragment",
		"http://u%3av:cAnArY@proxy":       "cannot hold a colon",
		"socks5://:cAnArY@proxy":          "at most 255 bytes",
		"http://u:cAnArY%zz@proxy":        "two hexadecimal digits",
		"http://u:cAnArY\x00@proxy":       "control character",
		"socks5://u:cAnArY@[::1%25%0a]:1": "two hexadecimal digits",
	} {
		_, err := proxy.Dialer(url, nil)
		require.ErrorContains(t, err, says, url)
		failure.Silent(t, err)
	}
}

// hosts dials each address and returns the addresses that the proxy was asked for, or that were
// dialled directly.
func hosts(t *testing.T, dial func(proxy.NetDial) proxy.NetDial, addrs ...string) (out []string) {
	t.Helper()
	record := func(_ context.Context, _, addr string) (net.Conn, error) {
		out = append(out, addr)
		return nil, net.ErrClosed
	}
	d := dial(record)
	for _, addr := range addrs {
		_, err := d(context.Background(), "tcp", addr)
		require.ErrorIs(t, err, net.ErrClosed)
	}
	return out
}

func TestNoProxy(t *testing.T) {
	for list, want := range map[string]struct{ past, by []string }{
		"":                     {nil, []string{"broker.test:1", "127.0.0.1:1"}},
		"*":                    {[]string{"broker.test:1", "10.0.0.1:1"}, nil},
		"broker.test":          {[]string{"broker.test:1", "BROKER.TEST.:1", "eu.broker.test:1"}, []string{"xbroker.test:1", "test:1"}},
		".broker.test":         {[]string{"eu.broker.test:1"}, []string{"broker.test:1"}},
		"*.broker.test":        {[]string{"eu.broker.test:1"}, []string{"broker.test:1"}},
		"a.test, broker.test:": {nil, []string{"broker.test:1"}},
		"broker.test:8883":     {[]string{"broker.test:8883"}, []string{"broker.test:1883"}},
		"10.0.0.0/8,::1":       {[]string{"10.1.2.3:1", "[::ffff:10.1.2.3]:1", "[::1]:1"}, []string{"11.0.0.1:1", "broker.test:1", "[::2]:1"}},
		"[fe80::1]:1":          {[]string{"[fe80::1]:1"}, []string{"[fe80::1]:2"}},
	} {
		through := func(direct proxy.NetDial) proxy.NetDial {
			d, err := proxy.Dialer("http://proxy.test", &proxy.Options{NoProxy: list, NetDial: direct})
			require.NoError(t, err)
			return d
		}
		require.Equal(t, want.past, hosts(t, through, want.past...), list)
		for _, addr := range want.by {
			require.Equal(t, []string{"proxy.test:80"}, hosts(t, through, addr), "%s, %s", list, addr)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	clear := func() {
		for _, name := range []string{"ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "NO_PROXY", "no_proxy"} {
			t.Setenv(name, "")
		}
	}
	fromEnvironment := func(direct proxy.NetDial) proxy.NetDial {
		d, err := proxy.FromEnvironment(&proxy.Options{NetDial: direct})
		require.NoError(t, err)
		return d
	}
	clear()
	d, err := proxy.FromEnvironment(nil)
	require.NoError(t, err)
	require.Nil(t, d, "none: transport.Options takes nil")
	t.Setenv("HTTP_PROXY", "http://not.for.tunnels")
	require.Equal(t, []string{"broker.test:1"}, hosts(t, fromEnvironment, "broker.test:1"))
	for _, name := range []string{"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"} { // each above the one before
		t.Setenv(name, name[:3]+".test:3128")
		t.Setenv("NO_PROXY", "past.test")
		require.Equal(t, []string{name[:3] + ".test:3128", "past.test:1", "localhost:1", "127.1.2.3:1", "[::1]:1"},
			hosts(t, fromEnvironment, "broker.test:1", "past.test:1", "localhost:1", "127.1.2.3:1", "[::1]:1"))
	}
	t.Setenv("ALL_PROXY", "socks5://u:cAnArY@proxy:x")
	_, err = proxy.FromEnvironment(nil)
	require.ErrorContains(t, err, "ALL_PROXY")
	failure.Silent(t, err)
}

// Unix sockets bypass the proxy, and an address cannot inject headers.
func TestOtherAddresses(t *testing.T) {
	var network, addr string
	dial, err := proxy.Dialer("http://proxy.test", &proxy.Options{NetDial: func(_ context.Context, n, a string) (net.Conn, error) {
		network, addr = n, a
		return nil, net.ErrClosed
	}})
	require.NoError(t, err)
	_, err = dial(context.Background(), "unix", "/run/mqtt.sock")
	require.ErrorIs(t, err, net.ErrClosed)
	require.Equal(t, "unix /run/mqtt.sock", network+" "+addr)
	addr = ""
	_, err = dial(context.Background(), "tcp", "broker.test:1\r\nX: y")
	require.ErrorContains(t, err, "no host name has")
	require.Empty(t, addr)
}
