package wal

import (
	"fmt"
	"slices"
)

const compactStep = 1 << 18 // bytes that a Commit moves besides its own

// worthwhile reports whether the oldest segment should be moved to the tail: when the files have
// half as many dead bytes as live ones, so that one stuck message does not keep gigabytes. If the
// dead bytes are in the newest segments, all live ones are moved before they are freed, and each
// commit moves twice its own size; the dead bytes then grow to at most the number of live ones, as
// documented at Options.MaxBytes.
func (s *Store) worthwhile() bool {
	if len(s.segments) < 2 {
		return false
	}
	if s.segments[0].moved > 0 {
		return true
	}
	if s.active().size < s.opt.SegmentBytes/4 {
		return false // most keys in the oldest segment may be removed soon
	}
	var total int64
	for _, seg := range s.segments[:len(s.segments)-1] {
		total += seg.size
	}
	return total > s.bytes+s.bytes/2+s.opt.SegmentBytes/2
}

func (s *Store) compactStep() int64 { return min(compactStep, s.opt.SegmentBytes) }

// move passes to add what is live in the next part of the oldest segment, if that is worthwhile and
// there is room for it besides a commit of the given size and what was promised. Moving in parts
// keeps every commit short.
func (s *Store) move(commit int64, add adder) error {
	if !s.worthwhile() {
		return nil
	}
	seg, step := s.segments[0], max(s.compactStep(), 4*commit)
	need := commit + min(step, seg.live)
	if more := s.promised() + need - s.atHand(); more > 0 || s.active().free() < need {
		err := s.grow(max(need, s.active().free()+more))
		if noSpace(err) && s.active().free() >= need && more <= reserve && seg.live < seg.size/2 {
			err = nil // the reserve gets it back
		}
		if noSpace(err) {
			return nil // see squeeze
		}
		if err != nil {
			return err
		}
	}
	sc := seg.frames(max(seg.moved, seg.start))
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
		if s.at(key) == (place{seg.first, off, f.size}) {
			if moved > 0 && moved+f.size > step {
				sc.off = off // continue here next time
				break
			}
			add(frameSet, key, value)
			moved += f.size
		}
	}
	seg.moved = sc.off
	return nil
}

// tidy removes the oldest segments that have no live keys, except for a spare one. Once the head is
// on the disk they are no longer part of the log; a file that could not be removed is swept when
// the store is opened.
func (s *Store) tidy() error {
	dead := 0
	for dead < len(s.segments)-1 && s.segments[dead].live == 0 {
		dead++
	}
	if dead == 0 {
		return nil
	}
	if err := s.sync(); err != nil { // the other segments must be on the disk first
		return err
	}
	if err := s.setHead(head{oldest: s.segments[dead].first, newest: s.active().first, next: s.next}); err != nil {
		return err
	}
	for _, seg := range s.segments[:dead] {
		s.retire(seg)
	}
	s.segments = slices.Delete(s.segments, 0, dead)
	return nil
}

// squeeze makes room on a full disk: it writes everything that is live into a new segment, which
// uses the room of the reserve, and removes the old ones. It reports whether it did so. It does
// nothing if the live bytes do not fit, or if it would gain less than want or worth bytes, or fewer
// bytes than it would write.
func (s *Store) squeeze(want, worth int64) (bool, error) {
	all := int64(0)
	for _, seg := range s.segments {
		all += seg.size
	}
	room := s.bytes + endSize + s.promised() - reserve + max(reserve/4, want)
	if all-s.bytes < max(want, worth, s.bytes) || !s.gather(s.header+endSize+room) {
		return false, nil
	}
	if err := s.conclude(); err != nil {
		return false, err
	}
	seg, err := s.newSegment(room, &s.standby)
	if err == nil {
		err = s.use(seg)
	}
	if err == nil {
		err = s.put(func(add adder) error {
			return s.each(func(key, value []byte) error { add(frameSet, key, value); return nil })
		})
	}
	if err == nil {
		err = s.tidy()
	}
	if noSpace(err) && s.active() != seg { // another program has taken the room
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := s.keepStandby(); err != nil && !noSpace(err) {
		return false, err
	}
	s.settle(0)
	return true, nil
}
