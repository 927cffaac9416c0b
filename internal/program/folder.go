package program

import (
	"io/fs"
	"os"
	"path/filepath"
)

// CopyFolder makes a copy of a folder, with the times of its files. Of a broker that is paused meanwhile it
// is what a snapshot of its disk would be.
func CopyFolder(to, from string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return os.Chtimes(filepath.Join(to, name), info.ModTime(), info.ModTime())
	})
}

// ReplaceFolder puts a copy, which is gone afterwards, in the place of a folder.
func ReplaceFolder(folder, copied string) error {
	old := folder + ".old"
	if err := os.Rename(folder, old); err != nil {
		return err
	}
	if err := os.Rename(copied, folder); err != nil {
		return err
	}
	return os.RemoveAll(old)
}
