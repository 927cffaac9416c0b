// Package lines appends lines to files: each is written whole or not at all, and is durable, even if other processes append
// to the same file.
package lines

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Append adds one line to the file at path, which it makes if it is not there. Write writes the line without its
// end, as long as it may be; it is not called if the file cannot be written. When Append returns nil the
// line is durable. After an error the file is as before, unless it cannot be cut off: then what
// a full disk or a crash has left stays a line of its own.
//
// Several processes may append to one file. Goroutines of one take turns, because some systems know no locks.
func Append(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = AppendTo(f, write)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// AppendTo is like Append for an open file, which must be open for reading and appending. It is used even if it has
// been moved.
func AppendTo(f *os.File, write func(io.Writer) error) error {
	unlock, err := Lock(f)
	if err != nil {
		return err
	}
	defer unlock()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: nothing there can be made durable", f.Name())
	}
	size := info.Size()
	whole, err := endsWhole(f, size)
	if err == nil && size == 0 {
		err = SyncFolder(filepath.Dir(f.Name())) // the file may be new, and its name must be durable too
	}
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	if !whole {
		w.WriteByte('\n')
	}
	if err = write(w); err == nil {
		w.WriteByte('\n')
		if err = w.Flush(); err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		takeBack(f, size)
	}
	return err
}

// endsWhole reports whether the file is empty or ends with a complete line.
func endsWhole(f *os.File, size int64) (bool, error) {
	if size == 0 {
		return true, nil
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return false, err
	}
	return last[0] == '\n', nil
}

// takeBack truncates the file to size, unless another process has written after that.
func takeBack(f *os.File, size int64) {
	end, err := f.Seek(0, io.SeekCurrent) // also after an append, the end of what f wrote
	if err != nil || end <= size {
		return
	}
	if info, err := f.Stat(); err == nil && info.Size() == end {
		f.Truncate(size)
	}
}
