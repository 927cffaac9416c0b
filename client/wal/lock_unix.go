//go:build unix && !solaris && !aix

package wal

import (
	"errors"
	"io"
	"io/fs"
	"math/bits"
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
	if err := lockOpen(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockOpen holds a lock on a file that is open until it is closed.
func lockOpen(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return ErrLocked
	}
	return os.NewSyscallError("flock", err)
}

// A fileID tells a file from every other one.
type fileID struct{ st syscall.Stat_t }

func identify(f *os.File) (id fileID, err error) {
	err = os.NewSyscallError("fstat", syscall.Fstat(int(f.Fd()), &id.st))
	return id, err
}

// standsAt reports, as an error, that another file or none has a path.
func (id *fileID) standsAt(path string) error {
	var st syscall.Stat_t
	switch err := syscall.Lstat(path, &st); {
	case err != nil:
		return os.NewSyscallError("lstat", err)
	case st.Dev != id.st.Dev || st.Ino != id.st.Ino:
		return errReplaced
	}
	return nil
}

var errReplaced = errors.New("it was replaced")

// identityOf uses what cannot be set to a value of choice: the inode and when it changed.
func identityOf(info fs.FileInfo, content bool) (uint64, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	id := uint64(st.Ino)
	if content {
		id ^= bits.RotateLeft64(uint64(changed(st)), 20)
	}
	return id, true
}

// ownerOf returns the user whose file it is, and the one who asks.
func ownerOf(info fs.FileInfo) (owner, self int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), os.Geteuid(), true
}
