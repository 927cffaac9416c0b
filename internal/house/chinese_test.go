package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The index of the Chinese pages has each of them, and whatever a table of an English page has a row for, an option, a
// setting, a call, stands on the Chinese page.
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
			continue // what is printed is Chinese there, and another test looks
		}
		if before, proofs, ok := strings.Cut(english, "## What is proved on real brokers"); ok { // what was run, and what came of it
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

// The index has every document.
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
