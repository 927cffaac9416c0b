//go:build darwin || freebsd || netbsd

package wal

import "syscall"

// changed is when a file, or what the file system knows of it, changed last, in nanoseconds.
func changed(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }
