package packets_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/packets/vectors"
)

func eachPacket(t *testing.T, f func(t *testing.T, v vectors.Legal)) {
	for _, v := range vectors.Packets {
		t.Run(v.Name, func(t *testing.T) { f(t, v) })
	}
}

func TestEveryTypeHasAVector(t *testing.T) {
	seen := map[packets.Type]bool{}
	for _, v := range vectors.Packets {
		seen[v.Value.Type()] = true
		require.Equal(t, byte(v.Value.Type()), v.Bytes[0]>>4, v.Name)
	}
	require.Len(t, seen, 14)
}

func TestDecode(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		p, n, err := packets.Parse(v.Bytes)
		require.NoError(t, err)
		require.Equal(t, v.Value, p)
		require.Equal(t, len(v.Bytes), n)
		require.Equal(t, vectors.Judgement{Length: n}, vectors.Judge(v.Bytes))
	})
}

func TestEncode(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		b, err := v.Value.AppendBinary([]byte("before"))
		require.NoError(t, err)
		require.Equal(t, append([]byte("before"), v.Bytes...), b)
		if s, ok := v.Value.(interface{ Size() int }); ok {
			require.Equal(t, len(v.Bytes), s.Size())
		}
	})
}

func TestText(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		require.Equal(t, v.Text, v.Value.String())
		require.NotContains(t, v.Value.String(), "\n")
	})
}

// Parse and a Reader ask for more bytes after each prefix of a packet.
func TestPrefixes(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		for n := range v.Bytes {
			p, used, err := packets.Parse(v.Bytes[:n])
			require.Equal(t, packets.ErrShort, err, "%d bytes", n)
			require.Nil(t, p)
			require.Zero(t, used)

			_, err = packets.NewReader(bytes.NewReader(v.Bytes[:n]), packets.ReaderOptions{}).ReadPacket()
			if n == 0 {
				require.Equal(t, io.EOF, err)
			} else {
				require.Equal(t, io.ErrUnexpectedEOF, err, "%d bytes", n)
			}
		}
	})
}

// Bytes after a packet are not part of it. An extra byte within it is a fault, or shifts the next
// packet: Judge knows which.
func TestTrailingByte(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		for _, extra := range []byte{0x00, 0x01, 0x30, 0x7F, 0x80, 0xFF} {
			outside := append(bytes.Clone(v.Bytes), extra)
			_, n, err := packets.Parse(outside)
			require.NoError(t, err)
			require.Equal(t, len(v.Bytes), n, "the byte after is the next packet's")

			if v.Bytes[1] >= 0x7F {
				continue
			}
			inside := bytes.Clone(outside)
			inside[1]++
			requireAsJudged(t, inside)
		}
	})
}

func TestEverySingleBitFlipped(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		for bit := range 8 * len(v.Bytes) {
			b := bytes.Clone(v.Bytes)
			b[bit/8] ^= 1 << (bit % 8)
			requireAsJudged(t, b)
		}
	})
}

func TestEveryByteReplacedAndRemoved(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		for i := range v.Bytes {
			for c := range 256 {
				b := bytes.Clone(v.Bytes)
				b[i] = byte(c)
				requireAsJudged(t, b)
			}
			requireAsJudged(t, append(bytes.Clone(v.Bytes[:i]), v.Bytes[i+1:]...))
		}
	})
}

// Every packet of up to three bytes.
func TestAllShortPackets(t *testing.T) {
	for n := range 1 << 24 {
		b := [3]byte{byte(n >> 16), byte(n >> 8), byte(n)}
		if b[2] > 1 && b[2] < 0x7F || b[2] > 0x80 && b[2] < 0xFF {
			continue // one value stands for those between
		}
		j := vectors.Judge(b[:])
		_, length, err := packets.Parse(b[:])
		if (err == nil) != (j.Verdict == vectors.Whole) || (err == packets.ErrShort) != (j.Verdict == vectors.Short) || length != j.Length {
			requireAsJudged(t, b[:])
		}
	}
}

// requireAsJudged requires Parse to agree with Judge about b: the same packet length, or the same
// fault.
func requireAsJudged(t *testing.T, b []byte) {
	t.Helper()
	p, n, err := packets.Parse(b)
	j := vectors.Judge(b)
	switch j.Verdict {
	case vectors.Whole:
		require.NoError(t, err, "% x", b)
		require.Equal(t, j.Length, n, "% x", b)
		requireRoundTrip(t, b[:n], p)
	case vectors.Short:
		require.Equal(t, packets.ErrShort, err, "% x", b)
	default:
		requireFault(t, err, packets.Type(b[0]>>4), j.Offset, j.Spec, b)
	}
}

func requireFault(t *testing.T, err error, typ packets.Type, offset int, spec string, b []byte) {
	t.Helper()
	var fault *packets.FormatError
	require.ErrorAs(t, err, &fault, "% x", b)
	require.Equal(t, packets.FormatError{Type: typ, Offset: offset, Spec: spec, Reason: fault.Reason, Topic: fault.Topic}, *fault, "% x", b)
	require.NotEmpty(t, fault.Reason)
	want := fmt.Sprintf("packets: %v: byte %d: %s", typ, offset, fault.Reason)
	if spec != "" {
		want += " [" + spec + "]"
	}
	if fault.Topic != "" {
		want += ": " + strconv.QuoteToASCII(fault.Topic)
	}
	require.Equal(t, want, err.Error())
}

// requireRoundTrip requires p to encode to the same bytes, unless it is a packet that we accept
// from a peer but may not send.
func requireRoundTrip(t *testing.T, b []byte, p packets.Packet) {
	t.Helper()
	if c, ok := p.(*packets.Connack); ok && (c.Code > packets.NotAuthorized || b[2] == 1 && b[3] != 0) {
		return
	}
	again, err := p.AppendBinary(nil)
	require.NoError(t, err, "% x", b)
	require.Equal(t, b, again)
}

func TestRefusals(t *testing.T) {
	for _, v := range vectors.Refusals {
		t.Run(v.Name, func(t *testing.T) {
			p, n, err := packets.Parse(v.Bytes)
			require.Nil(t, p)
			require.Zero(t, n)
			requireFault(t, err, v.Type, v.Offset, v.Spec, v.Bytes)
			require.Equal(t, vectors.Judgement{Verdict: vectors.Broken, Offset: v.Offset, Spec: v.Spec}, vectors.Judge(v.Bytes))

			r := packets.NewReader(bytes.NewReader(v.Bytes), packets.ReaderOptions{})
			_, err = r.ReadPacket()
			requireFault(t, err, v.Type, v.Offset, v.Spec, v.Bytes)
			_, again := r.ReadPacket()
			require.Equal(t, err, again, "a fault is final")
		})
	}
}

// A chunks returns a stream in pieces that end where cut says so.
type chunks struct {
	b   []byte
	at  int
	cut func(at int) bool // after at bytes
}

func (c *chunks) Read(b []byte) (int, error) {
	if c.at == len(c.b) {
		return 0, io.EOF
	}
	n := 0
	for n < len(b) && c.at < len(c.b) {
		b[n] = c.b[c.at]
		n++
		c.at++
		if c.cut(c.at) {
			break
		}
	}
	return n, nil
}

// The packets are the same however the stream is cut: at every place in a short packet, at every
// two places in a longer one, and byte by byte.
func TestChunks(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		stream := append(bytes.Clone(v.Bytes), 0xC0, 0x00)
		n := len(stream)
		if n <= 13 {
			for mask := range 1 << (n - 1) {
				requireStream(t, stream, v.Value, func(at int) bool { return mask>>(at-1)&1 == 1 })
			}
			return
		}
		for i := 1; i < n; i++ {
			for k := i; k < n; k++ {
				requireStream(t, stream, v.Value, func(at int) bool { return at == i || at == k })
			}
		}
		requireStream(t, stream, v.Value, func(int) bool { return true })
	})
}

func requireStream(t *testing.T, stream []byte, want packets.Packet, cut func(int) bool) {
	t.Helper()
	r := packets.NewReader(&chunks{b: stream, cut: cut}, packets.ReaderOptions{})
	p, err := r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, want, p)
	p, err = r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, &packets.Pingreq{}, p)
	_, err = r.ReadPacket()
	require.True(t, errors.Is(err, io.EOF), "%v", err)
}

// One Reader, which reuses its structs, reads all vectors in sequence: nothing of a packet is left
// in the next one of its type.
func TestOneReaderForAll(t *testing.T) {
	var stream []byte
	for range 3 {
		for _, v := range vectors.Packets {
			stream = append(stream, v.Bytes...)
		}
	}
	r := packets.NewReader(bytes.NewReader(stream), packets.ReaderOptions{})
	for range 3 {
		for _, v := range vectors.Packets {
			p, err := r.ReadPacket()
			require.NoError(t, err)
			require.Equal(t, v.Value, p, v.Name)
		}
	}
	require.Zero(t, r.Buffered())
}

// A clone does not change when the memory of the packet is reused.
func TestClone(t *testing.T) {
	eachPacket(t, func(t *testing.T, v vectors.Legal) {
		b := bytes.Clone(v.Bytes)
		r := packets.NewReader(bytes.NewReader(append(b, v.Bytes...)), packets.ReaderOptions{})
		p, err := r.ReadPacket()
		require.NoError(t, err)
		c := packets.Clone(p)

		p, _, err = packets.Parse(b)
		require.NoError(t, err)
		parsed := packets.Clone(p)
		for i := range b {
			b[i] = 0xAA
		}
		_, err = r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, v.Value, c)
		require.Equal(t, v.Value, parsed)
	})
}
