package packets_test

import (
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A topic that is refused is named: escaped, and no more of it than helps.
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
