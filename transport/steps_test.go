package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
)

type netDial = func(context.Context, string, string) (net.Conn, error)

// stalls are dial functions and servers, each of which stalls in another step.
var stalls = map[string]netDial{
	"resolve": func(ctx context.Context, _, addr string) (net.Conn, error) {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: addr, Err: "i/o timeout", IsTimeout: true}}
	},
	"tcp": func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, os.ErrDeadlineExceeded // like net.Dialer
	},
	"tls": func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go io.Copy(io.Discard, there) // reads, and answers nothing
		return here, nil
	},
}

// A step that stalls for ever ends at the common deadline, the error names the step, and nothing is
// left behind: synctest fails if a goroutine stays.
func TestEachStepEndsInTime(t *testing.T) {
	for step, dial := range stalls {
		for timeout, want := range map[time.Duration]time.Duration{0: 30 * time.Second, 7 * time.Second: 7 * time.Second} {
			t.Run(step, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					_, err := transport.Dial(context.Background(), "mqtts://broker.test", &transport.Options{Timeout: timeout, NetDial: dial})
					require.Equal(t, want, time.Since(start))
					failed := failure.Is(t, "timeout-"+step, err)
					require.Equal(t, transport.Step(step), failed.Step)
					require.True(t, failed.Timeout())
					require.ErrorIs(t, err, context.DeadlineExceeded)
				})
			})
		}
	}
}

// The caller can give up during each step, and the time may be unlimited.
func TestEachStepCanBeCanceled(t *testing.T) {
	for step, dial := range stalls {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				time.AfterFunc(time.Hour, cancel)
				start := time.Now()
				_, err := transport.Dial(ctx, "mqtts://broker.test", &transport.Options{Timeout: -1, NetDial: dial})
				require.Equal(t, time.Hour, time.Since(start))
				failed := failure.Is(t, "canceled", err)
				require.Equal(t, transport.Step(step), failed.Step)
				require.ErrorIs(t, err, context.Canceled)
			})
		})
	}
}

// The real resolver, too: its server receives the query and never answers.
func TestSilentDNSServer(t *testing.T) {
	dns, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer dns.Close()
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", dns.LocalAddr().String())
	}}}
	_, err = transport.Dial(context.Background(), "mqtt://broker.test", &transport.Options{Timeout: 20 * time.Millisecond, NetDial: d.DialContext})
	failure.Is(t, "timeout-resolve", err)
}

// A context that has ended dials nothing.
func TestEndedContextDialsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := transport.Dial(ctx, "mqtt://broker.test", &transport.Options{NetDial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialled")
		return nil, net.ErrClosed
	}})
	failure.Is(t, "canceled", err)
}

func TestFailuresOfTheNetwork(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := ln.Addr().String()
	ln.Close()
	_, err = transport.Dial(context.Background(), "mqtt://"+closed, nil)
	require.Equal(t, closed, failure.Is(t, "refused", err).Addr)
	_, err = transport.Dial(context.Background(), "unix://"+filepath.Join(t.TempDir(), "none"), nil)
	require.Equal(t, transport.StepTCP, failure.Is(t, "no-such-file", err).Step)

	for code, cause := range map[string]error{
		"no-such-host":   &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "broker.test", Err: "no such host", IsNotFound: true}},
		"resolve-failed": &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "broker.test", Err: "server misbehaving", IsTemporary: true}},
		"unreachable":    &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)},
		"permission":     &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)},
	} {
		_, err := transport.Dial(context.Background(), "mqtt://broker.test", &transport.Options{
			NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, cause },
		})
		failure.Is(t, code, err)
		require.ErrorIs(t, err, cause)
	}
	_, err = transport.Dial(context.Background(), "mqtt://broker.test", &transport.Options{
		NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, nil },
	})
	require.ErrorContains(t, err, "no connection and no error")
}

// answering starts a server that reads once, sends text, and closes.
func answering(t *testing.T, text string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, text)
			conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, conn) // so that no reset takes the answer away
			conn.Close()
		}
	}()
	return ln.Addr().String()
}

// The error says so if the ports for TLS and plain TCP are mixed up, in both directions.
func TestMixedUpPorts(t *testing.T) {
	const tooMany = "HTTP/1.1 400 Bad Request\r\n\r\n"
	_, err := transport.Dial(context.Background(), "mqtts://"+answering(t, tooMany), nil)
	failure.Is(t, "not-tls", err)
	_, err = transport.Dial(context.Background(), "mqtts://"+answering(t, ""), nil)
	failure.Is(t, "closed-tls", err)

	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{testcert.SelfSigned(t).TLS()}})
	require.NoError(t, err)
	defer secure.Close()
	go func() {
		for {
			conn, err := secure.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake() // writes its alert
			conn.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
		}
	}()
	for code, addr := range map[string]string{
		"speaks-tls":  answering(t, "\x15\x03\x01\x00\x02\x02\x46"),
		"speaks-http": answering(t, tooMany),
	} {
		conn, err := transport.Dial(context.Background(), "mqtt://"+addr, nil)
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, connect)
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 100))
		failure.Is(t, code, err)
	}
}

// connect is a CONNECT packet.
const connect = "\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05hello"

// A connection of a custom dial function that cannot half-close says so.
func TestCloseWriteUnsupported(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	conn, err := transport.Dial(context.Background(), "mqtt://broker.test", &transport.Options{
		NetDial: func(context.Context, string, string) (net.Conn, error) { return here, nil },
	})
	require.NoError(t, err)
	defer conn.Close()
	require.ErrorIs(t, conn.(interface{ CloseWrite() error }).CloseWrite(), errors.ErrUnsupported)
}
