package wal

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// recover reads the log, cuts off a commit that a crash has cut short, and refuses
// everything else that is not as it was written.
func (s *Store) recover() error {
	names, err := s.disk.List()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(n string) bool { _, ok := firstOf(n); return !ok })
	for i, name := range names {
		last := i == len(names)-1
		seg, err := s.openSegment(name)
		if err != nil {
			return err
		}
		kept, err := s.replay(seg, last)
		if err != nil {
			seg.f.Close()
			return err
		}
		if kept {
			s.segments = append(s.segments, seg)
		}
	}
	return nil
}

func (s *Store) openSegment(name string) (*segment, error) {
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	first, _ := firstOf(name)
	seg := &segment{name: name, first: first, f: f, step: s.step()}
	if seg.room, err = f.Size(); err != nil {
		f.Close()
		return nil, fmt.Errorf("wal: %w", err)
	}
	return seg, nil
}

// replay applies the whole commits of a segment. It tells whether the segment counts: a last
// one whose header never reached the disk is removed.
func (s *Store) replay(seg *segment, last bool) (bool, error) {
	sc := scanner{r: seg.f, end: seg.room}
	head, ok, err := sc.next()
	if err != nil {
		return false, fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	own, good := owner{}, false
	if ok {
		own, good = parseOwner(&head)
	}
	if !good || head.number != seg.first {
		later, err := laterCommit(seg, 0, 0)
		if err != nil || !last || later || ok {
			return false, firstOr(err, damaged(seg, 0))
		}
		s.opt.Logger.Warn("wal: a segment that was not begun is removed", slog.String("segment", seg.name))
		if err := firstOr(seg.f.Close(), s.disk.Remove(seg.name), s.disk.Sync()); err != nil {
			return false, fmt.Errorf("wal: %w", err)
		}
		return false, nil
	}
	if own.server != s.own.server || own.clientID != s.own.clientID {
		return false, fmt.Errorf("%w: that of client %q at %q", ErrOwner, own.clientID, own.server)
	}
	if len(s.segments) > 0 && seg.first != s.next {
		return false, fmt.Errorf("%w: the segment before %s is missing, or its end is", ErrCorrupt, seg.name)
	}
	s.next, seg.sync = seg.first, own.sync
	end, err := s.commits(seg, &sc)
	if err != nil {
		return false, err
	}
	seg.size = end
	if !last {
		if end < seg.room {
			err = s.onlyZeros(seg, end)
		}
		return true, err
	}
	return true, s.cutTail(seg, end, own.sync)
}

// commits applies commits until one is not whole, and returns where that begins.
func (s *Store) commits(seg *segment, sc *scanner) (int64, error) {
	end, number := sc.off, s.next
	var updates []update
	for {
		off := sc.off
		f, ok, err := sc.next()
		if err != nil {
			return 0, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		if !ok || f.number != number {
			return end, nil
		}
		number++
		switch f.typ {
		case frameSet, frameForget:
			key, _, ok := f.entry()
			if !ok {
				return 0, damaged(seg, off)
			}
			u := update{key: strings.Clone(string(key))}
			if f.typ == frameSet {
				u.at = place{seg, off, f.size}
			}
			updates = append(updates, u)
		case frameCommit:
			for _, u := range updates {
				s.apply(u.key, u.at)
			}
			updates, end, s.next = updates[:0], sc.off, number
		default:
			return 0, damaged(seg, off)
		}
	}
}

// cutTail cuts off what is behind the last whole commit. Under SyncAlways one commit at most
// can have been under way: if another one is behind it, the disk has changed what it had
// kept.
func (s *Store) cutTail(seg *segment, end int64, sync Sync) error {
	clean, err := allZeros(seg, end)
	if err != nil || clean {
		return err
	}
	later, err := laterCommit(seg, end, s.next)
	if err != nil {
		return err
	}
	if later && sync == SyncAlways {
		return damaged(seg, end)
	}
	s.opt.Logger.Warn("wal: a commit that was cut short is dropped",
		slog.String("segment", seg.name), slog.Int64("offset", end))
	if err := firstOr(seg.f.Truncate(end), seg.f.Sync()); err != nil {
		return fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	seg.room = end
	return nil
}

// onlyZeros refuses a segment with something behind its last commit though another one
// follows.
func (s *Store) onlyZeros(seg *segment, end int64) error {
	clean, err := allZeros(seg, end)
	if err == nil && !clean {
		err = damaged(seg, end)
	}
	return err
}

func allZeros(seg *segment, off int64) (bool, error) {
	sc := scanner{r: seg.f, end: seg.room}
	for off < seg.room {
		n := min(readAhead, seg.room-off)
		b, err := sc.bytes(off, n)
		if err != nil {
			return false, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		for _, x := range b {
			if x != 0 {
				return false, nil
			}
		}
		off += n
	}
	return true, nil
}

// laterCommit tells whether the end of a commit is behind off that began after number, whatever
// is between them.
func laterCommit(seg *segment, off int64, number uint64) (bool, error) {
	const far = 1 << 32 // no segment has so many frames
	sc := scanner{r: seg.f, end: seg.room}
	for ; off+endSize <= seg.room; off++ {
		b, err := sc.bytes(off, endSize)
		if err != nil {
			return false, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		if b[16] != frameCommit || binary.BigEndian.Uint32(b) != endSize-headSize {
			continue
		}
		first := binary.BigEndian.Uint64(b[headSize:])
		if first > number && first-number < far && binary.BigEndian.Uint32(b[4:]) == checksum(b) {
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
