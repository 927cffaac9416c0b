package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mqtt311/mqtt311/client"
)

const salvageBatch = 1 << 20 // bytes per commit

// Salvage makes a new store in dir from the complete commits that can be read from the store in
// folder. It returns the Inspection of the old store and the folder of the new one. The old store
// is not changed and must not be in use; the folder of the new store must not exist.
//
// The guarantees of lost commits are lost as well: a message that was lost is not sent, and a
// message whose completion was lost is sent again. Packet Identifiers that are missing from the new
// store are released at the Server before they are used at QoS 2.
func Salvage(folder, dir string) (*Inspection, string, error) {
	lock, err := lockExisting(filepath.Join(folder, lockName))
	switch {
	case errors.Is(err, ErrLocked):
		return nil, "", fmt.Errorf("%w: %s", err, folder)
	case err == nil:
		defer lock.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return nil, "", fmt.Errorf("wal: %w", err)
	}
	s := newSurvey(readOnly(folder))
	defer s.close()
	if err := s.read(); err != nil {
		return nil, "", err
	}
	found := &s.found
	found.Folder = folder
	if s.own == nil {
		return found, "", fmt.Errorf("%w: no segment in %s says whose it is", ErrCorrupt, folder)
	}
	to := Folder(dir, s.own.server, s.own.clientID)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return found, "", fmt.Errorf("wal: %s is there already: %w", to, fs.ErrExist)
	}
	return found, to, s.writeTo(to)
}

// writeTo writes a new store. It is renamed to path when it is complete.
func (s *survey) writeTo(path string) error {
	opt := Options{Server: s.own.server, ClientID: s.own.clientID, MaxBytes: -1}
	opt.setDefaults()
	part := path + ".part"
	if err := os.RemoveAll(part); err != nil { // left by a process that died
		return fmt.Errorf("wal: %w", err)
	}
	d, err := openFolder(part, &opt)
	if err != nil {
		return err
	}
	to, err := open(d, opt)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	if err := errors.Join(s.copyTo(to), to.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	return syncFolder(filepath.Dir(path))
}

func (s *survey) copyTo(to *Store) error {
	var batch []client.Change
	bytes := 0
	flush := func() error {
		defer func() { batch, bytes = batch[:0], 0 }()
		return to.Commit(batch)
	}
	var used identifiers
	err := s.each(func(key, value []byte) error {
		used.see(key, value)
		batch = append(batch, client.Change{Key: slices.Clone(key), Value: slices.Clone(value)})
		if bytes += len(key) + len(value); bytes < salvageBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	if len(s.found.Damage) > 0 {
		batch = append(batch, *used.release())
	}
	return flush()
}
