package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/capture"
	"github.com/mqtt311/mqtt311/connector/internal/capture/capturetest"
	"github.com/stretchr/testify/require"
)

// A log records the calls of a Handler, one a line; consecutive data of one direction is one line.
type log struct {
	lines []string
	times []time.Time
}

func (l *log) Data(f *capture.Flow, d capture.Direction, at time.Time, b []byte) {
	head := fmt.Sprintf("%d %d data ", f.Number, d)
	if n := len(l.lines); n > 0 && strings.HasPrefix(l.lines[n-1], head) {
		l.lines[n-1] += string(b)
		return
	}
	l.times = append(l.times, at)
	l.lines = append(l.lines, head+string(b))
}

func (l *log) Gap(f *capture.Flow, d capture.Direction, _ time.Time, n int64) {
	l.lines = append(l.lines, fmt.Sprintf("%d %d gap %d", f.Number, d, n))
}

func (l *log) Close(f *capture.Flow, how capture.Ending) {
	l.lines = append(l.lines, fmt.Sprintf("%d closed %d", f.Number, how))
}

func read(t *testing.T, file []byte) ([]string, capture.Skipped) {
	t.Helper()
	l := new(log)
	skipped, err := capture.Read(bytes.NewReader(file), l)
	require.NoError(t, err)
	return l.lines, skipped
}

func talk(client, server string) *capturetest.Talk {
	t := capturetest.NewTalk(client, server)
	t.Send([]byte("hello"))
	t.Answer([]byte("good day"))
	t.Send([]byte("bye"))
	t.Finish()
	return t
}

// Every format, link layer and kind of address gives the same bytes, with the time of the first
// frame.
func TestFormats(t *testing.T) {
	for _, addrs := range [][2]string{{"192.0.2.1:40000", "192.0.2.2:1883"}, {"[2001:db8::1]:40000", "[2001:db8::2]:1883"}} {
		segments := talk(addrs[0], addrs[1]).Segments
		for _, link := range []int{0, 1, 12, 101, 108, 113, 276} {
			for i := range 8 {
				f := capturetest.Format{NG: i&1 != 0, BigEndian: i&2 != 0, Nanos: i&4 != 0, Link: link}
				t.Run(fmt.Sprintf("%+v %s", f, addrs[0]), func(t *testing.T) {
					file := capturetest.File(f, segments...)
					require.True(t, capture.Known(file))
					l := new(log)
					skipped, err := capture.Read(bytes.NewReader(file), l)
					require.NoError(t, err)
					require.Equal(t, []string{"1 0 data hello", "1 1 data good day", "1 0 data bye", "1 closed 1"}, l.lines)
					require.Zero(t, skipped)
					require.WithinDuration(t, time.Unix(1_700_000_000, 3e6), l.times[0], time.Microsecond)
				})
			}
		}
	}
}

// A truncated file is read as far as it goes, wherever it ends.
func TestCutFiles(t *testing.T) {
	for _, f := range []capturetest.Format{{Link: 1}, {NG: true, Link: 1}} {
		file := capturetest.File(f, talk("192.0.2.1:40000", "192.0.2.2:1883").Segments...)
		for n := range file {
			_, err := capture.Read(bytes.NewReader(file[:n]), new(log))
			if err != nil {
				require.Less(t, n, 32)
			}
		}
	}
	_, err := capture.Read(strings.NewReader("no capture at all"), new(log))
	require.ErrorIs(t, err, capture.ErrFormat)
	require.False(t, capture.Known([]byte("no")))
}

// Segments that are out of order, repeated or overlapping are put together: each byte once.
func TestOrder(t *testing.T) {
	want := make([]byte, 20_000)
	for i := range want {
		want[i] = 'a' + byte(i/7%26)
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		whole := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:1883")
		whole.Send(want)
		segments := slices.Clone(whole.Segments[3:])
		for _, s := range whole.Segments[3:] {
			if r.IntN(3) == 0 { // retransmitted, divided differently
				from := r.IntN(len(s.Payload))
				s.Seq, s.Payload = s.Seq+uint32(from), s.Payload[from:from+r.IntN(len(s.Payload)-from)+1]
				segments = append(segments, s)
			}
		}
		r.Shuffle(len(segments), func(i, j int) { segments[i], segments[j] = segments[j], segments[i] })
		finished := capturetest.File(capturetest.Format{Link: 101}, append(whole.Segments[:3:3], segments...)...)
		lines, _ := read(t, finished)
		require.Equal(t, []string{"1 0 data " + string(want), "1 closed 0"}, lines, "seed %d", seed)
	}
}

// Missing data is reported as a gap at the end of the capture, after a window of segments since the receiver
// acknowledged it, and where frames were truncated.
func TestGaps(t *testing.T) {
	lost := talk("192.0.2.1:40000", "192.0.2.2:1883").Segments
	lines, _ := read(t, capturetest.File(capturetest.Format{Link: 1}, slices.Delete(slices.Clone(lost), 3, 4)...))
	require.Equal(t, []string{"1 1 data good day", "1 0 gap 5", "1 0 data bye", "1 closed 0"}, lines)

	// The last segment of the server is missing; only its acknowledgement was captured.
	last := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:1883")
	last.Send([]byte("hello"))
	last.Answer([]byte("good day"))
	last.Send([]byte("!"))
	lines, _ = read(t, capturetest.File(capturetest.Format{Link: 1}, slices.Delete(last.Segments, 4, 5)...))
	require.Equal(t, []string{"1 0 data hello!", "1 1 gap 8", "1 closed 0"}, lines)

	long := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:1883")
	for range 100 {
		long.Send([]byte("x"))
		long.Answer([]byte("y"))
	}
	lines, _ = read(t, capturetest.File(capturetest.Format{Link: 1}, slices.Delete(long.Segments, 23, 24)...))
	require.Contains(t, lines, "1 0 gap 1")
	require.NotContains(t, lines[len(lines)-3:], "1 0 gap 1", "it waited until the end")

	cut := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:1883")
	cut.Send([]byte("hello"))
	cut.Send([]byte("more"))
	cut.Segments[3].Snap = 2
	lines, _ = read(t, capturetest.File(capturetest.Format{Link: 1}, cut.Segments...))
	require.Equal(t, []string{"1 0 data he", "1 0 gap 3", "1 0 data more", "1 closed 0"}, lines)
}

// A capture that starts within a connection, a reset, and a second connection with the same ports.
func TestFlows(t *testing.T) {
	s := talk("192.0.2.1:40000", "192.0.2.2:1883").Segments
	lines, _ := read(t, capturetest.File(capturetest.Format{Link: 1}, s[4:]...))
	require.Equal(t, []string{"1 0 data good day", "1 1 data bye", "1 closed 1"}, lines, "the opener is who was seen first")

	again := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:1883")
	again.Segments[0].Seq += 5000
	for i := range again.Segments[1:] {
		again.Segments[i+1].Ack += 5000
	}
	all := slices.Concat(s[:5], again.Segments[:1])
	lines, _ = read(t, capturetest.File(capturetest.Format{Link: 1}, all...))
	require.Equal(t, []string{"1 0 data hello", "1 1 data good day", "1 closed 4"}, lines)

	// Retransmissions after the end open no new connection.
	lines, skipped := read(t, capturetest.File(capturetest.Format{Link: 1}, slices.Concat(s, s[3:6])...))
	require.Equal(t, []string{"1 0 data hello", "1 1 data good day", "1 0 data bye", "1 closed 1"}, lines)
	require.Equal(t, 3, skipped.Repeated)

	reset := s[5]
	reset.Flags, reset.Payload = capturetest.RST, nil
	lines, _ = read(t, capturetest.File(capturetest.Format{Link: 1}, slices.Concat(s[:4], []capturetest.Segment{reset})...))
	require.Equal(t, []string{"1 0 data hello", "1 closed 2"}, lines)
}

// Everything that is not used is counted.
func TestSkipped(t *testing.T) {
	s := talk("192.0.2.1:40000", "192.0.2.2:1883").Segments
	_, skipped := read(t, capturetest.File(capturetest.Format{Link: 147}, s...))
	require.Equal(t, capture.Skipped{Links: len(s)}, skipped)

	file := capturetest.File(capturetest.Format{Link: 101}, s...)
	record := 24 + 16
	file[record+9] = 17 // UDP
	_, skipped = read(t, file)
	require.Equal(t, 1, skipped.Other)
	file[record+9], file[record+6] = 6, 0x20 // more fragments
	_, skipped = read(t, file)
	require.Equal(t, 1, skipped.Fragments)
	file[record+6], file[record] = 0x40, 0x41 // a header of four bytes
	_, skipped = read(t, file)
	require.Equal(t, 1, skipped.Short)
}

// No length in a file is trusted.
func TestClaims(t *testing.T) {
	large := func(ng bool) []byte {
		file := capturetest.File(capturetest.Format{NG: ng, Link: 1})
		if ng {
			file = append(file, 6, 0, 0, 0, 0xFC, 0xFF, 0xFF, 0xFF)
		} else {
			file = append(file, make([]byte, 16)...)
			binary.LittleEndian.PutUint32(file[len(file)-8:], 0xFFFFFFFF)
		}
		return append(file, make([]byte, 100)...)
	}
	for _, ng := range []bool{false, true} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, skipped := read(t, large(ng))
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		require.Equal(t, 1, skipped.Large)
	}
	file := capturetest.File(capturetest.Format{NG: true, Link: 1}, talk("192.0.2.1:40000", "192.0.2.2:1883").Segments...)
	_, skipped := read(t, append(file, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0))
	require.EqualError(t, skipped.Unreadable, "capture: a block of pcapng claims 3 bytes")
}

// An ignored is a Handler that only counts calls.
type ignored struct{ data, gaps, closed int }

func (h *ignored) Data(_ *capture.Flow, _ capture.Direction, _ time.Time, b []byte) { h.data += len(b) }
func (h *ignored) Gap(*capture.Flow, capture.Direction, time.Time, int64)           { h.gaps++ }
func (h *ignored) Close(*capture.Flow, capture.Ending)                              { h.closed++ }

// Memory is bounded with many connections at once, each with data waiting behind a gap: the oldest connection is
// given up, and gaps are reported before the end.
func TestBounds(t *testing.T) {
	var segments []capturetest.Segment
	for i := range 5000 {
		talk := capturetest.NewTalk(fmt.Sprintf("192.0.2.1:%d", 10000+i), "192.0.2.2:1883")
		talk.Send(make([]byte, 2000))
		segments = append(segments, slices.Delete(talk.Segments, 3, 4)...) // the first of two is missing
	}
	h := new(ignored)
	skipped, err := capture.Read(bytes.NewReader(capturetest.File(capturetest.Format{Link: 101}, segments...)), h)
	require.NoError(t, err)
	require.Equal(t, 5000-4096, skipped.Flows)
	require.Equal(t, ignored{data: 5000 * 1000, gaps: 5000, closed: 5000}, *h)

	waits := capturetest.NewTalk("192.0.2.1:40000", "192.0.2.2:1883")
	waits.Send(make([]byte, 3<<20))
	h = new(ignored)
	_, err = capture.Read(bytes.NewReader(capturetest.File(capturetest.Format{Link: 101}, slices.Delete(waits.Segments, 3, 4)...)), h)
	require.NoError(t, err)
	require.Equal(t, ignored{data: 3<<20 - 1000, gaps: 1, closed: 1}, *h)
}

func FuzzExplainCaptureFile(f *testing.F) {
	for i := range 4 {
		format := capturetest.Format{NG: i&1 != 0, BigEndian: i&2 != 0, Link: []int{1, 101, 113, 276}[i]}
		f.Add(capturetest.File(format, talk("[2001:db8::1]:40000", "[2001:db8::2]:1883").Segments...))
		f.Add(capturetest.File(format, talk("192.0.2.1:40000", "192.0.2.2:1883").Segments...))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		h := new(ignored)
		_, err := capture.Read(bytes.NewReader(file), h)
		if err != nil && !errors.Is(err, capture.ErrFormat) && !strings.Contains(err.Error(), "header of the file") {
			t.Fatal(err)
		}
		if h.data > len(file) {
			t.Fatalf("%d bytes of data in a file of %d", h.data, len(file))
		}
	})
}
