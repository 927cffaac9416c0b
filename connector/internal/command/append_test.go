package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	linefile "github.com/mqtt311/mqtt311/connector/internal/lines"
	"github.com/stretchr/testify/require"
)

var errFull = errors.New("no space left on device")

// full writes a part of b and fails.
func full(f *os.File, b []byte) (int, error) {
	n, err := f.Write(b[:rand.IntN(len(b)+1)])
	return n, errors.Join(errFull, err)
}

// A write that one process cannot finish removes nothing of another process, and every line is
// whole.
func TestAppendSharedOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	var steps []*appendStep
	for i := range 3 {
		s, err := openAppend(path)
		require.NoError(t, err)
		if i < 2 {
			s.writeTo = func(f *os.File, b []byte) (int, error) {
				if rand.IntN(2) == 0 {
					return full(f, b)
				}
				return f.Write(b)
			}
			s.sync = func(f *os.File) error {
				if rand.IntN(4) == 0 {
					return errFull
				}
				return nil
			}
		}
		steps = append(steps, s)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var want []string
	for i, s := range steps {
		for j := range 8 {
			all.Go(func() {
				for k := range 30 {
					text := fmt.Sprintf("%d-%d-%d", i, j, k)
					if _, err := runStep(t, s, text); err == nil {
						mu.Lock()
						want = append(want, text)
						mu.Unlock()
					} else if !errors.Is(err, errFull) {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	require.ElementsMatch(t, want, linesOf(t, path))
	for _, s := range steps {
		require.NoError(t, s.close())
	}
}

// If another program has written after our bytes, both stay, and the next line is whole.
func TestAppendTakesBackItsOwnAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s, err := openAppend(path)
	require.NoError(t, err)
	_, err = runStep(t, s, "first")
	require.NoError(t, err)
	s.writeTo = func(f *os.File, b []byte) (int, error) {
		n, err := f.Write(b[:3])
		other, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		other.WriteString("theirs")
		other.Close()
		return n, errors.Join(errFull, err)
	}
	_, err = runStep(t, s, "second")
	require.ErrorIs(t, err, errFull)
	s.writeTo = (*os.File).Write
	_, err = runStep(t, s, "third")
	require.NoError(t, err)
	require.NoError(t, s.close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	require.Len(t, lines, 4)
	require.Contains(t, lines[0], "first")
	require.True(t, strings.HasSuffix(lines[1], "theirs"))
	require.Contains(t, lines[2], "third")
}

// A line is never appended to an incomplete line that another program has left, whenever that
// happens.
func TestAppendBehindATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s, err := openAppend(path)
	require.NoError(t, err)
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	for range 3 {
		_, err = other.WriteString(`{"cut`)
		require.NoError(t, err)
		_, err = runStep(t, s, "whole")
		require.NoError(t, err)
	}
	require.NoError(t, other.Close())
	require.NoError(t, s.close())
	require.Equal(t, []string{"whole", "whole", "whole"}, linesOf(t, path))
}

// A failed write, however much of it was written, and a failed sync leave the file as it was.
func TestAppendFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s, err := openAppend(path)
	require.NoError(t, err)
	_, err = runStep(t, s, "first")
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for range 50 {
		s.writeTo = full
		_, err = runStep(t, s, "second")
		require.ErrorIs(t, err, errFull)
		s.writeTo, s.sync = (*os.File).Write, func(*os.File) error { return errFull }
		_, err = runStep(t, s, "second")
		require.ErrorIs(t, err, errFull)
		s.sync = (*os.File).Sync
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after), "%q", after)
	}
	require.NoError(t, os.Remove(path))
	s.syncFolder = func(string) error { return errFull }
	_, err = runStep(t, s, "third")
	require.ErrorIs(t, err, errFull, "its name may not last")
	s.syncFolder = linefile.SyncFolder
	_, err = runStep(t, s, "third")
	require.NoError(t, err)
	require.Equal(t, []string{"third"}, linesOf(t, path))
	require.NoError(t, s.close())
}

// When the step opens its file, it warns if other users could remove lines.
func TestAppendWarnsOfOthers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "out.jsonl")
	open := func() string {
		var log bytes.Buffer
		s, err := (&stepOptions{append: file, processes: 1}).step(&Program{}, io.Discard, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		require.NoError(t, s.close())
		return log.String()
	}
	require.Empty(t, open())
	for _, path := range []string{file, folder} {
		require.NoError(t, os.Chown(path, 12345, -1))
		require.Contains(t, open(), "belongs to another user, who can take lines away\" path="+path+" owner=12345")
		require.NoError(t, os.Chown(path, 0, -1))
	}
	require.NoError(t, os.Chmod(folder, 0o777))
	require.Contains(t, open(), "everybody can write to a folder above the file, and take lines away\" folder="+folder)
}
