package verbs

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/stretchr/testify/require"
)

// Nothing is replayed from a file that cannot be written: it could not be recorded, and every run would replay it
// again.
func TestDeadLetterReplayOfAFileThatMayOnlyBeRead(t *testing.T) {
	file, ran := letters(t, "a"), filepath.Join(t.TempDir(), "ran")
	require.NoError(t, os.Chmod(file, 0o400))
	if os.Geteuid() == 0 { // root may write everywhere, so this thread opens files as another user, who owns the file
		const nobody = 65534
		for _, dir := range []string{filepath.Dir(file), filepath.Dir(filepath.Dir(file))} { // of this test alone
			require.NoError(t, os.Chmod(dir, 0o755))
		}
		require.NoError(t, os.Chown(file, nobody, nobody))
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		require.NoError(t, syscall.Setfsuid(nobody))
		defer syscall.Setfsuid(0)
	}
	r := mqtt311(t, "deadletter", "replay", file, "--all", "--yes", "--exec", "touch "+ran)
	require.Equal(t, command.ExitRuntime, r.code, r.err)
	require.Contains(t, r.err, "nothing was replayed")
	require.NoFileExists(t, ran)
}
