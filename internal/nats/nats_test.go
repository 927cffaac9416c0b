package nats_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/nats"
)

// connect opens a persistent session and returns the CONNACK.
func connect(t *testing.T, b *nats.Broker) (net.Conn, []byte) {
	conn, err := net.Dial("tcp", b.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, "\x10\x11\x00\x04MQTT\x04\x00\x00\x3c\x00\x05stays")
	require.NoError(t, err)
	return conn, read(t, conn, 4)
}

func read(t *testing.T, conn net.Conn, n int) []byte {
	b := make([]byte, n)
	_, err := io.ReadFull(conn, b)
	require.NoError(t, err)
	return b
}

// A session survives the process, on the same port, and a message that waits for PUBACK longer than
// AckWait is sent again on the live connection.
func TestStopAndRestart(t *testing.T) {
	b := nats.Start(t, nats.Options{AckWait: time.Second})
	conn, connack := connect(t, b)
	require.Equal(t, []byte{0x20, 2, 0, 0}, connack, "a new session")
	_, err := io.WriteString(conn, "\x82\x06\x00\x01\x00\x01a\x01") // SUBSCRIBE a, QoS 1
	require.NoError(t, err)
	require.Equal(t, []byte{0x90, 3, 0, 1, 1}, read(t, conn, 5), "SUBACK")

	b.Stop()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "the broker is gone")
	b.Restart()
	conn, connack = connect(t, b)
	require.Equal(t, []byte{0x20, 2, 1, 0}, connack, "the session is still there")
	_, err = io.WriteString(conn, "\x32\x05\x00\x01a\x00\x07") // PUBLISH a, QoS 1
	require.NoError(t, err)
	var first, again []byte
	for first == nil || again == nil {
		switch p := read(t, conn, 2); p[0] {
		case 0x40: // PUBACK
			read(t, conn, int(p[1]))
		case 0x32:
			first = read(t, conn, int(p[1]))
		case 0x3a:
			again = read(t, conn, int(p[1]))
		default:
			t.Fatalf("% x", p)
		}
	}
	require.Equal(t, first, again, "the same message under the same identifier, with DUP 1")
	b.Kill()
	b.Kill() // a second kill does nothing
}
