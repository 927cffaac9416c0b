package connector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A template is text with ${payload.path}, ${attribute.name} and ${variable.name} in it.
// The payload is read as JSON.
type template struct {
	text  []string // one more than refs
	refs  []reference
	plain string // the whole text, if there are no references
}

// A templateError says why a text is no template.
type templateError struct {
	kind string // unclosed, field or unknown
	expr string // what is wrong; of unclosed, the whole text
	root string // of field
}

func (e *templateError) Error() string {
	switch e.kind {
	case "unclosed":
		return fmt.Sprintf("%q has \"${\" without \"}\"", e.expr)
	case "field":
		return fmt.Sprintf("${%s} names no field, as in ${%s.name}", e.expr, e.root)
	}
	return fmt.Sprintf("${%s} is none of ${payload.path}, ${attribute.name}, ${variable.name}", e.expr)
}

type reference struct {
	root string // payload, attribute or variable
	path []string
}

func parseTemplate(s string) (*template, error) {
	t := &template{plain: s}
	rest := s
	for {
		before, after, ok := strings.Cut(rest, "${")
		t.text = append(t.text, before)
		if !ok {
			return t, nil
		}
		expr, tail, ok := strings.Cut(after, "}")
		if !ok {
			return nil, &templateError{kind: "unclosed", expr: s}
		}
		path := strings.Split(strings.TrimSpace(expr), ".")
		switch path[0] {
		case "payload":
		case "attribute", "variable":
			if len(path) < 2 {
				return nil, &templateError{kind: "field", expr: expr, root: path[0]}
			}
		default:
			return nil, &templateError{kind: "unknown", expr: expr}
		}
		t.refs = append(t.refs, reference{path[0], path[1:]})
		rest = tail
	}
}

// constant tells whether the text is the same for every message.
func (t *template) constant() bool { return len(t.refs) == 0 }

func (t *template) eval(m *Message) (string, error) {
	if t.constant() {
		return t.plain, nil
	}
	var b strings.Builder
	for i, text := range t.text {
		b.WriteString(text)
		if i < len(t.refs) {
			v, err := t.refs[i].eval(m)
			if err != nil {
				return "", err
			}
			b.WriteString(v)
		}
	}
	return b.String(), nil
}

func (r *reference) eval(m *Message) (string, error) {
	var v any
	switch r.root {
	case "payload":
		if len(r.path) == 0 {
			return string(m.Payload.Blob), nil
		}
		d := json.NewDecoder(strings.NewReader(string(m.Payload.Blob)))
		d.UseNumber() // an identifier of 20 digits stays what it is
		if err := d.Decode(&v); err != nil {
			return "", fmt.Errorf("the payload is no JSON: %w", err)
		}
		if _, err := d.Token(); err != io.EOF {
			return "", errors.New("the payload is no JSON: something follows the value")
		}
	case "attribute":
		v = m.Attribute
	case "variable":
		v = m.Variable
	}
	for i, name := range r.path {
		fields, ok := v.(map[string]any)
		if ok {
			v, ok = fields[name]
		}
		if !ok {
			return "", fmt.Errorf("there is no %s.%s", r.root, strings.Join(r.path[:i+1], "."))
		}
	}
	switch v := v.(type) {
	case map[string]any, []any:
		b, err := json.Marshal(v)
		return string(b), err
	case nil:
		return "", fmt.Errorf("%s.%s is null", r.root, strings.Join(r.path, "."))
	case []byte:
		return string(v), nil
	}
	return fmt.Sprint(v), nil
}
