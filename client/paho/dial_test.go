package paho_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mqtt311/mqtt311/client/clienttest"
	mqtt "github.com/mqtt311/mqtt311/client/paho"
	pahopackets "github.com/mqtt311/mqtt311/client/paho/packets"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/stretchr/testify/require"
)

// accepting accepts the connections of l and every CONNECT on them.
func accepting(t *testing.T, l net.Listener, err error) net.Listener {
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go welcome(c)
		}
	}()
	return l
}

func welcome(c net.Conn) {
	defer c.Close()
	conn := clienttest.NewConn(c)
	if _, err := conn.Handshake(false); err == nil {
		conn.Receive() // DISCONNECT
	}
}

// connects connects and disconnects a client, and returns the error of Connect.
func connects(t *testing.T, server string, set func(o *mqtt.ClientOptions)) error {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker(server).SetConnectTimeout(20 * time.Second)
	if set != nil {
		set(o)
	}
	c := mqtt.NewClient(o)
	defer c.Disconnect(100)
	return done(t, c.Connect())
}

// websockets is a WebSocket server that records the requests.
func websockets(t *testing.T, seen *[]*http.Request) *httptest.Server {
	upgrade := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*seen = append(*seen, r)
		c, err := upgrade.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for { // CONNECT, and then DISCONNECT or the end
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
			c.WriteMessage(websocket.BinaryMessage, []byte{0x20, 2, 0, 0})
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// A URL of every scheme, or without one for TCP, leads to the server that it names.
func TestSchemes(t *testing.T) {
	t.Setenv("ALL_PROXY", "")
	ca := testcert.Authority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t).TLS()}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	plain := accepting(t, l, err).Addr().String()
	l, err = tls.Listen("tcp", "127.0.0.1:0", config)
	secure := accepting(t, l, err).Addr().String()
	socket := filepath.Join(t.TempDir(), "s")
	l, err = net.Listen("unix", socket)
	accepting(t, l, err)
	var seen []*http.Request
	web := websockets(t, &seen)
	web.Start()
	webTLS := websockets(t, &seen)
	webTLS.TLS = config
	webTLS.StartTLS()

	trust := func(o *mqtt.ClientOptions) {
		o.SetTLSConfig(&tls.Config{RootCAs: ca.Pool()}).SetHTTPHeaders(http.Header{"X-Token": {"t"}})
	}
	_, port, _ := net.SplitHostPort(plain)
	for _, server := range []string{
		"tcp://" + plain, "mqtt://" + plain, plain, ":" + port, "tcp://" + plain + "/path", "tcp://u:p@" + plain,
		"ssl://" + secure, "tls://" + secure, "mqtts://" + secure, "mqtt+ssl://" + secure, "tcps://" + secure,
		"unix://" + socket,
		"ws://" + web.Listener.Addr().String() + "/mqtt?x=1", "wss://" + webTLS.Listener.Addr().String(),
	} {
		require.NoError(t, connects(t, server, trust), server)
	}
	require.Len(t, seen, 2)
	require.Equal(t, "/mqtt?x=1", seen[0].URL.String())
	require.Equal(t, "t", seen[1].Header.Get("X-Token"))

	require.ErrorContains(t, connects(t, "ssl://"+secure, nil), "certificate")
	for server, want := range map[string]string{
		"gopher://h": `unknown scheme "gopher"`, "unix://": "path of a socket", "tcp://127.0.0.1:70000": "port", "ws://127.0.0.1:70000/": "port",
	} {
		require.ErrorContains(t, connects(t, server, nil), want)
	}
}

// TLS uses the configuration that the program returns for the attempt; the program's own is not
// modified.
func TestTLSPerAttempt(t *testing.T) {
	ca := testcert.Authority(t)
	var shown atomic.Int32
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t).TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	config.VerifyConnection = func(s tls.ConnectionState) error { shown.Add(int32(len(s.PeerCertificates))); return nil }
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	addr := accepting(t, l, err).Addr().String()
	given := &tls.Config{RootCAs: ca.Pool()}
	require.NoError(t, connects(t, "ssl://"+addr, func(o *mqtt.ClientOptions) {
		o.SetTLSConfig(given).SetConnectionAttemptHandler(func(u *url.URL, c *tls.Config) *tls.Config {
			require.Equal(t, addr, u.Host)
			c.Certificates = []tls.Certificate{ca.Issue(t, testcert.ForClients()).TLS()}
			return c
		})
	}))
	require.EqualValues(t, 1, shown.Load())
	require.Empty(t, given.Certificates)
	require.Empty(t, given.ServerName)
}

// The program's dialer opens every connection.
func TestDialer(t *testing.T) {
	var dials atomic.Int32
	dialer := &net.Dialer{Timeout: time.Nanosecond}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	addr := accepting(t, l, err).Addr().String()
	for _, scheme := range []string{"tcp://", "ws://"} {
		err := connects(t, scheme+addr, func(o *mqtt.ClientOptions) { o.SetDialer(dialer) })
		require.ErrorContains(t, err, "timeout", scheme)
	}
	require.NoError(t, connects(t, "tcp://"+addr, func(o *mqtt.ClientOptions) { o.SetDialer(nil).SetConnectTimeout(time.Minute) }))
	require.NoError(t, connects(t, "tcp://example.invalid", func(o *mqtt.ClientOptions) {
		o.SetCustomOpenConnectionFn(nil).SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
			dials.Add(1)
			require.Equal(t, "example.invalid", u.Host)
			return net.Dial("tcp", addr)
		})
	}))
	require.EqualValues(t, 1, dials.Load())
	err = connects(t, "tcp://"+addr, func(o *mqtt.ClientOptions) {
		o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return nil, nil })
	})
	require.ErrorContains(t, err, "neither a connection nor an error")
}

// proxies is an HTTP proxy that counts the connections through it.
func proxies(t *testing.T, through *atomic.Int32) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if first, err := in.Peek(1); err != nil || first[0] != 'C' {
					return
				}
				r, err := http.ReadRequest(in)
				if err != nil || r.Method != http.MethodConnect {
					return
				}
				far, err := net.Dial("tcp", r.Host)
				if err != nil {
					return
				}
				defer far.Close()
				through.Add(1)
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				go io.Copy(far, in)
				io.Copy(c, far)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// WebSocket uses the proxy in its options; TCP uses only a SOCKS5 proxy, if ALL_PROXY is set.
func TestProxies(t *testing.T) {
	var through atomic.Int32
	via, err := url.Parse(proxies(t, &through))
	require.NoError(t, err)
	var seen []*http.Request
	web := websockets(t, &seen)
	web.Start()
	var asked *http.Request
	require.NoError(t, connects(t, "ws://"+web.Listener.Addr().String()+"/mqtt", func(o *mqtt.ClientOptions) {
		o.SetWebsocketOptions(&mqtt.WebsocketOptions{Proxy: func(r *http.Request) (*url.URL, error) {
			asked = r
			return via, nil
		}})
	}))
	require.EqualValues(t, 1, through.Load())
	require.Equal(t, "http://"+web.Listener.Addr().String()+"/mqtt", asked.URL.String())
	err = connects(t, "ws://"+web.Listener.Addr().String(), func(o *mqtt.ClientOptions) {
		o.SetWebsocketOptions(&mqtt.WebsocketOptions{Proxy: func(*http.Request) (*url.URL, error) { return nil, errTest }})
	})
	require.ErrorIs(t, err, errTest)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	addr := accepting(t, l, err).Addr().String()
	t.Setenv("ALL_PROXY", via.String())
	require.NoError(t, connects(t, "tcp://"+addr, nil), "an HTTP proxy is not for TCP")
	require.EqualValues(t, 1, through.Load())
	t.Setenv("ALL_PROXY", "")
	t.Setenv("all_proxy", "socks5://user:secret@"+via.Host)
	err = connects(t, "tcp://"+addr, nil)
	require.ErrorContains(t, err, "proxy", "it is asked, and speaks HTTP")
	require.NotContains(t, err.Error(), "secret")
	t.Setenv("NO_PROXY", "127.0.0.1")
	require.NoError(t, connects(t, "tcp://"+addr, nil))
}

// NewWebsocket and ConnectMQTT together open a connection.
func TestHalvesOfConnecting(t *testing.T) {
	var seen []*http.Request
	web := websockets(t, &seen)
	web.Start()
	conn, err := mqtt.NewWebsocket("ws://"+web.Listener.Addr().String(), nil, 0, http.Header{"X-A": {"b"}}, nil)
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, "b", seen[0].Header.Get("X-A"))
	hello := pahopackets.NewControlPacket(pahopackets.Connect).(*pahopackets.ConnectPacket)
	hello.ClientIdentifier, hello.CleanSession, hello.Keepalive = "c", true, 30
	code, present := mqtt.ConnectMQTT(conn, hello, 4)
	require.EqualValues(t, pahopackets.Accepted, code)
	require.False(t, present)
	code, _ = mqtt.ConnectMQTT(conn, hello, 3)
	require.EqualValues(t, pahopackets.ErrRefusedBadProtocolVersion, code)
	conn.Close()
	code, _ = mqtt.ConnectMQTT(conn, hello, 4)
	require.EqualValues(t, pahopackets.ErrNetworkError, code)
	for _, u := range []string{"tcp://h", "ws://u:secret@["} {
		_, err = mqtt.NewWebsocket(u, nil, time.Second, nil, nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}

// A WebSocket server that does not choose mqtt is refused [MQTT-6.0.0-4].
func TestSubprotocol(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err == nil {
			c.Close()
		}
	}))
	defer s.Close()
	err := connects(t, strings.Replace(s.URL, "http", "ws", 1), nil)
	require.ErrorContains(t, err, "subprotocol")
}
