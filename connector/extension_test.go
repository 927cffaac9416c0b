package connector_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// selfSigned makes a certificate for 127.0.0.1 and its key, as PEM text.
func selfSigned(t *testing.T, name string) (cert, key string, pair tls.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	bits, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bits}))
	pair, err = tls.X509KeyPair([]byte(cert), []byte(key))
	require.NoError(t, err)
	return cert, key, pair
}

// bridge copies between a connection and the broker until one of them ends.
func bridge(c io.ReadWriteCloser, addr string) {
	defer c.Close()
	if t, ok := c.(*tls.Conn); ok && t.Handshake() != nil {
		return // nobody for the broker
	}
	b, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	go func() { io.Copy(b, c); b.Close() }()
	io.Copy(c, b)
}

// wsStream reads and writes binary frames of a WebSocket as a stream.
type wsStream struct {
	*websocket.Conn
	rest []byte
}

func (s *wsStream) Read(b []byte) (n int, err error) {
	for len(s.rest) == 0 {
		if _, s.rest, err = s.ReadMessage(); err != nil {
			return 0, err
		}
	}
	n = copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *wsStream) Write(b []byte) (int, error) {
	return len(b), s.WriteMessage(websocket.BinaryMessage, b)
}

// fronts starts a server for each protocol in front of one broker: TLS and WebSocket Secure require
// a client certificate, WebSockets a path and a header.
func fronts(t *testing.T, server tls.Certificate, client string) map[connector.Protocol]string {
	t.Helper()
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(client)))
	config := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go bridge(c, b.Addr)
		}
	}()
	upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mqtt" || r.Header.Get("Authorization") != "Bearer x" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		if c, err := upgrader.Upgrade(w, r, nil); err == nil {
			bridge(&wsStream{Conn: c}, b.Addr)
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secure.TLS = config.Clone()
	secure.StartTLS()
	t.Cleanup(func() { plain.Close(); secure.Close() })
	return map[connector.Protocol]string{
		connector.TCP: b.Addr, connector.TLS: l.Addr().String(),
		connector.WebSocket: plain.Listener.Addr().String() + "/mqtt", connector.WebSocketSecure: secure.Listener.Addr().String() + "/mqtt",
	}
}

// 连接协议 without an external broker: a message passes over each protocol, with certificates as files
// and as text, a path and a header.
func TestProtocolsInProcess(t *testing.T) {
	serverCert, _, server := selfSigned(t, "server")
	clientCert, clientKey, _ := selfSigned(t, "client")
	file := filepath.Join(t.TempDir(), "server.pem")
	require.NoError(t, os.WriteFile(file, []byte(serverCert), 0o600))
	for protocol, address := range fronts(t, server, clientCert) {
		t.Run(protocol.String(), func(t *testing.T) {
			cfg := kept(connector.ConsumerParams{})
			cfg.General.BrokerURL, cfg.General.Protocol, cfg.General.ClientID = address, protocol, "c-"+protocol.String()
			cfg.Producers = map[string]connector.ProducerParams{"out": {Topic: "t/" + protocol.String(), QoS: packets.ExactlyOnce}}
			cfg.Extension.WSHeaders = map[string]connector.Secret{"Authorization": "Bearer x"}
			if protocol.Secure() {
				cfg.General.TLSClientCert, cfg.General.TLSClientKey, cfg.General.TLSServerCert = clientCert, connector.Secret(clientKey), file
			}
			if protocol == connector.WebSocketSecure { // one of them by a command
				cfg.General.TLSClientKey, cfg.General.TLSClientKeyFrom = "", &connector.SecretSource{Exec: []string{"printf", "%s", clientKey}}
			}
			c, err := connector.New(cfg, connector.Options{})
			require.NoError(t, err)
			got := make(chan string, 8)
			require.NoError(t, c.Consume("in", flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
				if m.Topic() == "t/"+protocol.String() {
					got <- string(m.Payload.Blob)
				}
				return nil, nil
			})))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.NoError(t, c.Start(ctx))
			_, err = c.Producer("out").Run(ctx, reading())
			require.NoError(t, err)
			select {
			case s := <-got:
				require.Equal(t, "21", s)
			case <-ctx.Done():
				t.Fatal("nothing came")
			}
			require.NoError(t, c.Stop(ctx))
		})
	}
}

// A server whose certificate has another name is refused, unless the extension says which name to
// expect or to skip the check; ALPN offers the listed protocols.
func TestTLSNames(t *testing.T) {
	serverCert, _, server := selfSigned(t, "server")
	offered := make(chan []string, 1)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		offered <- h.SupportedProtos
		return &tls.Config{Certificates: []tls.Certificate{server}, NextProtos: []string{"mqtt"}}, nil
	}})
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
	trusting := x509.NewCertPool()
	trusting.AppendCertsFromPEM([]byte(serverCert))
	for name, c := range map[string]struct {
		trusted string
		x       connector.Extension
		ok      bool
		base    *tls.Config
	}{
		"trusted":            {serverCert, connector.Extension{TLSALPN: []string{"mqtt"}}, true, nil},
		"not trusted":        {"", connector.Extension{}, false, nil},
		"not looked at":      {"", connector.Extension{TLSInsecureSkipVerify: true}, true, nil},
		"another name":       {serverCert, connector.Extension{TLSServerName: "mq.example.com"}, false, nil},
		"trusted by Options": {"", connector.Extension{}, true, &tls.Config{RootCAs: trusting}},
		"its name":           {serverCert, connector.Extension{TLSServerName: "127.0.0.1"}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := producing(connector.ProducerParams{Topic: "t"})
			cfg.General.BrokerURL, cfg.General.Protocol, cfg.General.TLSServerCert = l.Addr().String(), connector.TLS, c.trusted
			cfg.Extension = c.x
			conn, err := connector.New(cfg, connector.Options{TLS: c.base})
			require.NoError(t, err)
			err = conn.Start(t.Context())
			require.Equal(t, c.x.TLSALPN, <-offered)
			if c.ok {
				require.NoError(t, err)
				require.NoError(t, conn.Stop(t.Context()))
				return
			}
			var e *flow.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, []flow.ErrorType{flow.TypeTLSUntrusted, flow.TypeTLSHostname}, e.Type)
		})
	}
}
