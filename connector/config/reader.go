package config

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/lint"
	"go.yaml.in/yaml/v3"
)

// A reader walks a document and records the place and the name of every value.
type reader struct {
	folder string
	mode   fs.FileMode // mode of the file; 0 if there is no file
	text   []byte
	top    *yaml.Node // top node, or nil if the text cannot be parsed
	lines  []string   // lines of the text, once needed
	found  lint.List

	may        func(Reference) bool // which references may be examined; nil: all
	references []Reference
	withheld   []Reference // references that may not be examined

	places map[string]*yaml.Node // the value, by path
	below  map[string][]entry    // members of an object or list, by path
	labels map[string]string     // the path with the names in the file, by path
	words  map[string]string     // the name in the file for a key
	label  bool                  // some key is a label
	ours   map[string]string     // the labels of all keys, once needed

	tagged  map[*yaml.Node]string // the rule that a tag violates
	unread  map[string]bool       // paths whose value could not be read
	around  map[string]bool       // those and their parents
	fields  map[string]bool       // their last keys
	asked   map[string]bool       // paths with a finding about their unit
	entered int                   // pairs visited; merged ones count each time
}

func newReader(folder string) *reader {
	return &reader{
		folder: folder, places: make(map[string]*yaml.Node), below: make(map[string][]entry), labels: make(map[string]string), words: make(map[string]string),
		tagged: make(map[*yaml.Node]string), unread: make(map[string]bool), around: make(map[string]bool), fields: make(map[string]bool), asked: make(map[string]bool),
	}
}

// A field is a key of an object, with its labels and the function that reads its value.
type field struct {
	key      string
	zh       string   // the platform's label, or ours; may be empty
	also     []string // further ones
	required bool
	read     readFunc
}

type readFunc = func(r *reader, path string, n *yaml.Node)

// is reports whether key is the key or a label of the field.
func (f field) is(key string) bool {
	if f.key == key || f.zh == key {
		return true
	}
	folded := lint.Fold(key)
	return folded == lint.Fold(f.key) || f.zh != "" && folded == lint.Fold(f.zh) ||
		slices.ContainsFunc(f.also, func(label string) bool { return folded == lint.Fold(label) })
}

// headings are keys in documents of the platform that only group other keys: at the top, and in a
// consumer or producer.
var headings = map[string][]string{
	"":          {"操作配置", "操作"},
	"consumers": {"输入参数"},
	"producers": {"输入参数", "输入参数（通用）"},
}

// heading reports whether a key of the object at path is one.
func heading(path, key string) bool {
	section, name, named := strings.Cut(path, ".")
	if path != "" && (!named || strings.Contains(name, ".")) {
		return false
	}
	return slices.ContainsFunc(headings[section], func(h string) bool { return lint.Fold(h) == lint.Fold(key) })
}

type pair struct {
	key, value *yaml.Node
	within     []string // headings above it
}

// maxPairs limits the number of pairs, which nested merges could multiply.
const maxPairs = 4 << 20

// pairs returns the keys of an object, then those merged with << that it does not have itself.
// Headings are replaced by the keys below them.
func (r *reader) pairs(path string, n *yaml.Node) []pair {
	var out []pair
	have := make(map[string]bool)
	var enter func(n *yaml.Node, within []string, depth int, merged bool)
	enter = func(n *yaml.Node, within []string, depth int, merged bool) {
		var merges []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind == yaml.AliasNode { // use the text of the key at this place
				named := *resolve(key)
				named.Line, named.Column = key.Line, key.Column
				key = &named
			}
			if r.entered++; r.entered > maxPairs || depth > 100 {
				if r.entered <= maxPairs+1 {
					r.fail("E128/depth", "", key)
				}
				r.entered = maxPairs + 1
				return
			}
			switch below := resolve(value); {
			case key.Tag == "!!merge":
				merges = append(merges, value)
			case heading(path, key.Value) && below.Kind == yaml.MappingNode:
				enter(below, append(slices.Clip(within), key.Value), depth+1, merged)
			case merged && have[key.Value]:
			default:
				have[key.Value] = true
				out = append(out, pair{key, value, within})
			}
		}
		for _, m := range merges {
			m = resolve(m)
			sources := []*yaml.Node{m}
			if m.Kind == yaml.SequenceNode {
				sources = m.Content
			}
			for _, s := range sources {
				if s = resolve(s); s.Kind == yaml.MappingNode {
					enter(s, within, depth+1, true)
				} else {
					r.fail("E131", path, s)
				}
			}
		}
	}
	enter(n, nil, 0, false)
	return out
}

// object reads the fields of an object.
func (r *reader) object(path string, n *yaml.Node, fields []field) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		r.noObject("E131", path, n)
		return
	}
	seen := make(map[string]bool)
	for _, p := range r.pairs(path, n) {
		if path == "" && strings.HasPrefix(p.key.Value, "x-") {
			continue // a place for anchors, as in Docker Compose
		}
		j := slices.IndexFunc(fields, func(f field) bool { return f.is(p.key.Value) })
		if j < 0 {
			if n.Style&yaml.FlowStyle != 0 && p.value.Tag == "!!null" && p.value.Value == "" && !strings.HasPrefix(p.key.Value, "/") {
				r.fail("E130/comma", join(path, p.key.Value), p.key)
			} else {
				r.unknown(path, p.key, fields)
			}
			continue
		}
		at := join(path, fields[j].key)
		if seen[fields[j].key] {
			r.fail("E132", at, p.key)
			continue
		}
		seen[fields[j].key] = true
		r.note(path, at, fields[j].key, p)
		r.words[fields[j].key] = p.key.Value
		if p.key.Value != fields[j].key && strings.ContainsFunc(p.key.Value, han) {
			r.label = true
		}
		if p.value.Tag == "!!null" {
			continue // treat it as missing
		}
		fields[j].read(r, at, p.value)
	}
	for _, f := range fields {
		if f.required && !seen[f.key] {
			r.fail("E133", join(path, f.key), n)
		}
	}
}

// note records the place of the value at a path, and its name in the file.
func (r *reader) note(above, path, key string, p pair) {
	r.places[path] = p.value
	r.labels[path] = join(r.labels[above], p.key.Value)
	r.below[above] = append(r.below[above], entry{key, path, p})
	r.tag(path, p.value)
}

// noObject reports that a value should be an object. Often a colon is full-width or not followed by
// a space.
func (r *reader) noObject(rule, path string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		if r.lines == nil {
			r.lines = linesOf(r.text)
		}
		if s := suspectOf(r.lines[min(n.Line, len(r.lines))-1], n.Line); s != nil && (s.rule == "E128/colon" || s.rule == "E128/space" || s.rule == "E128/sign") {
			r.fail(s.rule, path, s.at.node(), s.args...)
			return
		}
	}
	r.fail(rule, path, n)
}

func (r *reader) unknown(path string, key *yaml.Node, fields []field) {
	at := join(path, key.Value)
	if r.found.Full("E130") {
		r.fail("E130/known", at, key, []string(nil))
		return
	}
	r.labels[at] = join(r.labels[path], key.Value)
	if first := []rune(key.Value + " ")[0]; first > ' ' && unicode.IsSpace(first) {
		r.fail("E128/blank", at, key, codePoint(first))
		return
	}
	if strings.HasPrefix(key.Value, "//") || strings.HasPrefix(key.Value, "/*") {
		r.fail("E128/comment", "", key)
		return
	}
	if home := sectionOf(path, key.Value); home != "" {
		r.fail("E130/home", at, key, r.labelOf(home))
		return
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.key)
		if f.zh != "" && f.zh != f.key {
			names = append(names, f.zh)
		}
	}
	if near := nearest(key.Value, names); near != "" {
		r.fail("E130/near", at, key, near)
		return
	}
	r.fail("E130/known", at, key, names)
}

// sectionOf returns the section that has a key, or "" if none has. The section is one of the
// connection that path belongs to or, if path belongs to none, of the connector.
func sectionOf(path, key string) string {
	of := "connector"
	if strings.HasPrefix(path, "connections.") {
		of = path
		for _, section := range []string{".general", ".advanced", ".extension"} {
			if i := strings.Index(of+".", section+"."); i > 0 {
				of = of[:i]
			}
		}
	}
	for _, section := range []struct {
		path   string
		fields []field
	}{
		{of + ".general", general(new(connector.General))},
		{of + ".advanced", advanced(new(connector.Advanced))},
		{of + ".extension", extension(new(connector.Extension))},
	} {
		if slices.ContainsFunc(section.fields, func(f field) bool { return f.is(key) }) {
			return section.path
		}
	}
	return ""
}

// fail adds a finding about a value that could not be read, or a warning about one.
func (r *reader) fail(rule, path string, n *yaml.Node, args ...any) {
	if !r.found.Count(rule) {
		f := lint.New(rule, orFile(path), args...)
		if n != nil {
			f.Line, f.Column = n.Line, n.Column
		}
		r.found.Add(f)
	}
	if rule[0] == 'E' && path != "" {
		r.notRead(path)
	}
}

// notRead records that the value at a path could not be read, so that findings that only follow
// from that are not reported.
func (r *reader) notRead(path string) {
	r.fields[path[strings.LastIndexByte(path, '.')+1:]], r.unread[path] = true, true
	for ; path != ""; path = above(path) {
		r.around[path] = true
	}
}

func orFile(path string) string {
	if path == "" {
		return lint.WholeFile
	}
	return path
}

// above returns the parent of a path. It may not exist, since names may contain dots.
func above(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// dependsOn maps rules to the fields that a finding is about besides the one it names.
var dependsOn = map[string][]string{
	"E101": {"protocol"}, "E102": {"will_enabled"}, "E103": {"auto_reconnect", "connect_retry"},
	"E104": {"clean_session"}, "E107": {"username"}, "E108": {"tls_client_cert", "tls_client_key"},
	"E114": {"protocol"}, "W201": {"ack_mode", "qos", "topics"}, "W202": {"ack_mode", "qos", "topics"},
	"W203": {"ack_mode", "retries"}, "W205": {"protocol", "broker_url"}, "W206": {"protocol"},
	"W208": {"order", "flow_timeout"}, "W213": {"protocol", "broker_url"}, "W215": {"clean_session"},
	"E145": {"session_store", "connection"}, "E149": {"topic_characters"}, "E152": {"dead_letter", "topic", "file"},
	"E160": {"broker_url", "client_id"}, "E162": {"connections"}, "W232": {"oversize", "ack_mode", "qos", "topics"},
	"W240": {"broker_url", "client_id"}, "W241": {"broker_url", "topics"}, "W244": {"connection"},
}

// follows reports whether a finding only follows from a value that could not be read.
func (r *reader) follows(f connector.Finding) bool {
	if r.around[f.Where()] {
		return true
	}
	for path := f.Where(); path != ""; path = above(path) {
		if r.unread[path] {
			return true
		}
	}
	return slices.ContainsFunc(dependsOn[f.Code], func(key string) bool { return r.fields[key] })
}

// located adds line and column to a finding: those of the value, or of its nearest parent that
// exists.
func (r *reader) located(f connector.Finding) connector.Finding {
	for path := f.Where(); path != ""; path = above(path) {
		if n := r.places[path]; n != nil {
			f.Line, f.Column = n.Line, n.Column
			break
		}
	}
	return f
}

// named returns the finding with the names of fields in the file.
func (r *reader) named(f connector.Finding) connector.Finding {
	if f.Path == lint.WholeFile {
		return f.Named(f.Path, r.word)
	}
	return f.Named(r.labelOf(f.Where()), r.word)
}

// labelOf returns a path with the names in the file. Keys that are not in the file are replaced by
// their labels if the file uses labels.
func (r *reader) labelOf(path string) string {
	if label, ok := r.labels[path]; ok {
		return label
	}
	outer := above(path)
	switch rest := path[len(outer):]; {
	case rest == "":
		return ""
	case rest[0] == '[':
		return r.labelOf(outer) + rest
	default:
		return join(r.labelOf(outer), r.word(strings.TrimPrefix(rest, ".")))
	}
}

// word returns the name in the file for a key, or the one that it would have.
func (r *reader) word(key string) string {
	if word, ok := r.words[key]; ok {
		return word
	}
	if !r.label {
		return key
	}
	if r.ours == nil {
		r.ours = labels()
	}
	return cmp.Or(r.ours[key], key)
}

// secretHere warns of a secret in a file that all users can read or others can change.
func (r *reader) secretHere(path string, n *yaml.Node) {
	mode := fmt.Sprintf("%04o", r.mode)
	switch {
	case r.mode&0o022 != 0:
		r.fail("W218/changed", path, n, mode)
	case r.mode&0o004 != 0:
		r.fail("W218/here", path, n, mode)
	}
}

// tags checks the tags (!) in the document. An unknown tag would be dropped and the text after it
// taken for the value.
func (r *reader) tags(n *yaml.Node) {
	if n.Style&yaml.TaggedStyle != 0 {
		switch n.ShortTag() {
		case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!":
		case "!!binary":
			b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
			if err != nil || n.Kind != yaml.ScalarNode {
				r.tagged[n] = "E148/binary"
			}
			n.Value, n.Tag = string(b), "!!str"
		default:
			r.tagged[n] = "E148" // not the tag itself, which may be the start of a password
		}
	}
	for _, below := range n.Content {
		r.tags(below)
	}
}

// tag reports a tag of the value at path.
func (r *reader) tag(path string, n *yaml.Node) {
	if rule := r.tagged[n]; rule != "" {
		delete(r.tagged, n)
		r.fail(rule, path, n)
	}
}

// otherTags reports tags where no value is expected.
func (r *reader) otherTags(n *yaml.Node) {
	r.tag("", n)
	for _, below := range n.Content {
		r.otherTags(below)
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func han(r rune) bool { return unicode.Is(unicode.Han, r) }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// nearest returns the name that a mistyped key probably means, or "".
func nearest(key string, names []string) string {
	if len(key) > 100 {
		return ""
	}
	folded := lint.Fold(key)
	best, least := "", len([]rune(key))/2+1
	for _, name := range names {
		if d := distance(folded, lint.Fold(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance returns the number of letters to add, remove or change.
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
