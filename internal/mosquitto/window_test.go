package mosquitto_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
)

// In mosquitto 2.0.11, max_inflight_messages does not limit the window: with each PUBACK in order
// it sends that many further messages, so that soon its whole queue is in flight. Proofs and
// measurements with a long queue have to allow for that.
func TestWindowGrows(t *testing.T) {
	const window = 10
	b := mosquitto.Start(t, mosquitto.Options{Config: "max_inflight_messages 10\nmax_queued_messages 0\npersistence false"})
	conn, _ := connect(t, b)
	// SUBSCRIBE a, QoS 1, then a hundred PUBLISHes to it, QoS 1.
	var out strings.Builder
	out.WriteString("\x82\x06\x00\x01\x00\x01a\x01")
	for id := range 100 {
		out.WriteString("\x32\x05\x00\x01a\x00" + string(rune(id+1)))
	}
	_, err := io.WriteString(conn, out.String())
	require.NoError(t, err)

	// published reads up to the next PINGRESP, and counts the PUBLISHes.
	published := func() (ids []string) {
		_, err := io.WriteString(conn, "\xc0\x00")
		require.NoError(t, err)
		for {
			var head [2]byte
			_, err := io.ReadFull(conn, head[:])
			require.NoError(t, err)
			body := make([]byte, head[1])
			_, err = io.ReadFull(conn, body)
			require.NoError(t, err)
			switch head[0] >> 4 {
			case 3:
				ids = append(ids, string(body[3:5]))
			case 13:
				return ids
			}
		}
	}
	first := published()
	require.Len(t, first, window)
	_, err = io.WriteString(conn, "\x40\x02"+first[0])
	require.NoError(t, err)
	inFlight := len(first) - 1 + len(published())
	t.Logf("%d messages on their way after one acknowledgement, with a window of %d", inFlight, window)
	require.Contains(t, []int{window, 2*window - 1}, inFlight)
}
