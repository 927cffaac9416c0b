package wal

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// If the folder exists already, the process that created it may have died before it synced the
// name. The name must then be synced again.
func TestWALNamesOfFoldersAreSynced(t *testing.T) {
	dir := t.TempDir()
	var synced []string
	note := func(path string) error { synced = append(synced, path); return nil }
	path := filepath.Join(dir, "a", "b")
	require.NoError(t, makeFolder(path, note))
	require.Equal(t, []string{dir, filepath.Join(dir, "a")}, synced[:2], "each before the next")
	synced = nil
	require.NoError(t, makeFolder(path, note))
	require.Contains(t, synced, filepath.Join(dir, "a"))
	require.Contains(t, synced, dir)
}

// A user who may write to a folder above the store can replace the store.
func TestWALFoldersAboveArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions of another kind")
	}
	opt := options(filepath.Join(t.TempDir(), "var", "stores"))
	s, err := Open(opt)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for _, path := range []string{opt.Dir, filepath.Dir(opt.Dir)} {
		require.NoError(t, os.Chmod(path, 0o777))
		_, err := Open(opt)
		require.ErrorContains(t, err, path+" can be written to by everybody")
		require.ErrorContains(t, err, "chmod o-w")

		require.NoError(t, os.Chmod(path, 0o777|os.ModeSticky))
		s, err := Open(opt)
		require.NoError(t, err, "as /tmp: what is another's cannot be renamed")
		require.NoError(t, s.Close())
		require.NoError(t, os.Chmod(path, 0o755))
	}
	link := opt
	link.Dir = filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(opt.Dir, link.Dir))
	require.NoError(t, os.Chmod(filepath.Dir(opt.Dir), 0o777))
	_, err = Open(link)
	require.ErrorContains(t, err, "can be written to by everybody", "where the link leads counts")
}

// Volumes in clusters have permissions that the program cannot change.
func TestWALAllowShared(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions of another kind")
	}
	opt := options(t.TempDir())
	s, err := Open(opt)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	path := Folder(opt.Dir, opt.Server, opt.ClientID)
	require.NoError(t, os.Chmod(path, 0o770))
	_, err = Open(opt)
	require.ErrorContains(t, err, "chmod 700")
	require.ErrorContains(t, err, "AllowShared")

	var log bytes.Buffer
	opt.AllowShared, opt.Logger = true, slog.New(slog.NewTextHandler(&log, nil))
	s, err = Open(opt)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Contains(t, log.String(), "open to others")
}

func TestWALOwnerOfTheFolder(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	opt := options(t.TempDir())
	s, err := Open(opt)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	path := Folder(opt.Dir, opt.Server, opt.ClientID)
	require.NoError(t, os.Chown(path, 12345, -1))
	_, err = Open(opt)
	require.ErrorContains(t, err, "belongs to user 12345, and this process is user 0")
}

// The owner of a folder above the store can replace the store, so a warning is logged.
func TestWALOwnerOfAFolderAbove(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	var log bytes.Buffer
	above := t.TempDir()
	opt := options(filepath.Join(above, "var", "stores"))
	opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
	open := func() string {
		log.Reset()
		s, err := Open(opt)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		return log.String()
	}
	require.Empty(t, open())
	for _, path := range []string{opt.Dir, filepath.Dir(opt.Dir), above} {
		require.NoError(t, os.Chown(path, 12345, -1))
		require.Contains(t, open(), "belongs to another user, who can put another store in its place\" folder="+path+" owner=12345")
		require.NoError(t, os.Chown(path, 0, -1))
	}
}

// If locking is impossible, the error says why, and not that the store is in use.
func TestWALLockThatCannotBeMade(t *testing.T) {
	opt := options(t.TempDir())
	path := Folder(opt.Dir, opt.Server, opt.ClientID)
	require.NoError(t, os.MkdirAll(filepath.Join(path, lockName), 0o700))
	_, err := Open(opt)
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrLocked)
	require.NotContains(t, err.Error(), "in use")
}
