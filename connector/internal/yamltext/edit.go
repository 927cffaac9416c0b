package yamltext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrShape means that the value cannot be changed alone, because an anchor shares it, or because its bytes cannot
// be separated from those around it.
var ErrShape = errors.New("yamltext: the value cannot be changed alone")

// An Object is an object in a value that Set writes, with its keys in order.
type Object []Member

// A Member is a key of an [Object] and its value.
type Member struct {
	Key   string
	Value any
}

// Set returns text with a value at a path: a string, json.Number, bool, []any or Object. The elements of the path are keys
// as written in the text, and indexes of lists; the index after the last adds an item. Missing parts of the path are created.
// before lists the keys that precede a new key, the nearest last.
func Set(text []byte, path []string, value any, before []string) ([]byte, error) {
	e, err := newEditor(text)
	if err != nil {
		return nil, err
	}
	out, err := e.set(path, value, before)
	if err != nil {
		return nil, err
	}
	return e.verified(out, func(v any) any { return setPlain(v, path, plainOf(value)) })
}

// Remove returns text without the value at a path, its key and the rest of its line.
func Remove(text []byte, path []string) ([]byte, error) {
	e, err := newEditor(text)
	if err != nil {
		return nil, err
	}
	out, err := e.remove(path)
	if err != nil {
		return nil, err
	}
	return e.verified(out, func(v any) any { return removePlain(v, path) })
}

// Rename returns text with another key for the value at a path.
func Rename(text []byte, path []string, name string) ([]byte, error) {
	e, err := newEditor(text)
	if err != nil {
		return nil, err
	}
	way, rest := e.walk(path)
	if len(rest) > 0 || len(way) < 2 || way[len(way)-1].key == nil {
		return nil, ErrShape
	}
	last := way[len(way)-1]
	start, end, ok := e.Range(last.key)
	if !ok {
		return nil, ErrShape
	}
	out := e.replaced(start, end, e.scalar(name, last.key.Style, e.inFlow(way)))
	return e.verified(out, func(v any) any {
		around, key := atPlain(v, path[:len(path)-1]).(map[string]any), path[len(path)-1]
		if _, twice := around[name]; twice {
			return nil
		}
		around[name] = around[key]
		delete(around, key)
		return v
	})
}

type editor struct {
	*Text
	top  *yaml.Node // nil: the text is empty
	step int        // indentation of a level
}

func newEditor(text []byte) (*editor, error) {
	top, err := parse(text)
	if err != nil {
		return nil, err
	}
	e := &editor{Text: New(text), top: top, step: 2}
	if top == nil {
		return e, nil
	}
	for i := 1; i < len(top.Content) && top.Kind == yaml.MappingNode; i += 2 {
		if below := top.Content[i]; below.Kind == yaml.MappingNode && below.Style&yaml.FlowStyle == 0 && below.Column > top.Column {
			e.step = below.Column - top.Column
			break
		}
	}
	return e, nil
}

// parse returns the top node of a document; nil if it holds nothing.
func parse(text []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("yamltext: %w", err)
	}
	if len(doc.Content) == 0 || empty(doc.Content[0]) {
		return nil, nil
	}
	return doc.Content[0], nil
}

// verified returns out if it differs from the document exactly by what change does, and in nothing
// else.
func (e *editor) verified(out string, change func(any) any) ([]byte, error) {
	top, err := parse([]byte(out))
	if err != nil {
		return nil, ErrShape
	}
	var before any = map[string]any{}
	if e.top != nil {
		before = plain(e.top)
	}
	if want := change(before); want == nil || top == nil || !reflect.DeepEqual(plain(top), want) {
		if !(top == nil && reflect.DeepEqual(want, map[string]any{})) {
			return nil, ErrShape
		}
	}
	return []byte(out), nil
}

func (e *editor) replaced(start, end int, with string) string {
	return e.text[:start] + with + e.text[end:]
}

// A stop is a node on the way to a value.
type stop struct {
	key  *yaml.Node // nil for the top level and for items
	node *yaml.Node
}

// walk follows a path as far as values exist, and returns the rest of it.
func (e *editor) walk(path []string) (way []stop, rest []string) {
	if e.top == nil {
		return nil, path
	}
	way = []stop{{node: e.top}}
	for i, name := range path {
		at := way[len(way)-1].node
		next := stop{}
		switch at.Kind {
		case yaml.MappingNode:
			for j := 0; j+1 < len(at.Content); j += 2 {
				if at.Content[j].Value == name {
					next = stop{at.Content[j], at.Content[j+1]}
				}
			}
		case yaml.SequenceNode:
			if j, err := strconv.Atoi(name); err == nil && j >= 0 && j < len(at.Content) {
				next.node = at.Content[j]
			}
		}
		if next.node == nil {
			return way, path[i:]
		}
		way = append(way, next)
	}
	return way, nil
}

// inFlow reports whether the last stop is within brackets or braces.
func (e *editor) inFlow(way []stop) bool {
	return slices.ContainsFunc(way[:max(0, len(way)-1)], func(s stop) bool { return s.node.Style&yaml.FlowStyle != 0 })
}

func (e *editor) set(path []string, value any, before []string) (string, error) {
	way, rest := e.walk(path)
	if way == nil {
		made, ok := nested(rest, value).(Object)
		if !ok || len(made) == 0 {
			return "", ErrShape
		}
		text := e.text
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return text + strings.TrimPrefix(e.block(made, 0), "\n") + "\n", nil
	}
	last := way[len(way)-1]
	switch {
	case len(rest) == 0 && len(way) == 1:
		return "", ErrShape
	case len(rest) == 0:
		return e.replace(way, value)
	case empty(last.node) || last.node.Kind == yaml.ScalarNode && last.node.Tag == "!!null":
		return e.replace(way, nested(rest, value))
	case last.node.Kind == yaml.MappingNode:
		return e.insert(way, rest[0], nested(rest[1:], value), before)
	case last.node.Kind == yaml.SequenceNode && rest[0] == strconv.Itoa(len(last.node.Content)):
		return e.append(way, nested(rest[1:], value))
	}
	return "", ErrShape
}

// nested wraps a value in objects with the keys of a path.
func nested(path []string, value any) any {
	for _, key := range slices.Backward(path) {
		value = Object{{key, value}}
	}
	return value
}

// indentOf returns the column, from 0, of the block that contains the last stop.
func (e *editor) indentOf(way []stop) int {
	for _, s := range slices.Backward(way) {
		if s.key != nil {
			return s.key.Column - 1
		}
	}
	return 0
}

// replace replaces the value of the last stop.
func (e *editor) replace(way []stop, value any) (string, error) {
	last := way[len(way)-1]
	var start, end int
	var ok bool
	if empty(last.node) {
		if last.key == nil {
			return "", ErrShape
		}
		_, start, ok = e.colon(last.key)
		end = start
	} else {
		start, end, ok = e.Range(last.node)
	}
	if !ok {
		return "", ErrShape
	}
	for start > 0 && strings.IndexByte(" \t", e.text[start-1]) >= 0 && last.node.Kind == yaml.ScalarNode { // the new text brings its own blank
		start--
	}
	out := e.value(value, last.node.Style, e.indentOf(way), e.inFlow(way))
	if last.node.Kind != yaml.ScalarNode { // the value is a block, which begins on the line after its key
		if last.key == nil {
			if _, isObject := value.(Object); isObject || e.inFlow(way) {
				return "", ErrShape
			}
		} else if _, colon, ok := e.colon(last.key); ok {
			between := e.text[colon:start]
			if strings.TrimSpace(between) != "" {
				return "", ErrShape // there is a comment between them
			}
			start = colon
		}
	}
	if last.key == nil { // an item: its dash or bracket stays
		if strings.HasPrefix(out, "\n") {
			return "", ErrShape
		}
		if start > 0 && e.text[start-1] == '[' {
			out = strings.TrimPrefix(out, " ")
		}
	}
	return e.replaced(start, end, out), nil
}

// insert adds a key to the last stop.
func (e *editor) insert(way []stop, key string, value any, before []string) (string, error) {
	m := way[len(way)-1].node
	after := -1 // the new key goes after the key with this index
	for i := 0; i < len(m.Content); i += 2 {
		if slices.Contains(before, m.Content[i].Value) {
			after = i
		}
	}
	flow := m.Style&yaml.FlowStyle != 0
	name := e.scalar(key, 0, flow || e.inFlow(way))
	start, end, ok := e.Range(m)
	switch {
	case !ok && !(len(m.Content) > 0 && !flow && m.Anchor == ""):
		return "", ErrShape
	case len(m.Content) == 0 && e.inFlow(way):
		return e.replaced(start, end, "{"+name+":"+e.value(value, 0, 0, true)+"}"), nil
	case len(m.Content) == 0:
		return e.replace(way, Object{{key, value}})
	case flow && after < 0:
		return e.replaced(start+1, start+1, name+":"+e.value(value, 0, 0, true)+", "), nil
	case flow:
		_, at, ok := e.Range(m.Content[after+1])
		if !ok {
			return "", ErrShape
		}
		return e.replaced(at, at, ", "+name+":"+e.value(value, 0, 0, true)), nil
	}
	indent := m.Content[0].Column - 1
	line := strings.Repeat(" ", indent) + name + ":" + e.value(value, 0, indent, false) + "\n"
	if after < 0 {
		at, ok := e.Offset(m.Content[0].Line, 1)
		if !ok {
			return "", ErrShape
		}
		if strings.TrimSpace(e.text[at:at+indent]) == "" {
			return e.replaced(at, at, line), nil
		}
		after = 0 // the first key follows a dash on the same line
	}
	at, ok := e.pairEnd(m.Content[after], m.Content[after+1])
	if !ok {
		return "", ErrShape
	}
	return e.afterLine(at, line), nil
}

// pairEnd returns the end of the value of a key.
func (e *editor) pairEnd(key, value *yaml.Node) (int, bool) {
	if value.Kind == yaml.AliasNode {
		start, ok := e.Offset(value.Line, value.Column)
		return start + len(value.Value) + 1, ok
	}
	if empty(value) {
		_, end, ok := e.colon(key)
		return end, ok
	}
	_, end, ok := e.Span(value)
	return end, ok
}

// afterLine inserts a line after the line that contains a byte.
func (e *editor) afterLine(at int, line string) string {
	n, _ := e.Place(at)
	if n == len(e.lines) { // the last line has no line break
		return e.text + "\n" + line
	}
	return e.replaced(e.lines[n], e.lines[n], line)
}

// append adds an item to the last stop, a list.
func (e *editor) append(way []stop, value any) (string, error) {
	list := way[len(way)-1].node
	start, end, ok := e.Range(list)
	if !ok {
		return "", ErrShape
	}
	if list.Style&yaml.FlowStyle != 0 {
		item := strings.TrimPrefix(e.value(value, 0, 0, true), " ")
		if n := len(list.Content); n > 0 {
			if _, end, ok = e.Range(list.Content[n-1]); !ok {
				return "", ErrShape
			}
			return e.replaced(end, end, ", "+item), nil
		}
		if e.inFlow(way) {
			return e.replaced(start, end, "["+item+"]"), nil
		}
		return e.replace(way, []any{value})
	}
	indent := list.Column - 1
	return e.afterLine(end, strings.Repeat(" ", indent)+e.item(value, indent)+"\n"), nil
}

// remove removes the last stop, and the values around it that become empty.
func (e *editor) remove(path []string) (string, error) {
	way, rest := e.walk(path)
	if len(rest) > 0 || len(way) < 2 {
		return "", ErrShape
	}
	last, around := way[len(way)-1], way[len(way)-2].node
	i := slices.Index(around.Content, last.node)
	first := last.node
	if last.key != nil {
		i, first = i-1, last.key
	}
	width := 1
	if around.Kind == yaml.MappingNode {
		width = 2
	}
	start, ok := e.Offset(first.Line, first.Column)
	end, okEnd := e.pairEnd(first, last.node)
	if last.key == nil && empty(last.node) {
		end, okEnd = start, ok
	}
	if !ok || !okEnd || around.Anchor != "" {
		return "", ErrShape
	}
	if around.Style&yaml.FlowStyle != 0 {
		switch {
		case i+width < len(around.Content): // up to the next item
			if end, ok = e.Offset(around.Content[i+width].Line, around.Content[i+width].Column); !ok {
				return "", ErrShape
			}
		case i > 0:
			if _, start, ok = e.Span(around.Content[i-1]); !ok {
				return "", ErrShape
			}
		}
		return e.replaced(start, end, ""), nil
	}
	if len(around.Content) == width {
		way = way[:len(way)-1]
		if len(way) == 1 {
			return "", ErrShape
		}
		if around.Kind == yaml.SequenceNode {
			return e.replace(way, []any{})
		}
		return e.replace(way, Object{})
	}
	line, _ := e.Place(start)
	from := e.lines[line-1]
	if lead := strings.TrimSpace(e.text[from:start]); lead != "" && !(last.key == nil && lead == "-") {
		return "", ErrShape // something else precedes it on the line
	}
	lastLine, _ := e.Place(end)
	to := len(e.text)
	if lastLine < len(e.lines) {
		to = e.lines[lastLine]
	}
	return e.replaced(from, to, ""), nil
}

// value returns the text after a colon or dash: a blank and a value, or a block on its own lines.
func (e *editor) value(v any, style yaml.Style, indent int, flow bool) string {
	switch v := v.(type) {
	case Object:
		if flow || len(v) == 0 || reference(v) {
			members := make([]string, len(v))
			for i, m := range v {
				members[i] = e.scalar(m.Key, 0, true) + ":" + e.value(m.Value, 0, 0, true)
			}
			return " {" + strings.Join(members, ", ") + "}"
		}
		return e.block(v, indent+e.step)
	case []any:
		if flow || len(v) == 0 {
			items := make([]string, len(v))
			for i, item := range v {
				items[i] = strings.TrimPrefix(e.value(item, 0, 0, true), " ")
			}
			return " [" + strings.Join(items, ", ") + "]"
		}
		var b strings.Builder
		for _, item := range v {
			b.WriteString("\n" + strings.Repeat(" ", indent+e.step) + e.item(item, indent+e.step))
		}
		return b.String()
	case string:
		if !flow && style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 && literal(v) {
			return onLines(v, indent+e.step)
		}
		return " " + e.scalar(v, style, flow)
	}
	return fmt.Sprint(" ", v)
}

// literal reports whether a text can be written unquoted on its own lines, like PEM.
func literal(s string) bool {
	body := strings.TrimSuffix(s, "\n")
	return strings.Contains(body, "\n") && !strings.HasSuffix(body, "\n") && strings.IndexByte(" \t\n", s[0]) < 0 &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && unprintable(r) })
}

func unprintable(r rune) bool {
	return r < ' ' || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfeff
}

// onLines formats a text on its own lines.
func onLines(s string, indent int) string {
	var b strings.Builder
	b.WriteString(" |")
	if !strings.HasSuffix(s, "\n") {
		b.WriteString("-")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		b.WriteString("\n")
		if line != "" {
			b.WriteString(strings.Repeat(" ", indent) + line)
		}
	}
	return b.String()
}

// reference reports whether an object is a reference to a value, such as {file: PATH}, which is
// written on one line.
func reference(o Object) bool {
	return slices.ContainsFunc([]string{"file", "env", "exec", "path"}, func(key string) bool { return o[0].Key == key })
}

// block formats an object on its own lines, each preceded by a line break.
func (e *editor) block(o Object, indent int) string {
	var b strings.Builder
	for _, m := range o {
		b.WriteString("\n" + strings.Repeat(" ", indent) + e.scalar(m.Key, 0, false) + ":" + e.value(m.Value, 0, indent, false))
	}
	return b.String()
}

// item formats an item of a list with its dash.
func (e *editor) item(v any, indent int) string {
	if o, ok := v.(Object); ok && len(o) > 0 && !reference(o) {
		return "-" + " " + strings.TrimLeft(e.block(o, indent+2), "\n ")
	}
	if l, ok := v.([]any); ok {
		return "-" + e.value(l, 0, indent, true)
	}
	return "-" + e.value(v, 0, indent, false)
}

// scalar formats a text, quoted if the one that it replaces was or if it needs to be.
func (e *editor) scalar(s string, style yaml.Style, flow bool) string {
	quotes := style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle)
	if strings.ContainsFunc(s, unprintable) {
		quotes = yaml.DoubleQuotedStyle
	}
	if quotes == 0 && (flow && strings.ContainsAny(s, ",[]{}#:") || s == "") {
		quotes = yaml.DoubleQuotedStyle
	}
	if quotes == yaml.DoubleQuotedStyle {
		var b bytes.Buffer
		j := json.NewEncoder(&b) // a JSON string is also a YAML string
		j.SetEscapeHTML(false)
		j.Encode(s)
		return strings.TrimSuffix(b.String(), "\n")
	}
	out, err := yaml.Marshal(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: quotes})
	if err != nil {
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(string(out), "\n")
}
