package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
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

	mu       sync.Mutex
	segments []*segment // oldest first; the last one is written to
	live     map[string]place
	bytes    int64  // of frames that hold what is kept
	next     uint64 // number of the next frame
	promised int64  // bytes that Room has granted and no Commit has used
	buf      []byte
	err      error
	dirty    bool // written and not synced
	stop     chan struct{}
	stopped  sync.WaitGroup
}

var _ client.Store = (*Store)(nil)

// A place is where the frame is that holds a key.
type place struct {
	seg  *segment
	off  int64
	size int64
}

const (
	overhead    = 128     // bytes that finishing a message may take on disk, and its frames
	reserve     = 1 << 16 // bytes on disk that are left for finishing
	compactStep = 1 << 18 // bytes that a Commit moves besides its own
)

// Open opens the store of a session, or makes it. It is locked until Close. The errors are those
// of the file system, ErrCorrupt and ErrOwner; a tail that a crash has cut short is repaired
// and told to the Logger.
func Open(opt Options) (*Store, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	d, err := openFolder(Folder(opt.Dir, opt.Server, opt.ClientID))
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
		own:  owner{opt.Sync, opt.Server, opt.ClientID},
		disk: d, live: make(map[string]place), next: 1, stop: make(chan struct{}),
	}
	err := s.recover()
	if err == nil && len(s.segments) == 0 {
		err = s.rotate()
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

// Load implements [client.Store].
func (s *Store) Load(add func(key, value []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	places := make([]place, 0, len(s.live))
	for _, p := range s.live {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.seg.first, b.seg.first), cmp.Compare(a.off, b.off))
	})
	for _, p := range places {
		sc := scanner{r: p.seg.f, off: p.off, end: p.off + p.size}
		f, ok, err := sc.next()
		if err != nil {
			return fmt.Errorf("wal: %s: %w", p.seg.name, err)
		}
		key, value, whole := f.entry()
		if !ok || !whole {
			return damaged(p.seg, p.off)
		}
		if err := add(key, value); err != nil {
			return err
		}
	}
	return nil
}

// Room implements [client.Store]. It makes sure that the disk has the space.
func (s *Store) Room(bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	need := int64(bytes) + overhead
	if s.opt.MaxBytes > 0 && s.bytes+s.promised+need > s.opt.MaxBytes && s.bytes+s.promised > 0 {
		return fmt.Errorf("%w: %d of %d bytes are in use", client.ErrStoreFull, s.bytes+s.promised, s.opt.MaxBytes)
	}
	if err := s.active().grow(s.promised + need + s.reserved()); err != nil {
		return fmt.Errorf("%w: %w", client.ErrStoreFull, err)
	}
	s.promised += need
	return nil
}

// reserved is what finishing everything that is kept may take.
func (s *Store) reserved() int64 {
	return min(reserve, s.opt.SegmentBytes) + overhead*int64(len(s.live))
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if len(changes) == 0 {
		return nil
	}
	s.promised = 0 // what was granted is in these changes, or was never used
	if err := s.commit(changes); err != nil {
		s.err = fmt.Errorf("%w: %w", ErrFailed, err)
		return s.err
	}
	return s.tidy()
}

// An update is what a frame of a commit means once it is durable.
type update struct {
	key string
	at  place // size 0: forgotten
}

// commit writes the changes, behind a part of what compaction has to move.
func (s *Store) commit(changes []client.Change) error {
	size := int64(endSize)
	for i := range changes {
		size += headSize + 4 + int64(len(changes[i].Key)+len(changes[i].Value))
	}
	if a := s.active(); a.size+size > s.opt.SegmentBytes && s.next > a.first {
		if s.dirty { // the one before is whole before a new one counts
			if err := s.syncNow(); err != nil {
				return err
			}
		}
		if err := s.rotate(); err != nil {
			// The segment that is there has its reserve. Room refuses messages from here on.
			s.opt.Logger.Warn("wal: no new segment", slog.Any("reason", err))
		}
	}
	a, first := s.active(), s.next
	buf, updates := s.buf[:0], []update(nil)
	add := func(typ byte, key, value []byte) {
		off := a.size + int64(len(buf))
		if typ == frameForget {
			buf = appendFrame(buf, s.next, typ, key)
			updates = append(updates, update{key: string(key)})
		} else {
			n := uint32(len(key))
			buf = appendFrame(buf, s.next, typ, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, key, value)
			updates = append(updates, update{key: string(key), at: place{a, off, a.size + int64(len(buf)) - off}})
		}
		s.next++
	}
	if err := s.move(add); err != nil {
		return err
	}
	for i := range changes {
		if changes[i].Forget {
			add(frameForget, changes[i].Key, nil)
		} else {
			add(frameSet, changes[i].Key, changes[i].Value)
		}
	}
	buf = appendFrame(buf, s.next, frameCommit, binary.BigEndian.AppendUint64(nil, first))
	s.next++
	if err := s.write(a, buf); err != nil {
		s.next = first
		return err
	}
	for _, u := range updates {
		s.apply(u.key, u.at)
	}
	if s.buf = buf; cap(buf) > growBy {
		s.buf = nil
	}
	return nil
}

// write puts a commit behind what is there, and on the disk if that is the policy.
func (s *Store) write(a *segment, buf []byte) error {
	if err := a.grow(int64(len(buf))); err != nil {
		return err
	}
	if _, err := a.f.WriteAt(buf, a.size); err != nil {
		return err
	}
	a.size += int64(len(buf))
	if s.opt.Sync != SyncAlways {
		s.dirty = true
		return nil
	}
	return a.f.Sync()
}

// apply notes where a key is kept now; nowhere if the size is 0.
func (s *Store) apply(key string, at place) {
	if old, ok := s.live[key]; ok {
		old.seg.live -= old.size
		s.bytes -= old.size
	}
	if at.size == 0 {
		delete(s.live, key)
		return
	}
	s.live[key] = at
	at.seg.live += at.size
	s.bytes += at.size
}

// rotate begins a new segment. It is used when its name is on the disk.
func (s *Store) rotate() error {
	seg := &segment{name: segmentName(s.next), first: s.next, step: s.step()}
	f, err := s.disk.Create(seg.name)
	if err != nil {
		return fmt.Errorf("wal: new segment: %w", err)
	}
	seg.f = f
	head := s.own.append(nil, seg.first)
	err = seg.grow(int64(len(head)) + s.promised + s.reserved())
	if err == nil {
		_, err = f.WriteAt(head, 0)
	}
	seg.size = int64(len(head))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.disk.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("wal: new segment: %w", err), f.Close(), s.disk.Remove(seg.name))
	}
	s.segments = append(s.segments, seg)
	return nil
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
		s.mu.Lock()
		if s.err == nil && s.dirty {
			if err := s.syncNow(); err != nil {
				s.err = fmt.Errorf("%w: %w", ErrFailed, err)
			}
		}
		s.mu.Unlock()
	}
}

// Close syncs what a lazy policy has left and lets go of the lock.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.err == ErrClosed {
		s.mu.Unlock()
		return nil
	}
	var err error
	if s.err == nil && s.dirty {
		err = s.syncNow()
	}
	s.err = ErrClosed
	s.mu.Unlock()
	close(s.stop)
	s.stopped.Wait()
	return errors.Join(err, s.closeFiles(), s.disk.Close())
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, seg := range s.segments {
		errs = append(errs, seg.f.Close())
	}
	return errors.Join(errs...)
}

func damaged(seg *segment, off int64) error {
	return fmt.Errorf("%w: %s, byte %d", ErrCorrupt, filepath.Base(seg.name), off)
}
