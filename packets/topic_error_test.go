package packets_test

import (
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The error about a message that is too large has as much of its topic as has arrived.
func TestTooLargeIsNamed(t *testing.T) {
	long := strings.Repeat("a", 300)
	for _, c := range []struct {
		bytes, topic string
		qos          packets.QoS
	}{
		{"\x32\xff\x7f", "", 1},
		{"\x32\xff\x7f\x00", "", 1},
		{"\x34\xff\x7f\x00\x05", "", 2},
		{"\x30\xff\x7f\x00\x05ab", "ab", 0},
		{"\x30\xff\x7f\x00\x05abcdefgh", "abcde", 0},
		{"\x32\xff\x7f\x01\x2c" + long, long[:64], 1},
		{"\x90\xff\x7f\x00\x05abcdefgh", "", 0},
	} {
		r := packets.NewReader(strings.NewReader(c.bytes), packets.ReaderOptions{Max: 1024})
		_, err := r.ReadPacket()
		var large *packets.TooLargeError
		require.ErrorAs(t, err, &large)
		require.Equal(t, packets.TooLargeError{Type: packets.Type(c.bytes[0] >> 4), Size: 16386, Max: 1024, QoS: c.qos, Topic: c.topic}, *large)
	}
	require.EqualError(t, &packets.TooLargeError{Type: packets.PUBLISH, Size: 9, Max: 8, Topic: "a\x00"},
		`packets: PUBLISH of 9 bytes is above the limit of 8 bytes: "a\x00"`)
}

// The error about a refused topic quotes it: escaped, and no more of it than helps.
func TestRefusedTopicIsNamed(t *testing.T) {
	for topic, want := range map[string]string{
		"plant/\x00door":               `"plant/\x00door"`,
		"plant/+/door":                 `"plant/+/door"`,
		"plant/\xff":                   `"plant/\xff"`,
		"\x1b[2Jplant/#":               `"\x1b[2Jplant/#"`,
		strings.Repeat("a", 300) + "#": `"` + strings.Repeat("a", 64) + `"`,
	} {
		b := append([]byte{0x30, 0}, byte(len(topic)>>8), byte(len(topic)))
		b = append(b, topic...)
		body := len(b) - 2
		head := []byte{0x30, byte(body&0x7f) | 0x80, byte(body >> 7)}
		if body < 128 {
			head = []byte{0x30, byte(body)}
		}
		_, _, err := packets.Parse(append(head, b[2:]...))
		var fault *packets.FormatError
		require.ErrorAs(t, err, &fault, "%q", topic)
		require.ErrorContains(t, err, want)
		require.LessOrEqual(t, len(fault.Topic), 64)
	}
}
