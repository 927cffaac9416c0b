package house

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/broker"
)

// codeOf returns the blocks of a kind in a document.
func codeOf(t *testing.T, document, kind string) (blocks []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(text(t, document), -1) {
		blocks = append(blocks, m[1])
	}
	require.NotEmpty(t, blocks, "%s has no block %s", document, kind)
	return blocks
}

// The program of the first page compiles, prints what stands there, and fails without a server as
// it says there.
func TestProgramOfStart(t *testing.T) {
	program, prints := codeOf(t, "docs/start.md", "go"), codeOf(t, "docs/start.md", "text")
	require.Equal(t, program, codeOf(t, "docs/zh/start.md", "go"))
	require.Equal(t, prints, codeOf(t, "docs/zh/start.md", "text"))
	b, err := broker.Start()
	require.NoError(t, err)
	dir := t.TempDir()
	main, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "hall")
	require.NoError(t, os.WriteFile(main, []byte(strings.ReplaceAll(program[0], "127.0.0.1:1883", b.Addr)), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, main)
	build.Dir = top
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.CommandContext(ctx, binary).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, prints[0], string(out))
	require.NoError(t, b.Close())
	out, err = exec.CommandContext(ctx, binary).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), strings.ReplaceAll(prints[1], "127.0.0.1:1883", b.Addr))
}
