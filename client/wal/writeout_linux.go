//go:build linux && !arm

package wal

import (
	"os"
	"syscall"
)

// writeOut starts writing data to the disk without waiting. Errors are reported by Sync.
func writeOut(f *os.File, off, n int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE
	_ = syscall.SyncFileRange(int(f.Fd()), off, n, write)
}
