package transport_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
)

// serve starts a TLS server that echoes a line.
func serve(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	echo(t, ln)
	return ln.Addr().String()
}

func server(p *testcert.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.TLS()}}
}

func trust(p *testcert.Pair) *transport.TLSOptions {
	return &transport.TLSOptions{ServerCert: transport.File(p.CertPEM())}
}

// to returns a dial function that leads every host to addr, like DNS.
func to(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

func dialTLS(t *testing.T, url, addr string, o *transport.TLSOptions) error {
	t.Helper()
	conn, err := transport.Dial(context.Background(), url, &transport.Options{TLS: o, NetDial: to(addr)})
	if err == nil {
		conn.Close()
	}
	return err
}

// The host of the URL is verified, whatever the dial function does.
func TestHostName(t *testing.T) {
	ca := testcert.Authority(t)
	for _, test := range []struct{ names, url, code string }{
		{"broker.test", "mqtts://broker.test", ""},
		{"broker.test", "mqtts://BROKER.test.", ""},
		{"broker.test", "mqtts://other.test", "wrong-name"},
		{"broker.test", "mqtts://127.0.0.1", "no-names-ip"},
		{"*.broker.test", "mqtts://eu.broker.test", ""},
		{"*.broker.test", "mqtts://broker.test", "wrong-name"},
		{"*.broker.test", "mqtts://a.b.broker.test", "wrong-name"},
		{"127.0.0.1", "mqtts://127.0.0.1", ""},
		{"127.0.0.1", "mqtts://127.0.0.2", "wrong-name"},
		{"127.0.0.1", "mqtts://localhost", "wrong-name"},
		{"::1", "mqtts://[::1]:8883", ""},
		{"fe80::1", "mqtts://[fe80::1%25eth0]", ""},
		{"", "mqtts://localhost", "no-names"},
	} {
		var names []string
		if test.names != "" {
			names = append(names, test.names)
		}
		addr := serve(t, server(ca.Issue(t, testcert.Names(names...))))
		err := dialTLS(t, test.url, addr, trust(ca))
		switch test.code {
		case "":
			require.NoError(t, err, test.url)
		case "no-names-ip":
			require.ErrorContains(t, err, "doesn't contain any IP SANs")
			failure.Is(t, "wrong-name", err)
		default:
			require.Equal(t, transport.StepTLS, failure.Is(t, test.code, err).Step)
			if test.code == "wrong-name" && !strings.Contains(test.url, "localhost") {
				require.ErrorContains(t, err, "valid for "+test.names+", not", "the message lists the names")
			}
		}
		require.NoError(t, dialTLS(t, test.url, addr, &transport.TLSOptions{
			ServerCert: transport.File(ca.CertPEM()), InsecureSkipVerify: true,
		}), "an explicit choice")
	}
	addr := serve(t, server(ca.Issue(t, testcert.Names("inside.test"))))
	o := trust(ca)
	o.ServerName = "inside.test"
	require.NoError(t, dialTLS(t, "mqtts://10.0.0.1", addr, o), "ServerName stands for the host")
}

func TestServerCertificates(t *testing.T) {
	ca, other := testcert.Authority(t), testcert.Authority(t)
	self := testcert.SelfSigned(t)
	both := &transport.TLSOptions{ServerCert: transport.File("# ours\n" + other.CertPEM() + "\n# theirs\n" + ca.CertPEM())}
	for _, test := range []struct {
		about string
		cert  *testcert.Pair
		trust *transport.TLSOptions
		code  string
	}{
		{"an authority of the bundle", ca.Issue(t), both, ""},
		{"the server's own certificate, self-signed", self, trust(self), ""},
		{"a certificate that is in the bundle itself", ca.Issue(t), nil, "unknown-authority"},
		{"the bundle stands instead of the roots", ca.Issue(t), trust(other), "unknown-authority"},
		{"self-signed, not in the bundle", testcert.SelfSigned(t), trust(self), "unknown-authority"},
		{"ended", ca.Issue(t, testcert.Valid(-48*time.Hour, -time.Hour)), trust(ca), "expired"},
		{"ended, though in the bundle", testcert.SelfSigned(t, testcert.Valid(-48*time.Hour, -time.Hour)), nil, "expired"},
		{"not begun", ca.Issue(t, testcert.Valid(time.Hour, 48*time.Hour)), trust(ca), "not-yet-valid"},
		{"a client's", ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), trust(ca), "unfit-certificate"},
	} {
		t.Run(test.about, func(t *testing.T) {
			if test.trust == nil && test.code == "expired" {
				test.trust = trust(test.cert)
			}
			err := dialTLS(t, "mqtts://localhost", serve(t, server(test.cert)), test.trust)
			if test.code == "" {
				require.NoError(t, err)
			} else {
				failure.Is(t, test.code, err)
			}
		})
	}
}

// TLS 1.2 is the minimum, which can be raised.
func TestVersions(t *testing.T) {
	ca := testcert.Authority(t)
	old := server(ca.Issue(t))
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	failure.Is(t, "old-tls", dialTLS(t, "mqtts://localhost", serve(t, old), trust(ca)))
	base := trust(ca)
	base.Base = &tls.Config{MinVersion: tls.VersionTLS10}
	failure.Is(t, "old-tls", dialTLS(t, "mqtts://localhost", serve(t, old), base))

	twelve := server(ca.Issue(t))
	twelve.MaxVersion = tls.VersionTLS12
	addr := serve(t, twelve)
	require.NoError(t, dialTLS(t, "mqtts://localhost", addr, trust(ca)))
	thirteen := trust(ca)
	thirteen.MinVersion = tls.VersionTLS13
	failure.Is(t, "old-tls", dialTLS(t, "mqtts://localhost", addr, thirteen))
	thirteen.MinVersion = tls.VersionTLS11
	failure.Is(t, "options", dialTLS(t, "mqtts://localhost", addr, thirteen))
}

func TestALPN(t *testing.T) {
	ca := testcert.Authority(t)
	config := server(ca.Issue(t))
	config.NextProtos = []string{"mqtt"}
	addr := serve(t, config)
	o := trust(ca)
	o.ALPN = []string{"x-other", "mqtt"}
	require.NoError(t, dialTLS(t, "mqtts://localhost", addr, o))
	o.ALPN = []string{"x-other"}
	failure.Is(t, "alpn", dialTLS(t, "mqtts://localhost", addr, o))
}

// refusal dials and returns the error, from the handshake (TLS 1.2) or from the first Read (TLS
// 1.3).
func refusal(t *testing.T, addr string, o *transport.TLSOptions) error {
	t.Helper()
	conn, err := transport.Dial(context.Background(), "mqtts://"+addr, &transport.Options{TLS: o})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return err
}

// A server that requires a certificate refuses a client without one, or with one of an unknown
// authority, with an error that says what to do.
func TestClientCertificates(t *testing.T) {
	ca, other := testcert.Authority(t), testcert.Authority(t)
	config := server(ca.Issue(t))
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := config.Clone()
		config.MaxVersion = version
		addr := serve(t, config)
		with := func(p *testcert.Pair) *transport.TLSOptions {
			o := trust(ca)
			o.ClientCert, o.ClientKey = transport.File(p.CertPEM()), transport.File(p.KeyPEM(t))
			return o
		}
		require.NoError(t, dialTLS(t, "mqtts://"+addr, addr, with(ca.Issue(t, testcert.ForClients()))))
		code := "client-certificate-required"
		if version == tls.VersionTLS12 {
			code = "tls-refused" // it has no alert of its own for that
		}
		failure.Is(t, code, refusal(t, addr, trust(ca)))
		failure.Is(t, "client-certificate-refused", refusal(t, addr, with(other.Issue(t, testcert.ForClients()))))
		failure.Is(t, "client-certificate-refused", refusal(t, addr, with(ca.Issue(t, testcert.ForClients(), testcert.Valid(-2*time.Hour, -time.Hour)))))
	}
}

// Files are read for each connection, so that certificates can be replaced.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	first, second := testcert.Authority(t), testcert.Authority(t)
	path, _ := first.Write(t, dir, "ca")
	client, key := first.Issue(t, testcert.ForClients(), testcert.CommonName("one")).Write(t, dir, "client")
	seen := make(chan string, 1)
	config := server(second.Issue(t))
	config.ClientAuth = tls.RequireAnyClientCert
	config.VerifyConnection = func(s tls.ConnectionState) error {
		seen <- s.PeerCertificates[0].Subject.CommonName
		return nil
	}
	config.MaxVersion = tls.VersionTLS12 // the server has seen it before Dial returns
	addr := serve(t, config)
	dial, err := transport.Dialer("mqtts://"+addr, &transport.Options{TLS: &transport.TLSOptions{
		ServerCert: transport.File(path), ClientCert: transport.File(client), ClientKey: transport.File(key),
	}})
	require.NoError(t, err)
	_, err = dial(context.Background())
	failure.Is(t, "unknown-authority", err)

	second.Write(t, dir, "ca")
	for _, name := range []string{"one", "two"} {
		first.Issue(t, testcert.ForClients(), testcert.CommonName(name)).Write(t, dir, "client")
		conn, err := dial(context.Background())
		require.NoError(t, err)
		conn.Close()
		require.Equal(t, name, <-seen)
	}
	require.NoError(t, os.Remove(path))
	_, err = dial(context.Background())
	failure.Is(t, "no-such-file", err)
	require.ErrorContains(t, err, path)
}

func TestWrongFiles(t *testing.T) {
	dir := t.TempDir()
	ca := testcert.Authority(t)
	client, other := ca.Issue(t, testcert.ForClients()), ca.Issue(t)
	cert, key := client.Write(t, dir, "client")
	_, otherKey := other.Write(t, dir, "other")
	write := func(name, text string) transport.File {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return transport.File(path)
	}
	f := func(s string) transport.File { return transport.File(s) }
	body := strings.Join(strings.Split(client.KeyPEM(t), "\n")[1:3], "") // without its first and last line
	for _, test := range []struct {
		says string
		code string
		o    transport.TLSOptions
	}{
		{"no client key", "options", transport.TLSOptions{ClientCert: f(cert)}},
		{"no client certificate", "options", transport.TLSOptions{ClientKey: f(key)}},
		{"no such file", "no-such-file", transport.TLSOptions{ClientCert: f(cert), ClientKey: f(key + ".none")}},
		{"not match", "tls-options", transport.TLSOptions{ClientCert: f(cert), ClientKey: f(otherKey)}},
		{"switched", "tls-options", transport.TLSOptions{ClientCert: f(key), ClientKey: f(cert)}},
		{"holds no PEM", "tls-options", transport.TLSOptions{ServerCert: write("text", "hello")}},
		{"not a regular file", "tls-options", transport.TLSOptions{ServerCert: f(dir)}},
		{"larger than", "tls-options", transport.TLSOptions{ServerCert: write("large", strings.Repeat("x", 5<<20))}},
		{`block 2: it is "PRIVATE KEY"`, "tls-options", transport.TLSOptions{ServerCert: write("mixed", ca.CertPEM()+ca.KeyPEM(t))}},
		{"block 1: x509: malformed", "tls-options", transport.TLSOptions{ServerCert: "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"}},
		{"block 2 is damaged", "tls-options", transport.TLSOptions{ServerCert: f(ca.CertPEM() + strings.Replace(ca.CertPEM(), "-----END", "!!-----END", 1))}},
		{"block 1 is damaged", "tls-options", transport.TLSOptions{ServerCert: f(strings.Replace(ca.CertPEM(), "-----END CERTIFICATE-----\n", "", 1) + ca.CertPEM())}},
		{"block 1 is damaged", "tls-options", transport.TLSOptions{ServerCert: f(strings.Replace(ca.CertPEM(), "\nM", "\n!", 1) + ca.CertPEM())}},
		{"block 2 is damaged", "tls-options", transport.TLSOptions{ServerCert: f(ca.CertPEM() + "-----BEGIN CERTIFICATE-----\n")}},
		{"but DER", "tls-options", transport.TLSOptions{ServerCert: write("der", string(ca.TLS().Certificate[0]))}},
		{"damaged", "tls-options", transport.TLSOptions{ClientCert: f(strings.Replace(client.CertPEM(), "END", "EN", 1)), ClientKey: f(key)}},
		{"[inline PEM] holds no PEM", "tls-options", transport.TLSOptions{ServerCert: failure.Canary + "\n"}},
		{"lines -----BEGIN", "tls-options", transport.TLSOptions{ClientCert: f(cert), ClientKey: f(body)}},
		{"is encrypted", "tls-options", transport.TLSOptions{ClientCert: f(cert),
			ClientKey: "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"}},
	} {
		t.Run(test.says, func(t *testing.T) {
			here, there := net.Pipe()
			defer there.Close()
			_, err := transport.Dial(context.Background(), "mqtts://localhost", &transport.Options{
				TLS: &test.o, NetDial: func(context.Context, string, string) (net.Conn, error) { return here, nil },
			})
			failure.Is(t, test.code, err)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), body)
		})
	}
}

// A File prints its path, and never its contents.
func TestFileShowsNoKey(t *testing.T) {
	inline := transport.File("-----BEGIN PRIVATE KEY-----\n" + failure.Canary)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "file", inline, "options", transport.TLSOptions{ClientKey: inline})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "file", inline, "options", transport.TLSOptions{ClientKey: inline})
	failure.Silent(t, inline, &transport.TLSOptions{ClientKey: inline}, log.String())
	require.Contains(t, log.String(), "[inline PEM]")
	require.Equal(t, `"/etc/a b"`, transport.File("/etc/a b").String())
	require.Empty(t, transport.File("").String())
}

// Dangerous settings and certificates about to expire are logged with every connection.
func TestWarnings(t *testing.T) {
	ca := testcert.Authority(t)
	for _, test := range []struct {
		left     time.Duration
		insecure bool
		says     string
	}{
		{left: 15 * 24 * time.Hour},
		{left: 13 * 24 * time.Hour, says: "the client certificate ends soon"},
		{left: -time.Minute, says: "the client certificate has ended"},
		{left: 15 * 24 * time.Hour, insecure: true, says: "not verified"},
	} {
		client := ca.Issue(t, testcert.ForClients(), testcert.Valid(-time.Hour, test.left))
		var log bytes.Buffer
		o := transport.TLSOptions{
			ClientCert: transport.File(client.CertPEM()), ClientKey: transport.File(client.KeyPEM(t)), InsecureSkipVerify: test.insecure,
		}
		_, err := o.Config("localhost", slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		if test.says == "" {
			require.Empty(t, log.String())
		} else {
			require.Contains(t, log.String(), test.says)
			require.Contains(t, log.String(), "level=WARN")
		}
	}
	var log bytes.Buffer
	o := transport.TLSOptions{Base: &tls.Config{KeyLogWriter: io.Discard}}
	_, err := o.Config("localhost", slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.Contains(t, log.String(), "keys")
	log.Reset()
	o = transport.TLSOptions{InsecureSkipHostName: true}
	_, err = o.Config("localhost", slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "the name in the server's certificate is not verified")
	require.NotContains(t, log.String(), "anybody on the way")
}

// If the peer reads nothing, Close waits a quarter of a second, not five seconds.
func TestCloseOfTLSIsSoon(t *testing.T) {
	cert := testcert.SelfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		go tls.Server(there, &tls.Config{Certificates: []tls.Certificate{cert.TLS()}, SessionTicketsDisabled: true}).Handshake()
		o := trust(cert)
		o.InsecureSkipVerify = true // the clock of the bubble is in the year 2000
		conn, err := transport.Dial(context.Background(), "mqtts://localhost", &transport.Options{
			TLS: o, NetDial: func(context.Context, string, string) (net.Conn, error) { return here, nil },
		})
		require.NoError(t, err)
		start := time.Now()
		conn.Close()
		require.Equal(t, 250*time.Millisecond, time.Since(start))
		there.Close()
	})
}
