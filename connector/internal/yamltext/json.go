package yamltext

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// JSON parses valid JSON into YAML nodes, with their positions.
func JSON(text []byte) *yaml.Node {
	j := &jsonReader{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1, column: 1}
	j.dec.UseNumber()
	return j.value()
}

type jsonReader struct {
	text         []byte
	dec          *json.Decoder
	at           int // byte offset to which line and column belong
	line, column int
}

// next returns the next token, and a node with its position.
func (j *jsonReader) next() (json.Token, *yaml.Node) {
	start := int(j.dec.InputOffset())
	for start < len(j.text) && bytes.IndexByte([]byte(" \t\r\n,:"), j.text[start]) >= 0 {
		start++
	}
	for j.at < start {
		r, size := utf8.DecodeRune(j.text[j.at:])
		j.at += size
		j.column++
		if r == '\n' {
			j.line, j.column = j.line+1, 1
		}
	}
	t, _ := j.dec.Token() // cannot fail: the text is valid
	return t, &yaml.Node{Kind: yaml.ScalarNode, Line: j.line, Column: j.column}
}

func (j *jsonReader) value() *yaml.Node {
	t, n := j.next()
	switch t := t.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if t == '{' {
			n.Kind = yaml.MappingNode
		}
		for j.dec.More() {
			n.Content = append(n.Content, j.value())
		}
		j.next()
	case string:
		n.Tag, n.Value = "!!str", t
	case json.Number:
		n.Tag, n.Value = "!!float", t.String()
	case bool:
		n.Tag, n.Value = "!!bool", "false"
		if t {
			n.Value = "true"
		}
	case nil:
		n.Tag = "!!null"
	}
	return n
}
