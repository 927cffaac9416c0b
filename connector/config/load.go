package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
	"go.yaml.in/yaml/v3"
)

// Load reads a file. The findings are all mistakes and warnings; the error joins what
// makes the configuration unusable: the file cannot be read, or a
// [*connector.ConfigError]. Relative paths in the file are relative to its folder.
func Load(path string) (*connector.Config, []connector.Finding, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	return Parse(text, filepath.Dir(path))
}

// Parse reads a configuration from text; relative paths in it are relative to folder.
func Parse(text []byte, folder string) (*connector.Config, []connector.Finding, error) {
	doc, err := document(text)
	if err != nil {
		return nil, nil, err
	}
	r := &reader{folder: folder, places: make(map[string]*yaml.Node)}
	cfg := new(connector.Config)
	r.object("", doc.Content[0], root(cfg))
	findings := r.findings
	if len(findings) == 0 {
		// Only then: what was not read would be reported as missing.
		findings = cfg.Check()
		r.locate(findings)
	}
	if err := connector.Errors(findings); err != nil {
		return nil, findings, err
	}
	return cfg, findings, nil
}

// document reads the one document of a file.
func document(text []byte) (*yaml.Node, error) {
	if json.Valid(text) {
		text = paired(text)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case err == io.EOF || err == nil && (len(doc.Content) == 0 || doc.Content[0].Tag == "!!null"):
		return nil, errors.New("config: the file is empty")
	case err != nil:
		return nil, notYAML(err)
	}
	if err := d.Decode(&more); err == nil {
		return nil, fmt.Errorf("config: line %d: a second document begins here; write one a file", more.Line)
	} else if err != io.EOF {
		return nil, notYAML(err)
	}
	return &doc, nil
}

// paired writes out the escapes of JSON's strings that the YAML reader does not know:
// surrogate pairs, and a solidus.
func paired(text []byte) []byte {
	return escapes.ReplaceAllFunc(text, func(b []byte) []byte {
		var s string
		if len(b) != len(`\ud83d\ude00`) && b[1] != '/' || json.Unmarshal([]byte(`"`+string(b)+`"`), &s) != nil {
			return b
		}
		return []byte(s)
	})
}

// escapes matches pairs, and every other escape so that none is taken apart.
var escapes = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\.`)

// notYAML says what is wrong with the text, without quoting it: it holds secrets. (An
// anchor that is not there is quoted, and is what a password that begins with '*' looks
// like.)
func notYAML(err error) error {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(s, "anchor") {
		s = "a value that begins with '*' or '&' needs quotes around it"
	}
	return errors.New("config: not YAML or JSON: " + s)
}

// A reader walks a document and notes where everything stands.
type reader struct {
	folder   string
	findings []connector.Finding
	places   map[string]*yaml.Node // by path
}

// A field is a key of an object, the seed's label for it if it has one, and what to do
// with its value.
type field struct {
	key      string
	zh       string
	required bool
	read     func(r *reader, path string, n *yaml.Node)
}

// object reads the fields of an object.
func (r *reader) object(path string, n *yaml.Node, fields []field) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		r.fail("E131", path, n, "is not an object with keys", "不是带键的对象", "write key: value lines", "请按 key: value 填写")
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		j := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value || f.zh != "" && f.zh == key.Value })
		if j < 0 {
			r.unknown(path, key, fields)
			continue
		}
		at := join(path, fields[j].key)
		if seen[fields[j].key] {
			r.fail("E132", at, key, "stands here twice", "重复出现", "keep one", "只保留一个")
			continue
		}
		seen[fields[j].key] = true
		r.places[at] = value
		if value.Tag == "!!null" {
			continue // as if it were not there
		}
		fields[j].read(r, at, value)
	}
	for _, f := range fields {
		if f.required && !seen[f.key] {
			r.fail("E133", join(path, f.key), n, "is missing", "缺失", "add it", "请补充")
		}
	}
}

func (r *reader) unknown(path string, key *yaml.Node, fields []field) {
	var names []string
	for _, f := range fields {
		names = append(names, f.key)
		if f.zh != "" {
			names = append(names, f.zh)
		}
	}
	fix, fixZH := "known keys: "+strings.Join(names, ", "), "可用的键："+strings.Join(names, "、")
	if near := nearest(key.Value, names); near != "" {
		fix, fixZH = "did you mean "+near+"?", "是否指 "+near+"？"
	}
	r.fail("E130", join(path, key.Value), key, "is not a key that is known here", "不是此处可用的键", fix, fixZH)
}

func (r *reader) fail(code, path string, n *yaml.Node, en, zh, fix, fixZH string) {
	f := connector.Finding{Code: code, Path: path, Message: en, MessageZH: zh, Fix: fix, FixZH: fixZH}
	if path == "" {
		f.Path = "the file"
	}
	if n != nil {
		f.Line, f.Column = n.Line, n.Column
	}
	r.findings = append(r.findings, f)
}

// locate adds line and column to findings about values: of the value itself, or of the
// nearest thing around it that is there.
func (r *reader) locate(findings []connector.Finding) {
	for i := range findings {
		path := findings[i].Path
		for path != "" {
			if n := r.places[path]; n != nil {
				findings[i].Line, findings[i].Column = n.Line, n.Column
				break
			}
			path = path[:max(0, strings.LastIndexAny(path, ".["))]
		}
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// nearest returns the name that a mistyped key probably means, or nothing.
func nearest(key string, names []string) string {
	best, least := "", len([]rune(key))/2+1
	for _, name := range names {
		if d := distance(strings.ToLower(key), name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of letters to add, drop or change.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(y)]
}
