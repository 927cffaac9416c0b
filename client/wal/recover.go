package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
)

// recover reads the log, removes a commit that was cut short by a crash, and refuses any other
// damage.
func (s *Store) recover() error {
	names, err := s.disk.List()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	slices.Sort(names)
	if slices.Contains(names, headName) {
		if s.headFile, err = s.disk.Open(headName); err == nil {
			s.head, err = readHead(s.headFile)
		}
		if err != nil {
			return fmt.Errorf("wal: %s: %w", headName, err)
		}
	}
	if s.own.salt = s.head.salt; s.head.generation == 0 {
		s.own.salt = rand.Uint32()
	}
	var beyond []*segment
	defer func() {
		for _, seg := range beyond {
			seg.f.Close()
		}
	}()
	for _, name := range names {
		first, ok := firstOf(name)
		if !ok || first < s.head.oldest { // its removal was interrupted by a crash
			continue
		}
		seg, err := openSegment(s.disk, name, s.own.salt)
		if err != nil {
			return err
		}
		switch {
		case first > s.head.newest:
			beyond = append(beyond, seg)
		default:
			if err := s.replay(seg); err != nil {
				seg.f.Close()
				return err
			}
			s.segments = append(s.segments, seg)
		}
	}
	if err := s.complete(); err != nil {
		return err
	}
	for _, seg := range beyond {
		if err := s.notBegun(seg); err != nil {
			return err
		}
	}
	if s.head.newest > 0 {
		return s.cutTail(s.active())
	}
	return nil
}

// complete refuses a log whose oldest or newest segment is missing. A missing one in between is
// noticed by its number.
func (s *Store) complete() error {
	if s.head.newest == 0 {
		return nil
	}
	for _, first := range []uint64{s.head.oldest, s.head.newest} {
		if !slices.ContainsFunc(s.segments, func(seg *segment) bool { return seg.first == first }) {
			return fmt.Errorf("%w: %s is missing", ErrCorrupt, segmentName(first))
		}
	}
	return nil
}

// notBegun refuses a segment that the head does not list if it contains a commit. A crash between
// creating a segment and writing the head leaves none.
func (s *Store) notBegun(seg *segment) error {
	sc := scanner{r: seg.f, end: seg.room}
	f, _, err := sc.next()
	if err != nil {
		return fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	if _, err := parseOwner(f); errors.Is(err, errFormat) {
		return fmt.Errorf("wal: %s is of %w", seg.name, err)
	}
	commit, err := laterCommit(seg, 0, seg.first-1)
	if err != nil || !commit {
		return err
	}
	if s.head.generation == 0 {
		return fmt.Errorf("%w: %s is missing, or damaged", ErrCorrupt, headName)
	}
	return fmt.Errorf("%w: %s knows nothing of %s", ErrCorrupt, headName, seg.name)
}

// openSegment opens a segment. The salt is that of its header, or else of the store.
func openSegment(from source, name string, salt uint32) (*segment, error) {
	f, err := from.Open(name)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	first, _ := firstOf(name)
	seg := &segment{name: name, first: first, salt: salt, f: f}
	seg.room, err = f.Size()
	if err == nil {
		err = seg.ownSalt()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("wal: %s: %w", name, err)
	}
	return seg, nil
}

func (s *segment) ownSalt() error {
	f, ok, err := (&scanner{r: s.f, end: min(s.room, headSize+maxHeader)}).next()
	if err != nil || !ok {
		return err
	}
	if own, err := parseOwner(f); err == nil {
		s.salt = own.salt
	}
	return nil
}

// replay applies the complete commits of a segment. Bytes after them are ignored, because the file
// may have been another segment before. If commits are missing there, the number of the next
// segment shows it; for the newest segment see cutTail.
func (s *Store) replay(seg *segment) error {
	sc := scanner{r: seg.f, end: seg.room}
	head, ok, err := sc.next()
	if err != nil {
		return fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	own, err := parseOwner(head)
	switch {
	case errors.Is(err, errFormat):
		return fmt.Errorf("wal: %s is of %w", seg.name, err)
	case !ok || err != nil || head.number != seg.first:
		return damaged(seg, 0)
	case own.server != s.own.server || own.clientID != s.own.clientID:
		return fmt.Errorf("%w: that of client %q at %q", ErrOwner, own.clientID, own.server)
	case own != s.own:
		return fmt.Errorf("%w: %s is from another store of this session", ErrCorrupt, seg.name)
	case len(s.segments) > 0 && seg.first != s.next:
		before := s.active()
		return fmt.Errorf("%w: what stood from %s, byte %d, to %s is missing", ErrCorrupt, before.name, before.size, seg.name)
	}
	s.next, seg.start, sc.salt = seg.first, sc.off, seg.salt
	end, missed, err := s.commits(seg, &sc)
	if err == nil && missed > 0 {
		err = damaged(seg, sc.off)
	}
	seg.size = end
	return err
}

// cutTail overwrites the bytes after the last complete commit with zeros: a commit that was cut
// short by a crash, or old contents of a reused file, whose numbers are lower. With SyncAlways at
// most one commit can have been in progress: if another one follows, the disk has damaged synced
// data. With any policy it has if the last complete commit ends before the place recorded in the
// head.
func (s *Store) cutTail(seg *segment) error {
	end := seg.size
	if s.next < s.head.next {
		return damaged(seg, end)
	}
	clean, err := allZeros(seg, end)
	if err != nil || clean {
		return err
	}
	if s.head.sync == SyncAlways {
		later, err := laterCommit(seg, end, s.next)
		if err != nil {
			return err
		}
		if later {
			return damaged(seg, end)
		}
	}
	torn, err := cutShort(seg, end, s.next)
	if err != nil {
		return err
	}
	if torn {
		s.opt.Logger.Warn("wal: a commit that was cut short is dropped",
			slog.String("segment", seg.name), slog.Int64("offset", end))
	}
	// Zeros instead of truncating, because on a full disk the room might be lost.
	for off := end; off < seg.room; off += growBy {
		if _, err := seg.f.WriteAt(zeros[:min(growBy, seg.room-off)], off); err != nil {
			return fmt.Errorf("wal: %s: %w", seg.name, err)
		}
	}
	if err := seg.f.Sync(); err != nil {
		return fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	return nil
}

// cutShort reports whether a commit whose first frame has the number was started at off.
func cutShort(seg *segment, off int64, number uint64) (bool, error) {
	sc := scanner{r: seg.f, end: seg.room}
	b, err := sc.bytes(off, headSize)
	if err != nil {
		return false, fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	return b != nil && binary.BigEndian.Uint64(b[8:]) == number, nil
}

func allZeros(seg *segment, off int64) (bool, error) {
	sc := scanner{r: seg.f, end: seg.room}
	for off < seg.room {
		n := min(readAhead, seg.room-off)
		b, err := sc.bytes(off, n)
		if err != nil {
			return false, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		if !bytes.Equal(b, zeros[:n]) {
			return false, nil
		}
		off += n
	}
	return true, nil
}

// laterCommit reports whether the end of a commit that started after number is found after off,
// whatever is between.
func laterCommit(seg *segment, off int64, number uint64) (bool, error) {
	far := uint64(seg.room/headSize + 1) // no more frames can have been between them
	sc := scanner{r: seg.f, end: seg.room}
	for ; off+endSize <= seg.room; off++ {
		b, err := sc.bytes(off, endSize)
		if err != nil {
			return false, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		if b[16] != frameCommit || bodySize(b) != endSize-headSize {
			continue
		}
		first := binary.BigEndian.Uint64(b[headSize:])
		if first > number && first-number <= far && binary.BigEndian.Uint32(b) == checksum(b, seg.salt) {
			return true, nil
		}
	}
	return false, nil
}

func firstOr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
