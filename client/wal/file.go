package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mqtt311/mqtt311/internal/disk"
)

// A folder is a disk.Disk in a folder of the file system.
type folder struct {
	path string
	lock io.Closer
	at   folderID
	dir  *os.File // for Sync, which must not need another descriptor; nil on Windows
}

const (
	lockName = "LOCK"

	// Several, because Inspect takes the lock briefly to see whether it is free.
	lockTries = 5
	lockPause = 20 * time.Millisecond
)

// openFolder creates the folder if necessary, and locks it.
func openFolder(path string, opt *Options) (*folder, error) {
	if err := makeFolder(path, syncFolder); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("wal: %w", err)
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("wal: %s is a symbolic link; name the folder itself", path)
	case !info.IsDir():
		return nil, fmt.Errorf("wal: %s is not a folder", path)
	}
	if err := firstOr(checkPrivate(path, info), checkAbove(filepath.Dir(path), opt.Logger)); err != nil {
		if !opt.AllowShared {
			return nil, fmt.Errorf("%w (Options.AllowShared accepts it)", err)
		}
		opt.Logger.Warn(err.Error())
	}
	lock, err := lockFile(filepath.Join(path, lockName))
	for try := 0; errors.Is(err, ErrLocked) && try < lockTries; try++ {
		time.Sleep(lockPause)
		lock, err = lockFile(filepath.Join(path, lockName))
	}
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	if err != nil {
		return nil, fmt.Errorf("wal: cannot lock the store: %w", err)
	}
	at, err := identifyFolder(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wal: %w", err), lock.Close())
	}
	d := &folder{path: path, lock: lock, at: at}
	if runtime.GOOS != "windows" { // where an open folder cannot be renamed, and none is synced
		if d.dir, err = os.Open(path); err != nil {
			return nil, errors.Join(fmt.Errorf("wal: %w", err), lock.Close())
		}
	}
	return d, nil
}

// makeFolder creates path and its missing parents, and syncs each name before the next. The last
// two names are synced even if they exist, because the process that created them may have died
// before it did.
func makeFolder(path string, sync func(string) error) error {
	if err := makeMissing(path, sync); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := sync(dir); err != nil {
		return err
	}
	if err := sync(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err // a folder that we cannot read was not made by us
	}
	return nil
}

func makeMissing(path string, sync func(string) error) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := makeMissing(parent, sync); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return sync(parent)
}

// checkPrivate refuses a folder that others can read or write: it holds messages.
func checkPrivate(path string, info fs.FileInfo) error {
	if owner, self, known := ownerOf(info); known && owner != self {
		return fmt.Errorf("wal: %s belongs to user %d, and this process is user %d", path, owner, self)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("wal: %s is open to others (%#o); chmod 700 it", path, info.Mode().Perm())
	}
	return nil
}

// checkAbove refuses a path on which any user could replace the folder. A group may be able to,
// since its members were chosen on purpose. If another user can, that is only logged: a program of
// root may keep its store in a folder of the user it works for.
func checkAbove(path string, log *slog.Logger) error {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	for err == nil && runtime.GOOS != "windows" {
		var info fs.FileInfo
		if info, err = os.Stat(path); err != nil {
			break
		}
		if m := info.Mode(); m.Perm()&0o002 != 0 && m&fs.ModeSticky == 0 {
			return fmt.Errorf("wal: %s can be written to by everybody (%#o); chmod o-w it", path, m.Perm())
		}
		if owner, self, known := ownerOf(info); known && owner != self && owner != 0 {
			log.Warn("wal: a folder above the store belongs to another user, who can put another store in its place",
				slog.String("folder", path), slog.Int("owner", owner))
		}
		if parent := filepath.Dir(path); parent != path {
			path = parent
			continue
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	return nil
}

func (d *folder) List() ([]string, error) { return listFiles(d.path) }

func listFiles(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
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

func (d *folder) Create(name string) (disk.File, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	return d.keep(name, f)
}

// keep locks an open file, so that no other process can use it even if the file LOCK was removed.
func (d *folder) keep(name string, f *os.File) (disk.File, error) {
	kept := &osFile{File: f}
	err := lockOpen(f)
	if err == nil {
		kept.id, err = identify(f)
	}
	if errors.Is(err, ErrLocked) {
		err = fmt.Errorf("%w: %s", err, d.path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return kept, nil
}

func (d *folder) Open(name string) (disk.File, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|noFollow, 0)
	if err != nil {
		return nil, err
	}
	return d.keep(name, f)
}

func (d *folder) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d *folder) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

// Sync implements disk.
func (d *folder) Sync() error {
	if d.dir == nil {
		return nil // as in syncFolder
	}
	return d.dir.Sync()
}

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

func (d *folder) Close() error {
	err := d.lock.Close()
	if d.dir != nil {
		err = errors.Join(err, d.dir.Close())
	}
	return err
}

// Intact implements disk. The files are examined only if the folder has changed: getting the times
// of a file slows down the next write to it, on Linux since 6.13.
func (d *folder) Intact(newest string, segment, head disk.File) error {
	changed, err := d.at.changed(d.path)
	if err == nil && changed {
		err = firstOr(segment.(*osFile).standsAt(d, newest), head.(*osFile).standsAt(d, headName))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return nil
}

// Identity implements disk.
func (d *folder) Identity(name string, content bool) (uint64, bool) {
	info, err := os.Lstat(filepath.Join(d.path, name))
	if err != nil {
		return 0, false
	}
	return identityOf(info, content)
}

// An osFile is a file of a folder, or a read-only file.
type osFile struct {
	*os.File
	id fileID // if it is a file of a folder
}

// standsAt returns an error if another file or none has the name.
func (f *osFile) standsAt(d *folder, name string) error {
	return f.id.standsAt(filepath.Join(d.path, name))
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) WriteOut(off, n int64) { writeOut(f.File, off, n) }

func (f *osFile) Sync() error { return syncData(f.File) }
