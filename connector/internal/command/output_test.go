//go:build unix

package command

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fullDisk is a standard output on a full disk.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// No verb reports success if its output could not be written.
func TestOutputThatCannotBeWritten(t *testing.T) {
	addr := startBroker(t)
	ok(t, "pub", "-b", addr, "-t", "a", "-m", "x", "-r", "-q", "1")
	file := configFile(t, addr, consumes)
	for _, args := range [][]string{
		{"--help"}, {"help", "pub"}, {"version"}, {"version", "--json"}, {"schema"}, {"completion", "bash"}, {"sub", "-b", addr, "-t", "a", "-C", "1"},
		{"sub", "-b", addr, "-t", "a", "-C", "1", "--json"}, {"check", "-c", file}, {"test", "-c", file},
	} {
		for lang, says := range map[string]string{"en": "no space left on device", "zh": "磁盘空间不足"} {
			errs := newOutput()
			p := &Program{Stdin: strings.NewReader(""), Stdout: fullDisk{}, Stderr: errs}
			require.Equal(t, ExitRuntime, p.run(t.Context(), append(args, "--lang", lang)), "%v: %s", args, errs)
			require.Contains(t, errs.String(), says, args)
			require.NotContains(t, errs.String(), "--help", args)
		}
	}
}

// A file that cannot be read to an end is refused, before anything waits for it or it fills the memory.
func TestEndlessFiles(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	large := filepath.Join(t.TempDir(), "large")
	f, err := os.Create(large)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(300<<20))
	f.Close()
	for _, args := range [][]string{
		{"--cafile", fifo}, {"--cafile", "/dev/zero"}, {"--cert", fifo, "--key", fifo}, {"--cert", "/dev/zero", "--key", "/dev/zero"},
	} {
		r := mqtt311(t, append([]string{"pub", "-b", addr, "-t", "a", "-m", "x"}, args...)...)
		require.Equal(t, ExitUsage, r.code, r.err)
		require.Contains(t, r.err, "is not a regular file", args)
	}
	r := mqtt311(t, "pub", "-b", addr, "-t", "a", "-f", large)
	require.Equal(t, ExitUsage, r.code)
	require.Contains(t, r.err, "larger than any packet of MQTT")
	_, err = ReadPayload(t.Context(), endlessInput{})
	require.ErrorContains(t, err, "larger than any packet of MQTT")
}

type endlessInput struct{}

func (endlessInput) Read(b []byte) (int, error) { return len(b), nil }

// An empty argument, as from an unset variable, is refused, and no page is written into the current directory.
func TestEmptyArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"man", ""}, {"store", "ls", ""}, {"store", "verify", ""}, {"check", ""}, {"completion", ""}} {
		r := mqtt311(t, args...)
		require.Equal(t, ExitUsage, r.code, args)
	}
	left, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, left)
}

// An error shows only the beginning of a long argument.
func TestLongArguments(t *testing.T) {
	long := strings.Repeat("a", 70_000)
	silent := serveTCP(t, func(net.Conn) {})
	for _, args := range [][]string{
		{"pub", "-b", silent, "-t", long, "-m", "x"}, {"sub", "-b", silent, "-t", long + "#"}, {"check", "-c", long}, {long}, {"sub", long}, {"sub", "-b", silent, "-t", "a", "-F", long + "%"},
		{"pub", "-b", long, "-t", "a", "-m", "x"}, {"pub", "-t", "a", "-m", "x", "-k", long},
	} {
		for _, lang := range []string{"en", "zh"} {
			r := mqtt311(t, append(args, "--lang", lang)...)
			require.NotZero(t, r.code)
			require.Less(t, len(r.err), 2000, "%.20s... %.300s", fmt.Sprint(args), r.err)
		}
	}
	require.Equal(t, "a", shortened([]any{"a"})[0])
	require.NotContains(t, Usage("%s", "%s", strings.Repeat("中", 1000)).Error(), "\uFFFD")
	require.ErrorIs(t, Usage("%w", "%w", errors.ErrUnsupported), errors.ErrUnsupported)
}
