// Package jsonpath finds values in JSON text by their names. It builds no tree: values are returned
// as they are written, so that no digit of a number is lost, and allocations do not grow with the
// text.
package jsonpath

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A Value is the value at a path.
type Value struct {
	// Raw is the value as it is written, a slice of the text; nil if it does not exist.
	Raw []byte

	// Depth is how many names of the path exist.
	Depth int
}

// Find looks up all paths in one pass. Each is a list of nested object names. If an object has a
// name twice, the last one counts. Find returns an error if the text is not valid JSON.
func Find(text []byte, paths [][]string) ([]Value, error) {
	if !json.Valid(text) {
		var none json.RawMessage
		return nil, json.Unmarshal(text, &none)
	}
	f := &finder{text: text, paths: paths, out: make([]Value, len(paths))}
	all := make([]int, len(paths))
	for i := range all {
		all[i] = i
	}
	f.value(all, 0)
	return f.out, nil
}

// A finder walks a valid text.
type finder struct {
	text  []byte
	at    int
	paths [][]string
	out   []Value
}

func (f *finder) space() {
	for f.at < len(f.text) {
		switch f.text[f.at] {
		case ' ', '\t', '\r', '\n':
			f.at++
		default:
			return
		}
	}
}

// value passes over a value, to which the first depth names of the paths in want lead.
func (f *finder) value(want []int, depth int) {
	f.space()
	start, deeper := f.at, false
	for _, i := range want {
		deeper = deeper || len(f.paths[i]) > depth
	}
	if deeper && f.text[f.at] == '{' {
		f.object(want, depth)
	} else {
		f.skip()
	}
	for _, i := range want {
		f.out[i].Depth = max(f.out[i].Depth, depth)
		if len(f.paths[i]) == depth {
			f.out[i].Raw = f.text[start:f.at]
		}
	}
}

func (f *finder) object(want []int, depth int) {
	f.at++
	for f.space(); f.text[f.at] != '}'; f.space() {
		if f.text[f.at] == ',' {
			f.at++
			f.space()
		}
		start := f.at
		f.skip()
		name := f.text[start:f.at]
		f.space()
		f.at++ // the colon
		var led []int
		for _, i := range want {
			if len(f.paths[i]) > depth && same(name, f.paths[i][depth]) {
				f.out[i] = Value{Depth: depth} // the last of several equal names counts
				led = append(led, i)
			}
		}
		if led == nil {
			f.space()
			f.skip()
		} else {
			f.value(led, depth+1)
		}
	}
	f.at++
}

// same reports whether a raw string, decoded, equals name.
func same(raw []byte, name string) bool {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1:len(raw)-1]) == name
	}
	s, err := unquote(raw)
	return err == nil && s == name
}

// skip passes over a value or a name.
func (f *finder) skip() {
	depth := 0
	for {
		switch f.text[f.at] {
		case '"':
			f.at++
			for f.text[f.at] != '"' {
				if f.text[f.at] == '\\' {
					f.at++
				}
				f.at++
			}
			f.at++
		case '{', '[':
			depth++
			f.at++
		case '}', ']':
			depth--
			f.at++
		case ',', ':', ' ', '\t', '\r', '\n':
			f.at++
		default:
			for f.at < len(f.text) && bytes.IndexByte([]byte(",:]} \t\r\n"), f.text[f.at]) < 0 {
				f.at++
			}
		}
		if depth == 0 {
			return
		}
	}
}

// ErrNull means that a value is null.
var ErrNull = errors.New("is null")

// ErrSurrogate means that a string contains half of a surrogate pair, such as "\ud83d", which no
// text can hold.
var ErrSurrogate = errors.New("holds half of a surrogate pair, which no text can hold")

// Text returns a value as text: the contents of a string, an object or a list as compact JSON, anything else
// as written.
func Text(raw []byte) (string, error) {
	switch raw[0] {
	case '"':
		return unquote(raw)
	case '{', '[':
		var b bytes.Buffer
		b.Grow(len(raw))
		if err := json.Compact(&b, raw); err != nil {
			return "", err
		}
		return b.String(), nil
	case 'n':
		return "", ErrNull
	}
	return string(raw), nil
}

// unquote returns the contents of a valid string. Bytes that are not UTF-8 are kept.
func unquote(raw []byte) (string, error) {
	raw = raw[1 : len(raw)-1]
	first := bytes.IndexByte(raw, '\\')
	if first < 0 {
		return string(raw), nil
	}
	out := append(make([]byte, 0, len(raw)), raw[:first]...)
	for i := first; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := unit(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				if i+6 >= len(raw) || raw[i+1] != '\\' || raw[i+2] != 'u' {
					return "", ErrSurrogate
				}
				if r = utf16.DecodeRune(r, unit(raw[i+3:])); r == utf8.RuneError {
					return "", ErrSurrogate
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default: // a quote, a slash or a backslash
			out = append(out, c)
		}
	}
	return string(out), nil
}

func unit(hex []byte) rune {
	n, _ := strconv.ParseUint(string(hex[:4]), 16, 16) // cannot fail: the text is valid
	return rune(n)
}
