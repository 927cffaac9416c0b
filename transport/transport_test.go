package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
)

// echo serves listeners that echo a line, and then wait for the end of the stream, like a server
// after DISCONNECT.
func echo(t *testing.T, ln net.Listener) {
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				io.WriteString(conn, line)
				if _, err := r.ReadByte(); err == io.EOF {
					io.WriteString(conn, "bye\n")
				}
			}()
		}
	}()
}

// Each scheme carries bytes both ways, and half-closing leaves the other direction open
// [MQTT-7.1.2-1].
func TestSchemes_MQTT_7_1_2_1(t *testing.T) {
	ca := testcert.Authority(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	echo(t, tcp)
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.Issue(t).TLS()}})
	require.NoError(t, err)
	echo(t, secure)
	socket := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", socket)
	require.NoError(t, err)
	echo(t, unix)

	opts := &transport.Options{TLS: &transport.TLSOptions{ServerCert: transport.File(ca.CertPEM())}}
	for _, url := range []string{
		"mqtt://" + tcp.Addr().String(), "tcp://" + tcp.Addr().String() + "/", "MQTT://" + tcp.Addr().String(),
		"mqtts://" + secure.Addr().String(), "tls://" + secure.Addr().String(), "ssl://" + secure.Addr().String(),
		"unix://" + socket, "unix:" + socket,
	} {
		t.Run(url[:6], func(t *testing.T) {
			conn, err := transport.Dial(context.Background(), url, opts)
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "hello\n")
			require.NoError(t, err)
			require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
			all, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.Equal(t, "hello\nbye\n", string(all))
		})
	}
}
