package lint

import "strings"

// Fold normalises a key or choice for comparison: it ignores case, spaces, dashes and underscores,
// and replaces full-width characters by ASCII.
func Fold(s string) string {
	return strings.Map(func(r rune) rune {
		if '！' <= r && r <= '～' {
			r -= '！' - '!'
		}
		switch r {
		case ' ', '\t', '\u00a0', '\u3000', '-', '_':
			return -1
		case '、':
			return ','
		}
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
