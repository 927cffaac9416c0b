package fuzz

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/stretchr/testify/require"
)

// FuzzWAL writes a log to real files, truncates it, and overwrites bytes. A log that opens has the
// contents after some commit; any other is refused as damaged. Nothing panics, and nothing is read
// that was not written.
func FuzzWAL(f *testing.F) {
	f.Add(uint16(3), uint32(1<<20), uint32(100), []byte{1})
	f.Add(uint16(40), uint32(900), uint32(0), []byte{})
	f.Add(uint16(9), uint32(1<<20), uint32(2), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, commits uint16, cut, at uint32, over []byte) {
		opt := wal.Options{Dir: t.TempDir(), Server: "mq", ClientID: "c", Sync: wal.UnsafeNoSync, SegmentBytes: 2048}
		states := fill(t, opt, int(commits%64))
		names, err := filepath.Glob(filepath.Join(wal.Folder(opt.Dir, opt.Server, opt.ClientID), "[!L]*")) // all but LOCK
		require.NoError(t, err)
		slices.Sort(names)
		damage(t, names[int(at)%len(names)], int(cut), int(at), over)

		s, err := wal.Open(opt)
		if err != nil {
			require.ErrorIs(t, err, wal.ErrCorrupt)
			return
		}
		defer s.Close()
		got := make(map[string]string)
		require.NoError(t, s.Load(func(key, value []byte) error {
			got[string(key)] = string(value)
			return nil
		}))
		require.True(t, slices.ContainsFunc(states, func(m map[string]string) bool { return maps.Equal(m, got) }), "%v was never kept", got)
		require.NoError(t, s.Commit([]client.Change{{Key: []byte("goes on"), Value: []byte("v")}}))
	})
}

// fill makes commits and returns the contents after each.
func fill(t *testing.T, opt wal.Options, commits int) []map[string]string {
	s, err := wal.Open(opt)
	require.NoError(t, err)
	now := make(map[string]string)
	states := []map[string]string{maps.Clone(now)}
	for i := range commits {
		key, gone := fmt.Sprint("key", i%7), fmt.Sprint("key", i%3)
		require.NoError(t, s.Commit([]client.Change{
			{Key: []byte(gone), Forget: true}, {Key: []byte(key), Value: fmt.Append(nil, "value", i)},
		}))
		delete(now, gone)
		now[key] = fmt.Sprint("value", i)
		states = append(states, maps.Clone(now))
	}
	require.NoError(t, s.Close())
	return states
}

func damage(t *testing.T, name string, cut, at int, over []byte) {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b = b[:min(len(b), cut)]
	if len(b) > 0 {
		copy(b[at%len(b):], over)
	}
	require.NoError(t, os.WriteFile(name, b, 0o600))
}
