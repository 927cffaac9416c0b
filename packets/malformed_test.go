package packets_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// publishBytes returns a PUBLISH with any topic; length is the length that the topic claims to
// have.
func publishBytes(flags byte, length int, topic, rest string) []byte {
	body := append([]byte{byte(length >> 8), byte(length)}, topic+rest...)
	b := []byte{0x30 | flags}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			b = append(b, byte(n))
			break
		}
		b = append(b, byte(n)|0x80)
	}
	return append(b, body...)
}

// A PUBLISH with a malformed topic can be passed on: the readable parts are returned with the
// fault, and the packets after it are read.
func TestPassMalformed(t *testing.T) {
	next := publishBytes(0x02, 1, "t", "\x00\x09next")
	for name, c := range map[string]struct {
		flags       byte
		length      int
		topic, rest string
		want        packets.Publish
		reason      string
	}{
		"U+0000":           {2, 3, "a\x00b", "\x00\x07x", packets.Publish{QoS: 1, Topic: "a\x00b", PacketID: 7, Payload: []byte("x")}, "NUL"},
		"wildcard, QoS 2":  {0x0d, 3, "a/#", "\x01\x00", packets.Publish{Dup: true, Retain: true, QoS: 2, Topic: "a/#", PacketID: 256, Payload: []byte{}}, "wildcard"},
		"not UTF-8, QoS 0": {0, 1, "\xff", "xy", packets.Publish{Topic: "\xff", Payload: []byte("xy")}, "UTF-8"},
		"surrogate":        {0, 3, "\xed\xa0\x80", "", packets.Publish{Topic: "\xed\xa0\x80", Payload: []byte{}}, "well-formed"},
		"empty":            {2, 0, "", "\x00\x07x", packets.Publish{QoS: 1, PacketID: 7, Payload: []byte("x")}, "empty"},
		"too long":         {2, 9, "abc", "\x00\x07", packets.Publish{QoS: 1, Payload: []byte{}}, "longer than the packet"},
		"too long, QoS 0":  {0, 65535, "abc", "", packets.Publish{Payload: []byte{}}, "longer than the packet"},
		"no identifier":    {2, 1, "#", "", packets.Publish{QoS: 1, Topic: "#", Payload: []byte{}}, "wildcard"},
		"half of one":      {2, 1, "#", "\x01", packets.Publish{QoS: 1, Topic: "#", Payload: []byte{}}, "wildcard"},
		"identifier zero":  {4, 1, "+", "\x00\x00x", packets.Publish{QoS: 2, Topic: "+"}, "wildcard"},
	} {
		t.Run(name, func(t *testing.T) {
			b := publishBytes(c.flags, c.length, c.topic, c.rest)
			for _, src := range []io.Reader{bytes.NewReader(append(b, next...)), iotest.OneByteReader(bytes.NewReader(append(b, next...)))} {
				r := packets.NewReader(src, packets.ReaderOptions{PassMalformed: true})
				p, err := r.ReadPacket()
				require.NoError(t, err)
				got := *p.(*packets.Publish)
				if len(c.want.Payload) == 0 && c.want.Payload == nil {
					got.Payload = nil
				}
				require.Equal(t, c.want, got)
				require.ErrorContains(t, r.Malformed(), c.reason)
				require.Equal(t, len(b), r.Size())
				p, err = r.ReadPacket()
				require.NoError(t, err)
				require.Equal(t, `PUBLISH "t" qos=1 id=9 dup=0 size=4`, p.(*packets.Publish).String())
				require.Nil(t, r.Malformed())
				require.Equal(t, len(next), r.Size())
			}
			_, err := packets.NewReader(bytes.NewReader(b), packets.ReaderOptions{}).ReadPacket()
			require.ErrorContains(t, err, c.reason)
			_, _, err = packets.Parse(b)
			require.ErrorContains(t, err, c.reason)
		})
	}
}

// A fault in anything but the topic remains an error, and so does one that makes the next packet
// unreadable.
func TestPassMalformedPassesNothingElse(t *testing.T) {
	for name, b := range map[string][]byte{
		"identifier zero":     publishBytes(2, 1, "t", "\x00\x00x"),
		"identifier missing":  publishBytes(2, 1, "t", ""),
		"QoS 3":               publishBytes(6, 1, "#", "\x00\x01"),
		"DUP at QoS 0":        publishBytes(8, 1, "#", ""),
		"remaining length":    {0x30, 0xff, 0xff, 0xff, 0xff},
		"another packet":      {0x40, 2, 0, 0},
		"SUBSCRIBE of \"a#\"": {0x82, 7, 0, 1, 0, 2, 'a', '#', 0},
		"above the limit":     publishBytes(0, 1, "#", strings.Repeat("x", 2000)),
	} {
		t.Run(name, func(t *testing.T) {
			r := packets.NewReader(bytes.NewReader(b), packets.ReaderOptions{PassMalformed: true, Max: 1000})
			_, err := r.ReadPacket()
			require.Error(t, err)
			require.Nil(t, r.Malformed())
		})
	}
}

// The payload of a streamed message with a malformed topic is read or skipped like any other.
func TestPassMalformedStreamed(t *testing.T) {
	b := publishBytes(2, 1, "#", "\x00\x07"+strings.Repeat("x", 5000))
	for _, read := range []bool{false, true} {
		r := packets.NewReader(iotest.HalfReader(bytes.NewReader(append(b, 0xd0, 0))), packets.ReaderOptions{PassMalformed: true, StreamAbove: 1000})
		p, err := r.ReadPacket()
		require.NoError(t, err)
		require.EqualValues(t, 7, p.(*packets.Publish).PacketID)
		require.Error(t, r.Malformed())
		require.Equal(t, len(b), r.Size())
		require.Equal(t, 5000, r.Payload().Len())
		if read {
			payload, err := io.ReadAll(r.Payload())
			require.NoError(t, err)
			require.Len(t, payload, 5000)
		}
		p, err = r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, packets.PINGRESP, p.Type())
	}
}
