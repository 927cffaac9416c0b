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

func (s *Store) compactStep() int64 { return min(compactStep, s.opt.SegmentBytes) }

// move gives add what is kept in the next part of the oldest segment, if that is
// worthwhile and a, where it goes, has room for it beside a commit of so many bytes and the
// reserve. Moving in parts keeps every commit short.
func (s *Store) move(a *segment, commit int64, add func(typ byte, key, value []byte)) error {
	if !s.worthwhile() {
		return nil
	}
	if err := a.grow(commit + s.compactStep() + s.promised() + s.reserved()); err != nil {
		if noSpace(err) {
			return nil // the disk is full: what is finished makes room by itself
		}
		return err
	}
	seg, step := s.segments[0], s.compactStep()
	sc := scanner{r: seg.f, off: seg.moved, end: seg.size}
	for moved := int64(0); moved < step/2 && sc.off < sc.end && sc.off-seg.moved < 8*step; {
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
			if moved > 0 && moved+f.size > step {
				sc.off = off // it comes first next time
				break
			}
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
				return err
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
			return fmt.Errorf("%s: %w", seg.name, err)
		}
	}
	return nil
}
