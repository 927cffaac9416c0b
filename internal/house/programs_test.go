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

// codeOf returns the code blocks of a language in a document.
func codeOf(t *testing.T, document, kind string) (blocks []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(text(t, document), -1) {
		blocks = append(blocks, m[1])
	}
	require.NotEmpty(t, blocks, "%s has no block %s", document, kind)
	return blocks
}

// The program in docs/start.md compiles, prints what the page shows, and fails without a server as
// the page says.
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

// The programs in docs/client.md appear word for word in test files, which are compiled and run, and the
// Chinese page has the same programs.
func TestGuide(t *testing.T) {
	tested := text(t, "client/guide_test.go") + text(t, "client/example_test.go")
	programs := codeOf(t, "docs/client.md", "go")
	require.Equal(t, programs, codeOf(t, "docs/zh/client.md", "go"))
	for _, program := range programs {
		found := false
		for indent := ""; len(indent) < 4; indent += "\t" {
			found = found || strings.Contains("\n"+tested, "\n"+indented(program, indent))
		}
		require.True(t, found, "no test has\n%s", program)
	}
}

// indented puts indent before each line that is not empty.
func indented(program, indent string) string {
	return regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(program, indent+"$1")
}
