package program

import (
	"io/fs"
	"os"
	"path/filepath"
)

// CopyFolder copies a folder, including the times of its files. If the broker that uses it is paused
// meanwhile, the copy is like a snapshot of its disk.
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

// ReplaceFolder moves copied to the place of folder.
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
