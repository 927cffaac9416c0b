package wal

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/disk"
)

// Without a free file descriptor, a store cannot create a segment. It continues in its present
// files, removes what is finished, and creates segments again when it can.
func TestStoreWithoutDescriptors(t *testing.T) {
	d := disk.NewRAM()
	s, err := open(d, Options{SegmentBytes: 1 << 16})
	require.NoError(t, err)
	value := make([]byte, 4000)
	turn := func(from, to int) {
		for i := from; i < to; i++ {
			require.NoError(t, s.Room(len(value)))
			changes := []client.Change{{Key: fmt.Append(nil, "m", i), Value: value}}
			if i >= 3 {
				changes = append(changes, client.Change{Key: fmt.Append(nil, "m", i-3), Forget: true})
			}
			require.NoError(t, s.tryCommit(changes), "message %d", i)
		}
	}
	turn(0, 100)
	d.NoFiles = true
	turn(100, 400)
	d.NoFiles = false
	before := s.active().first
	turn(400, 500)
	require.Greater(t, s.active().first, before, "segments are made again")
	require.Len(t, contents(t, s), 3)
	require.NoError(t, s.Close())

	s, err = open(d, Options{SegmentBytes: 1 << 16})
	require.NoError(t, err)
	require.Len(t, contents(t, s), 3)
	require.NoError(t, s.Close())
}

// The same for a store that has no free descriptor from its first commit on.
func TestStoreThatNeverHadDescriptors(t *testing.T) {
	d := disk.NewRAM()
	s, err := open(d, Options{SegmentBytes: 1 << 16})
	require.NoError(t, err)
	d.NoFiles = true
	for i := range 200 {
		require.NoError(t, s.Room(1000))
		require.NoError(t, s.tryCommit([]client.Change{{Key: []byte("same"), Value: fmt.Append(make([]byte, 990), i)}}))
	}
	require.Len(t, contents(t, s), 1)
	require.NoError(t, s.Close())
}

// When a commit has to wait, the reason is logged once, in the words of the system.
func TestStoreTellsWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		d := disk.NewRAM()
		s, err := open(d, Options{SegmentBytes: 1 << 16, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		d.Space = 0
		ended := make(chan error)
		go func() { ended <- s.Commit([]client.Change{{Key: []byte("k"), Value: make([]byte, 1<<20)}}) }()
		time.Sleep(10 * roomRetry)
		synctest.Wait()
		require.Equal(t, 1, strings.Count(log.String(), "a commit waits until there is room"))
		require.Contains(t, log.String(), syscall.ENOSPC.Error())
		s.work.Lock()
		d.Space = -1
		s.work.Unlock()
		require.NoError(t, <-ended)
		require.Contains(t, log.String(), "there is room again")
		require.NoError(t, s.Close())
	})
}
