// Package yamltext finds the values of a YAML document in its text, and changes one by replacing its bytes, so that
// comments, order and all other lines stay as they are.
package yamltext

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A Text is a document with the positions of its lines.
type Text struct {
	text  string
	lines []int // offset at which each line begins
}

// New returns the text of a document.
func New(text []byte) *Text {
	t := &Text{text: string(text), lines: []int{0}}
	for i := 0; i < len(t.text); {
		if n := lineBreak(t.text[i:]); n > 0 {
			i += n
			t.lines = append(t.lines, i)
			continue
		}
		_, size := utf8.DecodeRuneInString(t.text[i:])
		i += size
	}
	return t
}

// lineBreak returns the length of the line break at the start of s, or 0.
func lineBreak(s string) int {
	for _, b := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		if strings.HasPrefix(s, b) {
			return len(b)
		}
	}
	return 0
}

// Offset returns the byte offset of a node's line and column, both from 1; false if there is none.
func (t *Text) Offset(line, column int) (int, bool) {
	if line < 1 || line > len(t.lines) {
		return 0, false
	}
	at := t.lines[line-1]
	for range column - 1 {
		if at >= len(t.text) || lineBreak(t.text[at:]) > 0 {
			return 0, false
		}
		_, size := utf8.DecodeRuneInString(t.text[at:])
		at += size
	}
	return at, true
}

// Place returns the line and column of a byte offset, both from 1.
func (t *Text) Place(at int) (line, column int) {
	at = min(at, len(t.text))
	line = 1
	for line < len(t.lines) && t.lines[line] <= at {
		line++
	}
	return line, 1 + utf8.RuneCountInString(t.text[t.lines[line-1]:at])
}

// Range returns the position of a node's text. ok is false for an alias, for a node with an anchor or a tag, and
// for one that cannot be found, such as the empty text of a missing value.
func (t *Text) Range(n *yaml.Node) (start, end int, ok bool) {
	if n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 || n.Kind == yaml.AliasNode {
		return 0, 0, false
	}
	return t.Span(n)
}

// Span is like Range but accepts a node with an anchor, which it leaves out.
func (t *Text) Span(n *yaml.Node) (start, end int, ok bool) {
	start, ok = t.Offset(n.Line, n.Column)
	if !ok || n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0 {
		return 0, 0, false
	}
	if n.Anchor != "" {
		rest, found := strings.CutPrefix(t.text[start:], "&"+n.Anchor)
		if !found {
			return 0, 0, false
		}
		start += len(n.Anchor) + 1 + len(rest) - len(strings.TrimLeft(rest, " \t"))
	}
	switch {
	case n.Kind == yaml.ScalarNode:
		end, ok = t.scalarEnd(n, start)
	case n.Style&yaml.FlowStyle != 0 || start < len(t.text) && strings.IndexByte("[{", t.text[start]) >= 0:
		end, ok = t.flowEnd(start)
	case len(n.Content) == 0:
		return 0, 0, false
	default:
		last := n.Content[len(n.Content)-1]
		_, end, ok = t.Span(last)
		if !ok && n.Kind == yaml.MappingNode && empty(last) {
			_, end, ok = t.colon(n.Content[len(n.Content)-2])
		}
	}
	return start, end, ok && end >= start
}

// empty reports whether a value is missing.
func empty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Value == "" && n.Style == 0 && n.Anchor == ""
}

// colon returns the start of the key of a pair, and the end of its colon.
func (t *Text) colon(key *yaml.Node) (start, end int, ok bool) {
	start, end, ok = t.Range(key)
	if !ok {
		return 0, 0, false
	}
	for end < len(t.text) && (t.text[end] == ' ' || t.text[end] == '\t') {
		end++
	}
	if end >= len(t.text) || t.text[end] != ':' {
		return 0, 0, false
	}
	return start, end + 1, true
}

func (t *Text) scalarEnd(n *yaml.Node, start int) (end int, ok bool) {
	rest := t.text[start:]
	switch {
	case empty(n):
		return 0, false
	case strings.HasPrefix(rest, `"`):
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return start + i + 1, true
			}
		}
		return 0, false
	case strings.HasPrefix(rest, "'"):
		for i := 1; i < len(rest); i++ {
			if rest[i] == '\'' {
				if i+1 < len(rest) && rest[i+1] == '\'' {
					i++
					continue
				}
				return start + i + 1, true
			}
		}
		return 0, false
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return t.blockEnd(start), true
	case strings.HasPrefix(rest, n.Value):
		return start + len(n.Value), true
	}
	return t.foldedEnd(n.Value, start)
}

// blockEnd returns the end of a scalar after | or >: after the last line that is indented more than the line on
// which the scalar begins, or than the list item that contains it.
func (t *Text) blockEnd(start int) int {
	line, _ := t.Place(start)
	first := t.line(line)
	indent := len(first) - len(strings.TrimLeft(first, " "))
	for strings.HasPrefix(first[indent:], "- ") && indent+2 <= len(first) && strings.Contains(first[indent+2:], ":") {
		indent += 2
	}
	end := t.lines[line-1] + len(first)
	for line++; line <= len(t.lines); line++ {
		l := t.line(line)
		body := strings.TrimLeft(l, " ")
		if strings.TrimSpace(body) == "" {
			continue
		}
		if len(l)-len(body) <= indent {
			break
		}
		end = t.lines[line-1] + len(l)
	}
	return end
}

// line returns a line without its line break.
func (t *Text) line(n int) string {
	end := len(t.text)
	if n < len(t.lines) {
		end = t.lines[n]
	}
	return strings.TrimRight(t.text[t.lines[n-1]:end], "\r\n\u0085\u2028\u2029")
}

// foldedEnd returns the end of a plain scalar over several lines, whose line breaks are blanks in
// the value.
func (t *Text) foldedEnd(value string, start int) (end int, ok bool) {
	at := start
	for _, word := range strings.FieldsFunc(value, unicode.IsSpace) {
		for at < len(t.text) && at > start && strings.ContainsRune(" \t\r\n", rune(t.text[at])) {
			at++
		}
		if !strings.HasPrefix(t.text[at:], word) {
			return 0, false
		}
		at += len(word)
	}
	return at, at > start
}

// flowEnd returns the end of a value that begins with a bracket or a brace.
func (t *Text) flowEnd(start int) (end int, ok bool) {
	depth := 0
	for i := start; i < len(t.text); i++ {
		switch c := t.text[i]; c {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return i + 1, true
			}
		case '"', '\'':
			if !strings.ContainsRune(" \t\r\n[{,:", rune(t.text[i-1])) {
				continue // a quote within plain text
			}
			quoted, ok := t.scalarEnd(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}, i)
			if !ok {
				return 0, false
			}
			i = quoted - 1
		case '#':
			if !strings.ContainsRune(" \t\r\n", rune(t.text[i-1])) {
				continue
			}
			for i < len(t.text) && t.text[i] != '\n' {
				i++
			}
		}
	}
	return 0, false
}
