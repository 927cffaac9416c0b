package terminal

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// wide are the characters that take two columns: East Asian Wide and Fullwidth, Unicode annex 11, and
// emoji.
var wide = [][2]rune{
	{0x1100, 0x115f}, {0x231a, 0x231b}, {0x2329, 0x232a}, {0x23e9, 0x23ec}, {0x23f0, 0x23f0}, {0x23f3, 0x23f3},
	{0x25fd, 0x25fe}, {0x2614, 0x2615}, {0x2648, 0x2653}, {0x267f, 0x267f}, {0x2693, 0x2693}, {0x26a1, 0x26a1},
	{0x26aa, 0x26ab}, {0x26bd, 0x26be}, {0x26c4, 0x26c5}, {0x26ce, 0x26ce}, {0x26d4, 0x26d4}, {0x26ea, 0x26ea},
	{0x26f2, 0x26f3}, {0x26f5, 0x26f5}, {0x26fa, 0x26fa}, {0x26fd, 0x26fd}, {0x2705, 0x2705}, {0x270a, 0x270b},
	{0x2728, 0x2728}, {0x274c, 0x274c}, {0x274e, 0x274e}, {0x2753, 0x2755}, {0x2757, 0x2757}, {0x2795, 0x2797},
	{0x27b0, 0x27b0}, {0x27bf, 0x27bf}, {0x2b1b, 0x2b1c}, {0x2b50, 0x2b50}, {0x2b55, 0x2b55}, {0x2e80, 0x303e},
	{0x3041, 0x33ff}, {0x3400, 0x4dbf}, {0x4e00, 0xa4cf}, {0xa960, 0xa97f}, {0xac00, 0xd7a3}, {0xf900, 0xfaff},
	{0xfe10, 0xfe19}, {0xfe30, 0xfe6f}, {0xff01, 0xff60}, {0xffe0, 0xffe6}, {0x16fe0, 0x18cff}, {0x1aff0, 0x1b2ff},
	{0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f18e}, {0x1f191, 0x1f19a}, {0x1f200, 0x1f320}, {0x1f32d, 0x1f335},
	{0x1f337, 0x1f37c}, {0x1f37e, 0x1f393}, {0x1f3a0, 0x1f3ca}, {0x1f3cf, 0x1f3d3}, {0x1f3e0, 0x1f3f0}, {0x1f3f4, 0x1f3f4},
	{0x1f3f8, 0x1f43e}, {0x1f440, 0x1f440}, {0x1f442, 0x1f4fc}, {0x1f4ff, 0x1f53d}, {0x1f54b, 0x1f54e}, {0x1f550, 0x1f567},
	{0x1f57a, 0x1f57a}, {0x1f595, 0x1f596}, {0x1f5a4, 0x1f5a4}, {0x1f5fb, 0x1f64f}, {0x1f680, 0x1f6c5}, {0x1f6cc, 0x1f6cc},
	{0x1f6d0, 0x1f6d2}, {0x1f6d5, 0x1f6df}, {0x1f6eb, 0x1f6ec}, {0x1f6f4, 0x1f6fc}, {0x1f7e0, 0x1f7f0}, {0x1f90c, 0x1f93a},
	{0x1f93c, 0x1f945}, {0x1f947, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
}

// columns returns how many columns a character takes.
func columns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	i := sort.Search(len(wide), func(i int) bool { return wide[i][1] >= r })
	if i < len(wide) && wide[i][0] <= r {
		return 2
	}
	return 1
}

// Columns returns how many columns a line takes.
func Columns(s string) (n int) {
	for _, r := range s {
		n += columns(r)
	}
	return n
}

// Cut returns as much of a line as fits into the given number of columns, ending in … if that is not all.
func Cut(s string, most int) string {
	if Columns(s) <= most {
		return s
	}
	if most <= 0 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n += columns(r); n > most-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// Fold breaks text into lines of at most the given number of columns: at blanks, and between
// Chinese characters, except before punctuation that may not begin a line.
func Fold(s string, most int) []string {
	var lines []string
	var line strings.Builder
	n := 0
	for _, word := range words(s) {
		w := Columns(word)
		if n > 0 && n+Columns(strings.TrimRight(word, " ")) > most {
			lines = append(lines, strings.TrimRight(line.String(), " "))
			line.Reset()
			n = 0
			if word = strings.TrimLeft(word, " "); word == "" {
				continue
			}
			w = Columns(word)
		}
		line.WriteString(word)
		n += w
	}
	return append(lines, strings.TrimRight(line.String(), " "))
}

// notFirst are characters that may not begin a line.
const notFirst = "，。；：、！？）》」』”’…·)],.;:!?%"

// Joint returns what separates two lines that are joined: a blank, but nothing between Chinese
// characters or beside Chinese punctuation.
func Joint(before, after string) string {
	b, _ := utf8.DecodeLastRuneInString(before)
	a, _ := utf8.DecodeRuneInString(after)
	switch {
	case columns(b) == 2 && (columns(a) == 2 || !unicode.Is(unicode.Han, b)):
		return ""
	case columns(a) == 2 && (b == ' ' || !unicode.Is(unicode.Han, a)):
		return ""
	case columns(b) == 2 && strings.ContainsRune(notFirst, a):
		return ""
	}
	return " "
}

// words divides text at the places where a line may end, with blanks at the end of each part.
func words(s string) (out []string) {
	runes := []rune(s)
	from := 0
	for i := 1; i < len(runes); i++ {
		before, r := runes[i-1], runes[i]
		if r == ' ' || strings.ContainsRune(notFirst, r) || strings.ContainsRune("（《「『“‘", before) {
			continue
		}
		if before == ' ' || columns(before) == 2 || columns(r) == 2 {
			out = append(out, string(runes[from:i]))
			from = i
		}
	}
	if from < len(runes) {
		out = append(out, string(runes[from:]))
	}
	return out
}

func utf16Of(r rune) []uint16 { return utf16.Encode([]rune{r}) }
