package terminal

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector/lint"
)

// EscapeText escapes everything but visible characters, line ends and tabs, for example as \x1b, \u202e, or \xff for a byte
// that is not UTF-8. It returns b itself if there is nothing to escape.
func EscapeText(b []byte) []byte { return escape(b, true) }

// EscapeLine is like EscapeText, but also escapes line ends and tabs.
func EscapeLine(s string) string { return string(escape([]byte(s), false)) }

func escape(b []byte, lines bool) []byte {
	var out bytes.Buffer
	from := 0 // where the bytes not yet copied begin
	for i := 0; i < len(b); {
		if c := b[i]; ' ' <= c && c <= '~' || lines && (c == '\n' || c == '\t') {
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r >= utf8.RuneSelf && lint.Visible(r) && !(r == utf8.RuneError && size == 1) {
			i += size
			continue
		}
		out.Write(b[from:i])
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&out, `\x%02x`, b[i])
		} else {
			q := strconv.QuoteRuneToASCII(r)
			out.WriteString(q[1 : len(q)-1])
		}
		i += size
		from = i
	}
	if from == 0 {
		return b
	}
	out.Write(b[from:])
	return out.Bytes()
}

// EscapeJSON does the same for JSON, using its own escapes, so that it remains the same JSON. b
// must be UTF-8.
func EscapeJSON(b []byte) []byte {
	var out []byte
	from := 0
	for i := 0; i < len(b); {
		if c := b[i]; c < utf8.RuneSelf && c != 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if !lint.Visible(r) {
			out = append(out, b[from:i]...)
			for _, unit := range utf16Of(r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
			from = i + size
		}
		i += size
	}
	if from == 0 {
		return b
	}
	return append(out, b[from:]...)
}
