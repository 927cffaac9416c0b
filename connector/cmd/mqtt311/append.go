package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mqtt311/mqtt311/connector"
)

// appendStep appends messages to a file. One goroutine writes: what came while it synced
// goes into the next sync. A file that was moved away, as by logrotate, is made anew.
type appendStep struct {
	path  string
	lines chan appendLine
	done  chan struct{}

	file *os.File
	size int64 // what is whole
}

type appendLine struct {
	text []byte
	done chan error
}

func openAppend(path string) (*appendStep, error) {
	s := &appendStep{path: path, lines: make(chan appendLine, 256), done: make(chan struct{})}
	if err := s.open(); err != nil {
		return nil, usage("--append: %w", "--append：%w", err)
	}
	go s.run()
	return s, nil
}

// open opens the file. A last line without an end was cut by a crash and never
// acknowledged: it gets an end, so that the next line is whole.
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
	s.file, s.size = f, info.Size()
	if s.size == 0 {
		return syncFolder(filepath.Dir(s.path))
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], s.size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		s.size++
		_, err = f.WriteString("\n")
	}
	return err
}

// syncFolder makes the name of a new file durable, where the system can.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	d.Sync()
	return nil
}

func (s *appendStep) flow(consumer string) connector.Flow {
	return connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		text, err := jsonText(lineOf(consumer, m))
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

// write appends and syncs; on failure the file is as it was, or is opened anew.
func (s *appendStep) write(text []byte) error {
	if err := s.present(); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	_, err := s.file.Write(text)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		if terr := s.file.Truncate(s.size); terr != nil {
			s.file.Close()
			s.file = nil // open ends the line that was cut
		}
		return fmt.Errorf("file: %w", err)
	}
	s.size += int64(len(text))
	return nil
}

// present sees to it that the file is open under its name.
func (s *appendStep) present() error {
	if s.file != nil {
		now, err := os.Stat(s.path)
		mine, merr := s.file.Stat()
		switch {
		case err == nil && merr == nil && os.SameFile(now, mine):
			s.size = mine.Size() // copytruncate, or another writer
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
