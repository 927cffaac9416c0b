package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
	"go.yaml.in/yaml/v3"
)

// Load reads a file. The findings are all mistakes and warnings in the order of the
// file; the error says why the configuration is unusable: the file cannot be read, or
// the mistakes as a [*connector.ConfigError]. Relative paths in the file are relative to its folder.
func Load(path string) (*connector.Config, []connector.Finding, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	return Parse(text, filepath.Dir(path))
}

// Parse reads a configuration from text; relative paths in it are relative to folder.
func Parse(text []byte, folder string) (*connector.Config, []connector.Finding, error) {
	r := &reader{folder: folder, places: make(map[string]*yaml.Node)}
	cfg := new(connector.Config)
	if top := r.document(text); top != nil {
		r.object("", top, root(cfg))
		checked := cfg.Check()
		r.locate(checked)
		unread := r.findings
		for _, f := range checked {
			if !follows(f, unread) {
				r.findings = append(r.findings, f)
			}
		}
	}
	slices.SortStableFunc(r.findings, func(a, b connector.Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if err := connector.Errors(r.findings); err != nil {
		return nil, r.findings, err
	}
	return cfg, r.findings, nil
}

// document parses the text into its one document; nil after a mistake.
func (r *reader) document(text []byte) *yaml.Node {
	if json.Valid(text) {
		return jsonNode(text) // not all JSON is YAML: tabs, surrogates
	}
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		r.fail("E129", "", &yaml.Node{Line: 1, Column: 1}, "is empty", "为空", "write connector:, consumers: and producers:", "请填写 connector、consumers 和 producers")
		return nil
	case err != nil:
		at := &yaml.Node{Line: 1, Column: 1}
		reason := strings.TrimPrefix(err.Error(), "yaml: ")
		if m := lineOf.FindStringSubmatch(reason); m != nil {
			at.Line, _ = strconv.Atoi(m[1])
			reason = strings.TrimPrefix(reason, m[0])
		}
		if strings.Contains(reason, "anchor") {
			// It quotes the name, and a password that begins with '*' looks like one.
			reason = "a value that begins with '*' or '&' needs quotes around it"
		}
		fix, fixZH := "look at this line and the one above", "请检查该行及上一行"
		if lines := bytes.Split(text, []byte("\n")); at.Line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[at.Line-1], " "), []byte("\t")) {
			fix, fixZH = "indent with spaces: YAML takes no tabs there", "请用空格缩进：YAML 不允许用制表符缩进"
		}
		r.fail("E128", "", at, "is neither YAML nor JSON: "+reason, "不是合法的 YAML 或 JSON："+reason, fix, fixZH)
		return nil
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		r.fail("E127", "", &second, "holds a second document", "包含第二个文档", "keep one, without ---", "只保留一个，去掉 ---")
	}
	return doc.Content[0]
}

var lineOf = regexp.MustCompile(`^line (\d+): `)

// dependsOn lists the fields that a finding is about besides the one it names.
var dependsOn = map[string][]string{
	"E101": {"protocol"}, "E102": {"will_enabled"}, "E103": {"auto_reconnect", "connect_retry"},
	"E104": {"clean_session"}, "E107": {"username"}, "E108": {"tls_client_cert", "tls_client_key"},
	"E114": {"protocol"}, "W201": {"ack_mode", "qos", "topics"}, "W202": {"ack_mode", "qos", "topics"},
	"W203": {"ack_mode", "retries"}, "W205": {"protocol", "broker_url"}, "W206": {"protocol"},
	"W208": {"order", "flow_timeout"}, "W213": {"protocol", "broker_url"}, "W215": {"clean_session"},
}

// follows tells whether a finding only follows from a value that could not be read.
func follows(f connector.Finding, unread []connector.Finding) bool {
	for _, g := range unread {
		if g.Code > "E129" && (within(g.Path, f.Path) || within(f.Path, g.Path)) {
			return true
		}
		field := g.Path[strings.LastIndexByte(g.Path, '.')+1:]
		if slices.Contains(dependsOn[f.Code], field) {
			return true
		}
	}
	return false
}

func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
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

// is tells whether a key is the field's, or its label.
func (f field) is(key string) bool { return f.key == key || f.zh != "" && label(f.zh) == label(key) }

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
		j := slices.IndexFunc(fields, func(f field) bool { return f.is(key.Value) })
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
	if home := sectionOf(key.Value); home != "" {
		fix, fixZH = "it belongs in "+home, "该键属于 "+home
	}
	r.fail("E130", join(path, key.Value), key, "is not a key that is known here", "不是此处可用的键", fix, fixZH)
}

// sectionOf returns the section of the connector that has a key, or "".
func sectionOf(key string) string {
	for _, section := range []struct {
		path   string
		fields []field
	}{
		{"connector.general", general(new(connector.General))},
		{"connector.advanced", advanced(new(connector.Advanced))},
		{"connector.extension", extension(new(connector.Extension))},
	} {
		if slices.ContainsFunc(section.fields, func(f field) bool { return f.is(key) }) {
			return section.path
		}
	}
	return ""
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

// label drops what labels are written with differently: spaces and case.
func label(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

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
