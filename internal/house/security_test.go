package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests in a row of the security tables are in the package named before them, and both pages name the same
// tests.
func TestSecurityTable(t *testing.T) {
	row := regexp.MustCompile(`(?m)^\| (.+) \| (.+) \| (.+) \|$`)
	part := regexp.MustCompile("`([a-z][a-z0-9/]*)`[:：] ?((?:`[A-Z]\\w+`[,、]? ?)+)")
	name := regexp.MustCompile("`([A-Z]\\w+)`")
	var named [2][]string
	for i, document := range []string{"docs/security.md", "docs/zh/security.md"} {
		for _, m := range row.FindAllStringSubmatch(text(t, document), -1) {
			if !strings.Contains(m[3], "`") {
				continue // the header of a table
			}
			parts := part.FindAllStringSubmatch(m[3], -1)
			require.NotEmpty(t, parts, m[0])
			for _, p := range parts {
				code := ""
				files, err := filepath.Glob(filepath.Join(top, p[1], "*_test.go"))
				require.NoError(t, err)
				for _, f := range files {
					text, err := os.ReadFile(f)
					require.NoError(t, err)
					code += string(text)
				}
				for _, n := range name.FindAllStringSubmatch(p[2], -1) {
					require.True(t, strings.Contains(code, "func "+n[1]+"("), "%s: %s has no %s", document, p[1], n[1])
					named[i] = append(named[i], p[1]+"."+n[1])
				}
			}
		}
		require.Greater(t, len(named[i]), 60)
	}
	require.Equal(t, named[0], named[1])
}
