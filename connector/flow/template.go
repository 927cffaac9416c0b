package flow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector/internal/jsonpath"
	"github.com/mqtt311/mqtt311/packets"
)

// A Template is text with references to a message: ${payload.path}, ${attribute.name} and
// ${variable.name}. The payload is parsed as JSON; values are inserted as they are written in it.
type Template struct {
	text  []string // one more than refs
	refs  []reference
	plain string // the whole text, if there are no references
}

// A TemplateError says why a text is not a valid template.
type TemplateError struct {
	Kind string // "unclosed", "field" or "unknown"
	Expr string // the invalid reference; for "unclosed", the whole text
	Root string // for "field": payload, attribute or variable
}

func (e *TemplateError) Error() string {
	switch e.Kind {
	case "unclosed":
		return fmt.Sprintf("%q has \"${\" without \"}\"", e.Expr)
	case "field":
		return fmt.Sprintf("${%s} names no field, as in ${%s.name}", e.Expr, e.Root)
	}
	return fmt.Sprintf("${%s} is none of ${payload.path}, ${attribute.name}, ${variable.name}", e.Expr)
}

type reference struct {
	root string // payload, attribute or variable
	path []string
}

// ParseTemplate parses a template. The error is a [*TemplateError].
func ParseTemplate(s string) (*Template, error) {
	t := &Template{plain: s}
	rest := s
	for {
		before, after, ok := strings.Cut(rest, "${")
		t.text = append(t.text, before)
		if !ok {
			return t, nil
		}
		expr, tail, ok := strings.Cut(after, "}")
		if !ok {
			return nil, &TemplateError{Kind: "unclosed", Expr: s}
		}
		path := strings.Split(strings.TrimSpace(expr), ".")
		switch path[0] {
		case "payload":
		case "attribute", "variable":
			if len(path) < 2 {
				return nil, &TemplateError{Kind: "field", Expr: expr, Root: path[0]}
			}
		default:
			return nil, &TemplateError{Kind: "unknown", Expr: expr}
		}
		t.refs = append(t.refs, reference{path[0], path[1:]})
		rest = tail
	}
}

// Constant reports whether the template has no references, so that its text is the same for every
// message.
func (t *Template) Constant() bool { return len(t.refs) == 0 }

// Literal returns the text of the template without the references.
func (t *Template) Literal() string { return strings.Join(t.text, "") }

// Text returns the text for a message.
func (t *Template) Text(m *Message) (string, error) { return Evaluate(m, t).Text(t) }

// Full is like Text, but also fails if a reference expands to an empty text. It is for texts that identify messages.
func (t *Template) Full(m *Message) (string, error) {
	return Evaluate(m, t).join(t, func(r *reference, v string) error {
		if v == "" {
			return fmt.Errorf("%s is empty", r)
		}
		return nil
	})
}

// An Evaluation evaluates templates for one message. The payload is parsed only once.
type Evaluation struct {
	m     *Message
	refs  map[*reference]int // those to the payload, as numbers of paths
	paths [][]string
	found []jsonpath.Value // nil before the payload is read
}

// Evaluate returns an Evaluation of templates for a message.
func Evaluate(m *Message, templates ...*Template) *Evaluation {
	e := &Evaluation{m: m}
	for _, t := range templates {
		if t == nil {
			continue
		}
		for i := range t.refs {
			if r := &t.refs[i]; r.root == "payload" && len(r.path) > 0 {
				if e.refs == nil {
					e.refs = make(map[*reference]int)
				}
				e.refs[r] = len(e.paths)
				e.paths = append(e.paths, r.path)
			}
		}
	}
	return e
}

// maxText is more than an MQTT packet can contain.
const maxText = 256 << 20

// Text returns the text of the template for the message.
func (e *Evaluation) Text(t *Template) (string, error) {
	return e.join(t, func(*reference, string) error { return nil })
}

// Topic is like Text, for a Topic Name. Values from the message must not contain characters that
// are invalid in a Topic Name nor, if strict is set, those that section 1.5.3 discourages and for
// which Servers may close the connection.
func (e *Evaluation) Topic(t *Template, strict bool) (string, error) {
	return e.join(t, func(r *reference, v string) error {
		at := strings.IndexAny(v, "\x00+#")
		if !utf8.ValidString(v) {
			return &TopicError{fmt.Sprintf("%s is not UTF-8: %.80q", r, v)}
		}
		if strict && at < 0 {
			at = packets.Discouraged(v)
		}
		if at < 0 {
			return nil
		}
		c, _ := utf8.DecodeRuneInString(v[at:])
		return &TopicError{fmt.Sprintf("%s holds the character U+%04X, which a topic may not have: %.80q", r, c, v)}
	})
}

// A TopicError says which value of a message cannot be part of a Topic Name.
type TopicError struct{ text string }

func (e *TopicError) Error() string { return e.text }

func (e *Evaluation) join(t *Template, check func(r *reference, v string) error) (string, error) {
	if t.Constant() {
		return t.plain, nil
	}
	var b strings.Builder
	for i, text := range t.text {
		b.WriteString(text)
		if i == len(t.refs) {
			break
		}
		v, err := e.value(&t.refs[i])
		if err == nil {
			err = check(&t.refs[i], v)
		}
		if err != nil {
			return "", err
		}
		if b.Len()+len(v) > maxText {
			return "", fmt.Errorf("with %s the text is larger than any packet", &t.refs[i])
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// String returns the reference as written in a template.
func (r *reference) String() string { return "${" + r.name(len(r.path)) + "}" }

// name returns the reference up to a name of its path.
func (r *reference) name(depth int) string {
	return strings.Join(append([]string{r.root}, r.path[:depth]...), ".")
}

func (r *reference) missing(depth int) error {
	return fmt.Errorf("there is no %s", r.name(depth+1))
}

// value returns the value of a reference as text. Numbers are returned as written.
func (e *Evaluation) value(r *reference) (string, error) {
	switch r.root {
	case "payload":
		return e.payload(r)
	case "attribute":
		return r.of(e.m.Attribute)
	}
	return r.of(e.m.Variable)
}

func (e *Evaluation) payload(r *reference) (string, error) {
	if len(r.path) == 0 {
		return string(e.m.Payload.Blob), nil
	}
	if e.found == nil {
		found, err := jsonpath.Find(e.m.Payload.Blob, e.paths)
		if err != nil {
			return "", fmt.Errorf("the payload is no JSON: %w", err)
		}
		e.found = found
	}
	return r.raw(e.found[e.refs[r]], 0)
}

// raw returns the text of a value in JSON, the first names of whose path were found elsewhere.
func (r *reference) raw(v jsonpath.Value, before int) (string, error) {
	if v.Raw == nil {
		return "", r.missing(before + v.Depth)
	}
	s, err := jsonpath.Text(v.Raw)
	if err != nil {
		return "", fmt.Errorf("%s %w", r.name(len(r.path)), err)
	}
	return s, nil
}

// of returns the value at the path in Go values, as text.
func (r *reference) of(fields map[string]any) (string, error) {
	v := any(fields)
	for i, name := range r.path {
		if raw, ok := v.(json.RawMessage); ok {
			found, err := jsonpath.Find(raw, [][]string{r.path[i:]})
			if err != nil {
				return "", fmt.Errorf("%s is no JSON: %w", r.name(i), err)
			}
			return r.raw(found[0], i)
		}
		field, ok := fieldOf(v, name)
		if !ok {
			return "", r.missing(i)
		}
		v = field
	}
	s, err := plain(v)
	if err != nil {
		return "", fmt.Errorf("%s %w", r.name(len(r.path)), err)
	}
	return s, nil
}

// fieldOf returns the value of a key in a map with string keys.
func fieldOf(v any, name string) (any, bool) {
	if m, ok := v.(map[string]any); ok {
		field, ok := m[name]
		return field, ok
	}
	m := reflect.ValueOf(v)
	if m.Kind() != reflect.Map || m.Type().Key().Kind() != reflect.String {
		return nil, false
	}
	field := m.MapIndex(reflect.ValueOf(name).Convert(m.Type().Key()))
	if !field.IsValid() {
		return nil, false
	}
	return field.Interface(), true
}

// plain returns a Go value as text: numbers without an exponent where JSON has none, lists and
// objects as JSON.
func plain(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", jsonpath.ErrNull
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case int:
		return strconv.Itoa(v), nil
	case json.RawMessage:
		if !json.Valid(v) {
			return "", errors.New("is no JSON")
		}
		return jsonpath.Text(bytes.TrimSpace(v))
	case []byte:
		return string(v), nil
	case fmt.Stringer:
		return v.String(), nil
	}
	switch value := reflect.ValueOf(v); value.Kind() {
	case reflect.Float32, reflect.Float64:
		if f := value.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Sprint(v), nil
		}
		b, err := json.Marshal(v)
		return string(b), err
	case reflect.Pointer:
		if value.IsNil() {
			return "", jsonpath.ErrNull
		}
		return plain(value.Elem().Interface())
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Struct:
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return "", fmt.Errorf("cannot be written as JSON: %w", err)
		}
		return strings.TrimSuffix(b.String(), "\n"), nil
	}
	return fmt.Sprint(v), nil
}
