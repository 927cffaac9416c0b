package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/internal/disk"
)

const (
	format        = 3
	segmentSuffix = ".log"
	growBy        = 1 << 20 // maximum number of zeros written ahead, so that a commit changes no metadata
)

// A segment is a file of the log, or a file that reserves room for it. Store.work guards it.
type segment struct {
	name  string
	first uint64 // number of its first frame after the header
	salt  uint32
	f     disk.File
	start int64 // offset after the header
	size  int64 // written
	room  int64 // size of the file; bytes after size are unused
	live  int64 // size of live frames
	moved int64 // compaction has processed everything before this offset

	cramped int64 // the disk was full: try a new segment when this one has this size
}

func segmentName(first uint64) string { return fmt.Sprintf("%016x%s", first, segmentSuffix) }

// firstOf returns the number in the name of a segment.
func firstOf(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil
}

// An owner identifies the session that a segment belongs to. The salt is chosen at random for each
// store, so that a publisher cannot make valid frames in a payload.
type owner struct {
	server   string
	clientID string
	salt     uint32
}

func (o *owner) append(b []byte, first uint64) []byte {
	body := binary.BigEndian.AppendUint32([]byte{format}, o.salt)
	for _, s := range []string{o.server, o.clientID} {
		body = binary.BigEndian.AppendUint32(body, uint32(len(s)))
		body = append(body, s...)
	}
	return appendFrame(b, 0, first, frameHeader, body)
}

var (
	errFormat = errors.New("another format")
	errHeader = errors.New("not the header of a segment")
)

func parseOwner(f *frame) (owner, error) {
	b := f.body
	if f.typ != frameHeader || len(b) < 1 || len(b) > maxHeader {
		return owner{}, errHeader
	}
	if b[0] != format {
		return owner{}, fmt.Errorf("%w: format %d, and this version of the program reads format %d", errFormat, b[0], format)
	}
	if len(b) < 5 {
		return owner{}, errHeader
	}
	o, b := owner{salt: binary.BigEndian.Uint32(b[1:])}, b[5:]
	for _, s := range []*string{&o.server, &o.clientID} {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return owner{}, errHeader
		}
		n := binary.BigEndian.Uint32(b)
		*s = string(b[4 : 4+n])
		b = b[4+n:]
	}
	if len(b) > 0 {
		return owner{}, errHeader
	}
	return o, nil
}

// frames returns a scanner of the frames from off on.
func (s *segment) frames(off int64) scanner {
	return scanner{r: s.f, salt: s.salt, off: off, end: s.size}
}

// free returns how many bytes can be written without allocating on the disk.
func (s *segment) free() int64 { return s.room - s.size }

// grow writes zeros until n bytes are free, step bytes at a time if the disk has room for them.
func (s *segment) grow(n, step int64) error {
	for s.free() < n {
		err := s.extend(step)
		if rest := n - s.free(); noSpace(err) && rest < step {
			err = s.extend(rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *segment) extend(n int64) error {
	if _, err := s.f.WriteAt(zeros[:n], s.room); err != nil {
		s.f.Truncate(s.room) // remove zeros that were partly written
		return err
	}
	s.room += n
	return nil
}

// shrink frees all but n of the free bytes.
func (s *segment) shrink(n int64) error {
	to := s.size + n
	if to >= s.room {
		return nil
	}
	if err := s.f.Truncate(to); err != nil {
		return err
	}
	s.room = to
	return nil
}

var zeros [growBy]byte
