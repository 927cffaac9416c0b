package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/internal/disk"
)

// A Fault is a kind of damage.
type Fault byte

// The kinds of damage.
const (
	FaultUnreadable Fault = iota + 1 // the bytes are not those that were written
	FaultMissing                     // the file does not exist
	FaultShort                       // the log ends before the end that HEAD records
	FaultGap                         // frames between this segment and the one before are missing
	FaultHead                        // HEAD is missing or unreadable
	FaultUnknown                     // HEAD does not list this segment
	FaultOwner                       // the segment belongs to another session
	FaultFormat                      // the segment was written in an unknown format version
)

var faults = [...]string{
	FaultUnreadable: "these bytes are not what was written",
	FaultMissing:    "the file is missing",
	FaultShort:      "the log ends here, and had come further",
	FaultGap:        "what stood before this segment is missing",
	FaultHead:       "the file is missing, or cannot be read",
	FaultUnknown:    "HEAD knows nothing of this segment",
	FaultOwner:      "the segment belongs to another session",
	FaultFormat:     "another version of the program wrote the segment",
}

// String returns the kind of damage in words.
func (f Fault) String() string {
	if int(f) >= len(faults) || f == 0 {
		return fmt.Sprintf("fault %d", byte(f))
	}
	return faults[f]
}

// A Damage is a damaged place in a log.
type Damage struct {
	File   string // the name of the file in the folder
	Offset int64  // in bytes; all before it are complete commits
	Fault  Fault
}

// String returns the damage with its file and offset in one line.
func (d Damage) String() string { return fmt.Sprintf("%s, byte %d: %v", d.File, d.Offset, d.Fault) }

// An Inspection is the result of [Inspect].
type Inspection struct {
	Folder   string
	Server   string // as in Options; empty if no segment is readable
	ClientID string
	Sync     Sync // the policy of the store

	// InUse says that a process has the store open and may have changed it during the inspection.
	InUse bool

	Segments  int
	FileBytes int64 // size of all segments
	Keys      int   // number of stored keys
	Bytes     int64 // size of their frames in the log

	// Damage lists why Open would return an error, in the order of the log. It is empty if the
	// store is intact.
	Damage []Damage

	// Torn is an incomplete commit at the end of the log: it was cut short by a crash or is being
	// written. Open drops it without loss, because it was never reported as durable. Nil if there
	// is none.
	Torn *Damage

	// Lost is the number of frames that are known to be lost. Each of them set or removed a key, or
	// ended a commit.
	Lost uint64
}

// Folders returns the folders of the stores in dir, or dir itself if it is the folder of a store.
func Folders(dir string) ([]string, error) {
	if isStore(dir) {
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	var found []string
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.IsDir() && isStore(path) {
			found = append(found, path)
		}
	}
	return found, nil
}

func isStore(path string) bool {
	names, err := listFiles(path)
	return err == nil && slices.ContainsFunc(names, func(name string) bool {
		_, ok := firstOf(name)
		return ok || name == headName
	})
}

// inspectTries is how often Inspect reads a store that changes while it is being read.
const inspectTries = 10

// Inspect reads the store in folder, which is one of those returned by Folders, and changes
// nothing. It calls each, unless it is nil, with every stored key and its value; the slices are
// valid only until each returns. Inspect returns an error only if the file system or each does;
// damage is not an error.
//
// A client may have the store open meanwhile. Inspect then reads a snapshot of it into memory.
func Inspect(folder string, each func(key, value []byte) error) (*Inspection, error) {
	for try := 1; ; try++ {
		used := inUse(folder)
		s := newSurvey(readOnly(folder))
		err := s.read()
		used = used || inUse(folder)
		tell := func() error { return nil }
		if err == nil && each != nil {
			tell, err = s.telling(each, used)
		}
		// A writer may have started, ended, removed or reused a segment meanwhile.
		if used && try < inspectTries && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) || errors.Is(err, io.EOF) || len(s.found.Damage) > 0) {
			s.close()
			time.Sleep(time.Duration(try) * time.Millisecond)
			continue
		}
		if err == nil {
			err = tell()
		}
		s.close()
		if err != nil {
			return nil, err
		}
		s.found.Folder, s.found.InUse = folder, used
		return &s.found, nil
	}
}

// telling returns a function that calls each for all live keys. If the store is in use, the keys
// are read beforehand, since a segment may be reused at any time.
func (s *survey) telling(each func(key, value []byte) error, used bool) (func() error, error) {
	if !used {
		return func() error { return s.each(each) }, nil
	}
	var all [][2][]byte
	err := s.each(func(key, value []byte) error {
		all = append(all, [2][]byte{slices.Clone(key), slices.Clone(value)})
		return nil
	})
	return func() error {
		for _, kept := range all {
			if err := each(kept[0], kept[1]); err != nil {
				return err
			}
		}
		return nil
	}, err
}

func inUse(folder string) bool {
	for _, name := range []string{lockName, headName} { // LOCK may have been removed
		lock, err := lockExisting(filepath.Join(folder, name))
		if err == nil {
			lock.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return errors.Is(err, ErrLocked)
		}
	}
	return false
}

// A source is the part of a disk that is needed to read a log.
type source interface {
	List() ([]string, error)
	Open(name string) (disk.File, error)
}

// readOnly is the path of a folder that must not be changed.
type readOnly string

func (path readOnly) List() ([]string, error) { return listFiles(string(path)) }

func (path readOnly) Open(name string) (disk.File, error) {
	f, err := os.OpenFile(filepath.Join(string(path), name), os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

// A survey reads a log as recover does, but continues after damage.
type survey struct {
	from  source
	found Inspection
	head  head
	known bool   // the head is readable
	own   *owner // from the first readable header
	index
	blamed bool // frames missing before the next segment were already reported as damage
}

func newSurvey(from source) *survey { return &survey{from: from, index: newIndex()} }

func (s *survey) close() {
	for _, seg := range s.segments {
		seg.f.Close()
	}
}

func (s *survey) damage(file string, off int64, fault Fault) {
	s.found.Damage = append(s.found.Damage, Damage{file, off, fault})
}

func (s *survey) read() error {
	names, err := s.from.List()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if err := s.readHead(names); err != nil {
		return err
	}
	if err := s.open(names); err != nil {
		return err
	}
	if s.next = s.head.oldest; !s.known && len(s.segments) > 0 {
		s.next = s.segments[0].first
	}
	s.missing(s.head.oldest)
	for i, seg := range s.segments {
		follows := uint64(0)
		if i < len(s.segments)-1 {
			follows = s.segments[i+1].first
		}
		if err := s.segment(seg, follows); err != nil {
			return err
		}
	}
	if s.head.newest != s.head.oldest {
		s.missing(s.head.newest)
	}
	if s.own != nil {
		s.found.Server, s.found.ClientID = s.own.server, s.own.clientID
	}
	s.found.Sync, s.found.Segments = s.head.sync, len(s.segments)
	s.found.Keys, s.found.Bytes = s.keys(), s.bytes
	return nil
}

func (s *survey) readHead(names []string) error {
	s.head = unwritten
	if !slices.Contains(names, headName) {
		return nil
	}
	f, err := s.from.Open(headName)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	defer f.Close()
	if s.head, err = readHead(f); err != nil {
		return fmt.Errorf("wal: %s: %w", headName, err)
	}
	s.known = s.head.generation > 0
	return nil
}

// open opens the segments of the log in order, including those with commits that the head does not
// list.
func (s *survey) open(names []string) error {
	slices.Sort(names)
	blamed := false
	for _, name := range names {
		first, ok := firstOf(name)
		if !ok || first < s.head.oldest {
			continue
		}
		seg, err := openSegment(s.from, name, s.head.salt)
		if err != nil {
			return err
		}
		seg.size = seg.room // try to read all of it
		s.segments = append(s.segments, seg)
		s.found.FileBytes += seg.room
		if first <= s.head.newest {
			continue
		}
		begun, err := laterCommit(seg, 0, first-1)
		switch {
		case err != nil:
			return err
		case !begun:
			seg.f.Close()
			s.segments = s.segments[:len(s.segments)-1]
		case s.known:
			s.damage(name, 0, FaultUnknown)
		case !blamed:
			s.damage(headName, 0, FaultHead)
			blamed = true
		}
	}
	return nil
}

// missing reports a missing segment as damage.
func (s *survey) missing(first uint64) {
	if s.known && !slices.ContainsFunc(s.segments, func(seg *segment) bool { return seg.first == first }) {
		s.damage(segmentName(first), 0, FaultMissing)
		s.blamed = true
	}
}

// segment reads the commits of a segment, from one readable place to the next. follows is the
// number of the first frame of the next segment, or zero.
func (s *survey) segment(seg *segment, follows uint64) error {
	sc := scanner{r: seg.f, end: seg.room}
	if skip, err := s.header(seg, &sc); skip || err != nil {
		return err
	}
	last := follows == 0 && seg.first == s.head.newest
	for {
		end, missed, err := s.commits(seg, &sc)
		if err != nil {
			return err
		}
		s.found.Lost += missed
		if missed > 0 && len(s.found.Damage) == 0 {
			s.damage(seg.name, end, FaultUnreadable)
		}
		if follows == s.next {
			return nil // nothing can be missing
		}
		short := last && s.next < s.head.next
		if last && !short {
			later, err := laterCommit(seg, end, s.next)
			if err != nil {
				return err
			}
			if !later || s.head.sync != SyncAlways {
				return s.tail(seg, end)
			}
		}
		clean, err := allZeros(seg, end)
		if err != nil {
			return err
		}
		off, number, found, err := resync(seg, sc.off, s.next+1)
		if err != nil {
			return err
		}
		switch {
		case !clean:
			s.damage(seg.name, end, FaultUnreadable)
		case short:
			s.damage(seg.name, end, FaultShort)
		}
		if !found {
			if short {
				s.found.Lost += s.head.next - s.next
			}
			s.blamed = !clean
			return nil
		}
		s.found.Lost += number - s.next
		s.next, sc.off = number, off
	}
}

// tail records whether a commit was started after the last complete one.
func (s *survey) tail(seg *segment, end int64) error {
	torn, err := cutShort(seg, end, s.next)
	if torn {
		s.found.Torn = &Damage{seg.name, end, FaultUnreadable}
	}
	return err
}

// header reads the header of a segment, and reports whether to skip the segment.
func (s *survey) header(seg *segment, sc *scanner) (skip bool, err error) {
	f, ok, err := sc.next()
	if err != nil {
		return false, fmt.Errorf("wal: %s: %w", seg.name, err)
	}
	own, err := parseOwner(f)
	switch {
	case ok && errors.Is(err, errFormat):
		s.damage(seg.name, 0, FaultFormat)
		return true, nil
	case !ok || err != nil || f.number != seg.first:
		s.damage(seg.name, 0, FaultUnreadable)
		sc.off = 0
		off, number, found, err := resync(seg, 0, max(seg.first, s.next))
		if err != nil || !found {
			s.blamed = true
			return true, err
		}
		s.found.Lost += number - s.next
		s.next, sc.off, sc.salt = number, off, seg.salt
		return false, nil
	case s.own != nil && own != *s.own, s.known && own.salt != s.head.salt:
		s.damage(seg.name, 0, FaultOwner)
		return true, nil
	}
	s.own = &own
	if seg.first > s.next {
		s.found.Lost += seg.first - s.next
		if !s.blamed {
			s.damage(seg.name, 0, FaultGap)
		}
	}
	s.next, s.blamed, sc.salt = seg.first, false, seg.salt
	return false, nil
}

// resync returns the first offset from off on with a readable frame that may follow the one with
// the given number.
func resync(seg *segment, off int64, number uint64) (at int64, found uint64, ok bool, err error) {
	far := uint64(seg.room/headSize + 1) // no more frames can have been between them
	sc := scanner{r: seg.f, salt: seg.salt, end: seg.room}
	for ; off+headSize <= seg.room; off++ {
		b, err := sc.bytes(off, headSize)
		if err != nil {
			return 0, 0, false, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		if n := binary.BigEndian.Uint64(b[8:]); b[16] < frameSet || b[16] > frameCommit || n < number || n-number > far {
			continue
		}
		sc.off = off
		f, whole, err := sc.next()
		if err != nil {
			return 0, 0, false, fmt.Errorf("wal: %s: %w", seg.name, err)
		}
		if whole {
			return off, f.number, true, nil
		}
	}
	return 0, 0, false, nil
}
