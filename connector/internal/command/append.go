package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/lines"
	"github.com/mqtt311/mqtt311/connector/internal/others"
)

// An appendStep appends messages to a file. One goroutine writes: messages that arrive during a
// sync share the next one. A file that was moved away, for example by logrotate, is created again.
// Several processes may append to the same file.
type appendStep struct {
	path  string
	lines chan appendLine
	done  chan struct{}

	file *os.File

	// Replaced by tests.
	writeTo    func(*os.File, []byte) (int, error)
	sync       func(*os.File) error
	syncFolder func(string) error
}

type appendLine struct {
	text []byte
	done chan error
}

func openAppend(path string) (*appendStep, error) {
	s := &appendStep{
		path: path, lines: make(chan appendLine, 256), done: make(chan struct{}),
		writeTo: (*os.File).Write, sync: (*os.File).Sync, syncFolder: lines.SyncFolder,
	}
	if err := s.open(); err != nil {
		return nil, Usage("--append: %w", "--append：%w", err)
	}
	go s.run()
	return s, nil
}

// warnOfOthers logs who else could remove or replace the file that is appended to.
func warnOfOthers(path string, log *slog.Logger) {
	if w, found := others.Find(path); w.Everyone {
		log.Warn("append: everybody can write to a folder above the file, and take lines away", "folder", w.Path)
	} else if found {
		log.Warn("append: the file, or a folder above it, belongs to another user, who can take lines away", "path", w.Path, "owner", w.Owner)
	}
}

// open opens the file.
func (s *appendStep) open() (err error) {
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: nothing there can be made durable", s.path)
	}
	if info.Size() == 0 {
		if err := s.syncFolder(filepath.Dir(s.path)); err != nil {
			return err
		}
	}
	s.file = f
	return nil
}

func (s *appendStep) flow(consumer string) flow.Flow {
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		text, err := lineOf(consumer, "", m)
		if err != nil {
			return nil, err
		}
		l := appendLine{text, make(chan error, 1)}
		select {
		case s.lines <- l:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return nil, <-l.done
	})
}

func (s *appendStep) run() {
	defer close(s.done)
	for first := range s.lines {
		batch := []appendLine{first}
		text := first.text
		for len(s.lines) > 0 {
			l := <-s.lines
			batch, text = append(batch, l), append(text, l.text...)
		}
		err := s.write(text)
		for _, l := range batch {
			l.done <- err
		}
	}
}

// write appends and syncs. If it fails, it removes what it has written, and nothing else: others
// may write to the same file.
func (s *appendStep) write(text []byte) error {
	if err := s.present(); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	unlock, err := lines.Lock(s.file)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	defer unlock()
	whole, err := endsWhole(s.file)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	if !whole { // the file ends in an incomplete line, from a crash or another program
		text = append([]byte{'\n'}, text...)
	}
	n, err := s.writeTo(s.file, text)
	if err == nil {
		err = s.sync(s.file)
	}
	if err != nil {
		takeBack(s.file, n)
		return fmt.Errorf("file: %w", err)
	}
	return nil
}

// endsWhole reports whether the file is empty or ends with a complete line.
func endsWhole(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return true, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return false, err
	}
	return last[0] == '\n', nil
}

// takeBack removes the last n bytes if they are the last that f wrote, and reports whether it did.
// If it did not, the next write begins a new line after them.
func takeBack(f *os.File, n int) bool {
	end, err := f.Seek(0, io.SeekCurrent) // also after an append, the end of what f wrote
	if err != nil {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Size() != end || f.Truncate(end-int64(n)) != nil {
		return false
	}
	_, err = f.Seek(end-int64(n), io.SeekStart) // matters for a file not opened for appending
	return err == nil
}

// present opens the file again unless it is open and still has its name.
func (s *appendStep) present() error {
	if s.file != nil {
		now, err := os.Stat(s.path)
		mine, merr := s.file.Stat()
		switch {
		case err == nil && merr == nil && os.SameFile(now, mine):
			return nil
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return err
		}
		s.file.Close()
		s.file = nil
	}
	return s.open()
}

func (s *appendStep) close() error {
	close(s.lines)
	<-s.done
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
