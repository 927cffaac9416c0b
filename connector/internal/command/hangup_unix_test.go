//go:build unix

package command

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// SIGHUP makes run read its file again and does not end it, not even while it is stopping.
func TestHangup(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, consumes)
	p := startProcess(t, "run", "-c", file)
	p.err.until(t, `"msg":"started"`)
	rewrite(t, file, "in/#", "other")
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	p.err.until(t, `"msg":"reconfigured"`)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	require.Equal(t, ExitOK, p.code(t))
}
