package wal

import (
	"fmt"
	"slices"
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
	if s.active().size < s.opt.SegmentBytes/4 {
		return false // most of what the oldest keeps may be forgotten soon
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
func (s *Store) move(a *segment, commit int64, add adder) error {
	if !s.worthwhile() {
		return nil
	}
	seg, step := s.segments[0], s.compactStep()
	if err := s.grow(commit + min(step, seg.live) + s.promised() + s.reserved()); err != nil {
		if noSpace(err) {
			return nil // see squeeze
		}
		return err
	}
	sc := scanner{r: seg.f, salt: seg.salt, off: max(seg.moved, seg.start), end: seg.size}
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

// tidy removes the oldest segments that keep nothing, but for a spare one. From the moment when the
// head is on the disk they are no part of the log: if a file stays, it is swept when the store
// is opened.
func (s *Store) tidy() error {
	dead := 0
	for dead < len(s.segments)-1 && s.segments[dead].live == 0 {
		dead++
	}
	if dead == 0 {
		return nil
	}
	if s.dirty { // what the others have to say is on the disk first
		if err := s.syncNow(); err != nil {
			return err
		}
	}
	if err := s.setHead(head{oldest: s.segments[dead].first, newest: s.active().first, next: s.next}); err != nil {
		return err
	}
	for _, seg := range s.segments[:dead] {
		if s.spare != nil {
			s.dropSpare()
		}
		s.spare = seg
	}
	if s.spare.room > 2*(s.opt.SegmentBytes+s.reserved()) { // it was for a message of great size
		s.dropSpare()
	}
	s.segments = slices.Delete(s.segments, 0, dead)
	return nil
}

// squeeze makes room on a full disk, where no new segment can be made beside the old ones: if what
// is kept fits into what the newest segment has left, which is its reserve, then that is cut off
// to make the new one, everything is moved there, and the old ones go. It tells whether it did:
// not if that would not gain the bytes that are wanted, or cost more than it gains. The caller
// holds mu.
func (s *Store) squeeze(want int64) bool {
	if !s.committing.TryLock() { // whoever waits for room asks again
		return false
	}
	defer s.committing.Unlock()
	a, all := s.active(), int64(0)
	for _, seg := range s.segments {
		all += seg.size
	}
	// Half of the reserve is enough until the old ones are gone.
	left, room := a.room-a.size, s.bytes+endSize+s.promised()+s.reserved()/2
	need := int64(len(s.own.append(nil, 0))) + room
	if s.err != nil || left < need || all-s.bytes < max(want, s.bytes, squeezeGain) {
		return false
	}
	err := s.squeezeInto(a, room)
	if noSpace(err) && s.active() == a { // another program was faster
		s.grow(s.promised() + s.reserved())
		return false
	}
	if err != nil {
		s.fail(err)
	}
	return err == nil
}

func (s *Store) squeezeInto(a *segment, room int64) error {
	if s.dirty {
		if err := s.syncNow(); err != nil {
			return err
		}
	}
	if err := a.f.Truncate(a.size); err != nil {
		return err
	}
	a.room = a.size
	seg, err := s.newSegment(room)
	if err != nil {
		return err
	}
	if err := s.use(seg); err != nil {
		return err
	}
	err = s.put(func(add adder) error {
		return s.each(func(key, value []byte) error { add(frameSet, key, value); return nil })
	})
	if err != nil {
		return err
	}
	return s.tidy()
}
