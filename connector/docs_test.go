package connector_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

// tests are the names of the tests of this package and those below it.
func tests(t *testing.T) map[string]bool {
	names := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	return names
}

// section returns the rows of the tables below a heading, by their first cell.
func section(t *testing.T, text, heading string) map[string][]string {
	_, below, found := strings.Cut(text, "\n"+heading)
	require.True(t, found, heading)
	below, _, _ = strings.Cut(below, "\n## ")
	rows := make(map[string][]string)
	for line := range strings.Lines(below) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) > 3 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows[strings.Trim(cells[1], "`")] = cells[1 : len(cells)-1]
		}
	}
	return rows
}

// docs/connector.md has a row for every key, the seed's with its label, and each names a
// test that is there.
func TestDocument(t *testing.T) {
	file, err := os.ReadFile("../docs/connector.md")
	require.NoError(t, err)
	text, known := string(file), tests(t)
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(text, -1) {
		require.True(t, known[name[1]], "%s is no test", name[1])
	}
	type properties map[string]struct {
		Label      string `json:"x-label-zh"`
		Properties map[string]struct{}
	}
	var schema struct {
		Defs map[string]struct{ Properties properties } `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(config.Schema(), &schema))
	keys := 0
	for def, heading := range map[string]string{
		"general": "## General", "advanced": "## Advanced", "extension": "## Extension", "consumer": "## Consumer", "producer": "## Producer",
	} {
		rows := section(t, text, heading)
		for key, p := range schema.Defs[def].Properties {
			row := rows[key]
			require.NotNil(t, row, "%s.%s has no row", def, key)
			require.Contains(t, row[len(row)-1], "`Test", "%s.%s names no test", def, key)
			if p.Label != "" {
				require.Equal(t, p.Label, row[1], "%s.%s", def, key)
			}
			for of := range p.Properties {
				require.NotNil(t, rows[of], "%s.%s.%s has no row", def, key, of)
			}
			keys++
		}
	}
	require.Greater(t, keys, 40)
}

// The document's tree of error types is the one in the code, and its list of findings is
// whole.
func TestDocumentedTypesAndCodes(t *testing.T) {
	file, err := os.ReadFile("../docs/connector.md")
	require.NoError(t, err)
	source, err := os.ReadFile("errors.go")
	require.NoError(t, err)
	rows := section(t, string(file), "## Errors")
	declared := regexp.MustCompile(`(?m)^\tType\w+ +ErrorType = "(.+)"`).FindAllStringSubmatch(string(source), -1)
	require.Len(t, declared, 26)
	for _, m := range declared {
		require.NotNil(t, rows[m[1]], m[1])
		require.Equal(t, string(connector.ErrorType(m[1]).Parent()), strings.Trim(rows[m[1]][1], "`"), m[1])
	}
	for _, path := range []string{"check.go", "config/load.go", "config/values.go"} {
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`"([EW][0-9]{3})"`).FindAllStringSubmatch(string(source), -1) {
			require.Contains(t, string(file), "\n| "+m[1]+" | ", "no row for %s", m[1])
		}
	}
}
