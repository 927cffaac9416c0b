package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mqtt311/mqtt311/client"
)

// Commit implements [client.Store]. While the disk is full and the reserve is used up, Commit
// waits.
func (s *Store) Commit(changes []client.Change) error {
	for i := range changes {
		c := &changes[i]
		if n := len(c.Key); n == 0 || n > maxKey || len(c.Value) > maxValue {
			return fmt.Errorf("wal: change %d has a key of %d and a value of %d bytes", i, n, len(c.Value))
		}
		if c.Granted < 0 {
			return fmt.Errorf("wal: change %d uses up %d bytes of what was granted", i, c.Granted)
		}
	}
	for told := false; ; {
		err := s.tryCommit(changes)
		if err == nil && told {
			s.opt.Logger.Info("wal: there is room again")
		}
		if !errors.Is(err, errNoRoom) {
			return err
		}
		if err := s.awaitRoom(err, &told); err != nil {
			return err
		}
	}
}

// tryCommit commits the changes, or returns errNoRoom.
func (s *Store) tryCommit(changes []client.Change) error {
	s.work.Lock()
	defer s.work.Unlock()
	if err := s.failed(); err != nil || len(changes) == 0 {
		return err
	}
	if s.owed != nil {
		changes = append([]client.Change{*s.owed}, changes...)
	}
	err := s.commit(changes)
	used := int64(0)
	if err == nil {
		s.owed = nil
		for i := range changes {
			used += int64(changes[i].Granted)
		}
		err = s.tidy()
	}
	s.settle(used)
	if err != nil && !errors.Is(err, errNoRoom) {
		return s.fail(err)
	}
	return err
}

// commit writes the changes, after a part of what compaction has to move.
func (s *Store) commit(changes []client.Change) error {
	size := int64(endSize)
	for i := range changes {
		size += headSize + 4 + int64(len(changes[i].Key)+len(changes[i].Value))
	}
	if err := s.rotate(size); err != nil {
		return err
	}
	if err := s.reachRoom(size); err != nil {
		return err
	}
	return s.put(func(add adder) error {
		if err := s.move(size, add); err != nil {
			return err
		}
		for i := range changes {
			if changes[i].Forget {
				add(frameForget, changes[i].Key, nil)
			} else {
				add(frameSet, changes[i].Key, changes[i].Value)
			}
		}
		return nil
	})
}

// rotate starts a new segment if the newest has no room for size bytes.
func (s *Store) rotate(size int64) error {
	a := s.active()
	if a.size+size <= max(s.opt.SegmentBytes, a.cramped) || s.isFresh() {
		return nil
	}
	if err := s.sync(); err != nil { // the segment must be complete before a new one is used
		return err
	}
	var err error
	if s.full { // no new segment until the disk has room again
		err = s.told(a.extend(s.step()))
	}
	if err == nil {
		err = s.keepStandby()
	}
	if err == nil {
		var seg *segment
		if seg, err = s.newSegment(max(0, s.promised()-s.atHand()+a.free())+size+s.step()/2, &s.spare); err == nil {
			return s.turnTo(seg)
		}
	}
	if !noSpace(err) {
		return err
	}
	// The current segment still has its reserve. Room refuses messages from now on.
	s.full = true
	if a.cramped == 0 {
		s.opt.Logger.Warn("wal: no new segment", slog.Any("reason", err))
	}
	a.cramped = a.size + s.compactStep() // try again at this size
	return nil
}

// An adder adds a frame to a commit.
type adder func(typ byte, key, value []byte)

// A frameAt is a frame of the commit in the buffer: where its key is, and where the frame is. Its
// size is 0 if it removes the key.
type frameAt struct {
	key, end    int
	start, size int
}

// put writes the frames that fill adds as one commit, and syncs it if that is the policy. The
// frames must fit into the free room. After an error it is unknown what is on the disk.
func (s *Store) put(fill func(adder) error) error {
	a, first := s.active(), s.next
	buf, written := s.buf[:0], s.written[:0]
	err := fill(func(typ byte, key, value []byte) {
		w := frameAt{start: len(buf)}
		if typ == frameForget {
			buf = appendFrame(buf, a.salt, s.next, typ, key)
			w.key = w.start + headSize
		} else {
			buf, w.key = appendSet(buf, a.salt, s.next, key, value)
			w.key += w.start
			w.size = len(buf) - w.start
		}
		w.end = w.key + len(key)
		written = append(written, w)
		s.next++
	})
	if err != nil {
		return err
	}
	buf = appendFrame(buf, a.salt, s.next, frameCommit, binary.BigEndian.AppendUint64(nil, first))
	s.next++
	from := a.size
	a.size += int64(len(buf))
	s.spend(int64(len(buf)))
	if _, err := a.f.WriteAt(buf, from); err != nil {
		return err
	}
	if s.opt.Sync == SyncAlways {
		a.f.WriteOut(from, int64(len(buf)))
	} else {
		s.dirty = true
	}
	// Done while the disk works: if it fails, the store fails too.
	for _, w := range written {
		s.apply(buf[w.key:w.end], a, place{a.first, from + int64(w.start), int64(w.size)})
	}
	if err := s.disk.Intact(a.name, a.f, s.headFile); err != nil {
		return err
	}
	if s.buf, s.written = buf, written; cap(buf) > growBy {
		s.buf, s.written = nil, nil
	}
	if s.opt.Sync == SyncAlways {
		return a.f.Sync()
	}
	return nil
}

// spend subtracts what is about to be written from the account.
func (s *Store) spend(n int64) {
	s.mu.Lock()
	s.free -= n
	s.mu.Unlock()
}
