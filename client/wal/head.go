package wal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mqtt311/mqtt311/internal/disk"
)

const (
	headName = "HEAD"
	headSlot = 4096 // bytes between the slots, so that they share no sector
)

// A head records which segments exist, so that a missing one is noticed, and the end of the log on
// the disk when the head was written: if something before that is unreadable, the log is damaged.
// It is written before a segment is used, before one is removed, and when the store is opened and
// closed. There are two slots, written alternately, so that one of them is always intact; writing
// needs no disk space.
type head struct {
	generation uint64 // 0 if none was written yet
	oldest     uint64 // first number of the oldest segment
	newest     uint64 // first number of the newest segment
	next       uint64 // number of the first frame after those on the disk
	sync       Sync   // policy for the newest segment
	salt       uint32 // of the store, in case a header is unreadable
}

// unwritten is the head of a store in which nothing was committed: no segment is in use.
var unwritten = head{oldest: 1, next: 1}

func (h *head) append(b []byte) []byte {
	var body []byte
	for _, n := range []uint64{h.oldest, h.newest, h.next} {
		body = binary.BigEndian.AppendUint64(body, n)
	}
	body = binary.BigEndian.AppendUint32(append(body, byte(h.sync)), h.salt)
	return appendFrame(b, 0, h.generation, frameHead, body)
}

func parseHead(f *frame) (head, bool) {
	if f.typ != frameHead || len(f.body) != 29 {
		return head{}, false
	}
	h := head{
		generation: f.number,
		oldest:     binary.BigEndian.Uint64(f.body),
		newest:     binary.BigEndian.Uint64(f.body[8:]),
		next:       binary.BigEndian.Uint64(f.body[16:]),
		sync:       Sync(f.body[24]),
		salt:       binary.BigEndian.Uint32(f.body[25:]),
	}
	return h, h.generation > 0 && h.oldest <= h.newest && h.sync <= UnsafeNoSync
}

// readHead returns the newest intact head in a file, or unwritten.
func readHead(f disk.File) (head, error) {
	size, err := f.Size()
	if err != nil {
		return head{}, err
	}
	h := unwritten
	for slot := range int64(2) { // the third is closedMark
		sc := scanner{r: f, off: slot * headSlot, end: min(size, (slot+1)*headSlot)}
		fr, ok, err := sc.next()
		if err != nil {
			return head{}, err
		}
		if !ok {
			continue
		}
		if got, good := parseHead(fr); good && got.generation > h.generation {
			h = got
		}
	}
	return h, nil
}

// errHead marks an error after which it is unknown which head is on the disk.
var errHead = errors.New(headName)

// setHead writes a head and makes it durable. The first time it creates the file.
func (s *Store) setHead(h head) error {
	h.generation, h.sync, h.salt = s.head.generation, s.opt.Sync, s.own.salt
	if h == s.head {
		return nil
	}
	return s.writeHead(h)
}

// writeHead writes a head even if nothing has changed.
func (s *Store) writeHead(h head) error {
	h.generation, h.sync, h.salt = s.head.generation+1, s.opt.Sync, s.own.salt
	if s.headFile == nil {
		f, err := s.disk.Create(headName)
		if err != nil {
			return fmt.Errorf("wal: %w: %w", errHead, err)
		}
		s.headFile = f
		if _, err := f.WriteAt(zeros[:closedSlot+headSlot], 0); err != nil {
			return fmt.Errorf("wal: %w: %w", errHead, err)
		}
	}
	_, err := s.headFile.WriteAt(h.append(nil), int64(h.generation%2)*headSlot)
	if err == nil {
		err = s.headFile.Sync()
	}
	if err == nil && h.generation == 1 {
		err = s.disk.Sync() // its name
	}
	if err != nil {
		return fmt.Errorf("wal: %w: %w", errHead, err)
	}
	s.head = h
	return nil
}
