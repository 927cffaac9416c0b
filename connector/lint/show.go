package lint

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown is how many characters of one text a finding shows.
const maxShown = 200

// Show returns text from a file in the form for findings: control characters, invalid UTF-8, and
// characters that are invisible or change the writing direction are escaped, as in \n, \xff or
// \u202e, and long text is truncated.
func Show(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	n := 0
	for i := 0; i < len(s); {
		if n++; n > maxShown {
			b.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case Visible(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += size
	}
	return b.String()
}

// Visible reports whether a character is printable on its own, or is a space.
func Visible(r rune) bool {
	return r == ' ' || unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

func plain(s string) bool {
	if len(s) > maxShown {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func shown(arg any, comma string) string {
	switch a := arg.(type) {
	case string:
		return Show(a)
	case []string:
		parts := make([]string, len(a))
		for i, s := range a {
			parts[i] = Show(s)
		}
		return strings.Join(parts, comma)
	}
	return fmt.Sprint(arg)
}

// fill replaces {1}, {2} and so on in a text by arguments, and {key} by names. {{ is a brace.
// Arguments are not expanded again.
func fill(text string, args []any, comma string, name func(key string) string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if strings.HasPrefix(rest, "{") {
			b.WriteByte('{')
			text = rest[1:]
			continue
		}
		key, after, _ := strings.Cut(rest, "}")
		if i, err := strconv.Atoi(key); err == nil {
			if i < 1 || i > len(args) {
				panic("lint: no argument " + key + " for " + text)
			}
			b.WriteString(shown(args[i-1], comma))
		} else {
			b.WriteString(Show(name(key)))
		}
		text = after
	}
}
