package transport_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/internal/failure"
)

// asked dials a URL and returns the network and the address that were dialled.
func asked(t *testing.T, url string) (network, addr string) {
	t.Helper()
	_, err := transport.Dial(context.Background(), url, &transport.Options{
		NetDial: func(_ context.Context, n, a string) (net.Conn, error) {
			network, addr = n, a
			return nil, net.ErrClosed
		},
	})
	require.ErrorIs(t, err, net.ErrClosed)
	return network, addr
}

func TestURLs(t *testing.T) {
	for url, want := range map[string][2]string{
		"mqtt://broker":                {"tcp", "broker:1883"},
		"tcp://broker:1":               {"tcp", "broker:1"},
		"mqtts://broker":               {"tcp", "broker:8883"},
		"tls://broker":                 {"tcp", "broker:8883"},
		"ssl://broker:65535/":          {"tcp", "broker:65535"},
		"MQTT://Broker":                {"tcp", "Broker:1883"},
		"mqtt://[::1]":                 {"tcp", "[::1]:1883"},
		"mqtt://[fe80::1%25eth0]:1884": {"tcp", "[fe80::1%eth0]:1884"},
		"mqtt://127.0.0.1:1884":        {"tcp", "127.0.0.1:1884"},
		"unix:///run/mqtt.sock":        {"unix", "/run/mqtt.sock"},
		"unix:/run/mqtt.sock":          {"unix", "/run/mqtt.sock"},
		"unix:mqtt.sock":               {"unix", "mqtt.sock"},
		"unix:@mqtt":                   {"unix", "@mqtt"},
	} {
		network, addr := asked(t, url)
		require.Equal(t, want, [2]string{network, addr}, url)
	}
}

// A wrong URL is detected when the dialer is made, and the error shows no part of it that may be
// secret.
func TestWrongURLs(t *testing.T) {
	const c = failure.Canary
	for url, says := range map[string]string{
		"":                               "no scheme",
		"broker":                         "no scheme",
		"localhost:1883":                 "no scheme",
		"10.0.0.1:1883":                  "no scheme",
		"user:" + c + "@broker":          "no scheme",
		c + ":x":                         "no scheme",
		"http://broker":                  `the scheme "http" is not known`,
		"mqtt:broker":                    "lacks //",
		"mqtt://":                        "no host",
		"mqtt://:1883":                   "no host",
		"mqtt://broker:":                 "after the colon is missing",
		"mqtt://broker:0":                "between 1 and 65535",
		"mqtt://broker:65536":            "between 1 and 65535",
		"mqtt://broker:x":                "port is not a number",
		"mqtt://user:" + c + "@broker":   "port is not a number",
		"mqtt://user:cAnArY@broker":      "user name or a password",
		"mqtt://user:p#" + c + "@broker": "port is not a number",
		"mqtt://user:%zzcAnArY@b":        "two hexadecimal digits",
		"mqtt://broker/path":             "only WebSocket has",
		"mqtt://broker?token=" + c:       "only WebSocket has",
		"mqtt://broker#x":                "fragment",
		"mqtt://broker#":                 "fragment",
		"mqtt://bro ker":                 "no host name has",
		"mqtt://bro\nker":                "control character",
		"mqtt://[::1%250%0d%0aX]":        "two hexadecimal digits",
		"mqtt://brök.er":                 "Punycode",
		"ws://broker/mqtt":               "package transport/ws dials",
		"unix://run/mqtt.sock":           "three slashes",
		"unix:":                          "no scheme",
		"unix://":                        "no path",
	} {
		_, err := transport.Dialer(url, nil)
		dial := failure.Is(t, "options", err)
		require.Equal(t, transport.StepParse, dial.Step, url)
		require.ErrorContains(t, err, says, url)
	}
}
