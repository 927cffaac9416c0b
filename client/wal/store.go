package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/client"
)

var (
	// ErrCorrupt says that the log cannot be read where no crash can have cut it short:
	// the disk, or somebody, changed it. Nothing was touched.
	ErrCorrupt = errors.New("wal: the log is damaged")

	// ErrFailed says that a write or a sync failed before. Nobody can know what of it is on
	// the disk, so nothing is written any more until the store is opened again.
	ErrFailed = errors.New("wal: a write or sync failed before")

	// ErrLocked says that another process, or another Store of this one, has the store open.
	ErrLocked = errors.New("wal: the store is in use")

	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("wal: closed")

	// ErrOwner says that the folder holds the session of another Server or ClientID.
	ErrOwner = errors.New("wal: the store belongs to another session")
)

// A Store is a [client.Store] on disk. It is safe for concurrent use.
type Store struct {
	opt  Options
	own  owner
	disk disk

	committing sync.Mutex // one commit at a time; held while the disk works

	mu       sync.Mutex // guards what follows; Room does not wait for the disk's commit
	segments []*segment // oldest first; the last one is written to
	spare    *segment   // one that keeps nothing any more, to be used again; nil: none
	index
	head     head      // as it is on the disk
	headFile file      // nil before the first head is written
	granted  int64     // bytes that Room has granted since the newest Commit began
	before   int64     // and before that, of which no commit has used any
	buf      []byte    // of the newest commit, to be used again
	written  []frameAt // what is in buf
	err      error
	dirty    bool // written and not synced
	stop     chan struct{}
	stopped  sync.WaitGroup
}

var _ client.Store = (*Store)(nil)

// What a message takes on the disk besides itself, each step in a commit of its own: that it was
// accepted, with a sequence number; and to finish it, that it was released and then that both are
// forgotten.
const (
	framing   = (headSize + 4 + 9 + 3) + (headSize + 4 + 1 + 8) + endSize
	finishing = (headSize + 4 + 9 + 8) + endSize + 2*headSize + 9 + endSize // and a key
)

const (
	reserve     = 1 << 16 // bytes on disk that are left for what nobody asks room for
	compactStep = 1 << 18 // bytes that a Commit moves besides its own
	squeezeGain = 1 << 14 // bytes that it is worth to begin a segment for on a full disk
)

// Open opens the store of a session, or makes it. It is locked until Close. The errors are those
// of the file system, ErrLocked, ErrCorrupt and ErrOwner; a tail that a crash has cut short is
// repaired and told to the Logger.
func Open(opt Options) (*Store, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	d, err := openFolder(Folder(opt.Dir, opt.Server, opt.ClientID), &opt)
	if err != nil {
		return nil, err
	}
	s, err := open(d, opt)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return s, nil
}

func open(d disk, opt Options) (*Store, error) {
	opt.setDefaults()
	s := &Store{
		opt:  opt,
		own:  owner{server: opt.Server, clientID: opt.ClientID},
		disk: d, index: newIndex(), head: unwritten, stop: make(chan struct{}),
	}
	err := s.recover()
	if err == nil {
		err = s.begin()
	}
	if err != nil {
		s.closeFiles()
		return nil, err
	}
	if opt.Sync == SyncInterval {
		s.stopped.Add(1)
		go s.syncing()
	}
	return s, nil
}

// begin makes sure that what was recovered is on the disk, contents and names, because it is
// acted on from here on: the process before may have died ahead of its sync. It also begins a
// segment if there is none.
func (s *Store) begin() error {
	if s.headFile != nil {
		if err := s.headFile.Sync(); err != nil {
			return fmt.Errorf("wal: %s: %w", headName, err)
		}
	}
	if len(s.segments) > 0 {
		a := s.active()
		if err := firstOr(a.f.Sync(), s.disk.Sync()); err != nil {
			return fmt.Errorf("wal: %s: %w", a.name, err)
		}
		// What a crash has left behind the end may have been cut off, and the reserve with it.
		if err := s.grow(s.reserved()); err != nil && !noSpace(err) {
			return fmt.Errorf("wal: %s: %w", a.name, err)
		}
		return firstOr(s.sweep(), s.setHead(head{oldest: s.head.oldest, newest: s.head.newest, next: s.next}))
	}
	if err := s.sweep(); err != nil {
		return err
	}
	seg, err := s.newSegment(s.promised() + s.reserved())
	if err != nil {
		return err
	}
	return s.use(seg)
}

// Load implements [client.Store].
func (s *Store) Load(add func(key, value []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return s.each(add)
}

// Room implements [client.Store]. It makes sure that the disk has the space.
func (s *Store) Room(bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	need, used := int64(bytes)+framing+finishing, s.bytes+s.promised()
	if s.opt.MaxBytes > 0 && used+need > s.opt.MaxBytes && used > 0 {
		return fmt.Errorf("%w: %d of %d bytes are in use", client.ErrStoreFull, used, s.opt.MaxBytes)
	}
	err := s.grow(s.promised() + need + s.reserved())
	if noSpace(err) && s.squeeze(need) {
		err = s.grow(s.promised() + need + s.reserved())
	}
	switch {
	case s.err != nil:
		return s.err
	case noSpace(err):
		return fmt.Errorf("%w: %w", client.ErrStoreFull, err)
	case err != nil:
		return s.fail(err)
	}
	s.granted += need
	return nil
}

// promised is what Room has granted and no commit has used. A grant belongs to the Commit
// that follows or, if that had been put together already, to the next one; after that it was
// never used.
func (s *Store) promised() int64 { return s.granted + s.before }

// fail makes err the end of the store.
func (s *Store) fail(err error) error {
	s.err = fmt.Errorf("%w: %w", ErrFailed, err)
	return s.err
}

func noSpace(err error) bool {
	return errors.Is(err, diskFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// reserved is what finishing everything that is kept may take.
func (s *Store) reserved() int64 {
	return min(reserve, s.opt.SegmentBytes) + s.finish
}

// grow makes sure that n more bytes fit into the newest segment.
func (s *Store) grow(n int64) error {
	err := s.active().grow(n)
	if noSpace(err) && s.spare != nil {
		s.dropSpare()
		err = s.active().grow(n)
	}
	return err
}

func (s *Store) step() int64 { return min(growBy, s.opt.SegmentBytes) }

func (s *Store) active() *segment { return s.segments[len(s.segments)-1] }

// Commit implements [client.Store].
func (s *Store) Commit(changes []client.Change) error {
	for i := range changes {
		if n := len(changes[i].Key); n == 0 || n > maxKey || len(changes[i].Value) > maxValue {
			return fmt.Errorf("wal: change %d has a key of %d and a value of %d bytes", i, n, len(changes[i].Value))
		}
	}
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if len(changes) == 0 {
		return nil
	}
	s.before, s.granted = s.granted, 0
	err := s.commit(changes)
	if s.err != nil { // closed meanwhile
		return s.err
	}
	if err == nil {
		err = s.tidy()
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// commit writes the changes, behind a part of what compaction has to move.
func (s *Store) commit(changes []client.Change) error {
	size := int64(endSize)
	for i := range changes {
		size += headSize + 4 + int64(len(changes[i].Key)+len(changes[i].Value))
	}
	if a := s.active(); a.size+size > max(s.opt.SegmentBytes, a.cramped) && s.next > a.first {
		if s.dirty { // the one before is whole before a new one counts
			if err := s.syncNow(); err != nil {
				return err
			}
		}
		switch seg, err := s.newSegment(s.promised() + s.reserved()); {
		case err == nil:
			if err := s.use(seg); err != nil {
				return err
			}
		case !noSpace(err):
			return err
		default:
			// The segment that is there has its reserve. Room refuses messages from here on.
			s.opt.Logger.Warn("wal: no new segment", slog.Any("reason", err))
			a.cramped = a.size + s.compactStep() // then it is tried again
		}
	}
	used := int64(0)
	err := s.put(func(add adder) error {
		if err := s.move(s.active(), size, add); err != nil {
			return err
		}
		for i := range changes {
			if changes[i].Forget {
				add(frameForget, changes[i].Key, nil)
			} else {
				add(frameSet, changes[i].Key, changes[i].Value)
				used += int64(len(changes[i].Value)) + framing + finishing
			}
		}
		return nil
	})
	if err == nil {
		s.before = max(0, s.before-used)
	}
	return err
}

// An adder adds a frame to a commit.
type adder func(typ byte, key, value []byte)

// A frameAt is a frame of the commit that is put together, in its buffer: where its key is, and the
// whole frame; of no size if it forgets the key.
type frameAt struct {
	key, end    int
	start, size int
}

// put writes the frames that fill adds, as one commit. After an error nobody knows what is on
// the disk.
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
	from := a.size
	buf = appendFrame(buf, a.salt, s.next, frameCommit, binary.BigEndian.AppendUint64(nil, first))
	s.next++
	if err := s.write(a, buf); err != nil {
		return err
	}
	for _, w := range written { // while the disk works: if it fails, so does the store
		s.apply(buf[w.key:w.end], place{a, from + int64(w.start), int64(w.size)})
	}
	s.written = written
	if err := s.syncWrite(a); err != nil {
		return err
	}
	if s.buf = buf; cap(buf) > growBy {
		s.buf, s.written = nil, nil
	}
	return nil
}

// write puts a commit behind what is there, and lets mu go meanwhile. After an error nobody knows
// what is there.
func (s *Store) write(a *segment, buf []byte) error {
	if err := s.grow(int64(len(buf))); err != nil {
		return err
	}
	off := a.size
	a.size += int64(len(buf))
	s.dirty = s.opt.Sync != SyncAlways
	s.mu.Unlock()
	defer s.mu.Lock()
	_, err := a.f.WriteAt(buf, off)
	if err == nil && s.opt.Sync == SyncAlways {
		a.f.WriteOut(off, int64(len(buf)))
	}
	return err
}

// syncWrite makes a commit that was written durable, if that is the policy.
func (s *Store) syncWrite(a *segment) error {
	if s.opt.Sync != SyncAlways {
		return nil
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	return a.f.Sync()
}

// newSegment makes a segment with so much room, on the disk with its name. It is no part of the
// log before use.
func (s *Store) newSegment(room int64) (*segment, error) {
	seg := &segment{name: segmentName(s.next), first: s.next, salt: s.own.salt, step: s.step()}
	if !s.useSpare(seg) {
		f, err := s.disk.Create(seg.name)
		if err != nil {
			return nil, fmt.Errorf("wal: new segment: %w", err)
		}
		seg.f = f
	}
	header := s.own.append(nil, seg.first)
	err := seg.grow(int64(len(header)) + room)
	if err == nil {
		_, err = seg.f.WriteAt(header, 0)
	}
	seg.start, seg.size = int64(len(header)), int64(len(header))
	if err == nil {
		err = seg.f.Sync()
	}
	if err == nil {
		err = s.disk.Sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wal: new segment: %w", err), s.remove(seg))
	}
	return seg, nil
}

// useSpare gives a new segment the file of one that keeps nothing any more, if there is one: its
// room is on the disk already. What is in it has lower numbers.
func (s *Store) useSpare(seg *segment) bool {
	old := s.spare
	if old == nil {
		return false
	}
	if s.disk.Rename(old.name, seg.name) != nil {
		s.dropSpare()
		return false
	}
	seg.f, seg.room, s.spare = old.f, old.room, nil
	return true
}

// dropSpare gives the room of the spare back. If the file stays, it is swept when the store is
// opened.
func (s *Store) dropSpare() {
	if err := s.remove(s.spare); err != nil {
		s.opt.Logger.Warn("wal: a segment is left", slog.String("segment", s.spare.name), slog.Any("reason", err))
	}
	s.spare = nil
}

func (s *Store) remove(seg *segment) error {
	return errors.Join(seg.f.Close(), s.disk.Remove(seg.name))
}

// use makes a new segment the one that is written to. What is before it is on the disk.
func (s *Store) use(seg *segment) error {
	s.segments = append(s.segments, seg)
	return s.setHead(head{oldest: s.segments[0].first, newest: seg.first, next: seg.first})
}

// syncNow syncs what was written under a lazy policy.
func (s *Store) syncNow() error {
	s.dirty = false
	return s.active().f.Sync()
}

// syncing syncs at intervals.
func (s *Store) syncing() {
	defer s.stopped.Done()
	t := time.NewTicker(s.opt.Interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.stop:
			return
		}
		s.committing.Lock()
		s.mu.Lock()
		if a := s.active(); s.err == nil && s.dirty {
			s.dirty = false
			s.mu.Unlock()
			err := a.f.Sync()
			s.mu.Lock()
			if err != nil && s.err == nil {
				s.fail(err)
			}
		}
		s.mu.Unlock()
		s.committing.Unlock()
	}
}

// Close syncs what a lazy policy has left and lets go of the lock.
func (s *Store) Close() error {
	s.committing.Lock()
	s.mu.Lock()
	if s.err == ErrClosed {
		s.mu.Unlock()
		s.committing.Unlock()
		return nil
	}
	var err error
	if s.err == nil && s.dirty {
		err = s.syncNow()
	}
	if s.err == nil && err == nil {
		err = s.setHead(head{oldest: s.head.oldest, newest: s.head.newest, next: s.next})
	}
	if s.err == nil && s.spare != nil {
		s.dropSpare()
	}
	s.err = ErrClosed
	s.mu.Unlock()
	s.committing.Unlock()
	close(s.stop)
	s.stopped.Wait()
	return errors.Join(err, s.closeFiles(), s.disk.Close())
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, seg := range s.segments {
		errs = append(errs, seg.f.Close())
	}
	if s.spare != nil {
		errs = append(errs, s.spare.f.Close())
	}
	if s.headFile != nil {
		errs = append(errs, s.headFile.Close())
	}
	return errors.Join(errs...)
}

func damaged(seg *segment, off int64) error {
	return fmt.Errorf("%w: %s, byte %d", ErrCorrupt, seg.name, off)
}
