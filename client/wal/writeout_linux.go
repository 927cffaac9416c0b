//go:build linux && !arm

package wal

import (
	"os"
	"syscall"
)

// writeOut hands what was written to the disk and does not wait. What goes wrong Sync reports.
func writeOut(f *os.File, off, n int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE
	_ = syscall.SyncFileRange(int(f.Fd()), off, n, write)
}
