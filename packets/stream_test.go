package packets_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

// A counting is an endless payload whose bytes depend on their position.
type counting struct{ at int }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c.at * 7)
		c.at++
	}
	return len(b), nil
}

func TestStreamTo(t *testing.T) {
	p := &packets.Publish{QoS: packets.AtLeastOnce, Topic: "t", PacketID: 5}
	whole := *p
	for _, size := range []int{0, 1, 122, 123, 100_000} {
		whole.Payload = make([]byte, size)
		_, err := io.ReadFull(&counting{}, whole.Payload)
		require.NoError(t, err)

		var out bytes.Buffer
		n, err := p.StreamTo(&out, &counting{}, size)
		require.NoError(t, err)
		require.Equal(t, encoded(t, &whole), out.Bytes())
		require.EqualValues(t, out.Len(), n)
	}
}

func TestStreamToRefusals(t *testing.T) {
	refuses := func(p *packets.Publish, size int, field, spec string) {
		t.Helper()
		var out bytes.Buffer
		n, err := p.StreamTo(&out, &counting{}, size)
		var refused *packets.EncodeError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, field, refused.Field)
		require.Equal(t, spec, refused.Spec)
		require.Zero(t, n)
		require.Zero(t, out.Len(), "nothing was written")
	}
	refuses(publish("#"), 1, "Topic", "MQTT-3.3.2-2")
	refuses(publish("t"), -1, "Payload", "")
	refuses(publish("t"), packets.MaxRemainingLength-2, "Payload", "")
	refuses(publishOf(1), 1, "Payload", "")
}

func TestStreamToFaults(t *testing.T) {
	var out bytes.Buffer
	n, err := publish("t").StreamTo(&out, bytes.NewReader([]byte("short")), 6)
	require.Equal(t, io.ErrUnexpectedEOF, err)
	require.EqualValues(t, out.Len(), n)

	broken := errors.New("disk gone")
	_, err = publish("t").StreamTo(&out, iotest.ErrReader(broken), 6)
	require.Equal(t, broken, err)

	for after := range 3 {
		_, err = publish("t").StreamTo(&failing{after: after * 3, err: broken}, bytes.NewReader([]byte("payload")), 7)
		require.Equal(t, broken, err)
	}
}

// A failing is a writer that fails after a number of bytes.
type failing struct {
	after int
	err   error
}

func (f *failing) Write(b []byte) (int, error) {
	if len(b) <= f.after {
		f.after -= len(b)
		return len(b), nil
	}
	return f.after, f.err
}

// The payload of a PUBLISH above the limit is streamed, and one below it is read whole. Packets
// around them are not affected, whether the payload is read or not, and however the bytes arrive.
func TestPayload(t *testing.T) {
	large := &packets.Publish{QoS: packets.ExactlyOnce, Topic: "large", PacketID: 9, Payload: make([]byte, 5000)}
	_, _ = (&counting{}).Read(large.Payload)
	small := publishOf(50)
	var stream []byte
	for _, p := range []packets.Packet{small, large, large, &packets.Puback{PacketID: 1}, large, small} {
		stream = append(stream, encoded(t, p)...)
	}
	ways := map[string]func(io.Reader) io.Reader{
		"whole":              func(r io.Reader) io.Reader { return r },
		"byte by byte":       iotest.OneByteReader,
		"by halves":          iotest.HalfReader,
		"last with an error": iotest.DataErrReader,
	}
	head := *large
	head.Payload = nil
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			r := packets.NewReader(way(bytes.NewReader(stream)), packets.ReaderOptions{StreamAbove: 100})
			next := func(want packets.Packet) {
				t.Helper()
				p, err := r.ReadPacket()
				require.NoError(t, err)
				require.Equal(t, want, p)
			}
			next(small)
			require.Nil(t, r.Payload())

			next(&head)
			require.Equal(t, 5000, r.Payload().Len())
			b, err := io.ReadAll(r.Payload())
			require.NoError(t, err)
			require.Equal(t, large.Payload, b)
			require.Zero(t, r.Payload().Len())

			next(&head) // read in part, the rest is skipped
			b = make([]byte, 77)
			_, err = io.ReadFull(r.Payload(), b)
			require.NoError(t, err)
			require.Equal(t, large.Payload[:77], b)
			require.Equal(t, 4923, r.Payload().Len())

			next(&packets.Puback{PacketID: 1})
			require.Nil(t, r.Payload())
			next(&head) // not read at all
			next(small)
			require.Nil(t, r.Payload())
			_, err = r.ReadPacket()
			require.Equal(t, io.EOF, err)
		})
	}
}

func TestPayloadOfNothing(t *testing.T) {
	p := &packets.Publish{Topic: "longer than the limit", Payload: []byte{}}
	r := reader(encoded(t, p), packets.ReaderOptions{StreamAbove: 1})
	got, err := r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, p, got)
	require.Nil(t, r.Payload())
}

// The fields before a streamed payload are checked as strictly as ever.
func TestPayloadRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		b      []byte
		offset int
		spec   string
	}{
		"wildcard":              {append([]byte{0x30, 0x80, 0x01, 0, 3, 'a', '/', '#'}, make([]byte, 123)...), 7, "MQTT-3.3.2-2"},
		"packet identifier 0":   {append([]byte{0x32, 0x80, 0x01, 0, 1, 't', 0, 0}, make([]byte, 123)...), 6, "MQTT-2.3.1-1"},
		"name beyond its end":   {append([]byte{0x30, 0x80, 0x01, 0, 127, 't'}, make([]byte, 125)...), 3, "MQTT-3.3.2-1"},
		"no packet identifier":  {append([]byte{0x32, 0x80, 0x01, 0, 126}, bytes.Repeat([]byte{'t'}, 126)...), 131, "MQTT-2.3.1-1"},
		"half a length of name": {[]byte{0x30, 1, 0}, 3, "MQTT-3.3.2-1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := packets.Parse(c.b)
			requireFault(t, err, packets.PUBLISH, c.offset, c.spec, c.b)
			_, err = reader(c.b, packets.ReaderOptions{StreamAbove: 1}).ReadPacket()
			requireFault(t, err, packets.PUBLISH, c.offset, c.spec, c.b)
		})
	}
}

// If a stream ends with the last byte of a payload, that is not an end within the payload.
func TestPayloadThatEndsTheStream(t *testing.T) {
	p := publishOf(5000)
	r := packets.NewReader(iotest.DataErrReader(bytes.NewReader(encoded(t, p))), packets.ReaderOptions{StreamAbove: 100})
	_, err := r.ReadPacket()
	require.NoError(t, err)
	b, err := io.ReadAll(r.Payload())
	require.NoError(t, err)
	require.Equal(t, p.Payload, b)
	_, err = r.ReadPacket()
	require.Equal(t, io.EOF, err)
}

func TestPayloadEndsEarly(t *testing.T) {
	b := encoded(t, publishOf(1000))
	for _, cut := range []int{1, 500, 900} {
		r := reader(b[:len(b)-cut], packets.ReaderOptions{StreamAbove: 100})
		_, err := r.ReadPacket()
		require.NoError(t, err)
		got, err := io.ReadAll(r.Payload())
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.Len(t, got, 1000-cut)

		r = reader(b[:len(b)-cut], packets.ReaderOptions{StreamAbove: 100})
		_, err = r.ReadPacket()
		require.NoError(t, err)
		_, err = r.ReadPacket()
		require.Equal(t, io.ErrUnexpectedEOF, err, "skipping meets the end as well")
	}

	r := packets.NewReader(iotest.DataErrReader(bytes.NewReader(b[:500])), packets.ReaderOptions{StreamAbove: 100})
	_, err := r.ReadPacket()
	require.NoError(t, err)
	_, err = io.ReadAll(r.Payload())
	require.Equal(t, io.ErrUnexpectedEOF, err, "an end that came with the last bytes")

	broken := errors.New("cable cut")
	r = packets.NewReader(io.MultiReader(bytes.NewReader(b[:500]), iotest.ErrReader(broken)), packets.ReaderOptions{StreamAbove: 100})
	_, err = r.ReadPacket()
	require.NoError(t, err)
	_, err = r.ReadPacket()
	require.Equal(t, broken, err)
	_, err = r.ReadPacket()
	require.Equal(t, broken, err, "still inside the payload")
}

// The largest possible packet is written and read in constant memory.
func TestLargestPacketInConstantMemory(t *testing.T) {
	const size = packets.MaxRemainingLength - 3
	in, out := io.Pipe()
	go func() {
		_, err := publish("t").StreamTo(out, &counting{}, size)
		_ = out.CloseWithError(err)
	}()
	r := packets.NewReader(in, packets.ReaderOptions{Max: 5 + packets.MaxRemainingLength, StreamAbove: 1 << 20})
	var n int64
	used := allocated(func() {
		p, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, publish("t"), p)
		n, err = io.CopyBuffer(onlyWriter{io.Discard}, r.Payload(), make([]byte, 64<<10))
		require.NoError(t, err)
	})
	require.EqualValues(t, size, n)
	require.Less(t, used, 1<<20)
	_, err := r.ReadPacket()
	require.Equal(t, io.EOF, err)
}

// onlyWriter hides every other method of a Writer.
type onlyWriter struct{ io.Writer }
