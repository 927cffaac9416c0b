package connector_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// closedPort returns an address on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// When a server is down, the next one of failover_urls is tried at once.
func TestFailoverURLs(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	cfg := producing(connector.ProducerParams{Topic: "t", QoS: 1})
	cfg.General.BrokerURL = closedPort(t)
	cfg.Extension.FailoverURLs = []string{closedPort(t), b.Addr}
	c, err := connector.New(cfg, connector.Options{})
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context()))
	_, err = c.Producer("out").Run(t.Context(), reading())
	require.NoError(t, err)
	require.NoError(t, c.Stop(t.Context()))
}

// The proxy is asked for the server of broker_url; its password is never shown.
func TestProxy(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	var asked atomic.Pointer[http.Request]
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					conn.Close()
					return
				}
				asked.Store(req)
				conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
				bridge(conn, b.Addr)
			}()
		}
	}()
	cfg := producing(connector.ProducerParams{Topic: "t", QoS: 1})
	cfg.General.BrokerURL = b.Addr
	for _, proxy := range []string{"http://user:hunter2@" + l.Addr().String(), "env"} {
		t.Setenv("NO_PROXY", "")
		t.Setenv("ALL_PROXY", "http://user:hunter2@"+l.Addr().String())
		asked.Store(nil)
		cfg.Extension.Proxy = connector.Secret(proxy)
		c, err := connector.New(cfg, connector.Options{})
		require.NoError(t, err)
		require.NoError(t, c.Start(t.Context()))
		require.NoError(t, c.Stop(t.Context()))
		if proxy == "env" {
			continue // a server on this machine goes past it, as NO_PROXY is understood everywhere
		}
		require.Equal(t, http.MethodConnect, asked.Load().Method)
		require.Equal(t, b.Addr, asked.Load().Host)
		require.NotEmpty(t, asked.Load().Header.Get("Proxy-Authorization"))
	}
	cfg.Extension.Proxy = "nonsense://user:hunter2@h"
	_, err = connector.New(cfg, connector.Options{})
	require.ErrorContains(t, err, "E146 connector.extension.proxy")
	require.NotContains(t, err.Error(), "hunter2")
}

// tls_min_version refuses a server that only supports an older version.
func TestTLSMinVersion(t *testing.T) {
	serverCert, _, server := selfSigned(t, "server")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server}, MaxVersion: tls.VersionTLS12})
	require.NoError(t, err)
	defer l.Close()
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go bridge(c, b.Addr)
		}
	}()
	for version, ok := range map[string]bool{"": true, "1.2": true, "1.3": false} {
		cfg := producing(connector.ProducerParams{Topic: "t"})
		cfg.General.BrokerURL, cfg.General.Protocol, cfg.General.TLSServerCert = l.Addr().String(), connector.TLS, serverCert
		cfg.Extension.TLSMinVersion = version
		c, err := connector.New(cfg, connector.Options{})
		require.NoError(t, err)
		err = c.Start(t.Context())
		require.Equal(t, ok, err == nil, "%s: %v", version, err)
		require.NoError(t, c.Stop(t.Context()))
	}
}
