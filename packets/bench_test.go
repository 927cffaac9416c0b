package packets_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
)

// Each benchmark is paired with a limit: the same bytes moved by code that knows where everything
// is and checks nothing. Only the ratio within one run counts.

const benchTopic = "plant/7/line/3/machine/42/state" // 31 bytes

func publishOf(size int) *packets.Publish {
	return &packets.Publish{Topic: benchTopic, Payload: bytes.Repeat([]byte{'x'}, size)}
}

func encoded(tb testing.TB, p packets.Packet) []byte {
	b, err := p.AppendBinary(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// An endless is a stream that repeats itself.
type endless struct {
	unit []byte
	at   int
}

func (e *endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		k := copy(b[n:], e.unit[e.at:])
		n += k
		if e.at += k; e.at == len(e.unit) {
			e.at = 0
		}
	}
	return n, nil
}

// packed returns an endless stream of p, in units so large that copying them costs what it costs a
// kernel.
func packed(tb testing.TB, p packets.Packet) *endless {
	one := encoded(tb, p)
	return &endless{unit: bytes.Repeat(one, 1+(128<<10)/len(one))}
}

func benchEncode(b *testing.B, p packets.Packet) {
	buf := encoded(b, p)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = p.AppendBinary(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// benchEncodeLimit copies the field lengths and the fields, and nothing more.
func benchEncodeLimit(b *testing.B, p *packets.Publish) {
	whole := encoded(b, p)
	head := len(whole) - len(p.Payload) - len(p.Topic)
	buf := make([]byte, 0, len(whole))
	b.SetBytes(int64(len(whole)))
	b.ReportAllocs()
	for b.Loop() {
		buf = append(buf[:0], whole[:head]...)
		buf = append(buf, p.Topic...)
		buf = append(buf, p.Payload...)
	}
}

func BenchmarkEncodePublish256(b *testing.B)      { benchEncode(b, publishOf(256)) }
func BenchmarkEncodePublish256Limit(b *testing.B) { benchEncodeLimit(b, publishOf(256)) }
func BenchmarkEncodePublish64K(b *testing.B)      { benchEncode(b, publishOf(64<<10)) }
func BenchmarkEncodePublish64KLimit(b *testing.B) { benchEncodeLimit(b, publishOf(64<<10)) }
func BenchmarkEncodePuback(b *testing.B)          { benchEncode(b, &packets.Puback{PacketID: 7}) }
func BenchmarkEncodeSubscribe8(b *testing.B)      { benchEncode(b, subscribe8()) }

func BenchmarkAppendAck(b *testing.B) {
	buf := make([]byte, 0, 4)
	for b.Loop() {
		buf = packets.AppendAck(buf[:0], packets.PUBACK, 7)
	}
}

func subscribe8() *packets.Subscribe {
	p := &packets.Subscribe{PacketID: 9}
	for _, f := range []string{"a/+/c", "b/#", "plant/7/line/3/+/state", "x", "y/z", "$SYS/#", "+/+", "q/r/s/t"} {
		p.Subscriptions = append(p.Subscriptions, packets.Subscription{Filter: f, QoS: packets.AtLeastOnce})
	}
	return p
}

func benchRead(b *testing.B, p packets.Packet, keep func(packets.Packet)) {
	s := packed(b, p)
	r := packets.NewReader(s, packets.ReaderOptions{})
	b.SetBytes(int64(len(encoded(b, p))))
	b.ReportAllocs()
	for b.Loop() {
		p, err := r.ReadPacket()
		if err != nil {
			b.Fatal(err)
		}
		if keep != nil {
			keep(p)
		}
	}
}

var kept []byte

func own(p packets.Packet) { kept = bytes.Clone(p.(*packets.Publish).Payload) }

// benchReadLimit splits a stream of QoS 0 PUBLISHes by its two lengths, out of a buffer of 64 KiB,
// or of one packet if that is larger.
func benchReadLimit(b *testing.B, p *packets.Publish, keep func([]byte)) {
	s := packed(b, p)
	buf, r, w := make([]byte, max(64<<10, len(encoded(b, p)))), 0, 0
	sum := 0
	b.SetBytes(int64(len(encoded(b, p))))
	b.ReportAllocs()
	for b.Loop() {
		for {
			if n, k := binary.Uvarint(buf[min(r+1, w):w]); k > 0 && r+1+k+int(n) <= w {
				body := buf[r+1+k : r+1+k+int(n)]
				payload := body[2+int(body[0])<<8+int(body[1]):]
				sum += len(payload)
				if keep != nil {
					keep(payload)
				}
				r += 1 + k + int(n)
				break
			}
			w = copy(buf, buf[r:w])
			r = 0
			n, _ := s.Read(buf[w:])
			w += n
		}
	}
	_ = sum
}

func BenchmarkReadPublish256Borrowed(b *testing.B) { benchRead(b, publishOf(256), nil) }
func BenchmarkReadPublish256BorrowedLimit(b *testing.B) {
	benchReadLimit(b, publishOf(256), nil)
}
func BenchmarkReadPublish256Owned(b *testing.B) { benchRead(b, publishOf(256), own) }
func BenchmarkReadPublish256OwnedLimit(b *testing.B) {
	benchReadLimit(b, publishOf(256), func(p []byte) { kept = bytes.Clone(p) })
}
func BenchmarkReadPublish64K(b *testing.B)      { benchRead(b, publishOf(64<<10), nil) }
func BenchmarkReadPublish64KLimit(b *testing.B) { benchReadLimit(b, publishOf(64<<10), nil) }
func BenchmarkReadPuback(b *testing.B)          { benchRead(b, &packets.Puback{PacketID: 7}, nil) }
func BenchmarkReadSubscribe8(b *testing.B)      { benchRead(b, subscribe8(), nil) }

func BenchmarkReadPublish256ManyTopics(b *testing.B) {
	var unit []byte
	for i := range 1000 {
		p := publishOf(256)
		p.Topic = "plant/7/line/3/machine/" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "/state"
		unit = append(unit, encoded(b, p)...)
	}
	r := packets.NewReader(&endless{unit: unit}, packets.ReaderOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.ReadPacket(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePublish256(b *testing.B) {
	buf := encoded(b, publishOf(256))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := packets.Parse(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		if !packets.Match("plant/+/line/+/machine/#", benchTopic) {
			b.Fatal("no match")
		}
	}
}
