// Package others finds out which other users can replace a file or a folder.
package others

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A Way is a file or folder through which another user can change the contents below it.
type Way struct {
	Path     string
	Everyone bool        // everybody can create and remove entries
	Mode     fs.FileMode // its permissions
	Owner    int         // if not Everyone: the owner, who is neither this user nor root
}

// Find returns the first Way on a path, from its end upwards, ignoring parts that do not exist yet. On systems without
// owners it finds nothing.
func Find(path string) (Way, bool) {
	path = real(path)
	for {
		if info, err := os.Stat(path); err == nil {
			owner, self, known := ownerOf(info)
			w := Way{Path: path, Mode: info.Mode().Perm(), Owner: owner}
			switch {
			case !known:
			case info.IsDir() && info.Mode()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0:
				w.Everyone = true
				return w, true
			case owner != self && owner != 0:
				return w, true
			}
		}
		parent := filepath.Dir(path)
		if parent == path {
			return Way{}, false
		}
		path = parent
	}
}

// real resolves the symbolic links of a path, as far as it exists.
func real(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	followed, err := filepath.EvalSymlinks(path)
	if err == nil {
		return followed
	}
	if parent := filepath.Dir(path); parent != path && errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(real(parent), filepath.Base(path))
	}
	return path
}
