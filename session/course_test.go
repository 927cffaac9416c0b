package session_test

import (
	"encoding"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/script"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A wire is a packet as it is sent over the Network Connection.
type wire struct {
	Way   string
	Text  string
	Bytes []byte
}

func wireOf(t *testing.T, way string, p packets.Packet) wire {
	b, err := p.(encoding.BinaryAppender).AppendBinary(nil)
	if err != nil { // a packet that no Server may send
		return wire{way, p.String(), nil}
	}
	return wire{way, p.String(), b}
}

const courseDir = "../docs/course"

// writeCourse makes the page of a file of conversations: its prose, a diagram of each conversation and the bytes
// of its packets. It compares the page with the one in docs/course, or writes it there with -update.
func writeCourse(t *testing.T, file string, files []string, blocks []script.Block, wires [][]wire) {
	name := lesson(file)
	var page strings.Builder
	number, subject, _ := strings.Cut(name, "_")
	title := "Lesson " + strings.TrimLeft(number, "0") + ": " + strings.ReplaceAll(subject, "_", " ")
	fmt.Fprintf(&page, "<!-- Made of session/testdata/%s.txt by make golden. -->\n\n# %s\n\n", name, title)
	n, step := 0, 0
	for _, b := range blocks {
		if b.Steps == nil {
			page.WriteString(prose(b.Prose) + "\n\n")
			continue
		}
		n++
		picture := fmt.Sprintf("%s-%d.svg", name, n)
		same(t, picture, script.Diagram(b.Steps))
		fmt.Fprintf(&page, "![%s, conversation %d](%s)\n\n", title, n, picture)
		var rows strings.Builder
		for range b.Steps {
			for _, w := range wires[step] {
				fmt.Fprintf(&rows, "| %s | %s | `%s` |\n", w.Way, code(w.Text), hexOf(w.Bytes))
			}
			step++
		}
		if rows.Len() > 0 {
			fmt.Fprintf(&page, "<details><summary>The bytes</summary>\n\n| | packet | bytes |\n|---|---|---|\n%s\n</details>\n\n", rows.String())
		}
	}
	at := 0
	for i, f := range files {
		if f == file {
			at = i
		}
	}
	if at > 0 {
		fmt.Fprintf(&page, "[before: %s](%s.md) · ", lesson(files[at-1]), lesson(files[at-1]))
	}
	page.WriteString("[all lessons](README.md)")
	if at < len(files)-1 {
		fmt.Fprintf(&page, " · [next: %s](%s.md)", lesson(files[at+1]), lesson(files[at+1]))
	}
	same(t, name+".md", page.String()+"\n")
}

func lesson(file string) string { return strings.TrimSuffix(filepath.Base(file), ".txt") }

// prose turns a paragraph into Markdown. The answer to a question is folded until the reader opens
// it.
func prose(text string) string {
	question, answer, ok := strings.Cut(text, "\nAnswer: ")
	if !ok {
		return escape(text)
	}
	return fmt.Sprintf("**Question.** %s\n\n<details><summary>Answer</summary>\n\n%s\n\n</details>", escape(strings.TrimPrefix(question, "Question: ")), escape(answer))
}

// escape escapes characters that have a meaning in Markdown.
func escape(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", "&lt;", "#", `\#`, "|", `\|`).Replace(text)
}

func code(text string) string { return "`" + strings.ReplaceAll(text, "|", `\|`) + "`" }

// hexOf formats a packet in groups: the first byte of the fixed header, the Remaining Length, and
// the rest.
func hexOf(b []byte) string {
	const most = 48
	if len(b) == 0 {
		return "(no Server may send it)"
	}
	s := fmt.Sprintf("% x", b[:min(len(b), most)])
	if len(b) > most {
		s += fmt.Sprintf(" … %d more", len(b)-most)
	}
	return s
}

// same compares a file of the course with its expected contents, or with -update writes it.
func same(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join(courseDir, name)
	if script.Updating() {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err, "make golden writes it")
	require.Equal(t, string(got), want, "%s is not what the conversations say: make golden", path)
}

// Each file of the course belongs to an existing conversation, and each lesson has questions.
func TestCourse(t *testing.T) {
	if script.Updating() {
		t.Skip("the files are being written")
	}
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	known := map[string]bool{"README.md": true}
	index, err := os.ReadFile(filepath.Join(courseDir, "README.md"))
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		known[lesson(f)+".md"] = true
		for n := range strings.Count(string(text), "\n----") {
			known[fmt.Sprintf("%s-%d.svg", lesson(f), n+1)] = true
		}
		require.GreaterOrEqual(t, strings.Count(string(text), "\nQuestion: "), 2, f)
		require.Equal(t, strings.Count(string(text), "\nQuestion: "), strings.Count(string(text), "\nAnswer: "), f)
		require.Contains(t, string(index), "("+lesson(f)+".md)")
	}
	found, err := os.ReadDir(courseDir)
	require.NoError(t, err)
	for _, f := range found {
		require.True(t, known[f.Name()], "%s is of no conversation: remove it", f.Name())
	}
	require.Len(t, found, len(known))
}
