package command

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A text that did not fit leaves no incomplete line: in a file opened for appending, in another
// file, and in a pipe.
func TestWholeWriter(t *testing.T) {
	var pipe bytes.Buffer
	w := &wholeWriter{w: halfWriter{&pipe, 3}}
	_, err := w.Write([]byte("first\n"))
	require.ErrorIs(t, err, errFull)
	w.w = &pipe
	for _, text := range []string{"second\n", "third\n"} {
		n, err := w.Write([]byte(text))
		require.NoError(t, err)
		require.Equal(t, len(text), n)
	}
	require.Equal(t, "fir\nsecond\nthird\n", pipe.String())

	for _, flag := range []int{0, os.O_APPEND} {
		path := filepath.Join(t.TempDir(), "out")
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o600)
		require.NoError(t, err)
		w := &wholeWriter{w: f}
		_, err = w.Write([]byte("first\n"))
		require.NoError(t, err)
		n, err := f.WriteString("sec")
		require.NoError(t, err)
		require.True(t, w.takeBack(n))
		_, err = w.Write([]byte("third\n"))
		require.NoError(t, err)
		other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		n, err = f.WriteString("fou")
		require.NoError(t, err)
		_, err = other.WriteString("theirs\n")
		require.NoError(t, err)
		require.False(t, w.takeBack(n), "it is not the last")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "first\nthird\nfoutheirs\n", string(text))
		require.NoError(t, errors.Join(f.Close(), other.Close()))
	}
}

// A halfWriter writes at most n bytes, and fails.
type halfWriter struct {
	w *bytes.Buffer
	n int
}

func (h halfWriter) Write(b []byte) (int, error) {
	n, _ := h.w.Write(b[:min(h.n, len(b))])
	return n, errFull
}

// Wherever a file size limit strikes, each line in the file of standard output is whole, and was
// printed before its message was acknowledged.
func TestStdoutOnAFullDisk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it has no ulimit")
	}
	addr := startBroker(t)
	queue(t, addr, "in")
	r := runWith(t, t.Context(), strings.Repeat(strings.Repeat("x", 1000)+"\n", 20), "pub", "-b", addr, "-t", "in", "-q", "1", "-l")
	require.Zero(t, r.code, r.err)
	self, err := os.Executable()
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("sh", "-c", `ulimit -f 10; exec "$0" "$@" >"$OUT"`, self, "sub", "-b", addr, "-i", "q", "-c", "-q", "1", "-t", "in", "-C", "20")
	cmd.Env = append(os.Environ(), "MQTT311_TEST_MAIN=1", "LC_ALL=C", "OUT="+out)
	text, err := cmd.CombinedOutput()
	require.Error(t, err, "the limit is below 20 lines")
	require.Contains(t, string(text), "file too large")
	lines, err := os.ReadFile(out)
	require.NoError(t, err)
	n := bytes.Count(lines, []byte("\n"))
	require.Positive(t, n)
	require.Equal(t, strings.Repeat(strings.Repeat("x", 1000)+"\n", n), string(lines))
}
