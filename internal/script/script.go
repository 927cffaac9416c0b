// Package script runs conversations: text files in which commands stand above a line
// "----" and what came of them below it, with prose between. The prose is the claim,
// the outcome the evidence; a test compares, and -update rewrites the evidence for a
// person to compare with the claim.
package script

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the outcomes in testdata; read the diff")

const divider = "----"

// Run runs the conversation in a file. do is called with each line of each block of
// commands and returns what came of it, a line each.
func Run(t *testing.T, file string, do func(t *testing.T, command string) []string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimRight(string(raw), "\n"), "\n\n")
	var out []string
	for _, block := range blocks {
		commands, _, ok := strings.Cut(block, "\n"+divider)
		if !ok {
			out = append(out, block)
			continue
		}
		lines := strings.Split(commands, "\n")
		got := append(lines, divider)
		for _, command := range lines {
			if !strings.HasPrefix(command, "#") {
				got = append(got, do(t, command)...)
			}
		}
		out = append(out, strings.Join(got, "\n"))
		if !*update && strings.Join(got, "\n") != block {
			t.Errorf("%s: after\n\n%s\n\nwant\n\n%s\n\ngot\n\n%s\n", file, commands, block, strings.Join(got, "\n"))
			return
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Args are the words of a command: the bare ones in order, and those of the form
// key=value. Quotes keep spaces together.
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
