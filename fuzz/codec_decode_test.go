package fuzz

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/packets/vectors"
)

func seedWithVectors(add func(b []byte)) {
	for _, v := range vectors.Packets {
		add(v.Bytes)
	}
	for _, v := range vectors.Refusals {
		add(v.Bytes)
	}
}

// FuzzDecode compares Parse with the judge of package vectors: the same verdict, the same length,
// the same first fault. A legal packet is encoded as it was read, a Reader gives the same result,
// and no length claimed by a header is allocated before the bytes arrive.
func FuzzDecode(f *testing.F) {
	seedWithVectors(func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := packets.Parse(b)
		read, readErr := readOne(t, b, err == packets.ErrShort)
		j := vectors.Judge(b)
		switch j.Verdict {
		case vectors.Whole:
			require.NoError(t, err)
			require.Equal(t, j.Length, n)
			require.NoError(t, readErr)
			require.Equal(t, p, read)
			require.Equal(t, p, packets.Clone(p))
			requireWrittenAgain(t, b[:n], p)
		case vectors.Short:
			require.Equal(t, packets.ErrShort, err)
			if len(b) == 0 {
				require.Equal(t, io.EOF, readErr)
			} else {
				require.Equal(t, io.ErrUnexpectedEOF, readErr)
			}
		default:
			var fault *packets.FormatError
			require.ErrorAs(t, err, &fault)
			require.Equal(t, j.Offset, fault.Offset)
			require.Equal(t, j.Spec, fault.Spec)
			require.Equal(t, err, readErr)
		}
	})
}

// readOne reads a packet from a stream that ends after b. If b ends within the packet, the
// allocations must be in proportion to the bytes received, whatever the header claims.
func readOne(t *testing.T, b []byte, short bool) (packets.Packet, error) {
	r := packets.NewReader(bytes.NewReader(b), packets.ReaderOptions{Max: 1 << 30})
	if !short {
		return r.ReadPacket()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := r.ReadPacket()
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20+8*len(b)))
	return p, err
}

// requireWrittenAgain checks that p encodes to its original bytes. The one packet that is read but
// may not be written is a CONNACK with a reserved return code.
func requireWrittenAgain(t *testing.T, b []byte, p packets.Packet) {
	again, err := p.AppendBinary(nil)
	var refused *packets.EncodeError
	if errors.As(err, &refused) {
		c, ok := p.(*packets.Connack)
		require.True(t, ok && c.Code > packets.NotAuthorized, "%v", err)
		return
	}
	require.NoError(t, err)
	if c, ok := p.(*packets.Connack); ok && c.Code != packets.Accepted {
		again[2] = b[2] // Session Present is not kept with a refusal
	}
	require.Equal(t, b, again)
	require.NotContains(t, p.String(), "\n")
}
