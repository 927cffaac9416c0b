package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// A disk is what the log needs of a file system, so that tests can take it away.
type disk interface {
	List() ([]string, error) // names of the files
	Create(name string) (file, error)
	Open(name string) (file, error)
	Remove(name string) error
	Rename(old, new string) error
	Sync() error // of the folder
	Close() error
}

// A file is one of them.
type file interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error // of the content and what is needed to read it
	Close() error
}

// A folder is a disk in the file system.
type folder struct {
	path string
	lock io.Closer
}

const lockName = "LOCK"

// openFolder makes the folder if it has to, and locks it.
func openFolder(path string) (*folder, error) {
	if err := makeFolder(path); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(path, lockName))
	if err != nil {
		return nil, fmt.Errorf("wal: %s is in use by another process, or cannot be locked: %w", path, err)
	}
	return &folder{path, lock}, nil
}

// makeFolder makes path and what is missing above it, each name on the disk before the next.
func makeFolder(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// checkPrivate refuses a folder that others can read or write: it holds messages.
func checkPrivate(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return fmt.Errorf("wal: %w", err)
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("wal: %s is a symbolic link; name the folder itself", path)
	case !info.IsDir():
		return fmt.Errorf("wal: %s is not a folder", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("wal: %s is open to others (%#o); chmod 700 it", path, info.Mode().Perm())
	}
	return nil
}

func (d *folder) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d *folder) Create(name string) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *folder) Open(name string) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|noFollow, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *folder) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d *folder) Rename(old, new string) error {
	return os.Rename(filepath.Join(d.path, old), filepath.Join(d.path, new))
}

func (d *folder) Sync() error { return syncFolder(d.path) }

func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there; NTFS keeps its entries in a journal
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *folder) Close() error { return d.lock.Close() }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error { return syncData(f.File) }
