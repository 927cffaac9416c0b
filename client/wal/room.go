package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/session"
)

// finishing is the number of bytes needed to finish a message, besides its key: for the record that
// it was released, and for removing both records, each in its own commit. Accepting a message of
// QoS 2 takes 88 bytes besides topic and payload, including a sequence number in the same commit.
// The sum is less than the 256 bytes that Store.Room counts for a message.
const finishing = (headSize + 4 + 9 + 8) + 9 + endSize + 2*forgetting

const forgetting = headSize + endSize // size of a commit that removes one key, besides the key

// toFinish returns how many bytes finishing a key may take. The records of received and released
// messages are only removed.
func toFinish(key []byte) int64 {
	switch n := int64(len(key)); session.RecordKind(key[0]) {
	case session.RecordReleased, session.RecordReceived:
		return forgetting + n
	default:
		return finishing + n
	}
}

const (
	reserve     = 1 << 16 // bytes for records that are committed without a grant
	squeezeGain = 1 << 14 // minimum gain in bytes to start a segment on a full disk
	chunk       = 1 << 12 // bytes moved from one file to another at a time
	roomRetry   = time.Second
)

// An account is the state that Room needs. Store.mu guards it.
type account struct {
	kept     int64 // size of live frames
	toFinish int64 // bytes that finishing all messages may take
	granted  int64 // bytes reserved by Room and not used by a Commit
	free     int64 // bytes that can be written without allocating on the disk
	err      error // why the store has failed
}

// fail makes the store fail with err.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return s.err
}

// failed returns why the store has failed, or nil.
func (s *Store) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// settle updates the account after a Commit that has used some of the reserved room. The caller
// holds work.
func (s *Store) settle(used int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted = max(0, s.granted-used)
	s.kept, s.toFinish, s.free = s.bytes, s.finish, s.atHand()
}

// atHand returns the free room in the files, in bytes. The caller holds work.
func (s *Store) atHand() int64 {
	n := s.active().free()
	if s.standby != nil {
		n += max(0, s.standby.free()-s.header)
	}
	return n
}

// promised returns how many bytes must be at hand, even if the disk is full: for reserved room, for
// finishing messages, and for the reserve. The caller holds work.
func (s *Store) promised() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.granted + s.finish + reserve
}

// Room implements [client.Store]. It waits for the disk only if the room that Commit allocates in
// advance is used up.
func (s *Store) Room(bytes int) error {
	n := max(0, int64(bytes))
	for {
		if ok, err := s.grant(n); ok || err != nil {
			return err
		}
		if err := s.makeRoom(n); err != nil {
			return err
		}
	}
}

// grant reserves n bytes if they are at hand.
func (s *Store) grant(n int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, s.err
	}
	used := s.kept + s.toFinish + s.granted
	if s.opt.MaxBytes > 0 && used+n > s.opt.MaxBytes && used > 0 {
		return false, fmt.Errorf("%w: %d of %d bytes are in use", client.ErrStoreFull, used, s.opt.MaxBytes)
	}
	if s.free < s.granted+n+s.toFinish+reserve {
		return false, nil
	}
	s.granted += n
	return true, nil
}

// makeRoom allocates room for n more bytes on the disk.
func (s *Store) makeRoom(n int64) error {
	s.work.Lock()
	defer s.work.Unlock()
	if err := s.failed(); err != nil {
		return err
	}
	err := s.getRoom(n)
	if noSpace(err) {
		var squeezed bool
		if squeezed, err = s.squeeze(n, squeezeGain); err == nil {
			err = fmt.Errorf("wal: %w", syscall.Errno(diskFull))
			if squeezed {
				err = s.getRoom(n)
			}
		}
	}
	s.settle(0)
	switch {
	case noSpace(err):
		return fmt.Errorf("%w: %w", client.ErrStoreFull, err)
	case err != nil:
		return s.fail(err)
	}
	return nil
}

// getRoom ensures that n bytes are at hand in addition to what was promised.
func (s *Store) getRoom(n int64) error {
	n += s.promised()
	if s.atHand() >= n {
		return nil
	}
	if err := s.keepStandby(); err != nil && !noSpace(err) {
		return err
	}
	return s.grow(s.active().free() + n - s.atHand())
}

// grow ensures that n bytes are free in the newest segment.
func (s *Store) grow(n int64) error {
	a := s.active()
	if a.free() >= n {
		return nil
	}
	err := s.told(a.grow(n, s.step()))
	if s.full && s.spare != nil {
		err = s.transfer(s.spare, a, n)
	}
	return err
}

// transfer moves room from one file to another until n bytes are free there. Another program can
// take it meanwhile; if so, this is not tried again until the disk has room.
func (s *Store) transfer(from, to *segment, n int64) error {
	for to.free() < n {
		part := min(chunk, n-to.free(), from.free())
		if part == 0 || s.robbed {
			return fmt.Errorf("wal: %w", syscall.Errno(diskFull))
		}
		if err := from.shrink(from.free() - part); err != nil {
			return err
		}
		if err := to.extend(part); err != nil {
			s.robbed = noSpace(err)
			return err
		}
	}
	return nil
}

// told records whether the disk was full, and returns err.
func (s *Store) told(err error) error {
	s.full = noSpace(err)
	s.robbed = s.robbed && s.full
	return err
}

// step returns by how many bytes a file grows.
func (s *Store) step() int64 { return min(growBy, max(512, s.opt.SegmentBytes/8)) }

// errNoRoom: a commit does not fit. Nothing of it was written.
var errNoRoom = errors.New("wal: no room for a commit")

// noSpace reports whether an operation failed because of a shortage that may pass: of disk space
// or, for a new file, of file descriptors. Nothing was written then.
func noSpace(err error) bool {
	return errors.Is(err, diskFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || noDescriptor(err)
}

// noDescriptor reports whether the process or the system has reached its limit of open files.
func noDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// reachRoom ensures that a commit of the given size fits into the newest segment. If the disk has
// room, it also ensures that what was promised is at hand, with some more so that Room need not
// wait for the disk. On a full disk it squeezes the log or continues in the reserve. It returns
// errNoRoom if neither is possible.
func (s *Store) reachRoom(size int64) error {
	want := size + s.promised()
	if !s.full {
		want += s.step() / 2
	}
	a := s.active()
	if !s.full {
		if err := s.keepStandby(); err != nil && !noSpace(err) {
			return err
		}
	}
	if s.atHand() >= want && a.free() >= size {
		return nil
	}
	reason := s.grow(max(size, a.free()+want-s.atHand()))
	if !noSpace(reason) {
		return reason
	}
	worth := int64(squeezeGain)
	if a.free() < size {
		worth = 2 * s.header // even a small gain is better than using up the reserve
	}
	if s.atHand()-size < s.promised()-reserve/2 || a.free() < size {
		if _, err := s.squeeze(size, worth); err != nil {
			return err
		}
	}
	if s.active().free() >= size {
		return nil
	}
	if s.standby == nil || s.atHand() < size {
		return fmt.Errorf("%w: %w", errNoRoom, reason)
	}
	err := s.useStandby(size)
	if err == errNoRoom {
		return fmt.Errorf("%w: %w", errNoRoom, reason)
	}
	return err
}

// awaitRoom waits until a commit may fit that did not. Since nothing can be finished while the
// commit waits, this depends on someone freeing space on the disk.
func (s *Store) awaitRoom(reason error, told *bool) error {
	if !*told {
		s.opt.Logger.Warn("wal: a commit waits until there is room",
			slog.Any("reason", reason), slog.Int("retry_seconds", int(roomRetry/time.Second)))
		*told = true
	}
	t := time.NewTimer(roomRetry)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.stop:
		return ErrClosed
	}
}
