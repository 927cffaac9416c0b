package wal

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// The types of frames. The values are stored and never change.
const (
	frameHeader byte = 1 // of a segment; body: format, Server, ClientID
	frameSet    byte = 2 // body: length of the key in 4 bytes, key, value
	frameForget byte = 3 // body: key
	frameCommit byte = 4 // ends a commit; body: number of its first frame
	frameHead   byte = 5 // in the file HEAD
	frameClosed byte = 6 // in the file HEAD, numbered by the head; body: identity of the files
)

const (
	headSize  = 17
	maxBody   = 4 + maxKey + maxValue
	maxKey    = 1 << 16
	maxValue  = 268_435_455
	maxHeader = 1 << 18 // of the body of a header
	endSize   = headSize + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginFrame appends the head of a frame. The caller appends the body and calls endFrame.
func beginFrame(b []byte, number uint64, typ byte) []byte {
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, number)
	return append(b, typ)
}

// endFrame completes the frame that starts at start and extends to the end of b.
func endFrame(b []byte, start int, salt uint32) {
	frame := b[start:]
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-headSize))
	binary.BigEndian.PutUint32(frame, checksum(frame, salt))
}

func appendFrame(b []byte, salt uint32, number uint64, typ byte, body []byte) []byte {
	start := len(b)
	b = append(beginFrame(b, number, typ), body...)
	endFrame(b, start, salt)
	return b
}

// appendSet appends a frame that sets a key, and returns the offset of the key in it.
func appendSet(b []byte, salt uint32, number uint64, key, value []byte) ([]byte, int) {
	start := len(b)
	b = binary.BigEndian.AppendUint32(beginFrame(b, number, frameSet), uint32(len(key)))
	b = append(append(b, key...), value...)
	endFrame(b, start, salt)
	return b, headSize + 4
}

// checksum returns the checksum of a frame in a store with the given salt. Headers and heads, which
// contain the salt, use none.
func checksum(frame []byte, salt uint32) uint32 {
	return crc32.Update(salt, castagnoli, frame[4:])
}

func bodySize(head []byte) int64 { return int64(binary.BigEndian.Uint32(head[4:])) }

// A frame is a frame that was read. Its body is valid until the next read.
type frame struct {
	number uint64
	typ    byte
	body   []byte
	size   int64 // with its head
}

// entry returns the key of a set or forget, and the value.
func (f *frame) entry() (key, value []byte, ok bool) {
	if f.typ == frameForget {
		return f.body, nil, len(f.body) > 0
	}
	if len(f.body) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(f.body))
	if n == 0 || n > uint64(len(f.body)-4) {
		return nil, nil, false
	}
	return f.body[4 : 4+n], f.body[4+n:], true
}

// A scanner reads frames from a part of a file.
type scanner struct {
	r     io.ReaderAt
	salt  uint32
	off   int64
	end   int64
	buf   []byte // of the file from start
	from  int64
	frame frame // the last one read
}

// next reads the frame at s.off and advances past it. It returns false and the zero frame if there
// is no complete and valid frame. A length beyond the end of the file is not trusted.
func (s *scanner) next() (*frame, bool, error) {
	f := &s.frame
	*f = frame{}
	head, err := s.bytes(s.off, headSize)
	if err != nil || head == nil {
		return f, false, err
	}
	size := bodySize(head)
	if size > maxBody || s.off+headSize+size > s.end {
		return f, false, nil
	}
	all, err := s.bytes(s.off, headSize+size)
	if err != nil || all == nil || binary.BigEndian.Uint32(all) != checksum(all, s.salt) {
		return f, false, err
	}
	f.number, f.typ = binary.BigEndian.Uint64(all[8:]), all[16]
	f.body, f.size = all[headSize:], headSize+size
	s.off += f.size
	return f, true, nil
}

const readAhead = 1 << 20

// bytes returns n bytes at off, or nil beyond the end.
func (s *scanner) bytes(off, n int64) ([]byte, error) {
	if at := off - s.from; at >= 0 && at+n <= int64(len(s.buf)) {
		return s.buf[at : at+n : at+n], nil
	}
	return s.fill(off, n)
}

// fill is bytes for data that is not in the buffer.
func (s *scanner) fill(off, n int64) ([]byte, error) {
	if off+n > s.end {
		return nil, nil
	}
	want := min(max(n, readAhead), s.end-off)
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	s.buf, s.from = s.buf[:want], off
	got, err := s.r.ReadAt(s.buf, off)
	clear(s.buf[got:]) // a process that has the store open may have truncated the file
	if err != nil && (err != io.EOF || int64(got) < n) {
		return nil, err
	}
	return s.buf[:n:n], nil
}
