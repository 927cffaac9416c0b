package wal

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

const (
	noFollow = 0
	diskFull = syscall.Errno(112) // ERROR_DISK_FULL
)

// lockFile holds the file open for nobody else until Close or the end of the process.
func lockFile(path string) (io.Closer, error) { return lockBy(path, syscall.OPEN_ALWAYS) }

// lockExisting is lockFile for who must not change anything.
func lockExisting(path string) (io.Closer, error) { return lockBy(path, syscall.OPEN_EXISTING) }

func lockBy(path string, how uint32) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		how, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err == syscall.Errno(32) { // ERROR_SHARING_VIOLATION
		return nil, ErrLocked
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), path), nil
}

func ownerOf(fs.FileInfo) (owner, self int, known bool) { return 0, 0, false }
