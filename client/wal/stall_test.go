package wal

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/disk"
)

// A stalling disk blocks in one operation until goOn is closed.
type stalling struct {
	*disk.RAM
	mu      sync.Mutex
	ops     map[string]int // number of operations of each kind
	kind    string         // kind of the operation that blocks
	nth     int
	hanging chan struct{} // closed when the operation blocks
	goOn    chan struct{}
}

func newStalling(kind string, nth int) *stalling {
	return &stalling{RAM: disk.NewRAM(), ops: make(map[string]int), kind: kind, nth: nth, hanging: make(chan struct{}), goOn: make(chan struct{})}
}

func (d *stalling) op(kind string) {
	d.mu.Lock()
	d.ops[kind]++
	hang := kind == d.kind && d.ops[kind] == d.nth
	d.mu.Unlock()
	if hang {
		close(d.hanging)
		<-d.goOn
	}
}

func (d *stalling) Create(name string) (disk.File, error) {
	d.op("create")
	f, err := d.RAM.Create(name)
	if err != nil {
		return nil, err
	}
	return stallingFile{f, d}, nil
}

func (d *stalling) Remove(name string) error {
	d.op("remove")
	return d.RAM.Remove(name)
}

func (d *stalling) Rename(from, to string) error {
	d.op("rename")
	return d.RAM.Rename(from, to)
}

func (d *stalling) Sync() error {
	d.op("sync of the folder")
	return d.RAM.Sync()
}

func (d *stalling) Intact(newest string, segment, head disk.File) error {
	d.op("look")
	return d.RAM.Intact(newest, segment.(stallingFile).File, head.(stallingFile).File)
}

type stallingFile struct {
	disk.File
	d *stalling
}

func (f stallingFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.op("read")
	return f.File.ReadAt(b, off)
}

func (f stallingFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.op("write")
	return f.File.WriteAt(b, off)
}

func (f stallingFile) Truncate(size int64) error {
	f.d.op("truncate")
	return f.File.Truncate(size)
}

func (f stallingFile) Sync() error {
	f.d.op("sync")
	return f.File.Sync()
}

// soon fails the test if f does not return within the patience of the test.
func soon(t *testing.T, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		require.NoError(t, err, what)
	case <-time.After(time.Minute):
		t.Fatal(what, " hangs with the disk")
	}
}

// churn commits messages, of which every tenth is kept for long, so that segments are created,
// reused, compacted and removed.
func churn(s *Store, commits int) (map[string]string, error) {
	want := make(map[string]string)
	for i := range commits {
		value := fmt.Sprintf("%0900d", i)
		if err := s.Room(len(value) + 256); err != nil {
			return nil, err
		}
		set := client.Change{Key: fmt.Append(nil, "m", i), Value: []byte(value), Granted: len(value) + 256}
		want[string(set.Key)] = value
		gone := client.Change{Key: fmt.Append(nil, "m", i-10), Forget: true}
		if (i-10)%10 == 0 {
			gone.Key = fmt.Append(nil, "m", i-500)
		}
		delete(want, string(gone.Key))
		if err := s.Commit([]client.Change{set, gone}); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// atHand reports whether the files have room for n more bytes.
func atHand(s *Store, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free >= s.granted+n+s.toFinish+reserve
}

// TestWALAnswersWhileTheDiskStands blocks one disk operation of a run after another. Meanwhile the
// store still reports its state. Room returns as well if the files have enough room at hand;
// otherwise it returns when the disk continues.
func TestWALAnswersWhileTheDiskStands(t *testing.T) {
	opt := Options{SegmentBytes: 1 << 16}
	const commits = 900
	whole := newStalling("", 0)
	s, err := open(whole, opt)
	require.NoError(t, err)
	begun := make(map[string]int)
	for kind, n := range whole.ops {
		begun[kind] = n
	}
	want, err := churn(s, commits)
	require.NoError(t, err)
	require.Equal(t, want, contents(t, s))
	require.Greater(t, s.segments[0].first, uint64(1), "segments came and went")

	for kind, n := range whole.ops {
		hung, waited := 0, 0
		// Thousands of operations are alike, so block only a sample of them.
		for nth := begun[kind] + 1; nth <= n; nth += 1 + (n-begun[kind])/either(20, 60) {
			d := newStalling(kind, nth)
			s, err := open(d, opt)
			require.NoError(t, err)
			done := make(chan error, 1)
			go func() {
				got, err := churn(s, commits)
				if err == nil && len(got) != len(want) {
					err = errors.New("another result")
				}
				done <- err
			}()
			select {
			case <-d.hanging:
				hung++
				where := fmt.Sprintf("in %s %d", kind, nth)
				soon(t, "the store "+where, s.failed)
				if atHand(s, 1000) {
					soon(t, "Room "+where, func() error { return s.Room(1000) })
					close(d.goOn)
					break
				}
				waited++
				room := make(chan error, 1)
				go func() { room <- s.Room(1000) }()
				soon(t, "the store "+where+" and Room", s.failed)
				close(d.goOn)
				require.NoError(t, <-room)
			case err := <-done:
				require.NoError(t, err)
				close(d.goOn)
				continue // the operation is a read of Load above, which this run does not call
			}
			require.NoError(t, <-done)
			require.Equal(t, want, contents(t, s))
		}
		t.Logf("%s: hung %d times, Room answered %d times", kind, hung, hung-waited)
		require.True(t, hung > 0 || n == begun[kind], kind)
		require.LessOrEqual(t, waited, hung/10, "%s: Commit makes room in advance", kind)
	}
}
