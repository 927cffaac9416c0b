package lines

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// Each line is complete, after whatever a crash has left.
func TestAppend(t *testing.T) {
	for before, want := range map[string]string{"": "", "a\n": "a\n", "a\nb": "a\nb\n"} {
		path := filepath.Join(t.TempDir(), "f")
		if before != "" {
			require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
		}
		require.NoError(t, Append(path, text("one")))
		require.NoError(t, Append(path, text(strings.Repeat("two", 100_000))))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want+"one\n"+strings.Repeat("two", 100_000)+"\n", string(got))
	}
}

// A failed write is taken back, however much of it was written.
func TestAppendFails(t *testing.T) {
	full := errors.New("disk full")
	for _, n := range []int{0, 1, 65536, 1 << 20} {
		path := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(path, []byte("a\ncut off"), 0o600))
		require.ErrorIs(t, Append(path, func(w io.Writer) error {
			w.Write(make([]byte, n/2))
			w.Write(make([]byte, n/2))
			return full
		}), full)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "a\ncut off", string(got), n)
	}
}

// Bytes that another program has appended meanwhile are never removed.
func TestAppendTakesBackItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.Error(t, Append(path, func(w io.Writer) error {
		w.Write(make([]byte, 1<<20))
		other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		defer other.Close()
		_, err = other.WriteString("theirs\n")
		require.NoError(t, err)
		return io.ErrUnexpectedEOF
	}))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(got), "theirs\n"))
}

// Long lines of several writers, written in pieces, do not mix.
func TestAppendAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 20 {
				err := Append(path, func(w io.Writer) error {
					for range 2000 {
						if _, err := fmt.Fprintf(w, "%d", i); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	require.Len(t, lines, 80)
	for _, l := range lines {
		require.Equal(t, strings.Repeat(l[:1], 2000), l)
	}
}

// Append refuses a device, which would keep nothing.
func TestAppendToADevice(t *testing.T) {
	if _, err := os.Stat("/dev/null"); err != nil {
		t.Skip("there is none here")
	}
	require.ErrorContains(t, Append("/dev/null", text("x")), "is no regular file")
}

// SyncFolder ignores file systems that cannot sync folders, but not a missing folder.
func TestSyncFolder(t *testing.T) {
	require.NoError(t, SyncFolder(t.TempDir()))
	if runtime.GOOS == "linux" {
		proc, err := os.Open("/proc/self")
		require.NoError(t, err)
		defer proc.Close()
		require.Error(t, proc.Sync(), "it can be synced: this test proves nothing")
		require.NoError(t, SyncFolder("/proc/self"))
		require.Error(t, SyncFolder(t.TempDir()+"/none"))
	}
}
