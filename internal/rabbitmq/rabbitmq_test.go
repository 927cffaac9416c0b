package rabbitmq_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/rabbitmq"
	"github.com/mqtt311/mqtt311/internal/thorough"
)

// connect opens a persistent session and returns the CONNACK.
func connect(t *testing.T, b *rabbitmq.Broker) (net.Conn, []byte) {
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

// A subscription at QoS 2 is granted at QoS 1, its session survives the process, and no process
// survives the test.
func TestKillAndRestart(t *testing.T) {
	thorough.Only(t)
	t.Run("broker", func(t *testing.T) {
		b := rabbitmq.Start(t)
		conn, connack := connect(t, b)
		require.Equal(t, []byte{0x20, 2, 0, 0}, connack, "a new session")
		_, err := io.WriteString(conn, "\x82\x06\x00\x01\x00\x01a\x02") // SUBSCRIBE a, QoS 2
		require.NoError(t, err)
		suback := make([]byte, 5)
		_, err = io.ReadFull(conn, suback)
		require.NoError(t, err)
		require.Equal(t, []byte{0x90, 3, 0, 1, 1}, suback)

		b.Kill()
		_, err = conn.Read(suback)
		require.Error(t, err, "the broker is gone")
		b.Kill() // a second kill does nothing
		b.Restart(t)
		_, connack = connect(t, b)
		require.Equal(t, []byte{0x20, 2, 1, 0}, connack, "the session is still there: %s", b.Log())
	})
	require.Eventually(t, func() bool { return len(left(t)) == 0 }, time.Minute, 50*time.Millisecond, "%v", left(t))
}

// left returns the processes that have the folder of this test in their environment.
func left(t *testing.T) (found []string) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, f := range files {
		environ, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(environ), "RABBITMQ_NODENAME=mqtt311-") && strings.Contains(string(environ), "/TestKillAndRestart") {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			found = append(found, filepath.Dir(f)+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}
