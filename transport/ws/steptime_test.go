package ws_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// OnStep is called for each step in order; a failed step is the last.
func TestOnStep(t *testing.T) {
	ca := testcert.Authority(t)
	cert := ca.Issue(t)
	server := httptest.NewUnstartedServer(echo(t))
	server.TLS = tlsConfig(cert)
	server.StartTLS()
	defer server.Close()
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)

	var steps []transport.StepTime
	opts := &ws.Options{Options: transport.Options{
		OnStep: func(s transport.StepTime) { steps = append(steps, s) },
		TLS:    &transport.TLSOptions{ServerCert: transport.File(ca.CertPEM())},
	}}
	dial := func(url string) (net.Conn, error) {
		steps = nil
		conn, err := ws.Dial(context.Background(), url, opts)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return conn, err
	}
	names := func() (out []transport.Step) {
		for _, s := range steps {
			require.NotEmpty(t, s.Addr)
			require.Positive(t, s.Took)
			out = append(out, s.Step)
		}
		return out
	}

	conn, err := dial("wss://localhost:" + port + "/mqtt")
	require.NoError(t, err)
	require.Equal(t, []transport.Step{"resolve", "tcp", "tls", "websocket"}, names())
	state, ok := transport.TLSState(conn)
	require.True(t, ok)
	require.Equal(t, cert.Cert.NotAfter, state.PeerCertificates[0].NotAfter)

	opts.TLS = nil
	_, err = dial("wss://127.0.0.1:" + port)
	failure.Is(t, "unknown-authority", err)
	require.Equal(t, []transport.Step{"tcp", "tls"}, names(), "an address needs no resolving")
	require.Equal(t, err, steps[1].Err)

	_, addr, _ := strings.Cut(none.URL, "://")
	_, err = dial("ws://" + addr)
	failure.Is(t, "ws-path", err)
	require.Equal(t, []transport.Step{"tcp", "websocket"}, names())
	require.Equal(t, err, steps[1].Err)

	none.Close()
	_, err = dial("ws://" + addr)
	failure.Is(t, "refused", err)
	require.Equal(t, []transport.Step{"tcp"}, names())

	opts.NetDial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Name: "broker.test", Err: "no such host", IsNotFound: true}
	}
	_, err = dial("ws://broker.test")
	failure.Is(t, "no-such-host", err)
	require.Equal(t, []transport.Step{"resolve"}, names())

	plain, other := net.Pipe()
	defer plain.Close()
	defer other.Close()
	_, ok = transport.TLSState(plain)
	require.False(t, ok)
	_, ok = transport.TLSState(nil)
	require.False(t, ok)
}
