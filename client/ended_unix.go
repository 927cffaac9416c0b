//go:build !windows

package client

import "syscall"

// resets are the errors of the system that say that the peer closed.
var resets = []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE}
