package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/stretchr/testify/require"
)

// build compiles a command of the project.
func build(t *testing.T, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	out, err := exec.Command("go", "build", "-o", program, "github.com/mqtt311/mqtt311/"+pkg).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// The pub and sub verbs of the command communicate through mosquitto, over TCP, mutual TLS, WS and
// WSS.
func TestInteropCommand(t *testing.T) {
	t.Parallel()
	b := mosquitto.Start(t, mosquitto.Options{})
	program := build(t, "connector/cmd/mqtt311")
	for name, way := range map[string][]string{
		"TCP":        {"-L", b.TCP},
		"mutual TLS": {"-L", b.MTLS, "--cafile", b.CAFile, "--cert", b.ClientCert, "--key", b.ClientKey},
		"WS":         {"-L", b.WS},
		"WSS":        {"-L", b.WSS, "--cafile", b.CAFile},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t)
			var out, said bytes.Buffer
			sub := exec.CommandContext(ctx, program, append([]string{"sub", "-t", "a/#", "-q", "2", "-C", "1", "-v", "-d"}, way...)...)
			sub.Stdout, sub.Stderr = &out, &said
			// A retained message arrives even if it was published before the subscription.
			pub := exec.CommandContext(ctx, program, append([]string{"pub", "-t", "a/b", "-m", name, "-q", "2", "-r"}, way...)...)
			text, err := pub.CombinedOutput()
			require.NoError(t, err, "%s", text)
			require.NoError(t, sub.Run(), "%s", said.String())
			require.Equal(t, "a/b "+name+"\n", out.String())
		})
	}
}

// The quickstart loses nothing with a real broker.
func TestInteropQuickstart(t *testing.T) {
	t.Parallel()
	b := mosquitto.Start(t, mosquitto.Options{})
	program := build(t, "connector/quickstart")
	ctx := within(t)
	out, err := exec.CommandContext(ctx, program, "-broker", b.Addr(), "--lang", "en").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, 3, strings.Count(string(out), "1000      1000             1000"), "%s", out)
}

// A co-process that dies after every ten answers loses nothing: the messages that it had in work
// run again, over TLS and mosquitto, and the results are published by a producer on the same
// connection.
func TestInteropRunWithAProcessThatDies(t *testing.T) {
	t.Parallel()
	b := mosquitto.Start(t, mosquitto.Options{})
	program := build(t, "connector/cmd/mqtt311")
	dir := t.TempDir()
	_, address, _ := strings.Cut(b.TLS, "://")
	file := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
connector:
  general: {broker_url: "`+address+`", protocol: TLS, tls_server_cert: "`+b.CAFile+`", client_id: run}
  advanced: {clean_session: false, auto_reconnect: true}
consumers:
  in: {topics: [in], qos: 1, on_failure: {initial_delay: 1ms, max_delay: 50ms}}
producers:
  out: {topic: out, qos: 1}
`), 0o600))
	ctx := within(t)
	var said bytes.Buffer
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stderr = &said
		return cmd
	}
	require.NoError(t, command("sub", "-L", b.TCP, "-i", "out", "-c", "-q", "1", "-t", "out", "-E").Run())
	require.NoError(t, command("sub", "-L", b.TCP, "-i", "run", "-c", "-q", "1", "-t", "in", "-E").Run())
	pub := command("pub", "-L", b.TCP, "-t", "in", "-q", "1", "-l")
	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintf(&lines, "m%d\n", i)
	}
	pub.Stdin = strings.NewReader(lines.String())
	require.NoError(t, pub.Run(), "%s", &said)

	answer := `sed -u -E -e 's/^\{"id":"([0-9]+)".*"payload":"([^"]*)"\}$/{"id":"\1","ok":true,"payload":"\2"}/' -e 10q`
	run := exec.CommandContext(ctx, program, "run", "-c", file, "--pipe", answer, "--then", "out", "--log-level", "error")
	var errs bytes.Buffer
	run.Stderr = &errs
	require.NoError(t, run.Start())
	sub := command("sub", "-L", b.TCP, "-i", "out", "-c", "-q", "1", "-t", "out", "-W", "120")
	results, err := sub.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, sub.Start())
	got := make(map[string]bool)
	for in := bufio.NewScanner(results); len(got) < 100 && in.Scan(); {
		got[in.Text()] = true
	}
	require.Len(t, got, 100, "%s", &errs)
	sub.Process.Kill()
	sub.Wait()
	require.NoError(t, run.Process.Signal(os.Interrupt))
	require.NoError(t, run.Wait(), "%s", &errs)
}
