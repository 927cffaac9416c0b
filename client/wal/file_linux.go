package wal

import (
	"os"
	"syscall"
)

// syncData syncs a file without its times and other metadata, but including its size.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
