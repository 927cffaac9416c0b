package command

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inherit makes orphans children of this process, as for process 1 of a container.
func inherit() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	inherits = func() bool { return true }
	reapEvery = 20 * time.Millisecond
}

func init() {
	if os.Getenv("MQTT311_TEST_INHERIT") != "" {
		inherit()
	}
}

// As process 1 of a container, run waits for processes that its steps left behind, and takes no exit code
// from a step.
func TestOrphansAreReaped(t *testing.T) {
	addr := startBroker(t)
	dir := t.TempDir()
	t.Setenv("MQTT311_TEST_INHERIT", "1")
	queue(t, addr, "in/#")
	for range 50 {
		ok(t, "pub", "-b", addr, "-t", "in/a", "-m", "x", "-q", "1")
	}
	p := startProcess(t, "run", "-c", configFile(t, addr, consumes), "--exec", "setsid sh -c 'echo $$ >> "+dir+"/pids; sleep 0.3' & sleep 0.1; echo done")
	require.Eventually(t, func() bool { return strings.Count(p.out.String(), "done\n") == 50 }, time.Minute, 10*time.Millisecond, "%s", p.err)
	var pids []string
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(dir + "/pids")
		pids = strings.Fields(string(text))
		return len(pids) == 50
	}, 2*time.Minute, 10*time.Millisecond)
	for _, pid := range pids {
		require.Eventually(t, func() bool { _, err := os.Stat("/proc/" + pid); return err != nil }, 2*time.Minute, 10*time.Millisecond)
	}
	require.NotContains(t, p.err.String(), "flow failed")
	require.Zero(t, p.interruptAgain(t, os.Interrupt))
}
