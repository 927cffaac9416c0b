//go:build unix

package others

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const stranger = 12345

func giveAway(t *testing.T, path string) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a file away")
	}
	require.NoError(t, os.Chown(path, stranger, -1))
}

// Everything that belongs to another user is found: the file, its folder, a folder further up, and
// one behind a symbolic link to a file that does not exist yet.
func TestOwner(t *testing.T) {
	top := real(t.TempDir())
	folder := filepath.Join(top, "a", "b")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	file := filepath.Join(folder, "f")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(folder, link))
	paths := []string{file, filepath.Join(folder, "not", "yet"), filepath.Join(link, "f"), filepath.Join(link, "not", "yet")}
	for _, path := range paths {
		_, found := Find(path)
		require.False(t, found, path)
	}
	for _, of := range []string{folder, filepath.Dir(folder), top} {
		giveAway(t, of)
		for _, path := range paths {
			w, found := Find(path)
			require.True(t, found, path)
			require.Equal(t, Way{Path: of, Mode: w.Mode, Owner: stranger}, w)
		}
		require.NoError(t, os.Chown(of, 0, -1))
	}
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	giveAway(t, file)
	w, found := Find(filepath.Join(link, "f"))
	require.True(t, found)
	require.Equal(t, Way{Path: file, Mode: 0o644, Owner: stranger}, w)
}

// A folder that everybody can write to is found, unless it has the sticky bit.
func TestEveryone(t *testing.T) {
	top := real(t.TempDir())
	folder := filepath.Join(top, "a")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.Chmod(top, 0o777))
	w, found := Find(folder)
	require.True(t, found)
	require.Equal(t, Way{Path: top, Mode: 0o777, Everyone: true, Owner: os.Geteuid()}, w)
	require.NoError(t, os.Chmod(top, 0o777|os.ModeSticky))
	_, found = Find(folder)
	require.False(t, found)
}
