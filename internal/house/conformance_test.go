package house

import (
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

// statements is the number of numbered statements in each section of the specification.
var statements = map[string]int{
	"1.5.3": 3, "2.2.2": 2, "2.3.1": 7, "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6,
	"3.3.1": 12, "3.3.2": 3, "3.3.4": 1, "3.3.5": 2, "3.6.1": 1, "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2,
	"3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.12.4": 1, "3.14.1": 1, "3.14.4": 3, "4.1.0": 2, "4.3.1": 1, "4.3.2": 2,
	"4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6, "4.7.1": 3, "4.7.2": 1, "4.7.3": 4, "4.8.0": 2, "6.0.0": 4,
	"7.0.0": 2, "7.1.1": 1, "7.1.2": 1,
}

// A row is a row of docs/conformance.md.
type row struct{ id, who, what, where, test string }

// TestConformance compares docs/conformance.md with the code, in both directions.
func TestConformance(t *testing.T) {
	rows := conformance(t)
	for section, n := range statements {
		for i := range n {
			id := "MQTT-" + section + "-" + strconv.Itoa(i+1)
			require.NotEmpty(t, rows[id], "docs/conformance.md has no row for %s", id)
		}
	}
	require.Len(t, rows, 141)
	for id, r := range rows {
		t.Run(id, func(t *testing.T) {
			require.Contains(t, []string{"client", "server", "both"}, r.who)
			require.NotEmpty(t, r.what)
			if reason, ok := strings.CutPrefix(r.where, "not the client's: "); ok {
				require.NotEmpty(t, reason)
				require.Empty(t, r.test)
				return
			}
			r.checkWhere(t)
			r.checkTest(t)
		})
	}
	for id, file := range named(t) {
		require.NotEmpty(t, rows[id], "%s names %s, which docs/conformance.md does not have", file, id)
	}
}

var rowForm = regexp.MustCompile(`(?m)^\| (MQTT-[0-9.]+-[0-9]+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) ?\|$`)

func conformance(t *testing.T) map[string]row {
	rows := make(map[string]row)
	for _, m := range rowForm.FindAllStringSubmatch(text(t, "docs/conformance.md"), -1) {
		require.Empty(t, rows[m[1]], "two rows for %s", m[1])
		rows[m[1]] = row{m[1], m[2], m[3], m[4], m[5]}
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]+)`")

func words(cell string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// checkWhere checks that each file names the statement and is not a test.
func (r row) checkWhere(t *testing.T) {
	files := words(r.where)
	require.NotEmpty(t, files, "no file obeys it")
	for _, f := range files {
		require.False(t, strings.HasSuffix(f, "_test.go"), f)
		require.True(t, names(text(t, f), r.id), "%s does not name it", f)
	}
}

// checkTest checks that each test exists and names the statement, in its name or its text, and that
// each conversation names it.
func (r row) checkTest(t *testing.T) {
	cells := words(r.test)
	require.NotEmpty(t, cells, "no test proves it")
	for i := 0; i < len(cells); i++ {
		file := cells[i]
		if strings.HasSuffix(file, ".txt") {
			require.True(t, names(text(t, file), r.id), "%s does not name it", file)
			continue
		}
		require.True(t, strings.HasSuffix(file, "_test.go"), "%s is no file of tests", file)
		require.Less(t, i+1, len(cells), "no test of %s is named", file)
		i++
		body := function(text(t, file), cells[i])
		require.NotEmpty(t, body, "%s has no %s", file, cells[i])
		spelled := strings.NewReplacer("-", "_", ".", "_").Replace(r.id)
		require.True(t, strings.HasSuffix(cells[i], spelled) || names(body, r.id), "%s does not name it", cells[i])
	}
}

// function returns the text of a function, including its comment.
func function(file, name string) string {
	m := regexp.MustCompile(`(?ms)(^//[^\n]*\n)*^func ` + name + `\(.*?(^}|}$)`).FindString(file)
	return m
}

// names reports whether a text has the number of the statement, and not just as a prefix of a
// longer number.
func names(text, id string) bool {
	return regexp.MustCompile(regexp.QuoteMeta(id) + `(\D|$)`).MatchString(text)
}

func text(t *testing.T, file string) string {
	b, err := os.ReadFile(filepath.Join(top, file))
	require.NoError(t, err)
	return string(b)
}

// named returns every statement that the code or a conversation names, with one file that names it.
func named(t *testing.T) map[string]string {
	all := make(map[string]string)
	form := regexp.MustCompile(`MQTT-\d+\.\d+\.\d+-\d+`)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if d.IsDir() || !slices.Contains([]string{".go", ".txt"}, filepath.Ext(path)) {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, id := range form.FindAllString(string(b), -1) {
			all[id] = path
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}
