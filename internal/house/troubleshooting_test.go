package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// shipped returns the text of all Go files that are not tests.
func shipped(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{"client", "connector", "packets", "session", "transport", "internal"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			b.Write(text)
			return err
		})
		require.NoError(t, err)
	}
	return b.String()
}

// The program can print each text in the first column of the troubleshooting tables. Texts of crypto/tls, net and
// the system are in the table of docs/transport.md, which another test checks against reality.
func TestTroubleshooting(t *testing.T) {
	printed := shipped(t) + text(t, "docs/transport.md") +
		"command: exit status" // os/exec prints the second half
	first := regexp.MustCompile(`(?m)^\| ([^|]+) \|`)
	span := regexp.MustCompile("`([^`]+)`")
	han := regexp.MustCompile(`\p{Han}`)
	var rows [2]int
	for i, document := range []string{"docs/troubleshooting.md", "docs/zh/troubleshooting.md"} {
		for _, m := range first.FindAllStringSubmatch(text(t, document), -1) {
			rows[i]++
			require.True(t, i == 0 || !strings.Contains(m[1], " ") || han.MatchString(m[1]), "%s: --lang zh prints no %s", document, m[1])
			for _, s := range span.FindAllStringSubmatch(m[1], -1) {
				for piece := range strings.SplitSeq(s[1], "…") {
					if piece = strings.TrimSpace(piece); utf8.RuneCountInString(piece) > 2 {
						require.True(t, strings.Contains(printed, piece), "%s: nothing prints %q", document, piece)
					}
				}
			}
		}
	}
	require.Greater(t, rows[0], 60)
	require.Equal(t, rows[0], rows[1], "the Chinese page has as many rows")
}
