//go:build unix

package ui

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Root saves the configuration of a service that runs as another user, and that user can still read
// it.
func TestSaveKeepsTheOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	path := file(t, "connector: {}\n")
	require.NoError(t, os.Chmod(path, 0o640))
	require.NoError(t, os.Chown(path, 12345, 23456))
	b := openPage(t, Options{File: path})
	v := load(b)
	post[view](b, "config/save", map[string]any{"text": v.Text + "# more\n", "revision": v.Revision})
	for _, path := range []string{path, path + "~"} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		s := info.Sys().(*syscall.Stat_t)
		require.Equal(t, []uint32{12345, 23456}, []uint32{s.Uid, s.Gid})
		require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	}
}
