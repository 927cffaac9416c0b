package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// Besides the segments of the log, a store has up to two files without live keys. The spare is a
// former segment that will be reused, because its room is already allocated. The standby is the
// reserve: its room is for messages for which Room was called, for finishing messages, and for
// records that need no call of Room. On a full disk it becomes the newest segment.

// standbyName is the name of the reserve, if it was created as such.
const standbyName = "RESERVE"

// keepStandby ensures that the standby has the room that must be reserved, and not much more.
func (s *Store) keepStandby() error {
	if s.standby == nil && s.spare != nil && s.full {
		s.standby, s.spare = s.spare, nil
	}
	if s.standby == nil {
		f, err := s.disk.Create(standbyName)
		if err != nil {
			return fmt.Errorf("wal: reserve: %w", err)
		}
		s.standby = &segment{name: standbyName, f: f}
		if err := s.disk.Sync(); err != nil {
			return fmt.Errorf("wal: reserve: %w", err)
		}
	}
	need := s.header + reserve + s.finish
	if s.standby.free() > need+s.opt.SegmentBytes/2 {
		return s.standby.shrink(need + s.opt.SegmentBytes/4)
	}
	if s.standby.free() >= need {
		return nil
	}
	err := s.standby.grow(need, min(growBy, max(reserve, s.standby.room/4)))
	if noSpace(err) {
		s.full = true
		if s.spare != nil {
			err = s.transfer(s.spare, s.standby, need)
		}
	}
	if err == nil && s.opt.Sync == SyncAlways {
		err = s.standby.f.Sync() // it must survive a power failure on a full disk
	}
	return err
}

// gather makes the standby large enough for n bytes on a full disk, with the free room of the spare
// and the newest segment. It reports whether it succeeded.
func (s *Store) gather(n int64) bool {
	besides := int64(0)
	if s.isFresh() {
		besides = endSize
	}
	a, have := s.active(), s.active().free()-besides
	for _, seg := range []*segment{s.spare, s.standby} {
		if seg != nil {
			have += seg.free()
		}
	}
	if have < n {
		return false
	}
	if s.standby == nil && s.spare != nil {
		s.standby, s.spare = s.spare, nil
	}
	if s.standby == nil {
		f, err := s.disk.Create(standbyName)
		if err != nil {
			return false
		}
		s.standby = &segment{name: standbyName, f: f}
	}
	for _, from := range []*segment{s.spare, a} {
		if from == nil {
			continue
		}
		part := min(from.free(), n-s.standby.free())
		if from == a {
			part = min(a.free()-besides, n-s.standby.free())
		}
		if part > 0 && s.transfer(from, s.standby, s.standby.free()+part) != nil {
			return false // another program was faster
		}
	}
	return s.standby.free() >= n && a.free() >= besides
}

// useStandby continues in the standby, on a full disk, with a commit of the given size. It takes
// over the free room of the newest segment.
func (s *Store) useStandby(size int64) error {
	if s.isFresh() && s.active().free() < endSize {
		return errNoRoom
	}
	if err := s.conclude(); err != nil {
		return err
	}
	left := s.active()
	seg, err := s.newSegment(0, &s.standby)
	if noSpace(err) {
		return fmt.Errorf("%w: %w", errNoRoom, err)
	}
	if err != nil {
		return err
	}
	if err := s.transfer(left, seg, seg.free()+left.free()); err != nil && !noSpace(err) {
		return err
	}
	if err := s.use(seg); err != nil {
		return err
	}
	s.settle(0)
	if seg.free() < size {
		return errNoRoom
	}
	return nil
}

// isFresh reports whether the newest segment has no commit yet. The next segment could not be named
// then, as its name is the number of its first frame.
func (s *Store) isFresh() bool { return s.next == s.active().first }

// conclude ensures that another segment can follow.
func (s *Store) conclude() error {
	if s.isFresh() {
		if err := s.put(func(adder) error { return nil }); err != nil {
			return err
		}
	}
	return s.sync()
}

// newSegment makes a segment with the given room, and some for conclude, from the spare or the
// standby if there is one, and syncs its name. It is not part of the log until use is called.
func (s *Store) newSegment(room int64, from **segment) (*segment, error) {
	seg := &segment{name: segmentName(s.next), first: s.next, salt: s.own.salt}
	if !s.reuse(seg, from) {
		f, err := s.disk.Create(seg.name)
		if err != nil {
			return nil, fmt.Errorf("wal: new segment: %w", err)
		}
		seg.f = f
	}
	header := s.own.append(nil, seg.first)
	err := seg.grow(int64(len(header))+endSize+room, s.step())
	if err == nil {
		_, err = seg.f.WriteAt(header, 0)
	}
	if err == nil {
		err = seg.f.Sync()
	}
	if err == nil {
		err = s.disk.Sync()
	}
	if err != nil {
		err = fmt.Errorf("wal: new segment: %w", err)
		if noSpace(err) && from == &s.standby && s.disk.Rename(seg.name, standbyName) == nil {
			s.standby = &segment{name: standbyName, f: seg.f, room: seg.room}
			return nil, err
		}
		return nil, errors.Join(err, seg.f.Close(), s.disk.Remove(seg.name))
	}
	seg.start, seg.size = int64(len(header)), int64(len(header))
	return seg, nil
}

// reuse gives a new segment the file of the spare or the standby, whose room is already allocated.
// Old frames in it have lower numbers.
func (s *Store) reuse(seg *segment, from **segment) bool {
	old := *from
	if old == nil {
		return false
	}
	*from = nil
	if s.disk.Rename(old.name, seg.name) != nil {
		s.drop(old) // on this system an open file cannot be renamed
		return false
	}
	seg.f, seg.room = old.f, old.room
	return true
}

// use makes a new segment the current one. All earlier ones must be on the disk.
func (s *Store) use(seg *segment) error {
	s.segments = append(s.segments, seg)
	return s.setHead(head{oldest: s.segments[0].first, newest: seg.first, next: seg.first})
}

// turnTo is like use, but for a disk that has room, so it shrinks the previous segments to their
// size. Room may have reserved that free room meanwhile, so the new segment must have as much.
func (s *Store) turnTo(seg *segment) error {
	if err := s.use(seg); err != nil {
		return err
	}
	s.told(nil)
	for i, before := range s.segments[:len(s.segments)-1] {
		if newest := i == len(s.segments)-2; newest && before.free() <= 2*s.step() {
			continue // it may be reused soon
		}
		if before.live > 0 {
			if err := before.shrink(0); err != nil {
				return err
			}
		}
	}
	for {
		more := s.promised() - s.atHand()
		if more <= 0 {
			break
		}
		if err := s.grow(seg.free() + more); noSpace(err) {
			break // Room refuses messages until there is room
		} else if err != nil {
			return err
		}
	}
	s.settle(0)
	return nil
}

// retire makes a segment that is no longer part of the log the spare, or the standby on a full
// disk.
func (s *Store) retire(seg *segment) {
	seg.start, seg.size, seg.live, seg.moved, seg.cramped = 0, 0, 0, 0, 0
	if s.full && s.standby == nil {
		s.standby = seg
		return
	}
	if s.spare != nil {
		s.drop(s.spare)
	}
	s.spare = seg
	if most := s.opt.SegmentBytes + 2*s.step(); seg.room > most { // it was made for a very large message
		if err := seg.shrink(s.opt.SegmentBytes); err != nil {
			s.drop(seg)
			s.spare = nil
		}
	}
}

// drop removes a file without live keys. If that fails, it is swept when the store is opened.
func (s *Store) drop(seg *segment) {
	if err := errors.Join(seg.f.Close(), s.disk.Remove(seg.name)); err != nil {
		s.opt.Logger.Warn("wal: a file is left", slog.String("file", seg.name), slog.Any("reason", err))
	}
}

// leaveStandby leaves the reserve for the next process and reports whether it succeeded.
func (s *Store) leaveStandby() bool {
	return s.standby.name == standbyName || s.disk.Rename(s.standby.name, standbyName) == nil && s.disk.Sync() == nil
}

// sweep removes the segments that are not part of the log according to the head on the disk, unless
// they can be reused.
func (s *Store) sweep() error {
	names, err := s.disk.List()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if slices.Contains(names, standbyName) {
		if s.standby, err = s.adopt(standbyName); err != nil {
			return fmt.Errorf("wal: %s: %w", standbyName, err)
		}
	}
	for _, name := range names {
		first, ok := firstOf(name)
		if !ok || first >= s.head.oldest && first <= s.head.newest {
			continue
		}
		if s.standby == nil && s.disk.Rename(name, standbyName) == nil {
			if err := s.disk.Sync(); err != nil {
				return fmt.Errorf("wal: %w", err)
			}
			if s.standby, err = s.adopt(standbyName); err != nil {
				return fmt.Errorf("wal: %s: %w", name, err)
			}
			continue
		}
		s.opt.Logger.Info("wal: a file that a crash has left is removed", slog.String("file", name))
		if err := s.disk.Remove(name); err != nil {
			return fmt.Errorf("wal: %w", err)
		}
	}
	return nil
}

// adopt opens a file left by an earlier process, for its room.
func (s *Store) adopt(name string) (*segment, error) {
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, err
	}
	seg := &segment{name: name, f: f}
	if seg.room, err = f.Size(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return seg, nil
}
