//go:build unix

package command

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A command without an orderly end ends at the first interrupt.
func TestInterruptOfCheck(t *testing.T) {
	t.Parallel()
	fifo := t.TempDir() + "/fifo"
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for _, args := range [][]string{{"check", "-c", fifo}, {"check", fifo, "--json"}} {
		p := startProcess(t, args...)
		in, err := os.OpenFile(fifo, os.O_WRONLY, 0) // succeeds once the command reads
		require.NoError(t, err)
		require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGTERM))
		in.Close()
	}
	p := startProcess(t, "run", "-c", fifo)
	in, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer in.Close()
	require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGTERM, syscall.SIGTERM))
}

// pub ends at the first interrupt, too, while it waits for its payload.
func TestInterruptOfAPayload(t *testing.T) {
	t.Parallel()
	fifo := t.TempDir() + "/fifo"
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	p := startProcess(t, "pub", "-b", "127.0.0.1:1", "-t", "a", "-f", fifo)
	in, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer in.Close()
	require.Equal(t, ExitInterrupt, p.interruptAgain(t, syscall.SIGTERM))
}
