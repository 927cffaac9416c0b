package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/storetest"
	"github.com/mqtt311/mqtt311/internal/disk"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/stretchr/testify/require"
)

func options(dir string) Options { return Options{Dir: dir, Server: "mq:1883", ClientID: "line/7"} }

func TestWALIsAStore(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  Options
	}{
		{"always", Options{}},
		{"small segments", Options{SegmentBytes: 4096}},
		{"interval", Options{Sync: SyncInterval}},
		{"no sync", Options{Sync: UnsafeNoSync, SegmentBytes: 1 << 16}},
		{"small", Options{Sync: UnsafeNoSync, MaxBytes: 10 << 20}},
		{"small, of small segments", Options{Sync: UnsafeNoSync, MaxBytes: 10 << 20, SegmentBytes: 1 << 14}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.opt.SegmentBytes == 1<<14 { // makes very many files
				thorough.Only(t)
			}
			t.Parallel() // the tests mostly wait for the disk
			dir := t.TempDir()
			opened := make(map[string]*Store)
			storetest.Run(t, func(t *testing.T, name string) client.Store {
				if s := opened[name]; s != nil {
					require.NoError(t, s.Close())
				}
				opt := c.opt
				opt.Dir, opt.Server, opt.ClientID = dir, "mq:1883", name
				s, err := Open(opt)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				opened[name] = s
				return s
			})
		})
	}
}

func contents(t *testing.T, s *Store) map[string]string {
	got := make(map[string]string)
	require.NoError(t, s.Load(func(key, value []byte) error {
		got[string(key)] = string(value)
		return nil
	}))
	return got
}

// A history is the content that a store was given, and what it may contain after a crash.
type history struct {
	want    map[string]string // after the last Commit that returned nil
	perhaps map[string]string // after the Commit that did not return, or nil if there was none
}

// play commits random changes until the power fails or n commits are done.
func play(d *disk.RAM, opt Options, r *rand.Rand, n int, h *history) error {
	s, err := open(d, opt)
	if err != nil {
		return err
	}
	for range n {
		h.perhaps = maps.Clone(h.want)
		var changes []client.Change
		for range 1 + r.IntN(5) {
			key := fmt.Sprint("key", r.IntN(12))
			if r.IntN(5) < 2 {
				changes = append(changes, client.Change{Key: []byte(key), Forget: true})
				delete(h.perhaps, key)
				continue
			}
			value := strings.Repeat(fmt.Sprint(r.IntN(10)), r.IntN(400))
			changes = append(changes, client.Change{Key: []byte(key), Value: []byte(value)})
			h.perhaps[key] = value
		}
		if err := s.Commit(changes); err != nil {
			return err
		}
		h.want, h.perhaps = h.perhaps, nil
	}
	return nil
}

// TestWALCrashAtEveryOperation cuts the power, or kills the process, at each disk operation,
// including those of recovery, rotation and compaction, and again at each operation of the
// recovery. All complete commits must survive; the commit in progress must survive completely or
// not at all.
func TestWALCrashAtEveryOperation(t *testing.T) {
	for _, power := range []bool{false, true} {
		for seed := range thorough.Pick[uint64](1, 3) {
			crashes := 0
			for at := 1; ; at++ {
				r := rand.New(rand.NewPCG(seed, uint64(at)))
				d, h := disk.NewRAM(), &history{want: map[string]string{}}
				d.PowerAt = at
				opt := Options{SegmentBytes: 1500}
				if play(d, opt, rand.New(rand.NewPCG(seed, 0)), 40, h) == nil {
					break
				}
				crashes++
				d = d.After(power, r)
				if r.IntN(2) == 0 { // the process was killed before the power failed
					d = d.After(false, r)
					s, err := open(d, opt)
					require.NoError(t, err)
					got := contents(t, s)
					if maps.Equal(got, h.want) || h.perhaps == nil {
						h.perhaps = h.want
					}
					h.want = got // the program may have acted on it
					d = d.After(true, r)
				}
				for again := 1; again < 12; again++ { // the power fails during the recovery
					next := d.After(false, r)
					next.PowerAt = again
					if _, err := open(next, opt); err == nil {
						break
					}
					d = next.After(power, r)
				}
				s, err := open(d, opt)
				require.NoError(t, err, "seed %d, power %v, operation %d", seed, power, at)
				got := contents(t, s)
				if !maps.Equal(got, h.want) && (h.perhaps == nil || !maps.Equal(got, h.perhaps)) {
					t.Fatalf("seed %d, power %v, operation %d: %v, want %v or %v", seed, power, at, got, h.want, h.perhaps)
				}
				// Recovery of the recovered log changes nothing, and the log can be continued.
				s, err = open(d.After(power, r), opt)
				require.NoError(t, err)
				require.Equal(t, got, contents(t, s))
				h = &history{want: got}
				require.NoError(t, play(d, opt, r, 5, h))
				s, err = open(d, opt)
				require.NoError(t, err)
				require.Equal(t, h.want, contents(t, s))
			}
			require.Greater(t, crashes, 80)
			t.Logf("loss of power %v, seed %d: a crash at each of %d operations, nothing lost", power, seed, crashes)
		}
	}
}

// oneSegment returns a disk with the log of a few commits, the end of each, and the content after
// it.
func oneSegment(t *testing.T) (*disk.RAM, []int64, []map[string]string) {
	d := disk.NewRAM()
	s, err := open(d, Options{Server: "mq", ClientID: "c", SegmentBytes: 4096})
	require.NoError(t, err)
	ends, states := []int64{s.active().size}, []map[string]string{{}}
	for i := range 4 {
		require.NoError(t, s.Commit([]client.Change{
			{Key: []byte("n"), Value: []byte{byte(i)}}, {Key: fmt.Append(nil, i), Value: []byte("value")}, {Key: fmt.Append(nil, i-2), Forget: true},
		}))
		ends, states = append(ends, s.active().size), append(states, contents(t, s))
	}
	return d, ends, states
}

// TestWALTornTail truncates the log at every byte: complete commits are kept, the rest is dropped.
func TestWALTornTail(t *testing.T) {
	d, ends, states := oneSegment(t)
	for cut := ends[0]; cut <= ends[4]; cut++ {
		for _, rest := range []byte{0, 0xa5} { // followed by zeros or by old bytes
			torn := d.After(false, d.R)
			f := torn.Files[segmentName(1)]
			f.Put(bytes.Repeat([]byte{rest}, int(ends[4]-cut)), cut)
			s, err := open(torn, Options{Server: "mq", ClientID: "c", SegmentBytes: 4096})
			require.NoError(t, err)
			commits := 0
			for commits < 4 && ends[commits+1] <= cut {
				commits++
			}
			require.Equal(t, states[commits], contents(t, s), "cut at %d", cut)
		}
	}
}

// TestWALBitFlips flips every bit of the log: either Open refuses the log, or it drops the last
// commit, which may have been in progress. It never reads anything that was not written.
func TestWALBitFlips(t *testing.T) {
	d, ends, states := oneSegment(t)
	refused := 0
	for bit := range ends[4] * 8 {
		flipped := d.After(false, d.R)
		flipped.Files[segmentName(1)].Flip(bit/8, 1<<(bit%8))
		s, err := open(flipped, Options{Server: "mq", ClientID: "c", SegmentBytes: 4096})
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt, "byte %d", bit/8)
			require.ErrorContains(t, err, "byte ")
			refused++
			continue
		}
		require.Equal(t, states[3], contents(t, s), "byte %d", bit/8)
		require.GreaterOrEqual(t, bit/8, ends[3], "only the last commit may go")
	}
	require.EqualValues(t, ends[3]*8, refused)
	t.Logf("%d bits turned: %d refused, the others in a commit that may have been under way", ends[4]*8, refused)
}

// A missing segment is damage, be it the oldest, the newest or the only one, and so is a missing
// head.
func TestWALMissingFile(t *testing.T) {
	for _, commits := range []int{0, 1, 60} {
		d := disk.NewRAM()
		opt := Options{SegmentBytes: 600}
		require.NoError(t, play(d, opt, rand.New(rand.NewPCG(1, 1)), commits, &history{want: map[string]string{}}))
		names, _ := d.List()
		slices.Sort(names)
		for _, name := range names {
			if name == headName && commits == 0 || name == standbyName {
				continue // the segment has no commit yet
			}
			broken := d.After(false, d.R)
			delete(broken.Files, name)
			_, err := open(broken, opt)
			require.ErrorIs(t, err, ErrCorrupt, "%s of %v", name, names)
			require.ErrorContains(t, err, "missing")
		}
	}
}

// After Close, everything that was committed is on the disk: if the last commit is unreadable, that
// is damage and not a commit cut short by a crash.
func TestWALDamageInTheLastCommit(t *testing.T) {
	for _, policy := range []Sync{SyncAlways, UnsafeNoSync} {
		d, ends, states := oneSegment(t)
		opt := Options{Server: "mq", ClientID: "c", SegmentBytes: 4096, Sync: policy}
		s, err := open(d, opt)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		for at := ends[0]; at < ends[4]; at++ {
			broken := d.After(false, d.R)
			broken.Files[segmentName(1)].Flip(at, 1)
			_, err := open(broken, opt)
			require.ErrorIs(t, err, ErrCorrupt, "byte %d", at)
		}
		s, err = open(d, opt)
		require.NoError(t, err)
		require.Equal(t, states[4], contents(t, s))
	}
}

// The head has two slots, written alternately: a crash while one is written does no harm, and
// damage to both is refused.
func TestWALHead(t *testing.T) {
	d, _, states := oneSegment(t)
	opt := Options{Server: "mq", ClientID: "c", SegmentBytes: 4096}
	for range 2 { // to use both slots
		s, err := open(d, opt)
		require.NoError(t, err)
		require.NoError(t, s.Commit([]client.Change{{Key: []byte("n"), Value: []byte{3}}}))
		require.NoError(t, s.Close())
	}
	for slot := range 2 {
		torn := d.After(false, d.R)
		torn.Files[headName].Flip(int64(slot*headSlot), 1)
		s, err := open(torn, opt)
		require.NoError(t, err)
		require.Equal(t, states[4], contents(t, s))
	}
	broken := d.After(false, d.R)
	for slot := range 2 {
		broken.Files[headName].Flip(int64(slot*headSlot), 1)
	}
	_, err := open(broken, opt)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, headName)
}

// Open says that a store has another format version.
func TestWALFormat(t *testing.T) {
	d, _, _ := oneSegment(t)
	other := owner{server: "mq", clientID: "c", salt: 1}
	b := other.append(nil, 1)
	b[headSize] = 7
	binary.BigEndian.PutUint32(b, checksum(b, 0))
	d.Files[segmentName(1)].Put(b, 0)
	for range 2 {
		_, err := open(d.After(false, d.R), Options{Server: "mq", ClientID: "c"})
		require.ErrorContains(t, err, "format 7")
		require.NotErrorIs(t, err, ErrCorrupt)
		delete(d.Files, headName) // another format may not have it
	}
}

// Accepted messages can be finished on a full disk, each step in its own commit, however many there
// are.
func TestWALFullDiskOfSmallMessages(t *testing.T) {
	d := disk.NewRAM()
	d.Space = 6 << 20
	s, err := open(d, Options{SegmentBytes: 4 << 20, Sync: UnsafeNoSync})
	require.NoError(t, err)
	key := func(kind byte, i int) []byte { return fmt.Appendf(nil, "%c%08d", kind, i) }
	n := 0
	for ; s.Room(10) == nil; n++ {
		require.NoError(t, s.Commit([]client.Change{{Key: key('p', n), Value: make([]byte, 13)}}))
	}
	require.Greater(t, n, 10_000)
	for i := range n {
		require.NoError(t, s.Commit([]client.Change{{Key: key('r', i), Value: make([]byte, 8)}}), "released %d of %d", i, n)
	}
	for i := range n {
		require.NoError(t, s.Commit([]client.Change{{Key: key('p', i), Forget: true}, {Key: key('r', i), Forget: true}}), "forgotten %d of %d", i, n)
	}
	require.Empty(t, contents(t, s))
	require.NoError(t, s.Room(10), "the space is free again")
}

func TestWALSyncFailureIsFinal(t *testing.T) {
	d := disk.NewRAM()
	s, err := open(d, Options{})
	require.NoError(t, err)
	d.SyncErr = syscall.EIO
	change := []client.Change{{Key: []byte("k"), Value: []byte("v")}}
	require.ErrorIs(t, s.Commit(change), syscall.EIO)
	d.SyncErr = nil
	require.ErrorIs(t, s.Commit(change), ErrFailed, "a sync is never tried again")
	require.ErrorIs(t, s.Room(1), ErrFailed)
	require.ErrorIs(t, s.Load(nil), syscall.EIO)
}

// On a full disk the store refuses new messages, but accepts the records that finish the stored
// ones.
func TestWALFullDisk(t *testing.T) {
	d := disk.NewRAM()
	d.Space = 3 << 20
	s, err := open(d, Options{SegmentBytes: 1 << 20})
	require.NoError(t, err)
	var n int
	for ; ; n++ {
		if err := s.Room(10_000); err != nil {
			require.ErrorIs(t, err, client.ErrStoreFull)
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
		require.NoError(t, s.Commit([]client.Change{{Key: fmt.Append(nil, "m", n), Value: make([]byte, 10_000)}}))
		require.Less(t, n, 1000)
	}
	for i := range n {
		require.NoError(t, s.Commit([]client.Change{{Key: fmt.Append(nil, "r", i), Value: make([]byte, 8)}}), "released %d of %d", i, n)
	}
	for i := range n {
		require.NoError(t, s.Commit([]client.Change{
			{Key: fmt.Append(nil, "m", i), Forget: true}, {Key: fmt.Append(nil, "r", i), Forget: true},
		}), "forgotten %d of %d", i, n)
	}
	require.Empty(t, contents(t, s))
	d.Space += 1 << 20
	require.NoError(t, s.Room(10_000))
	s, err = open(d, Options{SegmentBytes: 1 << 20})
	require.NoError(t, err)
	require.Empty(t, contents(t, s))
}

func TestWALQuota(t *testing.T) {
	s, err := open(disk.NewRAM(), Options{MaxBytes: 10_000})
	require.NoError(t, err)
	require.NoError(t, s.Room(20_000), "an empty store takes one message of any size")
	require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: make([]byte, 9_000), Granted: 9_200}}))
	require.ErrorIs(t, s.Room(100), client.ErrStoreFull, "what was granted and not used counts")
	require.Equal(t, int64(10_800), s.granted)
	require.NoError(t, s.Commit([]client.Change{{Key: []byte("never"), Forget: true}}))
	require.ErrorIs(t, s.Room(100), client.ErrStoreFull, "until it is used, whatever else is committed")
	require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Forget: true}, {Key: []byte("j"), Granted: 10_800}}))
	require.NoError(t, s.Room(9_000))
	require.ErrorIs(t, s.Room(9_000), client.ErrStoreFull)
	require.Len(t, contents(t, s), 1)
	require.NoError(t, s.Room(9_000), "Load ends every grant")
	require.NoError(t, s.Commit([]client.Change{{Key: []byte("j"), Forget: true, Granted: 1 << 30}}))
	require.Zero(t, s.granted, "more than was granted is nothing wrong")
	require.Error(t, s.Commit([]client.Change{{Key: []byte("j"), Granted: -1}}))
}

// One unfinished message does not keep the segments of all later ones.
func TestWALCompaction(t *testing.T) {
	d := disk.NewRAM()
	s, err := open(d, Options{SegmentBytes: 1 << 16})
	require.NoError(t, err)
	require.NoError(t, s.Commit([]client.Change{{Key: []byte("stuck"), Value: make([]byte, 1000)}}))
	for i := range 5000 {
		key := fmt.Append(nil, i)
		require.NoError(t, s.Commit([]client.Change{{Key: key, Value: make([]byte, 200)}}))
		require.NoError(t, s.Commit([]client.Change{{Key: key, Forget: true}}))
		require.LessOrEqual(t, len(d.Files), 5)
	}
	require.Len(t, contents(t, s), 1)
	s, err = open(d, Options{SegmentBytes: 1 << 16})
	require.NoError(t, err)
	require.Len(t, contents(t, s)["stuck"], 1000)
}

func TestWALLock(t *testing.T) {
	opt := options(t.TempDir())
	s, err := Open(opt)
	require.NoError(t, err)
	_, err = Open(opt)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, "is in use")
	other := opt
	other.ClientID = "line/8"
	o, err := Open(other)
	require.NoError(t, err, "another client has another store")
	require.NoError(t, o.Close())
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice is nothing wrong")
	require.ErrorIs(t, s.Commit([]client.Change{{Key: []byte("k")}}), ErrClosed)
	s, err = Open(opt)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestWALOwner(t *testing.T) {
	opt := options(t.TempDir())
	s, err := Open(opt)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	other := opt
	other.ClientID = "somebody else"
	require.NoError(t, os.Rename(Folder(opt.Dir, opt.Server, opt.ClientID), Folder(opt.Dir, opt.Server, other.ClientID)))
	_, err = Open(other)
	require.ErrorIs(t, err, ErrOwner)
	require.ErrorContains(t, err, `"line/7"`)
}

func TestWALFolderIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions of another kind")
	}
	opt := options(t.TempDir())
	s, err := Open(opt)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	path := Folder(opt.Dir, opt.Server, opt.ClientID)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	names, err := filepath.Glob(filepath.Join(path, "*"))
	require.NoError(t, err)
	require.Len(t, names, 4, "LOCK, HEAD, RESERVE and a segment")
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
		require.NotContains(t, name, "line")
	}

	require.NoError(t, os.Chmod(path, 0o750))
	_, err = Open(opt)
	require.ErrorContains(t, err, "chmod 700")
	require.NoError(t, os.Chmod(path, 0o700))

	link := opt
	link.ClientID = "link"
	require.NoError(t, os.Symlink(path, Folder(opt.Dir, opt.Server, "link")))
	_, err = Open(link)
	require.ErrorContains(t, err, "symbolic link")

	blocked := opt
	blocked.Dir = filepath.Join(opt.Dir, "file")
	require.NoError(t, os.WriteFile(blocked.Dir, nil, 0o600))
	_, err = Open(blocked)
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

func TestWALOptions(t *testing.T) {
	_, err := Open(Options{Sync: 9})
	require.ErrorContains(t, err, "Options.Dir")
	require.ErrorContains(t, err, "Options.ClientID")
	require.ErrorContains(t, err, "Options.Sync")
}

// A repair is logged, without keys or values.
func TestWALRepairIsLogged(t *testing.T) {
	d, ends, _ := oneSegment(t)
	d.Files[segmentName(1)].Flip(ends[4]-1, 1)
	var log bytes.Buffer
	_, err := open(d, Options{Server: "mq", ClientID: "c", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Contains(t, log.String(), "cut short")
	require.NotContains(t, log.String(), "value")
}

func TestWALSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disk.NewRAM()
		s, err := open(d, Options{Sync: SyncInterval})
		require.NoError(t, err)
		require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: []byte("v")}}))
		lost, err := open(d.After(true, rand.New(rand.NewPCG(7, 7))), Options{Sync: UnsafeNoSync})
		require.NoError(t, err)
		_ = contents(t, lost)          // its content does not matter
		require.NoError(t, s.failed()) // wait for the lock: the disk was copied before the next sync
		<-time.After(1100 * time.Millisecond)
		synctest.Wait()
		kept, err := open(d.After(true, rand.New(rand.NewPCG(7, 7))), Options{Sync: UnsafeNoSync})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"k": "v"}, contents(t, kept))
		d.SyncErr = errors.New("gone")
		require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: []byte("w")}}))
		<-time.After(1100 * time.Millisecond)
		synctest.Wait()
		require.ErrorIs(t, s.Commit([]client.Change{{Key: []byte("k"), Forget: true}}), ErrFailed)
		require.NoError(t, s.Close())
	})
}

// Publishers choose what payloads contain. A payload that contains frames is not read as frames:
// the rest of a commit cut short by a crash is not taken for a later commit, and Salvage copies
// none of it.
func TestWALFramesInAPayload(t *testing.T) {
	d, ends, states := oneSegment(t)
	opt := Options{Server: "mq", ClientID: "c", SegmentBytes: 4096}
	s, err := open(d, opt)
	require.NoError(t, err)
	forged, _ := appendSet(nil, 0, 1000, []byte("n"), []byte("forged"))
	forged = appendFrame(forged, 0, 1001, frameCommit, binary.BigEndian.AppendUint64(nil, 1000))
	require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: forged}}))
	require.Equal(t, string(forged), contents(t, s)["k"])

	torn := d.After(false, d.R)
	torn.Files[segmentName(1)].Flip(ends[4], 1)
	found, got := look(t, torn)
	require.Empty(t, found.Damage)
	require.Equal(t, states[4], got)
	s, err = open(torn, opt)
	require.NoError(t, err)
	require.Equal(t, states[4], contents(t, s))
}

// A reused file contains old commits after the end of the log, with lower numbers. They are
// ignored, whatever a crash has left of the newest commit.
func TestWALBehindTheEnd(t *testing.T) {
	old, oldEnds, _ := oneSegment(t)
	opt := Options{Server: "mq", ClientID: "c", SegmentBytes: 4096}
	for at := 0; at <= 400; at += 7 {
		s, err := open(old.After(false, old.R), opt)
		require.NoError(t, err)
		seg, err := s.newSegment(0, &s.spare)
		require.NoError(t, err)
		require.NoError(t, s.use(seg))
		stale := make([]byte, seg.room-seg.size)
		copy(stale, old.Files[segmentName(1)].Bytes()[oldEnds[0]:][at:])
		_, err = seg.f.WriteAt(stale, seg.size)
		require.NoError(t, err)
		before := contents(t, s)
		require.NoError(t, s.Commit([]client.Change{{Key: []byte("new"), Value: []byte("value")}}))
		want := contents(t, s)
		d := s.disk.(*disk.RAM)

		found, got := look(t, d)
		require.Empty(t, found.Damage)
		require.Nil(t, found.Torn)
		require.Equal(t, want, got)
		end := s.active().size
		torn := d.After(false, d.R)
		torn.Files[seg.name].Flip(end-1, 1)
		for _, d := range []*disk.RAM{d, torn} {
			if d == torn {
				want = before
				found, got := look(t, d)
				require.Empty(t, found.Damage)
				require.NotNil(t, found.Torn)
				require.Equal(t, want, got)
			}
			for range 2 {
				s, err = open(d, opt)
				require.NoError(t, err)
				require.Equal(t, want, contents(t, s))
				require.NoError(t, s.Commit([]client.Change{{Key: []byte("goes on"), Value: []byte("value")}}))
				want = contents(t, s)
			}
		}
	}
}

// Files of segments without live keys are reused, one at a time, even on a system on which an open
// file cannot be renamed; Close leaves none behind.
func TestWALSegmentsAreUsedAgain(t *testing.T) {
	for _, refused := range []bool{false, true} {
		d := disk.NewRAM()
		d.NoRename = refused
		opt := Options{SegmentBytes: 4096}
		s, err := open(d, opt)
		require.NoError(t, err)
		seen, segments := make(map[*disk.RAMFile]bool), make(map[string]bool)
		for i := range 500 {
			require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: fmt.Appendf(nil, "%0100d", i)}}))
			for name, f := range d.Files {
				if _, ok := firstOf(name); ok {
					seen[f], segments[name] = true, true
				}
			}
			require.LessOrEqual(t, len(d.Files), 5)
			if i%50 == 49 {
				next, err := open(d.After(i%100 == 49, d.R), opt)
				require.NoError(t, err)
				require.Equal(t, map[string]string{"k": fmt.Sprintf("%0100d", i)}, contents(t, next))
			}
		}
		require.Greater(t, len(segments), 15)
		if !refused {
			require.LessOrEqual(t, len(seen), 4)
		}
		require.NoError(t, s.Close())
		require.Len(t, d.Files, 2+len(s.segments), "HEAD, RESERVE and the segments")
	}
}
