//go:build unix && !solaris && !aix

package wal

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

const (
	noFollow = syscall.O_NOFOLLOW
	diskFull = syscall.ENOSPC
)

// lockFile holds a lock until Close or the end of the process.
func lockFile(path string) (io.Closer, error) {
	return lockBy(path, os.O_RDWR|os.O_CREATE)
}

// lockExisting is lockFile for who must not change anything.
func lockExisting(path string) (io.Closer, error) { return lockBy(path, os.O_RDONLY) }

func lockBy(path string, how int) (io.Closer, error) {
	f, err := os.OpenFile(path, how|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, ErrLocked
		}
		return nil, os.NewSyscallError("flock", err)
	}
	return f, nil
}

// ownerOf returns the user whose file it is, and the one who asks.
func ownerOf(info fs.FileInfo) (owner, self int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), os.Geteuid(), true
}
