//go:build unix && !solaris && !aix

package wal

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/session"
)

// If a file or the folder is removed or replaced while the store is open, the next commit fails.
// Otherwise its data would never be read again, and another process might have opened a store in
// its place.
func TestWALGone(t *testing.T) {
	segment := func(folder string) string { return filepath.Join(folder, segmentName(1)) }
	for name, take := range map[string]func(folder string) error{
		"the folder is removed":  os.RemoveAll,
		"the folder is moved":    func(folder string) error { return os.Rename(folder, folder+".old") },
		"the newest segment":     func(folder string) error { return os.Remove(segment(folder)) },
		"the head":               func(folder string) error { return os.Remove(filepath.Join(folder, headName)) },
		"another head":           func(folder string) error { return replace(filepath.Join(folder, headName)) },
		"another newest segment": func(folder string) error { return replace(segment(folder)) },
		"another folder, a copy": func(folder string) error {
			if err := os.Rename(folder, folder+".old"); err != nil {
				return err
			}
			return os.CopyFS(folder, os.DirFS(folder+".old"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			opt := options(t.TempDir())
			s, err := Open(opt)
			require.NoError(t, err)
			defer s.Close()
			require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: []byte("v")}}))
			require.NoError(t, take(Folder(opt.Dir, opt.Server, opt.ClientID)))
			for range 3 { // the store keeps failing
				require.ErrorIs(t, s.Commit([]client.Change{{Key: []byte("l"), Value: []byte("v")}}), ErrGone)
			}
		})
	}
}

// replace replaces a file by another one with the same bytes.
func replace(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// More than the file LOCK is locked: if it is removed or replaced, no other process can open the
// store, and the first one continues.
func TestWALLockFileRemoved(t *testing.T) {
	for name, take := range map[string]func(path string) error{"removed": os.Remove, "replaced": replace} {
		t.Run(name, func(t *testing.T) {
			opt := options(t.TempDir())
			s, err := Open(opt)
			require.NoError(t, err)
			require.NoError(t, take(filepath.Join(Folder(opt.Dir, opt.Server, opt.ClientID), lockName)))
			_, err = Open(opt)
			require.ErrorIs(t, err, ErrLocked)
			require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: []byte("v")}}))
			require.NoError(t, s.Close())
			s, err = Open(opt)
			require.NoError(t, err)
			require.Len(t, contents(t, s), 1)
			require.NoError(t, s.Close())
		})
	}
}

// After a store was restored from a copy, its records of released Packet Identifiers are ignored,
// since the Server may have gone on meanwhile (section 4.3.3). The same holds after a crash, but
// not if the store is as Close left it.
func TestWALCopyReleasesAgain(t *testing.T) {
	released := session.Record{Kind: session.RecordScrubbed, Seq: 40_000, Base: 3}
	again := session.Record{Kind: session.RecordScrubbed, Seq: 40_000, Base: 40_000}
	for name, c := range map[string]struct {
		between func(t *testing.T, opt Options, s *Store, folder string)
		want    session.Record
	}{
		"closed": {func(t *testing.T, _ Options, s *Store, _ string) { require.NoError(t, s.Close()) }, released},
		"closed, moved and moved back": {func(t *testing.T, _ Options, s *Store, folder string) {
			require.NoError(t, s.Close())
			require.NoError(t, os.Rename(folder, folder+".old"))
			require.NoError(t, os.Rename(folder+".old", folder))
		}, released},
		"not closed": {func(t *testing.T, _ Options, s *Store, folder string) {
			require.NoError(t, os.CopyFS(folder+".copy", os.DirFS(folder)))
			require.NoError(t, s.Close())
			putBack(t, folder)
		}, again},
		"a copy of a closed one": {func(t *testing.T, _ Options, s *Store, folder string) {
			require.NoError(t, s.Close())
			require.NoError(t, os.CopyFS(folder+".copy", os.DirFS(folder)))
			putBack(t, folder)
		}, again},
		"a copy from before it went on": {func(t *testing.T, opt Options, s *Store, folder string) {
			require.NoError(t, s.Close())
			require.NoError(t, os.CopyFS(folder+".copy", os.DirFS(folder)))
			s, err := Open(opt)
			require.NoError(t, err)
			require.NoError(t, s.Commit([]client.Change{{Key: []byte("k"), Value: []byte("v")}}))
			require.NoError(t, s.Close())
			putBack(t, folder)
		}, again},
	} {
		t.Run(name, func(t *testing.T) {
			opt := options(t.TempDir())
			s, err := Open(opt)
			require.NoError(t, err)
			require.NoError(t, s.Commit([]client.Change{
				recordChange(released), recordChange(session.Record{Kind: session.RecordSequence, Seq: 40_000}),
			}))
			c.between(t, opt, s, Folder(opt.Dir, opt.Server, opt.ClientID))
			s, err = Open(opt)
			require.NoError(t, err)
			require.Equal(t, string(c.want.AppendValue(nil)), contents(t, s)[string(c.want.AppendKey(nil))])
			require.NoError(t, s.Close())
		})
	}
}

func recordChange(r session.Record) client.Change {
	return client.Change{Key: r.AppendKey(nil), Value: r.AppendValue(nil)}
}

// putBack replaces a folder by its copy.
func putBack(t *testing.T, folder string) {
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.Rename(folder+".copy", folder))
	require.NoError(t, os.Chmod(folder, 0o700))
}
