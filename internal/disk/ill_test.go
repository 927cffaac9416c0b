package disk_test

import (
	"bytes"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/disk"
)

// As in a file system, a file on a full disk can grow within its last block and by the room that is
// left. Removing a file makes room unless another program takes it.
func TestIllIsFull(t *testing.T) {
	for _, greedy := range []bool{false, true} {
		d := disk.NewIll()
		d.On(disk.NewRAM())
		old, err := d.Create("old")
		require.NoError(t, err)
		_, err = old.WriteAt(make([]byte, 5000), 0)
		require.NoError(t, err, "there is room")

		d.Fill(4096, greedy)
		_, err = old.WriteAt(bytes.Repeat([]byte{1}, 3000), 5000)
		require.NoError(t, err, "up to the end of the second block")
		n, err := old.WriteAt(make([]byte, 8192), 8000)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, 4288, n, "the rest of the second block, and the third")
		_, err = old.WriteAt([]byte{2}, 10)
		require.NoError(t, err, "what is there can be changed")
		_, err = d.Create("new")
		require.ErrorIs(t, err, syscall.ENOSPC)

		require.NoError(t, old.Truncate(100))
		_, err = d.Create("new")
		if greedy {
			require.ErrorIs(t, err, syscall.ENOSPC)
		} else {
			require.NoError(t, err)
		}
		d.Heal()
		_, err = old.WriteAt(make([]byte, 100_000), 0)
		require.NoError(t, err)
		require.NoError(t, d.Remove("old"))
	}
}

// During a stall every operation waits, and continues afterwards.
func TestIllStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disk.NewIll()
		d.On(disk.NewRAM())
		f, err := d.Create("file")
		require.NoError(t, err)
		ways := []func(){
			func() { f.WriteAt([]byte{1}, 0) }, func() { f.Sync() }, func() { f.Truncate(0) }, func() { d.Sync() },
			func() { d.Create("other") }, func() { d.Open("file") }, func() { d.Rename("file", "again") }, func() { d.List() },
		}
		d.Stall()
		done := make(chan struct{}, len(ways))
		for _, way := range ways {
			go func() { way(); done <- struct{}{} }()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, done)
		d.Heal()
		synctest.Wait()
		require.Len(t, done, len(ways))
	})
}
