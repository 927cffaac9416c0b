package house

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const top = "../.."

// tests returns the names of all test functions of the project, and of the conversations as
// TestConversations/name.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	scripts, err := filepath.Glob(top + "/session/testdata/*.txt")
	require.NoError(t, err)
	for _, s := range scripts {
		names["TestConversations/"+strings.TrimSuffix(filepath.Base(s), ".txt")] = true
	}
	return names
}

// Every test named in a document exists.
func TestHazardsAndOtherDocumentsNameTestsThatExist(t *testing.T) {
	known := tests(t)
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Z]\\w*(?:/\\w+)?)`")
	documents, err := filepath.Glob(top + "/docs/*.md")
	require.NoError(t, err)
	chinese, err := filepath.Glob(top + "/docs/zh/*.md")
	require.NoError(t, err)
	found := 0
	for _, d := range append(append(documents, chinese...), top+"/README.md", top+"/README.zh.md", top+"/SECURITY.md", top+"/ARCHITECTURE.md") {
		text, err := os.ReadFile(d)
		require.NoError(t, err)
		for _, m := range named.FindAllSubmatch(text, -1) {
			name := string(m[1])
			whole, _, _ := strings.Cut(name, "/")
			found++
			require.True(t, known[name] || known[whole] && whole != "TestConversations", "%s names %s", d, name)
		}
	}
	require.Greater(t, found, 50)
}

// Each hazard has a row and a test named after it; so does each fault observed in other clients.
func TestHazardsHaveARowAndATestEach(t *testing.T) {
	text, err := os.ReadFile(top + "/docs/hazards.md")
	require.NoError(t, err)
	cells := regexp.MustCompile(`(?m)^\| ([T\d, ]+) \|.*\| ([^|]*) \|$`)
	rows := make(map[string]string)
	for _, m := range cells.FindAllSubmatch(text, -1) {
		for number := range strings.SplitSeq(string(m[1]), ", ") {
			require.Empty(t, rows[number], "two rows for %s", number)
			rows[number] = string(m[2])
		}
	}
	for n := 1; n <= 48; n++ {
		require.Regexp(t, fmt.Sprintf(`Hazard%d\D`, n), rows[strconv.Itoa(n)], "row %d", n)
	}
	never := []int{13, 17, 18, 22, 24, 29}
	for n := 1; n <= 32; n++ {
		test := rows["T"+strconv.Itoa(n)]
		require.Equal(t, slices.Contains(never, n), test == "", "T%d", n)
		require.True(t, test == "" || strings.Contains(test, "`Test"), "T%d names no test", n)
	}
}

// Every proof is in the table of docs/connector.md, and the table has no others.
func TestEveryProofIsListed(t *testing.T) {
	table := text(t, "docs/connector.md")
	_, table, _ = strings.Cut(table, "## What is proved on real brokers")
	table, _, _ = strings.Cut(table, "\n## ")
	proofs := 0
	for name := range tests(t) {
		if strings.HasPrefix(name, "TestProof") {
			proofs++
			require.Contains(t, table, "`"+name+"`", "docs/connector.md does not list it")
		}
	}
	require.Greater(t, proofs, 10)
}
