package config

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/yamltext"
	"go.yaml.in/yaml/v3"
)

// A Document is a configuration with its text, for programs that show and change it.
type Document struct {
	// Config is the configuration, or nil if it has errors or there are references in Withheld.
	Config *connector.Config

	// Findings are all errors and warnings, in the order of the text.
	Findings []connector.Finding

	// References are the files, variables and commands that the configuration names. Withheld are
	// those of them that the function may of [Read] excluded.
	References, Withheld []Reference

	// Values is the root of the values in the text, or nil if the text cannot be parsed.
	Values *Value

	// ReadOnly is the reason why Set and Rename cannot change the document: "json", "anchors" or
	// "unreadable". It is empty if they can.
	ReadOnly string

	r    *reader
	text []byte
}

// A Value is a value in the text of a document.
type Value struct {
	Key    string  `json:"key"`              // the key of the schema, a name chosen by the user, or the index in a list
	Word   string  `json:"word,omitempty"`   // the key as written
	Kind   string  `json:"kind"`             // "text", "object", "list" or "null"
	Text   string  `json:"text,omitempty"`   // the text, without quotes
	Line   int     `json:"line"`             // where the value starts, from 1
	Values []Value `json:"values,omitempty"` // the members of an object or list
}

// ErrReadOnly: a value cannot be changed without changing others.
var ErrReadOnly = errors.New("config: the value cannot be changed alone: edit the text")

// An entry is a member of an object or a list.
type entry struct {
	key  string // of the schema
	path string
	pair
}

// Read parses a configuration as [Parse] does, and keeps what is needed to change it. Read examines
// a file, variable or command that the configuration names only if may returns true for it, or may
// is nil. It never runs a command.
func Read(text []byte, folder string, may func(Reference) bool) *Document {
	r := newReader(folder)
	r.may = may
	d := &Document{r: r, text: text}
	d.Config, d.Findings, _ = r.parse(text)
	d.References, d.Withheld = r.references, r.withheld
	if len(d.Withheld) > 0 {
		d.Config = nil
	}
	switch {
	case r.top == nil && len(strings.TrimSpace(withoutComments(text))) > 0:
		d.ReadOnly = "unreadable"
	case r.top == nil:
	case json.Valid(text):
		d.ReadOnly = "json"
	case shares(r.top):
		d.ReadOnly = "anchors"
	}
	if r.top != nil {
		d.Values = r.value("", "", pair{value: r.top})
	}
	return d
}

// withoutComments removes lines that contain only a comment.
func withoutComments(text []byte) string {
	lines := strings.Split(string(text), "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "#") }), "\n")
}

// shares reports whether a value occurs in several places of a document, by an alias or merge.
func shares(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" || slices.ContainsFunc(n.Content, shares)
}

// value returns the value at a path.
func (r *reader) value(path, key string, p pair) *Value {
	n := resolve(p.value)
	v := &Value{Key: key, Kind: "text", Text: n.Value, Line: p.value.Line}
	if p.key != nil && p.key.Value != key {
		v.Word = p.key.Value
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		v.Kind, v.Text = "null", ""
	case n.Kind == yaml.MappingNode:
		v.Kind = "object"
	case n.Kind == yaml.SequenceNode:
		v.Kind = "list"
	}
	for _, e := range r.below[path] {
		v.Values = append(v.Values, *r.value(e.path, e.key, e.pair))
	}
	if len(r.below[path]) > 0 || path == "" {
		return v
	}
	switch n.Kind { // {file: PATH} and the like
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content) && n.Content[i].Kind == yaml.ScalarNode; i += 2 {
			v.Values = append(v.Values, *r.value("\x00", n.Content[i].Value, pair{value: n.Content[i+1]}))
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			v.Values = append(v.Values, *r.value("\x00", "", pair{value: item}))
		}
	}
	return v
}

// Set returns the text with the value at path replaced or added. The path consists of keys of the
// schema, names and list indexes. The value is JSON; null removes the existing value. Only the
// lines of the value change. If that is impossible, the error is [ErrReadOnly].
func (d *Document) Set(path []string, value json.RawMessage) ([]byte, error) {
	v, err := yamltext.FromJSON(value)
	if err != nil || len(path) == 0 {
		return nil, errors.Join(ErrReadOnly, err)
	}
	return d.change(path, func(raw, before []string) ([]byte, error) {
		if v == nil {
			return yamltext.Remove(d.text, raw)
		}
		return yamltext.Set(d.text, raw, v, before)
	})
}

// Rename returns the text with another name for the consumer, producer, connection or header at
// path.
func (d *Document) Rename(path []string, name string) ([]byte, error) {
	return d.change(path, func(raw, _ []string) ([]byte, error) { return yamltext.Rename(d.text, raw, name) })
}

func (d *Document) change(path []string, edit func(raw, before []string) ([]byte, error)) ([]byte, error) {
	if d.ReadOnly != "" {
		return nil, ErrReadOnly
	}
	raw, before := d.raw(path)
	out, err := edit(raw, before)
	if err != nil {
		return nil, ErrReadOnly
	}
	return out, nil
}

// raw returns a path with the keys as written in the text, and the keys that must precede a value
// that does not exist yet.
func (d *Document) raw(path []string) (raw, before []string) {
	at := ""
	for i, key := range path {
		entries := d.r.below[at]
		j := slices.IndexFunc(entries, func(e entry) bool { return e.key == key })
		if j >= 0 && entries[j].pair.key == nil {
			raw, at = append(raw, key), entries[j].path
			continue
		}
		if j >= 0 {
			raw, at = append(append(raw, entries[j].within...), entries[j].pair.key.Value), entries[j].path
			continue
		}
		if len(entries) > 0 {
			raw = append(raw, entries[0].within...)
			order := orderOf(path[:i])
			for _, e := range entries {
				if e.pair.key != nil && (order == nil || slices.Index(order, e.key) < slices.Index(order, key)) {
					before = append(before, e.pair.key.Value)
				}
			}
		}
		for k, missing := range path[i:] {
			if slices.Contains(orderOf(path[:i+k]), missing) {
				missing = d.r.word(missing)
			}
			raw = append(raw, missing)
		}
		break
	}
	return raw, before
}

// orderOf returns the keys of an object of the schema, in order, or nil if its keys are names.
func orderOf(path []string) []string {
	var fields []field
	section := func(rest []string) []field {
		switch {
		case len(rest) == 0:
			return sections(new(connector.General), new(connector.Advanced), new(connector.Extension))
		case len(rest) == 1 && rest[0] == "general":
			return general(new(connector.General))
		case len(rest) == 1 && rest[0] == "advanced":
			return advanced(new(connector.Advanced))
		case len(rest) == 1 && rest[0] == "extension":
			return extension(new(connector.Extension))
		}
		return nil
	}
	switch {
	case len(path) == 0:
		fields = root(new(connector.Config))
	case path[0] == "connector":
		fields = section(path[1:])
	case path[0] == "connections" && len(path) > 1:
		fields = section(path[2:])
	case path[0] == "consumers" && len(path) == 2:
		fields = consumer(new(connector.ConsumerParams))
	case path[0] == "consumers" && len(path) == 3 && path[2] == "on_failure":
		fields = onFailure(new(connector.OnFailure))
	case path[0] == "producers" && len(path) == 2:
		fields = producer(new(connector.ProducerParams))
	}
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	return keys
}
