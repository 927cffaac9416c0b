package mosquitto_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
)

// connect opens a persistent session and returns the CONNACK.
func connect(t *testing.T, b *mosquitto.Broker) (net.Conn, []byte) {
	conn, err := net.Dial("tcp", b.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, "\x10\x11\x00\x04MQTT\x04\x00\x00\x3c\x00\x05stays")
	require.NoError(t, err)
	connack := make([]byte, 4)
	_, err = io.ReadFull(conn, connack)
	require.NoError(t, err)
	return conn, connack
}

// The broker's stored data survives its end, and its ports stay the same.
func TestStopAndRestart(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	conn, connack := connect(t, b)
	require.Equal(t, []byte{0x20, 2, 0, 0}, connack, "a new session")
	// SUBSCRIBE a, QoS 1, and its SUBACK
	_, err := io.WriteString(conn, "\x82\x06\x00\x01\x00\x01a\x01")
	require.NoError(t, err)
	suback := make([]byte, 5)
	_, err = io.ReadFull(conn, suback)
	require.NoError(t, err)

	b.Stop()
	_, err = conn.Read(suback)
	require.Error(t, err, "the broker is gone")
	b.Restart()
	_, connack = connect(t, b)
	require.Equal(t, []byte{0x20, 2, 1, 0}, connack, "the session is still there")

	b.Kill()
	_, err = net.Dial("tcp", b.Addr())
	require.Error(t, err)
	b.Kill() // a second kill does nothing
}

func TestConfigIsAdded(t *testing.T) {
	no := false
	b := mosquitto.Start(t, mosquitto.Options{Config: "max_keepalive 10", Anonymous: &no})
	_, connack := connect(t, b)
	require.Equal(t, []byte{0x20, 2, 0, 5}, connack, "not authorized without a user name")
	require.True(t, strings.Contains(b.Log(), "mosquitto version"))
}
