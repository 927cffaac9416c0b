package fuzz

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/packets/vectors"
)

// cutStream returns a stream in pieces of the given sizes, over and over; 0 means a read without
// bytes.
type cutStream struct {
	b    []byte
	cuts []byte
	i    int
	last bool // the last bytes come with io.EOF
}

func (c *cutStream) Read(b []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := len(c.b)
	if len(c.cuts) > 0 {
		n = int(c.cuts[c.i%len(c.cuts)])
		if c.i++; c.i%50 == 0 {
			n++ // a reader that never gives anything is another test
		}
	}
	n = copy(b[:min(n, len(b))], c.b)
	c.b = c.b[n:]
	if c.last && len(c.b) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// readAll returns copies of the packets of a stream, including streamed payloads, and the error
// that ended the stream.
func readAll(r *packets.Reader) (all []packets.Packet, err error) {
	for {
		p, err := r.ReadPacket()
		if err != nil {
			return all, err
		}
		p = packets.Clone(p)
		if payload := r.Payload(); payload != nil {
			b, err := io.ReadAll(payload)
			if err != nil {
				return all, err
			}
			p.(*packets.Publish).Payload = b
		}
		all = append(all, p)
	}
}

// FuzzChunks reads a stream in one piece, in chunks, and with its payloads streamed: the packets,
// the final error and the tolerances used are the same.
func FuzzChunks(f *testing.F) {
	var all []byte
	for _, v := range vectors.Packets {
		all = append(all, v.Bytes...)
		f.Add(append(bytes.Clone(v.Bytes), v.Bytes...), []byte{1}, byte(0), true)
	}
	for _, v := range vectors.Refusals {
		f.Add(append(bytes.Clone(v.Bytes), 0xC0, 0), []byte{2, 1}, byte(3), false)
	}
	f.Add(all, []byte{1, 2, 3, 0, 7}, byte(1), false)
	f.Add(all, []byte{200}, byte(2), true)
	f.Fuzz(func(t *testing.T, stream, cuts []byte, tolerate byte, last bool) {
		opts := packets.ReaderOptions{Max: 1 << 16, Tolerate: packets.Tolerances(tolerate & 3)}
		whole := packets.NewReader(bytes.NewReader(stream), opts)
		want, wantErr := readAll(whole)

		chunked := packets.NewReader(&cutStream{b: stream, cuts: cuts, last: last}, opts)
		got, err := readAll(chunked)
		require.Equal(t, want, got)
		requireSame(t, wantErr, err)
		require.Equal(t, whole.Tolerated(), chunked.Tolerated())

		opts.StreamAbove = 8
		streamed := packets.NewReader(&cutStream{b: stream, cuts: cuts, last: last}, opts)
		got, err = readAll(streamed)
		require.Equal(t, want, got)
		if wantErr == io.ErrUnexpectedEOF {
			// The packet that was cut short is judged by what came of it.
			var fault *packets.FormatError
			require.True(t, err == wantErr || errors.As(err, &fault), "%v", err)
			return
		}
		requireSame(t, wantErr, err)
	})
}

// requireSame compares the errors of reading a stream in one piece and in several. For a packet that
// is too large, the pieces may hold only a part of the topic.
func requireSame(t *testing.T, whole, pieces error) {
	t.Helper()
	var a, b *packets.TooLargeError
	if errors.As(whole, &a) && errors.As(pieces, &b) {
		require.True(t, strings.HasPrefix(a.Topic, b.Topic), "%q, and in pieces %q", a.Topic, b.Topic)
		cut := *a
		cut.Topic = b.Topic
		require.Equal(t, &cut, b)
		return
	}
	require.Equal(t, whole, pieces)
}
