package packets_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

func reader(b []byte, opts packets.ReaderOptions) *packets.Reader {
	return packets.NewReader(bytes.NewReader(b), opts)
}

// claim returns a fixed header that announces a PUBLISH of n bytes in all.
func claim(n int) []byte {
	b := []byte{0x30, 0, 0, 0, 0}
	for i, v := 1, n-5; i < 5; i, v = i+1, v>>7 {
		b[i] = byte(v&0x7F) | 0x80
	}
	b[4] &= 0x7F
	return b
}

func TestReaderLimit(t *testing.T) {
	p := publishOf(1000)
	b := encoded(t, p)

	_, err := reader(b, packets.ReaderOptions{Max: len(b)}).ReadPacket()
	require.NoError(t, err, "the limit itself is within")

	r := reader(b[:3], packets.ReaderOptions{Max: len(b) - 1})
	_, err = r.ReadPacket()
	require.Equal(t, &packets.TooLargeError{Type: packets.PUBLISH, Size: len(b), Max: len(b) - 1}, err, "the header is enough")
	require.EqualError(t, err, "packets: PUBLISH of "+strconv.Itoa(len(b))+" bytes is above the limit of "+strconv.Itoa(len(b)-1)+" bytes")
	_, again := r.ReadPacket()
	require.Equal(t, err, again, "final")

	for _, max := range []int{0, -1} {
		_, err = reader(claim(16<<20), packets.ReaderOptions{Max: max}).ReadPacket()
		require.Equal(t, io.ErrUnexpectedEOF, err, "16 MiB is within")
		_, err = reader(claim(16<<20+1), packets.ReaderOptions{Max: max}).ReadPacket()
		require.Equal(t, &packets.TooLargeError{Type: packets.PUBLISH, Size: 16<<20 + 1, Max: 16 << 20}, err)
	}

	// "an acknowledgement of 200 MB" is refused by its header whatever the limit is.
	_, err = reader([]byte{0x40, 0x80, 0x84, 0xAF, 0x5F}, packets.ReaderOptions{Max: 1 << 30}).ReadPacket()
	requireFault(t, err, packets.PUBACK, 1, "", nil)
}

// allocated returns the bytes that f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// Memory grows with the bytes that arrive: a header that announces 256 MiB costs one small buffer,
// and a body that stops early at most a few times its own length.
func TestReaderMemory(t *testing.T) {
	for _, arrives := range []int{0, 1, 1000, 100_000, 1 << 20} {
		stream := append(claim(256<<20), 0, 1, 't')
		stream = append(stream, make([]byte, arrives)...)
		used := math.MaxInt // the least of a few: the runtime allocates beside us now and then
		for range 5 {
			r := reader(stream, packets.ReaderOptions{Max: 1 << 30})
			var err error
			used = min(used, allocated(func() { _, err = r.ReadPacket() }))
			require.Equal(t, io.ErrUnexpectedEOF, err)
		}
		require.Less(t, used, 2048+4*len(stream))
	}
}

// A buffer made for a large packet is released when small ones follow, and kept if large packets
// keep coming.
func TestReaderGivesMemoryBack(t *testing.T) {
	large, small := encoded(t, publishOf(8<<20)), encoded(t, &packets.Pingresp{})
	streams := []io.Reader{bytes.NewReader(large)}
	for range 2000 { // as they come when a client idles: one at a time
		streams = append(streams, bytes.NewReader(small))
	}
	r := packets.NewReader(io.MultiReader(streams...), packets.ReaderOptions{})
	var before, after runtime.MemStats
	_, err := r.ReadPacket()
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 2000 {
		_, err := r.ReadPacket()
		require.NoError(t, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Greater(t, int(before.HeapAlloc)-int(after.HeapAlloc), 6<<20)
	runtime.KeepAlive(r)
	runtime.KeepAlive(large)
}

func TestReaderEnds(t *testing.T) {
	ping := encoded(t, &packets.Pingreq{})
	t.Run("between packets", func(t *testing.T) {
		r := reader(ping, packets.ReaderOptions{})
		_, err := r.ReadPacket()
		require.NoError(t, err)
		_, err = r.ReadPacket()
		require.Equal(t, io.EOF, err)
	})
	t.Run("inside a packet", func(t *testing.T) {
		r := reader(append(bytes.Clone(ping), 0x30), packets.ReaderOptions{})
		_, err := r.ReadPacket()
		require.NoError(t, err)
		_, err = r.ReadPacket()
		require.Equal(t, io.ErrUnexpectedEOF, err)
	})
	t.Run("with the last bytes", func(t *testing.T) {
		r := packets.NewReader(iotest.DataErrReader(bytes.NewReader(ping)), packets.ReaderOptions{})
		_, err := r.ReadPacket()
		require.NoError(t, err)
		_, err = r.ReadPacket()
		require.Equal(t, io.EOF, err)
	})
	t.Run("with an error that came once, beside the last bytes", func(t *testing.T) {
		broken := errors.New("cable cut")
		calls := 0
		r := packets.NewReader(readFunc(func(b []byte) (int, error) {
			if calls++; calls > 1 {
				return 0, io.EOF
			}
			return copy(b, ping), broken
		}), packets.ReaderOptions{})
		_, err := r.ReadPacket()
		require.NoError(t, err, "what arrived counts")
		_, err = r.ReadPacket()
		require.Equal(t, broken, err, "and the error is not lost")
	})
	t.Run("with an error of its own", func(t *testing.T) {
		broken := errors.New("cable cut")
		r := packets.NewReader(io.MultiReader(bytes.NewReader(ping[:1]), iotest.ErrReader(broken)), packets.ReaderOptions{})
		_, err := r.ReadPacket()
		require.Equal(t, broken, err)
	})
}

// A timeout in the middle of a packet loses nothing: the next call continues.
func TestReaderGoesOnAfterATimeout(t *testing.T) {
	p := publishOf(1000)
	r := packets.NewReader(iotest.TimeoutReader(iotest.HalfReader(bytes.NewReader(encoded(t, p)))), packets.ReaderOptions{})
	_, err := r.ReadPacket()
	require.Equal(t, iotest.ErrTimeout, err)
	require.Positive(t, r.Buffered())
	got, err := r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, p, got)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestReaderOfABrokenReader(t *testing.T) {
	_, err := packets.NewReader(readFunc(func([]byte) (int, error) { return 0, nil }), packets.ReaderOptions{}).ReadPacket()
	require.Equal(t, io.ErrNoProgress, err)
	for _, n := range []int{-1, 1 << 20} {
		_, err = packets.NewReader(readFunc(func([]byte) (int, error) { return n, nil }), packets.ReaderOptions{}).ReadPacket()
		require.EqualError(t, err, "packets: reader returned an impossible count from Read")
	}
}

// Buffered reports whether more packets can be had without a read.
func TestReaderBuffered(t *testing.T) {
	one := encoded(t, &packets.Puback{PacketID: 1})
	r := reader(bytes.Repeat(one, 3), packets.ReaderOptions{})
	require.Zero(t, r.Buffered())
	for left := 2; left >= 0; left-- {
		_, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, left*len(one), r.Buffered())
	}
}

func TestReaderTolerances(t *testing.T) {
	overlong := []byte{0xD0, 0x80, 0x80, 0x00}
	_, err := reader(overlong, packets.ReaderOptions{Tolerate: packets.TolerateSubackCodes}).ReadPacket()
	requireFault(t, err, packets.PINGRESP, 3, "", overlong)

	r := reader(append(bytes.Clone(overlong), 0xD0, 0), packets.ReaderOptions{Tolerate: packets.TolerateOverlongLength})
	for range 2 {
		p, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, &packets.Pingresp{}, p)
	}
	require.Equal(t, packets.Tolerated{OverlongLength: 1}, r.Tolerated(), "what needs no tolerance is not counted")

	five := []byte{0xD0, 0x80, 0x80, 0x80, 0x80, 0x00}
	_, err = reader(five, packets.ReaderOptions{Tolerate: packets.TolerateOverlongLength}).ReadPacket()
	requireFault(t, err, packets.PINGRESP, 4, "", five)

	codes := []byte{0x90, 5, 0, 1, 0x81, 0x00, 0xFF}
	r = reader(codes, packets.ReaderOptions{Tolerate: packets.TolerateSubackCodes})
	p, err := r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, &packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{0x81, 0, 0xFF}}, p)
	require.Equal(t, packets.Tolerated{SubackCodes: 2}, r.Tolerated())
}

// Topic Names are strings that do not change with the buffer, and a cached one does not let another
// one pass unchecked.
func TestReaderTopicNames(t *testing.T) {
	var stream []byte
	var want []string
	for i := range 3000 {
		name := "sensor/" + strconv.Itoa(i*i%700)
		if i%100 == 99 {
			name = strings.Repeat("long/", 100) + name // too long to be kept
		}
		want = append(want, name)
		stream = append(stream, encoded(t, &packets.Publish{Topic: name, Payload: []byte(name)})...)
	}
	r := reader(stream, packets.ReaderOptions{})
	var got []string
	for range want {
		p, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, p.(*packets.Publish).Topic, string(p.(*packets.Publish).Payload))
		got = append(got, p.(*packets.Publish).Topic)
	}
	require.Equal(t, want, got)

	for _, bad := range []string{"", "a+", "b\x00", "\xff"} {
		stream := encoded(t, publish("t"))
		stream = append(stream, encoded(t, publish("u"))...)
		stream = append(stream, 0x30, byte(2+len(bad)), 0, byte(len(bad)))
		stream = append(stream, bad...)
		r := reader(stream, packets.ReaderOptions{})
		for range 2 {
			_, err := r.ReadPacket()
			require.NoError(t, err)
		}
		_, err := r.ReadPacket()
		var fault *packets.FormatError
		require.ErrorAs(t, err, &fault, "%q", bad)
	}
}

// So many different Topic Names that they share the places of the cache again and again.
func TestReaderForgetsTopicNames(t *testing.T) {
	src := &endlessNames{}
	r := packets.NewReader(src, packets.ReaderOptions{})
	for range 5000 {
		_, err := r.ReadPacket()
		require.NoError(t, err)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 50_000 {
		_, err := r.ReadPacket()
		require.NoError(t, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int(after.HeapAlloc)-int(before.HeapAlloc), 256<<10, "the table is bounded")
	runtime.KeepAlive(r)
}

// An endlessNames is a stream of PUBLISH packets, each with another Topic Name.
type endlessNames struct {
	i    int
	left []byte
}

func (e *endlessNames) Read(b []byte) (int, error) {
	if len(e.left) == 0 {
		e.i++
		p := packets.Publish{Topic: "a name of some length, so that it counts/" + strconv.Itoa(e.i)}
		e.left, _ = p.AppendBinary(nil)
	}
	n := copy(b, e.left)
	e.left = e.left[n:]
	return n, nil
}

// Memory that a Reader reuses for lists keeps nothing of an earlier list.
func TestReaderReusesLists(t *testing.T) {
	var stream []byte
	want := []packets.Packet{
		&packets.Suback{PacketID: 1, Codes: []packets.SubscribeCode{2, 1, 0}},
		&packets.Suback{PacketID: 2, Codes: []packets.SubscribeCode{0x80}},
		subscribe8(), subscribe("x"),
		&packets.Unsubscribe{PacketID: 1, Filters: []string{"a", "b"}}, unsubscribe("c"),
		withWill(packets.Will{Topic: "w", Payload: []byte{1}}), clean(),
	}
	var clones []packets.Packet
	for _, p := range want {
		stream = append(stream, encoded(t, p)...)
	}
	r := reader(stream, packets.ReaderOptions{})
	for _, p := range want {
		got, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, p, got)
		clones = append(clones, packets.Clone(got))
	}
	require.Equal(t, want, clones)
}

// Appending to a slice of a packet does not overwrite the bytes after it.
func TestSlicesEndWhereTheyEnd(t *testing.T) {
	everything := withWill(packets.Will{Topic: "w", Payload: []byte("gone")})
	everything.HasUserName, everything.HasPassword, everything.Password = true, true, []byte("pass")
	stream := append(encoded(t, publishOf(3)), encoded(t, everything)...)
	before := bytes.Clone(stream)

	p, n, err := packets.Parse(stream)
	require.NoError(t, err)
	_ = append(p.(*packets.Publish).Payload, "over"...)
	p, _, err = packets.Parse(stream[n:])
	require.NoError(t, err)
	_ = append(p.(*packets.Connect).Will.Payload, "over"...)
	_ = append(p.(*packets.Connect).Password, "over"...)
	require.Equal(t, before, stream)
}

// ReadBuffered returns packets that are already complete, and never waits.
func TestReadBuffered(t *testing.T) {
	in := []byte{0xd0, 0, 0x40, 2, 0, 1, 0x40, 2, 0}
	r := packets.NewReader(bytes.NewReader(in), packets.ReaderOptions{})
	p, err := r.ReadBuffered()
	require.NoError(t, err)
	require.Nil(t, p, "nothing was read yet")
	p, err = r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, packets.PINGRESP, p.Type())
	p, err = r.ReadBuffered()
	require.NoError(t, err)
	require.Equal(t, "PUBACK id=1", p.String())
	p, err = r.ReadBuffered()
	require.NoError(t, err)
	require.Nil(t, p, "the next one is not whole")
	_, err = r.ReadPacket()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	r = packets.NewReader(bytes.NewReader([]byte{0xd0, 0, 0x41, 2, 0, 1}), packets.ReaderOptions{})
	_, err = r.ReadPacket()
	require.NoError(t, err)
	var format *packets.FormatError
	_, err = r.ReadBuffered()
	require.ErrorAs(t, err, &format)
	_, err = r.ReadBuffered()
	require.ErrorAs(t, err, &format, "for good")
}

// A streamed PUBLISH may be larger than any other packet, up to MaxStream.
func TestMaxStream(t *testing.T) {
	opts := packets.ReaderOptions{Max: 20, StreamAbove: 20, MaxStream: 100}
	large, err := (&packets.Publish{Topic: "t", Payload: make([]byte, 50)}).AppendBinary(nil)
	require.NoError(t, err)
	r := packets.NewReader(bytes.NewReader(large), opts)
	_, err = r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, 50, r.Payload().Len())
	var tooLarge *packets.TooLargeError
	for _, b := range [][]byte{{0x30, 120}, {0x90, 50}} {
		_, err = packets.NewReader(bytes.NewReader(b), opts).ReadPacket()
		require.ErrorAs(t, err, &tooLarge)
	}
}

// A PUBLISH with a streamed payload is never complete in the buffer, so ReadBuffered leaves it to
// ReadPacket.
func TestReadBufferedStream(t *testing.T) {
	for _, size := range []int{50, 5000} {
		large, err := (&packets.Publish{Topic: "t", Payload: make([]byte, size)}).AppendBinary([]byte{0xd0, 0})
		require.NoError(t, err)
		r := packets.NewReader(bytes.NewReader(large), packets.ReaderOptions{Max: 6000, StreamAbove: 20})
		p, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, packets.PINGRESP, p.Type())
		p, err = r.ReadBuffered()
		require.NoError(t, err)
		require.Nil(t, p)
		p, err = r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, packets.PUBLISH, p.Type())
		require.Equal(t, size, r.Payload().Len())
	}
}
