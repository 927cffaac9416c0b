package config

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A place is a line and a column of the text, in characters, from 1.
type place struct{ line, column int }

func (p place) node() *yaml.Node { return &yaml.Node{Line: p.line, Column: p.column} }

// breaks normalises the line breaks of YAML 1.1 (section 5.4).
var breaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

func linesOf(text []byte) []string { return strings.Split(breaks.Replace(string(text)), "\n") }

// placeOf returns the place of a byte. Bytes that are not UTF-8 are counted as GBK, two per
// character.
func placeOf(text []byte, at int) place {
	at = min(at, len(text))
	before := breaks.Replace(string(text[:at])) // The text before at is shorter now, except for the line that contains at
	start := at - (len(before) - strings.LastIndexByte(before, '\n') - 1)
	p := place{1 + strings.Count(before, "\n"), 1}
	for i := start; i < at; p.column++ {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			size = 2
		}
		i += size
	}
	return p
}

// unicodeText returns text as UTF-8 without a byte order mark. ok is false for invalid UTF-16.
func unicodeText(text []byte) (_ []byte, ok bool) {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return text[3:], true
	case bytes.HasPrefix(text, []byte("\xfe\xff")):
		order = binary.BigEndian
	case !bytes.HasPrefix(text, []byte("\xff\xfe")):
		return text, true
	}
	units := make([]uint16, 0, len(text)/2)
	for i := 2; i+1 < len(text); i += 2 {
		units = append(units, order.Uint16(text[i:]))
	}
	out := []byte(string(utf16.Decode(units)))
	return out, len(text)%2 == 0 && !bytes.Contains(out, []byte("\ufffd"))
}

// notUTF8 reports the first place that is not UTF-8 or not text, and what it looks like.
func (r *reader) notUTF8(text []byte) bool {
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		switch {
		case c == utf8.RuneError && size == 1 && gbk(text[i:]):
			r.fail("E128/gbk", "", placeOf(text, i).node())
			return true
		case c == utf8.RuneError && size == 1:
			r.fail("E128/utf8", "", placeOf(text, i).node(), fmt.Sprintf("0x%02X", text[i]))
			return true
		case c == 0 && (i == 1 || i == 0):
			r.fail("E128/utf16", "", placeOf(text, i).node())
			return true
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c >= 0x7f && c <= 0x9f && c != 0x85:
			r.fail("E128/control", "", placeOf(text, i).node(), fmt.Sprintf("U+%04X", c))
			return true
		}
		i += size
	}
	return false
}

// gbk reports whether all bytes that are not ASCII form characters of GB18030, most of them common
// ones: nearly any two bytes are a character of GB18030.
func gbk(text []byte) bool {
	common, rare := 0, 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c < 0x80:
			i++
		case c == 0x80 || c == 0xff || i+1 >= len(text):
			return false
		case c >= 0xa1 && c <= 0xf7 && text[i+1] >= 0xa1 && text[i+1] != 0xff:
			common++
			i += 2
		case text[i+1] >= 0x40 && text[i+1] != 0x7f && text[i+1] != 0xff:
			rare++
			i += 2
		case text[i+1] >= 0x30 && text[i+1] <= 0x39 && i+3 < len(text):
			common++
			i += 4
		default:
			return false
		}
	}
	return common > rare
}

var lineOf = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^line (\d+): `) })

// notYAML reports why text is not valid YAML. The message of the parser is used only in the English
// text. Common errors are searched for in the text itself, because the parser often names another
// line.
func (r *reader) notYAML(text []byte, err error) {
	at := place{1, 1}
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := lineOf().FindStringSubmatch(reason); m != nil {
		at.line, _ = strconv.Atoi(m[1])
		reason = strings.TrimPrefix(reason, m[0])
	}
	if s := nearestSuspect(text, at.line); s != nil {
		r.fail(s.rule, "", s.at.node(), s.args...)
		return
	}
	if strings.Contains(reason, "anchor") || strings.Contains(reason, "alias") {
		r.fail("E128/reference", "", at.node()) // the parser quotes the name, which may be a password that starts with '*'
		return
	}
	r.fail("E128/yaml", "", at.node(), reason)
}

// A suspect is a character that YAML probably does not interpret as intended.
type suspect struct {
	rule string
	at   place
	args []any
}

// signs maps full-width characters to those of YAML.
var signs = map[rune]string{
	'，': ",", '［': "[", '］': "]", '【': "[", '】': "]", '｛': "{", '｝': "}", '“': `"`, '”': `"`, '‘': "'", '’': "'", '＂': `"`, '－': "-", '—': "-", '＃': "#", '、': ",", '；': ",",
}

// nearestSuspect returns the suspect nearest to the line that the parser names, and not far after
// it.
func nearestSuspect(text []byte, line int) *suspect {
	var best *suspect
	for i, l := range linesOf(text) {
		n := i + 1
		if n > line+1 {
			break
		}
		if s := suspectOf(l, n); s != nil {
			best = s
		}
	}
	if best != nil && best.at.line < line-2 && best.rule != "E128/tab" && best.rule != "E128/blank" {
		return nil
	}
	return best
}

var noBlank = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^( *(?:- )?[^\s"'#\[\]{}:]+(?: [^\s"'#\[\]{}:]+)*):([^\s:/].*)?$`)
})

func suspectOf(line string, n int) *suspect {
	line = strings.TrimSuffix(line, "\r")
	body := strings.TrimLeft(line, " ")
	if body == "" || body[0] == '#' {
		return nil
	}
	runes := []rune(line)
	indent := len(line) - len(body)
	switch first := runes[indent]; {
	case first == '\t' && strings.TrimSpace(line) != "":
		return &suspect{"E128/tab", place{n, indent + 1}, nil}
	case first != '\t' && unicode.IsSpace(first):
		return &suspect{"E128/blank", place{n, indent + 1}, []any{codePoint(first)}}
	}
	var quote rune
	key := true // no colon yet
	comma := -1 // place of the first character meant as a comma, or -1
	flow := 0   // number of open brackets
	for i, c := range runes {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			if i == indent || strings.ContainsRune(" [{,:", runes[i-1]) {
				quote = c
			}
		case c == '#' && i > 0 && unicode.IsSpace(runes[i-1]):
			return nil
		case c == ':' && (i+1 == len(runes) || runes[i+1] == ' '):
			if comma >= 0 { // a second colon: the character was meant to end the pair before it
				return &suspect{"E128/sign", place{n, comma + 1}, []any{codePoint(runes[comma]), ","}}
			}
			key = false
		case c == '{' || c == '[':
			flow++
		case c == '}' || c == ']':
			flow--
		case c == ',' && flow > 0:
			key, comma = true, -1
		case c == '：' && key:
			return &suspect{"E128/colon", place{n, i + 1}, []any{codePoint(c)}}
		case signs[c] != "" && (i == indent || strings.ContainsRune(" [{,:", runes[i-1]) || i+1 == len(runes) || strings.ContainsRune(" ]},", runes[i+1])):
			return &suspect{"E128/sign", place{n, i + 1}, []any{codePoint(c), signs[c]}}
		case signs[c] == "," && !key:
			comma = i
		}
	}
	if m := noBlank().FindStringSubmatch(line); m != nil && m[2] != "" {
		return &suspect{"E128/space", place{n, utf8.RuneCountInString(m[1]) + 1}, nil}
	}
	return nil
}

func codePoint(r rune) string {
	if unicode.IsPrint(r) {
		return fmt.Sprintf("“%c” U+%04X", r, r)
	}
	return fmt.Sprintf("U+%04X", r)
}

// looksLikeJSON reports whether a text is probably meant to be JSON, not YAML.
func looksLikeJSON(text []byte) bool {
	rest := bytes.TrimLeft(text, " \t\r\n")
	if len(rest) == 0 || rest[0] != '{' {
		return false
	}
	rest = bytes.TrimLeft(rest[1:], " \t\r\n")
	return len(rest) > 0 && (rest[0] == '"' || rest[0] == '/' || rest[0] == '\'')
}

// jsonFault returns where and why text is not valid JSON, as a rule of lint.
func jsonFault(text []byte) (at int, rule string, args []any) {
	var v any
	err := json.Unmarshal(text, &v)
	var bad *json.SyntaxError
	if !errors.As(err, &bad) {
		return 0, "", nil
	}
	at = max(int(bad.Offset)-1, 0)
	if at >= len(text) || strings.HasPrefix(err.Error(), "unexpected end") {
		return len(text), "E128/json", nil
	}
	before := bytes.TrimRight(text[:at], " \t\r\n")
	switch c := text[at]; {
	case (c == '}' || c == ']') && bytes.HasSuffix(before, []byte(",")):
		return len(before) - 1, "E128/comma", []any{string(c)}
	case c == '/' || c == '#':
		return at, "E128/comment", nil
	case c == '\'':
		return at, "E128/quote", nil
	}
	switch c, _ := utf8.DecodeRune(text[at:]); {
	case c == '：':
		return at, "E128/sign", []any{codePoint(c), ":"}
	case signs[c] != "":
		return at, "E128/sign", []any{codePoint(c), strings.ReplaceAll(signs[c], "'", `"`)}
	case unicode.IsSpace(c):
		return at, "E128/sign", []any{codePoint(c), codePoint(' ')}
	}
	return at, "E128/json", nil
}
