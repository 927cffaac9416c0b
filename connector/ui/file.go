package ui

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// maxText is the maximum size of a configuration for the page, in bytes.
const maxText = 1 << 20

// A state is the configuration file on the disk.
type state struct {
	revision string // hash of the bytes; empty if there is no file
	text     string // with secrets, lines end with \n
	crlf     bool   // they end with \r\n in the file
	mark     bool   // it begins with a byte order mark
}

var (
	errTooLarge = &fault{409, "The file is larger than 1 MiB: the page does not show it.", "文件超过 1 MiB，页面无法显示。"}
	errNotText  = &fault{409, "The file is not UTF-8: convert it first.", "文件不是 UTF-8 编码，请先转换。"}
	errNoFile   = &fault{409, "The configuration is not a regular file.", "配置不是普通文件。"}
	errChanged  = &fault{409, "The file has changed on the disk since the page read it: nothing was saved. Load it again; what you wrote is lost then, so download it first.",
		"页面读取之后文件已被更改，未保存。请重新载入；重新载入会丢失当前的修改，可先下载。"}
)

// readState reads the configuration.
func readState(path string) (*state, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return new(state), nil
	case err == nil && !info.Mode().IsRegular():
		return nil, errNoFile
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ui: %w", err)
	case len(b) > maxText:
		return nil, errTooLarge
	case !utf8.Valid(b):
		return nil, errNotText
	}
	sum := sha256.Sum256(b)
	s := &state{revision: hex.EncodeToString(sum[:])}
	b, s.mark = bytes.CutPrefix(b, []byte("\ufeff"))
	s.text = string(b)
	if s.crlf = strings.Contains(s.text, "\r\n"); s.crlf {
		s.text = strings.ReplaceAll(s.text, "\r\n", "\n")
	}
	return s, nil
}

// bytes returns a text in the encoding of the file.
func (s *state) bytes(text string) []byte {
	if s.crlf {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if s.mark {
		text = "\ufeff" + text
	}
	return []byte(text)
}

// writeFile atomically replaces a file, and keeps the old one with ~ appended to its name.
func writeFile(path string, b []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // keep the symbolic link
	}
	info, err := os.Stat(path)
	if err != nil {
		info = nil
	} else {
		old, err := os.ReadFile(path)
		if err == nil {
			err = replaceFile(path+"~", old, info)
		}
		if err != nil {
			return fmt.Errorf("ui: keeping the old file: %w", err)
		}
	}
	if err := replaceFile(path, b, info); err != nil {
		return fmt.Errorf("ui: %w", err)
	}
	return nil
}

// replaceFile replaces a file. The new file has the given mode and, if this process may set them,
// the owner and group of an old one.
func replaceFile(path string, b []byte, old fs.FileInfo) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err == nil && old != nil {
		keepOwner(f, old)
		err = f.Chmod(old.Mode().Perm())
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		syncFolder(filepath.Dir(path))
	}
	return err
}

// syncFolder makes a rename durable, if the file system supports that.
func syncFolder(path string) {
	if d, err := os.Open(path); err == nil {
		d.Sync()
		d.Close()
	}
}
