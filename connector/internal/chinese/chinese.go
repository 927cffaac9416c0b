// Package chinese translates the errors of this module, of the standard library and of the system from English
// to Chinese.
//
// Errors are nested texts, built by fmt.Errorf and by methods on the way up through packages that know nothing of
// languages. Therefore the finished text is translated: texts and formats that a table has, joined by ": ", "; " and
// line ends. All other texts, such as the reason that a server gives, stay as they are.
package chinese

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// most is the length up to which a text is translated; longer texts consist mostly of data from outside.
const most = 4 << 10

// mostLooks bounds the work for one text, whatever it contains.
const mostLooks = 5000

// Of returns the text of an error in Chinese, as far as its parts are known.
func Of(text string) string {
	if len(text) > most {
		return text
	}
	t := translation{make(map[string]string), mostLooks}
	zh, _ := t.known(text)
	return zh
}

// A pair is a format of fmt and its Chinese, in which each verb is %s or, in another order, %[1]s.
type pair struct{ en, zh string }

// A pattern is a format by which texts are recognised.
type pattern struct {
	literals []string // one more than there are verbs
	verbs    []byte
	zh       string
	size     int  // total length of the literals
	first    bool // tried before the text is divided
}

var verb = regexp.MustCompile(`%[-+#0-9.]*[a-zA-Z%]`)

// tables holds the pairs without and with verbs. If several patterns fit a text, the one with the longest
// literals wins.
var tables = sync.OnceValues(func() (map[string]string, []pattern) {
	plain := systemTexts()
	var patterns []pattern
	for _, table := range [][]pair{packetTexts, clientTexts, storeTexts, transportTexts, connectorTexts, commandTexts, streamTexts, libraryTexts} {
		for _, p := range table {
			if c := patternOf(p); len(c.verbs) > 0 {
				patterns = append(patterns, c)
			} else {
				plain[c.literals[0]] = p.zh
			}
		}
	}
	slices.SortStableFunc(patterns, func(a, b pattern) int { return cmp.Compare(b.size, a.size) })
	return plain, patterns
})

func patternOf(p pair) pattern {
	c := pattern{zh: p.zh}
	literal, from := "", 0
	for _, at := range verb.FindAllStringIndex(p.en, -1) {
		literal += p.en[from:at[0]]
		from = at[1]
		if v := p.en[from-1]; v == '%' {
			literal += "%"
		} else {
			c.literals, c.verbs, literal = append(c.literals, literal), append(c.verbs, v), ""
		}
	}
	c.literals = append(c.literals, literal+p.en[from:])
	for _, l := range c.literals {
		c.size += len(l)
		c.first = c.first || strings.Contains(l, ": ") || strings.Contains(l, "; ")
	}
	c.first = c.first || c.literals[0] != ""
	return c
}

// values returns the parts of a text that match the verbs of the pattern.
func (t *translation) values(c *pattern, text string) ([]string, bool) {
	rest, ok := strings.CutPrefix(text, c.literals[0])
	if !ok {
		return nil, false
	}
	for _, l := range c.literals[1:] {
		if !strings.Contains(rest, l) {
			return nil, false
		}
	}
	return t.fit(rest, c.literals[1:], c.verbs)
}

// fit assigns each verb the shortest text with which the others fit, too.
func (t *translation) fit(text string, literals []string, verbs []byte) ([]string, bool) {
	if t.left--; len(verbs) == 0 || t.left < 0 {
		return nil, text == "" && len(verbs) == 0
	}
	for at := 0; at <= len(text); at++ {
		switch i := strings.Index(text[at:], literals[0]); {
		case i < 0:
			return nil, false
		case len(literals) == 1 && literals[0] == "":
			at = len(text)
		default:
			at += i
		}
		if t.left--; t.left < 0 {
			return nil, false
		}
		if !allowed(verbs[0], text[:at]) {
			continue
		}
		if others, ok := t.fit(text[at+len(literals[0]):], literals[1:], verbs[1:]); ok {
			return append([]string{text[:at]}, others...), true
		}
	}
	return nil, false
}

var number = regexp.MustCompile(`^-?[0-9]+$`)

func allowed(verb byte, value string) bool {
	switch verb {
	case 'd':
		return number.MatchString(value)
	case 'q':
		return len(value) > 1 && (value[0] == '"' && value[len(value)-1] == '"' && ends(value) == len(value) || value[0] == '`' || value[0] == '\'')
	}
	return value != ""
}

// ends returns the offset at which the quoted text at the start of s ends.
func ends(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// packages are the package names at the start of texts, which the Chinese texts omit.
var packages = []string{
	"client: ", "session: ", "packets: ", "connector: ", "config: ", "ws: ", "ui: ", "capture: ", "deadletters: ",
	"yamltext: ", "jetstream: ", "tls: ", "nats: ", "syscall: ",
}

// A cite is the statement or section cited at the end of a reason.
var cite = regexp.MustCompile(`^(.*\S) (\[MQTT-[0-9.]+-[0-9]+\]|\((?:section|table) [0-9.]+\)|\(RFC [0-9]+\))$`)

// A translation is one call of Of. done has the texts looked at so far, and left is how many more
// may be.
type translation struct {
	done map[string]string
	left int
}

// known returns a text in Chinese; ok is false if no part of it is known.
func (t *translation) known(text string) (zh string, ok bool) {
	if zh, seen := t.done[text]; seen {
		return zh, zh != text
	}
	t.done[text] = text
	if t.left--; t.left < 0 {
		return text, false
	}
	zh = t.find(text)
	t.done[text] = zh
	return zh, zh != text
}

func (t *translation) find(text string) string {
	plain, patterns := tables()
	if zh, ok := plain[text]; ok {
		return zh
	}
	for _, name := range packages {
		if rest, ok := strings.CutPrefix(text, name); ok {
			if zh, ok := t.known(rest); ok {
				return zh
			}
			return text
		}
	}
	if zh, ok := t.pattern(text, patterns, true); ok {
		return zh
	}
	if parts := cite.FindStringSubmatch(text); parts != nil {
		if zh, ok := t.known(parts[1]); ok {
			where := strings.NewReplacer("(section ", "（", "(table ", "（表 ", "(RFC", "（RFC", ")", "）").Replace(parts[2])
			if strings.HasPrefix(parts[2], "(section") {
				where = strings.TrimSuffix(where, "）") + " 节）"
			}
			if where == parts[2] {
				where = " " + where
			}
			return zh + where
		}
	}
	for _, by := range []struct{ en, zh string }{{"\n", "\n"}, {"; ", "；"}, {": ", "："}} {
		if zh, ok := t.joined(text, by.en, by.zh); ok {
			return zh
		}
	}
	if i := strings.LastIndex(text, " ("); i > 0 && strings.HasSuffix(text, ")") {
		outside, ok := t.known(text[:i])
		inside, also := t.known(text[i+2 : len(text)-1])
		if ok || also {
			return outside + "（" + inside + "）"
		}
	}
	zh, _ := t.pattern(text, patterns, false)
	return zh
}

// pattern translates a text that matches a pattern. A pattern that begins with a verb and has no separator would
// match any text with the right end, so it is tried only after the text was divided.
func (t *translation) pattern(text string, patterns []pattern, first bool) (string, bool) {
	for i := range patterns {
		p := &patterns[i]
		if p.first != first {
			continue
		}
		values, ok := t.values(p, text)
		if !ok {
			continue
		}
		args := make([]any, len(values))
		for j, v := range values {
			if p.verbs[j] != 'q' {
				v, _ = t.known(v)
			}
			args[j] = v
		}
		return fmt.Sprintf(p.zh, args...), true
	}
	return text, false
}

// joined translates the two sides of a separator, at least one of which must be known.
func (t *translation) joined(text, en, zh string) (string, bool) {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			i += ends(text[i:]) - 1
		case text[i] == '(' && strings.Contains(text[i:], ")"):
			i += strings.IndexByte(text[i:], ')')
		case strings.HasPrefix(text[i:], en):
			left, ok := t.known(text[:i])
			right, also := t.known(text[i+len(en):])
			if ok || also {
				return left + zh + right, true
			}
		}
	}
	return "", false
}
