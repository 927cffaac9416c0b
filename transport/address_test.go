package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
)

// The parts of an address are dialled unchanged: none of them is parsed as part of a URL.
func TestAddressDialer(t *testing.T) {
	for _, test := range []struct {
		address       transport.Address
		network, addr string
		says          string
	}{
		{transport.Address{Host: "broker", Port: 1}, "tcp", "broker:1", ""},
		{transport.Address{Host: "::1", Port: 1883}, "tcp", "[::1]:1883", ""},
		{transport.Address{Host: "fe80::1%lo", Port: 1883}, "tcp", "[fe80::1%lo]:1883", ""},
		{transport.Address{Unix: "/run/a b#c?d%41.sock"}, "unix", "/run/a b#c?d%41.sock", ""},
		{transport.Address{Unix: "@mqtt"}, "unix", "@mqtt", ""},
		{transport.Address{Port: 1883}, "", "", "no host"},
		{transport.Address{Host: "broker"}, "", "", "port"},
		{transport.Address{Host: "broker", Port: -1}, "", "", "port"},
		{transport.Address{Host: "broker", Port: 65536}, "", "", "port"},
		{transport.Address{Host: "u:secret@broker", Port: 1}, "", "", "the host holds a character"},
		{transport.Address{Host: "broker/x", Port: 1}, "", "", "the host holds a character"},
		{transport.Address{Host: "broker:1883", Port: 1}, "", "", "the host holds a character"},
		{transport.Address{Host: "[::1]", Port: 1}, "", "", "the host holds a character"},
		{transport.Address{Host: "a b", Port: 1}, "", "", "a space"},
		{transport.Address{Host: "bröker", Port: 1}, "", "", "Punycode"},
	} {
		var network, addr string
		dial, err := transport.AddressDialer(test.address, &transport.Options{
			NetDial: func(_ context.Context, n, a string) (net.Conn, error) {
				network, addr = n, a
				return nil, net.ErrClosed
			},
		})
		if test.says != "" {
			require.ErrorContains(t, err, test.says, test.address)
			require.NotContains(t, err.Error(), "secret")
			continue
		}
		require.NoError(t, err)
		_, err = dial(context.Background())
		require.ErrorIs(t, err, net.ErrClosed)
		require.Equal(t, [2]string{test.network, test.addr}, [2]string{network, addr})
	}
}

func TestAddressDialerOverTLS(t *testing.T) {
	ca := testcert.Authority(t)
	addr := serve(t, server(ca.Issue(t, testcert.Names("broker.test"))))
	for host, code := range map[string]string{"broker.test": "", "other.test": "wrong-name"} {
		dial, err := transport.AddressDialer(transport.Address{Host: host, Port: 8883, TLS: true}, &transport.Options{TLS: trust(ca), NetDial: to(addr)})
		require.NoError(t, err)
		conn, err := dial(context.Background())
		if code == "" {
			require.NoError(t, err)
			conn.Close()
			continue
		}
		h, _ := transport.HintOf(err)
		require.Equal(t, code, h.Code)
	}
}

// InsecureSkipHostName skips the check of the name, and nothing else.
func TestInsecureSkipHostName(t *testing.T) {
	ca, other := testcert.Authority(t), testcert.Authority(t)
	for name, test := range map[string]struct {
		cert *testcert.Pair
		code string
	}{
		"another name":          {ca.Issue(t, testcert.Names("other.test")), ""},
		"no name":               {ca.Issue(t), ""},
		"another authority":     {other.Issue(t, testcert.Names("broker.test")), "unknown-authority"},
		"self-signed":           {testcert.SelfSigned(t, testcert.Names("broker.test")), "unknown-authority"},
		"ended":                 {ca.Issue(t, testcert.Names("broker.test"), testcert.Valid(-2*time.Hour, -time.Hour)), "expired"},
		"not yet valid":         {ca.Issue(t, testcert.Names("broker.test"), testcert.Valid(time.Hour, 2*time.Hour)), "not-yet-valid"},
		"that of a mere client": {ca.Issue(t, testcert.Names("broker.test"), testcert.ForClients()), "unfit-certificate"},
	} {
		o := trust(ca)
		o.InsecureSkipHostName = true
		h, _ := transport.HintOf(dialTLS(t, "mqtts://broker.test", serve(t, server(test.cert)), o))
		require.Equal(t, test.code, h.Code, name)
	}
}

// A resumed session presents the certificate of the first one, which is verified again.
func TestInsecureSkipHostNameOfResumedSessions(t *testing.T) {
	ca, other := testcert.Authority(t), testcert.Authority(t)
	addr := serve(t, server(ca.Issue(t, testcert.Names("other.test"))))
	var resumed []bool
	o := &transport.TLSOptions{ServerCert: transport.File(ca.CertPEM()), InsecureSkipHostName: true, Base: &tls.Config{
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
		VerifyConnection:   func(s tls.ConnectionState) error { resumed = append(resumed, s.DidResume); return nil },
	}}
	for range 2 {
		conn, err := transport.Dial(context.Background(), "mqtts://broker.test", &transport.Options{TLS: o, NetDial: to(addr)})
		require.NoError(t, err)
		conn.Write([]byte("x\n"))
		conn.Read(make([]byte, 2)) // takes the ticket in, too
		conn.Close()
	}
	require.Equal(t, []bool{false, true}, resumed, "the caller's own check runs, too")
	o.ServerCert = transport.File(other.CertPEM())
	h, _ := transport.HintOf(dialTLS(t, "mqtts://broker.test", addr, o))
	require.Equal(t, "unknown-authority", h.Code)
}

// With a CA file, the system's roots are trusted only on request.
func TestWithSystemRoots(t *testing.T) {
	ca := testcert.Authority(t)
	alone, err := trust(ca).Config("broker.test", nil)
	require.NoError(t, err)
	system, err := x509.SystemCertPool()
	require.NoError(t, err)
	o := trust(ca)
	o.WithSystemRoots = true
	both, err := o.Config("broker.test", nil)
	require.NoError(t, err)
	require.True(t, ca.Pool().Equal(alone.RootCAs))
	want := system.Clone()
	require.True(t, want.AppendCertsFromPEM([]byte(ca.CertPEM())))
	require.True(t, want.Equal(both.RootCAs))
	require.NoError(t, dialTLS(t, "mqtts://broker.test", serve(t, server(ca.Issue(t, testcert.Names("broker.test")))), o))
}
