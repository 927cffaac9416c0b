package house_test

import (
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

var (
	fences = regexp.MustCompile("(?ms)^```.*?^```")
	spans  = regexp.MustCompile("`[^`\n]*`")
	links  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	source = regexp.MustCompile(`(?:src|srcset)="([^"]+)"`)
	titles = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
)

// documents returns the text of every Markdown file in the tree, by its path relative to the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "bin" || d.Name() == "dist" || d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			docs[filepath.ToSlash(name)] = string(text)
			return err
		}
		return nil
	})
	require.NoError(t, err)
	return docs
}

// targets returns the targets of the links in a document, except those in code.
func targets(text string) (out []string) {
	text = spans.ReplaceAllString(fences.ReplaceAllString(text, ""), "")
	for _, re := range []*regexp.Regexp{links, source} {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// Each relative link leads to a file that exists, and to a heading that exists if it names one.
func TestLinks(t *testing.T) {
	docs := documents(t)
	for name, text := range docs {
		for _, target := range targets(text) {
			u, err := url.Parse(target)
			require.NoError(t, err, "%s: %s", name, target)
			if u.Scheme != "" || u.Host != "" {
				continue
			}
			to := name
			if u.Path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(name), u.Path))
				_, err := os.Stat(filepath.Join(root, to))
				require.NoError(t, err, "%s links to %s", name, target)
			}
			if u.Fragment != "" && strings.HasSuffix(to, ".md") {
				require.Contains(t, anchors(docs[to]), u.Fragment, "%s links to %s", name, target)
			}
		}
	}
}

// anchors returns the anchors of the headings in a document, as GitHub and the like generate them.
func anchors(text string) (out []string) {
	for _, m := range titles.FindAllStringSubmatch(fences.ReplaceAllString(text, ""), -1) {
		title := strings.ToLower(strings.ReplaceAll(m[1], "`", ""))
		title = links.ReplaceAllString(strings.ReplaceAll(title, "[", ""), "")
		out = append(out, strings.ReplaceAll(regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(title, ""), " ", "-"))
	}
	return out
}

// Every document can be reached from README with two clicks.
func TestEveryDocumentIsReached(t *testing.T) {
	docs := documents(t)
	reached := map[string]bool{"README.md": true}
	for range 2 {
		for name := range maps.Clone(reached) {
			for _, target := range targets(docs[name]) {
				path, _, _ := strings.Cut(target, "#")
				to := filepath.ToSlash(filepath.Join(filepath.Dir(name), path))
				if info, err := os.Stat(filepath.Join(root, to)); err == nil && info.IsDir() {
					to += "/README.md"
				}
				if _, ok := docs[to]; ok {
					reached[to] = true
				}
			}
		}
	}
	for name := range docs {
		require.True(t, reached[name], "%s is not linked from README or from a document that README links", name)
	}
}

// No phrase that docs/words.md retires appears in documents or Go files.
func TestRetiredPhrases(t *testing.T) {
	docs := documents(t)
	_, table, found := strings.Cut(docs["docs/words.md"], "## Not used")
	require.True(t, found)
	var retired []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
		retired = append(retired, m[1])
	}
	require.NotEmpty(t, retired)
	texts := docs
	delete(texts, "docs/words.md")
	for _, dir := range []string{"bench", "client", "connector", "fuzz", "internal", "packets", "release", "session", "transport"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || !slices.Contains([]string{".go", ".js", ".html", ".yaml"}, filepath.Ext(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			texts[path] = string(text)
			return err
		})
		require.NoError(t, err)
	}
	for name, text := range texts {
		for _, phrase := range retired {
			require.False(t, strings.Contains(strings.ToLower(text), strings.ToLower(phrase)), "%s says %q: docs/words.md has a better word", name, phrase)
		}
	}
}
