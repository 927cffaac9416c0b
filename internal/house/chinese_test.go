package house

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The Chinese index lists every Chinese page, and each option, setting and call that has a row in a table of an
// English page is mentioned on the Chinese page.
func TestChinesePagesAreInStep(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(top, "docs/zh/*.md"))
	require.NoError(t, err)
	require.Greater(t, len(pages), 15)
	index := text(t, "docs/zh/README.md")
	first := regexp.MustCompile(`(?m)^\| ([^|]+) \|`)
	span := regexp.MustCompile("`([^`]+)`")
	for _, page := range pages {
		name := filepath.Base(page)
		chinese, english := text(t, "docs/zh/"+name), text(t, "docs/"+name)
		require.True(t, name == "README.md" || strings.Contains(index, "("+name+")"), "docs/zh/README.md has no %s", name)
		require.Contains(t, chinese, "[English](../"+name+") · 中文", name)
		require.Contains(t, english, "English · [中文](zh/"+name+")", name)
		if name == "troubleshooting.md" || name == "README.md" {
			continue // printed texts are Chinese there; TestTroubleshooting checks them
		}
		if before, proofs, ok := strings.Cut(english, "## What is proved on real brokers"); ok { // results, which are in English only
			_, after, _ := strings.Cut(proofs, "\n## ")
			english = before + after
		}
		for _, row := range first.FindAllStringSubmatch(english, -1) {
			for _, s := range span.FindAllStringSubmatch(row[1], -1) {
				word := strings.Fields(s[1])[0]
				require.True(t, strings.Contains(chinese, word), "%s: the Chinese page has no %s", name, s[1])
			}
		}
		for _, link := range links.FindAllStringSubmatch(chinese, -1) {
			to, _, _ := strings.Cut(strings.TrimPrefix(link[1], "../"), "#")
			_, err := os.Stat(filepath.Join(top, "docs/zh", to))
			require.True(t, !strings.HasPrefix(link[1], "../") || err != nil || to == name, "%s links to %s, which there is in Chinese", name, link[1])
		}
	}
}

// The index lists every document.
func TestIndexHasEveryDocument(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(top, "docs/*.md"))
	require.NoError(t, err)
	index := text(t, "docs/README.md")
	for _, page := range pages {
		name := filepath.Base(page)
		require.True(t, name == "README.md" || strings.Contains(index, "("+name+")") || strings.Contains(index, "("+name+"#"), "docs/README.md has no %s", name)
	}
}

var links = regexp.MustCompile(`\]\(([^)\s]+\.md[^)\s]*)\)`)

// The Chinese pages of conformance and hazards have the same rows, with the same files and tests.
func TestConformanceInChinese(t *testing.T) {
	who := strings.NewReplacer("客户端", "client", "服务端", "server", "双方", "both")
	var found [2][]string
	for i, page := range []string{"docs/conformance.md", "docs/zh/conformance.md"} {
		for _, m := range rowForm.FindAllStringSubmatch(text(t, page), -1) {
			found[i] = append(found[i], m[1]+" "+who.Replace(m[2])+" "+code(m[0]))
		}
	}
	require.Len(t, found[0], 141)
	require.Equal(t, found[0], found[1])
}

func TestHazardsInChinese(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| (.*?) \\|.*\\| `Test[^|]* \\|$")
	numbers := regexp.MustCompile(`^[T\d, ]+$`) // the rows about a full inbox have none
	var found [2][]string
	for i, page := range []string{"docs/hazards.md", "docs/zh/hazards.md"} {
		for _, m := range row.FindAllStringSubmatch(text(t, page), -1) {
			found[i] = append(found[i], numbers.FindString(m[1])+" "+code(m[0]))
		}
	}
	require.Greater(t, len(found[0]), 70)
	require.Equal(t, found[0], found[1])
}

// The Chinese page of the decisions has the same rows, with the same code, statements and figures.
func TestDecisionsInChinese(t *testing.T) {
	row := regexp.MustCompile(`(?m)^\| (.*) \|$`)
	figure := regexp.MustCompile(`[A-Z]?[0-9]+(?:[.,-][0-9]+)*`)
	var found [2][]string
	for i, page := range []string{"docs/decisions.md", "docs/zh/decisions.md"} {
		for _, m := range row.FindAllStringSubmatch(text(t, page), -1)[1:] { // after the names of the columns
			require.Len(t, strings.Split(m[1], " | "), 3, "%s: %s", page, m[1])
			figures := figure.FindAllString(quoted.ReplaceAllString(m[1], ""), -1)
			slices.Sort(figures)
			found[i] = append(found[i], code(m[1])+" "+strings.Join(figures, " "))
		}
	}
	require.Greater(t, len(found[0]), 180)
	require.Equal(t, found[0], found[1])
}

// code returns the code spans of a row, sorted, since their order differs between languages.
func code(row string) string {
	pieces := words(row)
	slices.Sort(pieces)
	return strings.Join(pieces, " ")
}
