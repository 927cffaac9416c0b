package command

import (
	"os"

	"golang.org/x/sys/unix"
)

// unread returns how many bytes written to a pipe have not been read.
func unread(pipe *os.File) (n int) {
	control(pipe, func(fd int) {
		if left, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err == nil {
			n = left
		}
	})
	return n
}
