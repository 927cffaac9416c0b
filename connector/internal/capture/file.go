package capture

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Frame is one captured frame, possibly truncated. Its bytes are valid until the next is read.
type Frame struct {
	Number int // from 1, as Wireshark counts
	At     time.Time
	Link   int // link type, numbered as on tcpdump.org
	Bytes  []byte
}

// mostFrame is the largest frame that is read: tcpdump and Wireshark capture at most 256 KiB. Larger ones
// are skipped. mostInterfaces is the maximum number of interfaces in a section.
const (
	mostFrame      = 1 << 20
	mostInterfaces = 4096
)

// ErrFormat means that a file is not a capture.
var ErrFormat = errors.New("capture: neither pcap nor pcapng")

// Known reports whether b, the first four bytes of a file, begin a capture.
func Known(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	_, _, ok := pcapMagic(b)
	return ok || binary.BigEndian.Uint32(b) == blockSection
}

// pcapMagic returns the byte order and the unit of time of a pcap file.
func pcapMagic(b []byte) (order binary.ByteOrder, unit time.Duration, ok bool) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(b) {
		case 0xA1B2C3D4:
			return order, time.Microsecond, true
		case 0xA1B23C4D:
			return order, time.Nanosecond, true
		}
	}
	return nil, 0, false
}

// A file reads frames.
type file struct {
	r      *bufio.Reader
	order  binary.ByteOrder
	frames int
	large  int // frames that were skipped for their size
	body   bytes.Buffer

	// For pcap: the unit of time and the link type.
	unit time.Duration
	link int

	// For pcapng.
	blocks     bool
	interfaces []iface
}

// An iface is an interface of a section of pcapng.
type iface struct {
	link  int
	snap  uint32
	ticks uint64 // per second
}

// The types of pcapng blocks that are read.
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

func open(r io.Reader) (*file, error) {
	f := &file{r: bufio.NewReader(r)}
	magic, err := f.r.Peek(4)
	if err != nil {
		return nil, ErrFormat
	}
	if binary.BigEndian.Uint32(magic) == blockSection {
		f.blocks = true
		return f, nil
	}
	var ok bool
	if f.order, f.unit, ok = pcapMagic(magic); !ok {
		return nil, ErrFormat
	}
	head, err := f.read(24)
	if err != nil {
		return nil, fmt.Errorf("capture: the header of the file: %w", err)
	}
	f.link = int(f.order.Uint32(head[20:]) & 0x0FFFFFFF)
	return f, nil
}

// read reads n bytes, into memory that grows with what arrives.
func (f *file) read(n int) ([]byte, error) {
	f.body.Reset()
	if _, err := io.CopyN(&f.body, f.r, int64(n)); err != nil {
		return nil, err
	}
	return f.body.Bytes(), nil
}

// skip passes over n bytes.
func (f *file) skip(n int64) error {
	_, err := io.CopyN(io.Discard, f.r, n)
	return err
}

// next returns the next frame, or io.EOF at the end, even if the file ends within a frame.
func (f *file) next() (Frame, error) {
	for {
		read := f.record
		if f.blocks {
			read = f.block
		}
		frame, ok, err := read()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return Frame{}, io.EOF
		case err != nil:
			return Frame{}, err
		case ok:
			return frame, nil
		}
	}
}

// record reads a record of pcap.
func (f *file) record() (Frame, bool, error) {
	head, err := f.read(16)
	if err != nil {
		return Frame{}, false, err
	}
	f.frames++
	frame := Frame{Number: f.frames, Link: f.link}
	seconds, fraction := f.order.Uint32(head), f.order.Uint32(head[4:])
	frame.At = time.Unix(int64(seconds), int64(fraction)*int64(f.unit))
	n := f.order.Uint32(head[8:])
	if n > mostFrame {
		f.large++
		return Frame{}, false, f.skip(int64(n))
	}
	frame.Bytes, err = f.read(int(n))
	return frame, true, err
}

// block reads a block of pcapng; ok is false if it has no frame.
func (f *file) block() (frame Frame, ok bool, err error) {
	head, err := f.r.Peek(12)
	if err != nil {
		return frame, false, io.EOF
	}
	if binary.BigEndian.Uint32(head) == blockSection {
		switch {
		case binary.LittleEndian.Uint32(head[8:]) == 0x1A2B3C4D:
			f.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]) == 0x1A2B3C4D:
			f.order = binary.BigEndian
		default:
			return frame, false, errors.New("capture: a section of pcapng without byte order")
		}
		f.interfaces = nil
	}
	kind, length := f.order.Uint32(head), f.order.Uint32(head[4:])
	if length < 12 || length%4 != 0 {
		return frame, false, fmt.Errorf("capture: a block of pcapng claims %d bytes", length)
	}
	if isFrame := kind == blockPacket || kind == blockSimple || kind == blockEnhanced; isFrame {
		f.frames++
	} else if kind != blockInterface {
		return frame, false, f.skip(int64(length))
	}
	if length > mostFrame {
		f.large++
		return frame, false, f.skip(int64(length))
	}
	b, err := f.read(int(length))
	if err != nil {
		return frame, false, err
	}
	b = b[8 : len(b)-4]
	if kind == blockInterface {
		f.addInterface(b)
		return frame, false, nil
	}
	frame, ok = f.frame(kind, b)
	return frame, ok, nil
}

// addInterface reads the description of an interface.
func (f *file) addInterface(b []byte) {
	if len(b) < 8 || len(f.interfaces) >= mostInterfaces {
		return
	}
	i := iface{link: int(f.order.Uint16(b)), snap: f.order.Uint32(b[4:]), ticks: 1e6}
	for b = b[8:]; len(b) >= 4; {
		option, n := f.order.Uint16(b), int(f.order.Uint16(b[2:]))
		if b = b[4:]; option == 0 || n > len(b) {
			break
		}
		if option == 9 && n >= 1 { // if_tsresol
			i.ticks = resolution(b[0])
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	f.interfaces = append(f.interfaces, i)
}

// resolution returns the number of ticks per second: a power of 10 or of 2.
func resolution(v byte) uint64 {
	ticks := uint64(1)
	base, n := uint64(10), v
	if v&0x80 != 0 {
		base, n = 2, v&0x7F
	}
	for ; n > 0; n-- {
		if ticks > 1<<59/base {
			return 1e6 // finer than any clock
		}
		ticks *= base
	}
	return ticks
}

// frame reads the frame in a block.
func (f *file) frame(kind uint32, b []byte) (Frame, bool) {
	frame := Frame{Number: f.frames}
	var id, captured, head int
	switch kind {
	case blockSimple:
		if len(b) < 4 || len(f.interfaces) == 0 {
			return frame, false
		}
		captured, head = int(f.order.Uint32(b)), 4
		if snap := int(f.interfaces[0].snap); snap > 0 {
			captured = min(captured, snap)
		}
		captured = min(captured, len(b)-4)
	default:
		if len(b) < 20 {
			return frame, false
		}
		if id = int(f.order.Uint32(b)); kind == blockPacket {
			id = int(f.order.Uint16(b))
		}
		captured, head = int(f.order.Uint32(b[12:])), 20
	}
	if id >= len(f.interfaces) || captured < 0 || captured > len(b)-head {
		return frame, false
	}
	i := f.interfaces[id]
	if kind != blockSimple {
		stamp := uint64(f.order.Uint32(b[4:]))<<32 | uint64(f.order.Uint32(b[8:]))
		rest := stamp % i.ticks
		frame.At = time.Unix(int64(stamp/i.ticks), int64(float64(rest)/float64(i.ticks)*1e9))
	}
	frame.Link, frame.Bytes = i.link, b[head:head+captured]
	return frame, true
}
