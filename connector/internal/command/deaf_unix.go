//go:build unix

package command

import (
	"os"

	"golang.org/x/sys/unix"
)

// deaf reports whether a pipe has no reader.
func deaf(pipe *os.File) (deaf bool) {
	control(pipe, func(fd int) {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, 0)
		deaf = err == nil && n > 0 && p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return deaf
}

func control(f *os.File, do func(fd int)) {
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { do(int(fd)) })
	}
}
