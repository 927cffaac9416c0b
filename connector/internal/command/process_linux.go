package command

import (
	"os"

	"golang.org/x/sys/unix"
)

// unread returns how many bytes nobody has read of what was written to a pipe.
func unread(pipe *os.File) (n int) {
	control(pipe, func(fd int) {
		if left, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err == nil {
			n = left
		}
	})
	return n
}
