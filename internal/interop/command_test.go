package interop

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// The command's pub and sub meet through mosquitto, over TCP, mutual TLS, WS and WSS.
func TestInteropCommand(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	program := build(t, "connector/cmd/mqtt311")
	for name, way := range map[string][]string{
		"TCP":        {"-L", b.TCP},
		"mutual TLS": {"-L", b.MTLS, "--cafile", b.CAFile, "--cert", b.ClientCert, "--key", b.ClientKey},
		"WS":         {"-L", b.WS},
		"WSS":        {"-L", b.WSS, "--cafile", b.CAFile},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 20*time.Second)
			var out, said bytes.Buffer
			sub := exec.CommandContext(ctx, program, append([]string{"sub", "-t", "a/#", "-q", "2", "-C", "1", "-v", "-d"}, way...)...)
			sub.Stdout, sub.Stderr = &out, &said
			// The retained message is there whenever the subscription is.
			pub := exec.CommandContext(ctx, program, append([]string{"pub", "-t", "a/b", "-m", name, "-q", "2", "-r"}, way...)...)
			text, err := pub.CombinedOutput()
			require.NoError(t, err, "%s", text)
			require.NoError(t, sub.Run(), "%s", said.String())
			require.Equal(t, "a/b "+name+"\n", out.String())
		})
	}
}

// The quickstart with a real broker loses nothing.
func TestInteropQuickstart(t *testing.T) {
	b := mosquitto.Start(t, mosquitto.Options{})
	program := build(t, "connector/quickstart")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "-broker", b.Addr()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, 3, strings.Count(string(out), "1000      1000             1000"), "%s", out)
}
