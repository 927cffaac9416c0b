// Package script runs conversations: text files with commands above a line "----", their results below it, and
// prose in between. The prose states what should happen, and the results show what does. A test compares the
// results; -update rewrites them, for a person to compare with the prose.
package script

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the outcomes in testdata; read the diff")

const divider = "----"

// A Block is a part of a file: prose, or a conversation.
type Block struct {
	Line  int    // number of its first line, from 1
	Prose string // if the block has no Steps
	Steps []Step
}

// A Step is a command and its results, one a line.
type Step struct {
	Command string
	Outcome []string
}

// Run runs the conversations in a file and returns its blocks. It calls do with each command, which returns the result. The first
// block that differs from the file fails the test, and Run returns nil; with -update the file is rewritten instead.
func Run(t *testing.T, file string, do func(t *testing.T, command string) []string) []Block {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []Block
	var out []string
	line := 1
	for _, text := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n\n") {
		b := Block{Line: line}
		line += strings.Count(text, "\n") + 2
		commands, _, ok := strings.Cut(text, "\n"+divider)
		if !ok {
			b.Prose = text
			blocks, out = append(blocks, b), append(out, text)
			continue
		}
		got := append(strings.Split(commands, "\n"), divider)
		for _, command := range strings.Split(commands, "\n") {
			if strings.HasPrefix(command, "#") {
				continue
			}
			s := Step{Command: command, Outcome: do(t, command)}
			b.Steps = append(b.Steps, s)
			got = append(got, s.Outcome...)
		}
		blocks, out = append(blocks, b), append(out, strings.Join(got, "\n"))
		if want := strings.Split(text, "\n"); !*update && !slices.Equal(got, want) {
			t.Error(difference(file, b.Line, want, got))
			return nil
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return blocks
}

// Updating reports whether files are rewritten.
func Updating() bool { return *update }

// difference describes the line of a file at which the result of a block differs. first is the line of the
// block.
func difference(file string, first int, want, got []string) string {
	same := 0
	for same < min(len(want), len(got)) && want[same] == got[same] {
		same++
	}
	end := 0
	for end < min(len(want), len(got))-same && want[len(want)-1-end] == got[len(got)-1-end] {
		end++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: the outcome differs (- the file, + the code)\n", file, first+same)
	for i, line := range want[:len(want)-end] {
		mark := "  "
		if i >= same {
			mark = "- "
		}
		fmt.Fprintf(&b, "%4d %s%s\n", first+i, mark, line)
	}
	for _, line := range got[same : len(got)-end] {
		fmt.Fprintf(&b, "     + %s\n", line)
	}
	for i, line := range want[len(want)-end:] {
		fmt.Fprintf(&b, "%4d   %s\n", first+len(want)-end+i, line)
	}
	return b.String()
}

// Args are the words of a command: the bare ones in order, and those of the form key=value. Quotes
// keep words with spaces together.
type Args struct {
	Words []string
	Named map[string]string
}

// Parse splits a command.
func Parse(command string) Args {
	a := Args{Named: make(map[string]string)}
	for _, w := range fields(command) {
		if k, v, ok := strings.Cut(w, "="); ok && k != "" {
			a.Named[k] = v
		} else {
			a.Words = append(a.Words, w)
		}
	}
	return a
}

func fields(s string) []string {
	var words []string
	var word strings.Builder
	quoted, started := false, false
	for _, r := range s {
		switch {
		case r == '"':
			quoted = !quoted
			started = true
		case r == ' ' && !quoted:
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}
