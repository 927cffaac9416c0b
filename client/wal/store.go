package wal

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/disk"
)

var (
	// ErrCorrupt: the log is damaged in a way that no crash can cause; the disk or another program
	// changed it. Open has changed nothing.
	ErrCorrupt = errors.New("wal: the log is damaged")

	// ErrFailed: a write or a sync has failed. It is unknown what of it is on disk, so nothing more
	// is written until the store is reopened.
	ErrFailed = errors.New("wal: a write or sync failed before")

	// ErrLocked: another process, or another Store in this process, has the store open.
	ErrLocked = errors.New("wal: the store is in use")

	// ErrGone: the folder of an open store, or a file in it, was removed or replaced. The store has
	// failed, because later commits would be lost.
	ErrGone = errors.New("wal: the store was removed while it was open")

	// ErrClosed: the store was closed.
	ErrClosed = errors.New("wal: closed")

	// ErrOwner: the folder contains the session of another Server or ClientID.
	ErrOwner = errors.New("wal: the store belongs to another session")
)

// A Store is a [client.Store] on disk. It is safe for concurrent use.
type Store struct {
	opt  Options
	own  owner
	disk disk.Disk

	// work is held while the disk is used, however long that takes, and guards the fields that
	// follow. It is locked before mu.
	work sync.Mutex
	index
	spare    *segment  // a former segment to be reused, or nil
	standby  *segment  // the reserve for a full disk, or nil: see keepStandby
	full     bool      // the disk was full at the last attempt
	robbed   bool      // another program has since taken room from transfer
	header   int64     // size of the header of a segment
	head     head      // as on the disk
	headFile disk.File // nil before the first head is written
	buf      []byte    // buffer of the last commit, for reuse
	written  []frameAt
	dirty    bool           // written and not synced
	owed     *client.Change // to be committed first, or nil: see compareClose

	// mu guards account. It is held only briefly, never while the disk works.
	mu sync.Mutex
	account

	stop    chan struct{} // closed by Close
	stopped sync.WaitGroup
}

var _ client.Store = (*Store)(nil)

// Open opens the store of a session, creating it if necessary, and locks it until Close. It returns
// errors of the file system, ErrLocked, ErrCorrupt or ErrOwner. A commit that was cut short by a
// crash is dropped and reported to Logger.
func Open(opt Options) (*Store, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	layer, over := opt.Disk.(disk.Layer)
	if opt.Disk != nil && !over {
		return open(opt.Disk, opt)
	}
	d, err := openFolder(Folder(opt.Dir, opt.Server, opt.ClientID), &opt)
	if err != nil {
		return nil, err
	}
	used := disk.Disk(d)
	if over {
		layer.On(d)
		used = layer
	}
	s, err := open(used, opt)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return s, nil
}

func open(d disk.Disk, opt Options) (*Store, error) {
	opt.setDefaults()
	s := &Store{
		opt:  opt,
		own:  owner{server: opt.Server, clientID: opt.ClientID},
		disk: d, index: newIndex(), head: unwritten, stop: make(chan struct{}),
	}
	err := s.recover()
	if err == nil {
		s.header = int64(len(s.own.append(nil, 0)))
		err = s.begin()
	}
	if err != nil {
		s.closeFiles()
		return nil, err
	}
	s.settle(0)
	if opt.Sync == SyncInterval {
		s.stopped.Add(1)
		go s.syncing()
	}
	return s, nil
}

// begin syncs what was recovered, contents and names, because it is used from now on and the last
// process may have died before its sync. It also starts a segment if there is none.
func (s *Store) begin() error {
	if s.headFile != nil {
		if err := s.headFile.Sync(); err != nil {
			return fmt.Errorf("wal: %s: %w", headName, err)
		}
	}
	if len(s.segments) == 0 {
		if err := s.sweep(); err != nil {
			return err
		}
		seg, err := s.newSegment(0, &s.spare)
		if err != nil {
			return err
		}
		if err := s.use(seg); err != nil {
			return err
		}
		return s.ready()
	}
	a := s.active()
	if err := firstOr(a.f.Sync(), s.disk.Sync()); err != nil {
		return fmt.Errorf("wal: %s: %w", a.name, err)
	}
	if err := s.compareClose(); err != nil {
		return err
	}
	// A new generation invalidates the mark of an earlier Close.
	h := head{oldest: s.head.oldest, newest: s.head.newest, next: s.next}
	return firstOr(s.sweep(), s.writeHead(h), s.ready())
}

// ready allocates the room that an idle store should have, if the disk has it.
func (s *Store) ready() error {
	err := s.keepStandby()
	if err == nil {
		err = s.grow(s.step() / 2)
	}
	if noSpace(err) {
		return nil
	}
	return err
}

// Load implements [client.Store].
func (s *Store) Load(add func(key, value []byte) error) error {
	s.work.Lock()
	defer s.work.Unlock()
	s.mu.Lock()
	err := s.err
	s.granted = 0
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.each(func(key, value []byte) error {
		if s.owed != nil && bytes.Equal(key, s.owed.Key) {
			value = s.owed.Value
		}
		return add(key, value)
	})
}

// Close syncs what has not been synced, records that the store was closed, and unlocks it. A Commit
// that waits for room fails with ErrClosed.
func (s *Store) Close() error {
	s.work.Lock()
	failed := s.failed()
	if failed == ErrClosed {
		s.work.Unlock()
		return nil
	}
	var err error
	if failed == nil {
		err = s.finishOff()
	}
	s.mu.Lock()
	s.err = ErrClosed
	s.mu.Unlock()
	close(s.stop)
	s.work.Unlock()
	s.stopped.Wait()
	return errors.Join(err, s.closeFiles(), s.disk.Close())
}

// finishOff syncs everything, keeps the reserve and removes the spare.
func (s *Store) finishOff() error {
	if err := s.sync(); err != nil {
		return err
	}
	if s.spare != nil {
		s.drop(s.spare)
		s.spare = nil
	}
	if s.standby != nil && !s.leaveStandby() {
		s.drop(s.standby)
		s.standby = nil
	}
	if err := s.setHead(head{oldest: s.head.oldest, newest: s.head.newest, next: s.next}); err != nil {
		return err
	}
	if s.owed != nil {
		return nil // the next process owes it as well
	}
	return s.markClosed()
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, seg := range append(s.segments, s.spare, s.standby) {
		if seg != nil {
			errs = append(errs, seg.f.Close())
		}
	}
	if s.headFile != nil {
		errs = append(errs, s.headFile.Close())
	}
	return errors.Join(errs...)
}

// sync syncs what was written and not synced.
func (s *Store) sync() error {
	if !s.dirty {
		return nil
	}
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
		s.work.Lock()
		if s.failed() == nil {
			if err := s.sync(); err != nil {
				s.fail(err)
			}
		}
		s.work.Unlock()
	}
}

func damaged(seg *segment, off int64) error {
	return fmt.Errorf("%w: %s, byte %d", ErrCorrupt, seg.name, off)
}
