//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A process that is killed while it replays loses nothing: what was not done waits, and the next one does it.
func TestReplayKilled(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "dead.jsonl")
	text := `{"topic":"a","payload":"YQ=="}` + "\n" + `{"topic":"b","payload":"Yg=="}` + "\n" + `{"topic":"c","payload":"Yw=="}` + "\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	run := func(args ...string) (string, error) {
		cmd := exec.Command(os.Args[0], append([]string{"deadletter"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "MQTT311_TEST_MAIN=1", "LC_ALL=C")
		out, err := cmd.Output()
		return string(out), err
	}
	_, err := run("replay", file, "--all", "--yes", "--exec", `cat >>done; echo >>done; if [ "$MQTT_TOPIC" = b ]; then kill -9 $PPID; fi`)
	require.Error(t, err)
	out, err := run("ls", file, "--json")
	require.NoError(t, err)
	require.NotContains(t, out, `"topic":"a"`)
	require.Contains(t, out, `"topic":"b"`)
	require.Contains(t, out, `"topic":"c"`)
	_, err = run("replay", file, "--all", "--yes", "--exec", `cat >>done; echo >>done`)
	require.NoError(t, err)
	out, err = run("ls", file)
	require.NoError(t, err)
	require.Empty(t, out)
	done, err := os.ReadFile(filepath.Join(dir, "done"))
	require.NoError(t, err)
	require.Equal(t, "a\nb\nb\nc\n", string(done), "b is done again: nobody knows whether it was")
}
