//go:build unix && !solaris && !aix

package wal

import (
	"errors"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"syscall"
	"time"
)

const (
	noFollow = syscall.O_NOFOLLOW
	diskFull = syscall.ENOSPC
)

// lockFile takes a lock and holds it until Close or the end of the process.
func lockFile(path string) (io.Closer, error) {
	return lockBy(path, os.O_RDWR|os.O_CREATE)
}

// lockExisting is lockFile for callers that must not change anything.
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

// lockOpen takes a lock on an open file and holds it until the file is closed.
func lockOpen(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return ErrLocked
	}
	return os.NewSyscallError("flock", err)
}

// A fileID identifies a file.
type fileID struct{ st syscall.Stat_t }

func identify(f *os.File) (id fileID, err error) {
	err = os.NewSyscallError("fstat", syscall.Fstat(int(f.Fd()), &id.st))
	return id, err
}

// standsAt returns an error if another file or none is at path.
func (id *fileID) standsAt(path string) error {
	var st syscall.Stat_t
	switch err := syscall.Lstat(path, &st); {
	case err != nil:
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	case st.Dev != id.st.Dev || st.Ino != id.st.Ino:
		return &fs.PathError{Op: "lstat", Path: path, Err: errReplaced}
	}
	return nil
}

var errReplaced = errors.New("it was replaced")

// A folderID identifies a folder, and detects that a name in it was added or removed.
type folderID struct {
	fileID
	st    syscall.Stat_t // the buffer of changed
	again bool           // the folder changed a moment ago
}

func identifyFolder(path string) (id folderID, err error) {
	err = syscall.Lstat(path, &id.fileID.st)
	return id, os.NewSyscallError("lstat", err)
}

// changed reports whether a name in the folder may have been added or removed since the last call.
// It returns an error if another folder or none is at path.
func (id *folderID) changed(path string) (bool, error) {
	before := changed(&id.fileID.st)
	if err := syscall.Lstat(path, &id.st); err != nil {
		return false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if id.st.Dev != id.fileID.st.Dev || id.st.Ino != id.fileID.st.Ino {
		return false, &fs.PathError{Op: "lstat", Path: path, Err: errReplaced}
	}
	id.fileID.st = id.st
	now := changed(&id.st)
	// A second change in the same tick of the file system's clock would be invisible, so report a
	// change once more.
	again := id.again && time.Now().UnixNano()-now > int64(clockTick)
	id.again = now != before || id.again && !again
	return now != before || again, nil
}

const clockTick = 20 * time.Millisecond

// identityOf uses metadata that cannot be set at will: the inode and its change time.
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

// ownerOf returns the owner of a file and the current user.
func ownerOf(info fs.FileInfo) (owner, self int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), os.Geteuid(), true
}
