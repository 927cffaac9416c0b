package wal

import (
	"fmt"
)

// worthwhile tells whether the oldest segment is to be moved to the tail: the files hold
// more dead bytes than live ones, so that one message that is stuck does not keep
// gigabytes.
func (s *Store) worthwhile() bool {
	if len(s.segments) < 2 {
		return false
	}
	if s.segments[0].moved > 0 {
		return true
	}
	var total int64
	for _, seg := range s.segments[:len(s.segments)-1] {
		total += seg.size
	}
	return total > 2*s.bytes+s.opt.SegmentBytes/2
}

// move gives add what is kept in the next part of the oldest segment, if that is
// worthwhile. Moving in parts keeps every commit short.
func (s *Store) move(add func(typ byte, key, value []byte)) error {
	if !s.worthwhile() {
		return nil
	}
	seg := s.segments[0]
	sc := scanner{r: seg.f, off: seg.moved, end: seg.size}
	for moved := int64(0); moved < compactStep && sc.off < sc.end && sc.off-seg.moved < 8*compactStep; {
		off := sc.off
		f, ok, err := sc.next()
		if err != nil {
			return fmt.Errorf("%s: %w", seg.name, err)
		}
		if !ok {
			return damaged(seg, off)
		}
		if f.typ != frameSet {
			continue
		}
		key, value, ok := f.entry()
		if !ok {
			return damaged(seg, off)
		}
		if s.live[string(key)] == (place{seg, off, f.size}) {
			add(frameSet, key, value)
			moved += f.size
		}
	}
	seg.moved = sc.off
	return nil
}

// tidy removes the oldest segments that keep nothing. What a later segment forgets must not
// come back with an older one, so each name is gone from the disk before the next one
// goes, and a segment goes only when the words of the others are on the disk.
func (s *Store) tidy() error {
	for len(s.segments) > 1 && s.segments[0].live == 0 {
		if s.dirty {
			if err := s.syncNow(); err != nil {
				s.err = fmt.Errorf("%w: %w", ErrFailed, err)
				return s.err
			}
		}
		seg := s.segments[0]
		s.segments = s.segments[1:]
		err := seg.f.Close()
		if err == nil {
			err = s.disk.Remove(seg.name)
		}
		if err == nil {
			err = s.disk.Sync()
		}
		if err != nil {
			s.err = fmt.Errorf("%w: %s: %w", ErrFailed, seg.name, err)
			return s.err
		}
	}
	return nil
}
