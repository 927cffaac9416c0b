package wal

import (
	"io"
	"io/fs"
	"math/bits"
	"os"
	"syscall"
)

const (
	noFollow = 0
	diskFull = syscall.Errno(112) // ERROR_DISK_FULL
)

// lockFile opens the file exclusively until Close or the end of the process.
func lockFile(path string) (io.Closer, error) { return lockBy(path, syscall.OPEN_ALWAYS) }

// lockExisting is lockFile for callers that must not change anything.
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

// lockOpen has nothing to do: LOCK cannot be removed while it is open.
func lockOpen(*os.File) error { return nil }

// A fileID is not needed, because an open file cannot be removed.
type fileID struct{}

func identify(*os.File) (fileID, error) { return fileID{}, nil }

func (*fileID) standsAt(string) error { return nil }

type folderID struct{}

func identifyFolder(string) (folderID, error) { return folderID{}, nil }

func (*folderID) changed(string) (bool, error) { return false, nil }

// identityOf uses the creation time, which a copy does not keep, and the write time.
func identityOf(info fs.FileInfo, content bool) (uint64, bool) {
	data, ok := info.Sys().(*syscall.Win32FileAttributeData)
	if !ok {
		return 0, false
	}
	id := uint64(data.CreationTime.Nanoseconds())
	if content {
		id ^= bits.RotateLeft64(uint64(data.LastWriteTime.Nanoseconds()), 20)
	}
	return id, true
}

func ownerOf(fs.FileInfo) (owner, self int, known bool) { return 0, 0, false }
