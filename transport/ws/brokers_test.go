package ws_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/aedes"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// The packets of a short conversation in which a message returns to its sender.
const (
	connect    = "\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05hello"
	connack    = "\x20\x02\x00\x00"
	subscribe  = "\x82\x06\x00\x01\x00\x01a\x00"
	suback     = "\x90\x03\x00\x01\x00"
	disconnect = "\xe0\x00"
)

// converse speaks MQTT over conn up to DISCONNECT, with several packets in a Write and several
// Writes for a packet, and waits until the server ends the connection.
func converse(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	say := func(parts ...string) {
		for _, s := range parts {
			_, err := io.WriteString(conn, s)
			require.NoError(t, err)
		}
	}
	hear := func(want string) {
		got := make([]byte, len(want))
		_, err := io.ReadFull(conn, got)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	publish := "\x30\xd3\x0f\x00\x01a" + strings.Repeat("x", 2000) // Remaining Length 2003
	say(connect[:5], connect[5:])
	hear(connack)
	say(subscribe + publish[:100])
	hear(suback)
	say(publish[100:] + publish)
	hear(publish + publish)
	say(disconnect)
	require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	rest, err := io.ReadAll(conn)
	require.Empty(t, rest)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server ends it, with a close frame or without")
}

// With aedes, a JavaScript broker that uses the WebSocket package ws.
func TestAedes(t *testing.T) {
	b := aedes.Start(t)
	opts := &transport.Options{TLS: &transport.TLSOptions{ServerCert: transport.File(b.CA.CertPEM())}}
	for name, url := range map[string]string{"WS": b.WS, "WSS": b.WSS} {
		t.Run(name, func(t *testing.T) {
			conn, err := dialAny(url, opts)
			require.NoError(t, err)
			converse(t, conn)
		})
	}
	t.Run("an authority that is not trusted", func(t *testing.T) {
		_, err := dialAny(b.WSS, &transport.Options{})
		failure.Is(t, "unknown-authority", err)
	})
}

func dialAny(url string, opts *transport.Options) (net.Conn, error) {
	if strings.HasPrefix(url, "ws") {
		return ws.Dial(context.Background(), url, &ws.Options{Options: *opts})
	}
	return transport.Dial(context.Background(), url, opts)
}

// With mosquitto over each of its listeners, and over the wrong one.
func TestMosquitto(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	trusting := &transport.Options{TLS: &transport.TLSOptions{ServerCert: transport.File(b.CAFile)}}
	showing := &transport.Options{TLS: &transport.TLSOptions{
		ServerCert: transport.File(b.CAFile), ClientCert: transport.File(b.ClientCert), ClientKey: transport.File(b.ClientKey),
	}}
	for name, url := range map[string]string{"TCP": b.TCP, "TLS": b.TLS, "mutual TLS": b.MTLS, "WS": b.WS, "WSS": b.WSS, "mutual WSS": b.WSSM} {
		t.Run(name, func(t *testing.T) {
			opts := trusting
			if strings.HasPrefix(name, "mutual") {
				opts = showing
			}
			conn, err := dialAny(url, opts)
			require.NoError(t, err)
			converse(t, conn)
		})
	}
	t.Run("an authority that is not trusted", func(t *testing.T) {
		for _, url := range []string{b.TLS, b.WSS} {
			_, err := dialAny(url, &transport.Options{})
			failure.Is(t, "unknown-authority", err)
		}
	})
	t.Run("without a client certificate", func(t *testing.T) {
		conn, err := dialAny(b.MTLS, trusting)
		require.NoError(t, err, "TLS 1.3 tells it later")
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		failure.Is(t, "client-certificate-required", err)
	})
	t.Run("TLS to the plain port", func(t *testing.T) {
		_, err := dialAny(strings.Replace(b.TCP, "mqtt:", "mqtts:", 1), &transport.Options{Timeout: 10 * time.Second})
		failure.Is(t, "closed-tls", err)
	})
	t.Run("WebSocket to the plain port", func(t *testing.T) {
		_, err := dialAny(strings.Replace(b.TCP, "mqtt:", "ws:", 1), &transport.Options{Timeout: 10 * time.Second})
		failure.Is(t, "closed-websocket", err)
	})
	t.Run("WebSocket to the TLS port", func(t *testing.T) {
		_, err := dialAny(strings.Replace(b.TLS, "mqtts:", "ws:", 1), &transport.Options{Timeout: 10 * time.Second})
		require.Error(t, err)
	})
}

// With mochi, which uses another WebSocket implementation, over WS and WSS.
func TestMochi(t *testing.T) {
	ca := testcert.Authority(t)
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, server.AddHook(new(auth.AllowHook), nil))
	defer server.Close()
	urls := map[string]string{}
	for scheme, config := range map[string]*tls.Config{"ws": nil, "wss": tlsConfig(ca.Issue(t))} {
		ln, err := net.Listen("tcp", "127.0.0.1:0") // mochi does not tell the port of :0
		require.NoError(t, err)
		addr := ln.Addr().String()
		require.NoError(t, ln.Close())
		require.NoError(t, server.AddListener(listeners.NewWebsocket(listeners.Config{ID: scheme, Address: addr, TLSConfig: config})))
		urls[scheme] = scheme + "://" + addr + "/mqtt"
	}
	require.NoError(t, server.Serve())
	for scheme, url := range urls {
		t.Run(scheme, func(t *testing.T) {
			opts := &transport.Options{TLS: &transport.TLSOptions{ServerCert: transport.File(ca.CertPEM())}}
			var conn net.Conn
			require.Eventually(t, func() (ok bool) {
				var err error
				conn, err = dialAny(url, opts)
				return err == nil
			}, time.Minute, 10*time.Millisecond, "Serve returns before it listens")
			converse(t, conn)
		})
	}
}
