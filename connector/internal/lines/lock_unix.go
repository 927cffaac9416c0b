//go:build unix && !solaris && !aix

package lines

import (
	"errors"
	"os"
	"syscall"
)

// Lock keeps other processes from appending to f until unlock is called. It does nothing if the file
// system has no locks.
func Lock(f *os.File) (unlock func(), err error) {
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.ENOLCK), errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EINVAL):
		return func() {}, nil
	case err != nil:
		return nil, os.NewSyscallError("flock", err)
	}
	return func() { syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }, nil
}

// SyncFolder makes the names in a folder durable, such as that of a new file. It does nothing if
// the file system reports that it cannot.
func SyncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
