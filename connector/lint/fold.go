package lint

import "strings"

// Fold returns a key or a choice without what people write differently: case, blanks,
// dashes, underscores, and letters and signs of the width that Chinese text has.
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
