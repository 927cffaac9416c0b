package explain

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// A HexError reports a text that is not a byte in hexadecimal.
type HexError struct {
	Line int // from 1
	Text string
}

func (e *HexError) Error() string {
	return fmt.Sprintf("explain: line %d: %q is not a hexadecimal byte", e.Line, e.Text)
}

// Hex reads bytes in hexadecimal in the usual notations: with or without blanks, commas, colons or
// hyphens between them, with 0x or \x before them, in brackets or braces, or as printed by hexdump -C,
// xxd and Wireshark, with offsets before and characters after them.
func Hex(text string) ([]byte, error) {
	var b []byte
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := dumpLine(line, len(b)); ok {
			b = append(b, rest...)
			continue
		}
		for _, word := range strings.FieldsFunc(line, between) {
			bytes, err := hexWord(word)
			if err != nil {
				return nil, &HexError{number, clipped(word)}
			}
			b = append(b, bytes...)
		}
	}
	return b, nil
}

// clipped returns the beginning of a text.
func clipped(s string) string {
	if len(s) > 24 {
		return strings.ToValidUTF8(s[:24], "") + "…"
	}
	return s
}

// between reports whether a character is a separator between bytes.
func between(r rune) bool { return strings.ContainsRune(" \t\v\f,;:-_|[](){}\"'`\u00a0\ufeff", r) }

// hexWord reads bytes with nothing between them except 0x and \x.
func hexWord(word string) ([]byte, error) {
	word = strings.NewReplacer("0x", "", "0X", "", `\x`, "", `\X`, "").Replace(word)
	if word == "byte" { // from []byte{…}
		return nil, nil
	}
	if len(word) == 1 {
		word = "0" + word
	}
	return hex.DecodeString(word)
}

// dumpLine reads a line of a hex dump, if it begins with the expected offset: at least four digits,
// followed by a colon or two blanks. A line with only the offset ends a dump.
func dumpLine(line string, at int) ([]byte, bool) {
	line = strings.TrimLeft(line, " \t")
	digits := strings.IndexFunc(line, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) })
	if digits < 0 {
		digits = len(line)
	}
	rest := line[digits:]
	if digits < 4 || digits > 16 || rest != "" && !strings.HasPrefix(rest, ":") && !strings.HasPrefix(rest, "  ") && !strings.HasPrefix(rest, "\t") {
		return nil, false
	}
	offset, err := strconv.ParseUint(line[:digits], 16, 64)
	if err != nil || offset != uint64(at) || rest == "" && at == 0 {
		return nil, false
	}
	rest = strings.TrimPrefix(rest, ":")
	var b []byte
	for first := true; len(b) < 16; first = false {
		word := strings.TrimLeft(rest, " \t")
		// Two blanks precede the text column; hexdump -C also has two after the eighth byte.
		if blanks := len(rest) - len(word); word == "" || word[0] == '|' || !first && blanks > 1 && len(b) != 8 {
			break
		}
		word, _, _ = strings.Cut(word, " ")
		some, err := hex.DecodeString(word)
		if err != nil || len(b)+len(some) > 16 {
			break
		}
		rest = strings.TrimLeft(rest, " \t")[len(word):]
		b = append(b, some...)
	}
	return b, true
}
