package verbs

import (
	"bytes"
	"context"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/stretchr/testify/require"
)

// A result is the output and exit code of a command.
type result struct {
	code     int
	out, err string
}

// An output is a buffer that a test may read while the command writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func TestMain(m *testing.M) {
	os.Setenv("LC_ALL", "C")
	flag.Set("test.parallel", "8") // they wait for servers far more than they compute
	os.Exit(m.Run())
}

// runWith runs the command with stdin as its standard input.
func runWith(t *testing.T, ctx context.Context, stdin string, args ...string) result {
	t.Helper()
	var out, errs output
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	p := &command.Program{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs}
	code := command.Run(ctx, p, args, All...)
	return result{code, out.String(), errs.String()}
}

func mqtt311(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t, t.Context(), "", args...)
}

// ok runs the command, requires success, and returns its standard output.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	r := mqtt311(t, args...)
	require.Zero(t, r.code, "%v: %s", args, r.err)
	require.Empty(t, r.err)
	return r.out
}
