//go:build unix && !solaris && !aix && !darwin && !freebsd && !netbsd

package wal

import "syscall"

// changed returns when a file or its metadata last changed, in nanoseconds.
func changed(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
