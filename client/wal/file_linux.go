package wal

import (
	"os"
	"syscall"
)

// syncData leaves out times and the like. The size of a file that grew is written.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
