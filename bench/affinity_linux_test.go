package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A pinned process has one core; processes started afterwards have as many as before.
func TestPinned(t *testing.T) {
	cores := func(core int) string {
		var out strings.Builder
		cmd := exec.Command("nproc")
		cmd.Stdout = &out
		require.NoError(t, pinned(core, cmd.Start))
		require.NoError(t, cmd.Wait())
		return strings.TrimSpace(out.String())
	}
	before := cores(anywhere)
	require.Equal(t, "1", cores(first))
	require.Equal(t, "1", cores(second))
	require.Equal(t, before, cores(anywhere))
}
