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

// A reader walks a document and notes where everything stands, and under which name.
type reader struct {
	folder string
	mode   fs.FileMode // of the file; 0 if there is none
	text   []byte
	top    *yaml.Node // nil if the text cannot be read
	lines  []string   // of the text, once they are asked for
	found  lint.List

	may        func(Reference) bool // what may be looked at outside of the text; nil: everything
	references []Reference
	withheld   []Reference // of those, what may not

	places map[string]*yaml.Node // the value, by path
	below  map[string][]entry    // what is in an object or a list, by its path
	labels map[string]string     // the path in the words of the file, by path
	words  map[string]string     // the word of the file for a key
	label  bool                  // some key is a label
	ours   map[string]string     // the labels of all keys, once they are asked for

	tagged  map[*yaml.Node]string // the rule that a tag breaks
	unread  map[string]bool       // paths whose value could not be read
	around  map[string]bool       // those and what is around them
	fields  map[string]bool       // their last keys
	asked   map[string]bool       // paths whose unit was asked for
	entered int                   // pairs looked at, merged ones each time
}

func newReader(folder string) *reader {
	return &reader{
		folder: folder, places: make(map[string]*yaml.Node), below: make(map[string][]entry), labels: make(map[string]string), words: make(map[string]string),
		tagged: make(map[*yaml.Node]string), unread: make(map[string]bool), around: make(map[string]bool), fields: make(map[string]bool), asked: make(map[string]bool),
	}
}

// A field is a key of an object, the labels that stand for it, and what to do with its value.
type field struct {
	key      string
	zh       string   // the label that the platform has, or ours; empty: none
	also     []string // further ones
	required bool
	read     readFunc
}

type readFunc = func(r *reader, path string, n *yaml.Node)

// is reports whether a key is the field's, or a label of it.
func (f field) is(key string) bool {
	if f.key == key || f.zh == key {
		return true
	}
	folded := lint.Fold(key)
	return folded == lint.Fold(f.key) || f.zh != "" && folded == lint.Fold(f.zh) ||
		slices.ContainsFunc(f.also, func(label string) bool { return folded == lint.Fold(label) })
}

// headings are keys that the document of the platform has around others, and that mean nothing
// themselves: at the top, and in a consumer or producer.
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
	within     []string // headings that it stands below
}

// maxPairs bounds what merges of merges may come to.
const maxPairs = 4 << 20

// pairs lists the keys of an object, then those that it merges with << and does not have itself,
// and in place of headings what stands below them.
func (r *reader) pairs(path string, n *yaml.Node) []pair {
	var out []pair
	have := make(map[string]bool)
	var enter func(n *yaml.Node, within []string, depth int, merged bool)
	enter = func(n *yaml.Node, within []string, depth int, merged bool) {
		var merges []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind == yaml.AliasNode { // its words, where it stands
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
			continue // as if it were not there
		}
		fields[j].read(r, at, p.value)
	}
	for _, f := range fields {
		if f.required && !seen[f.key] {
			r.fail("E133", join(path, f.key), n)
		}
	}
}

// note remembers where the value of a path stands, and what the file calls it.
func (r *reader) note(above, path, key string, p pair) {
	r.places[path] = p.value
	r.labels[path] = join(r.labels[above], p.key.Value)
	r.below[above] = append(r.below[above], entry{key, path, p})
	r.tag(path, p.value)
}

// noObject says that a value should be an object; often a colon is of another width, or has no
// blank behind it.
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

// sectionOf returns the section that has a key, or "": of the connection that path is about or, elsewhere, of the
// connector.
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

// notRead remembers that the value of a path could not be read, so that what only follows from that is not told.
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

// above returns the path of what is around a path; names may hold dots, so it may be none.
func above(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// dependsOn lists the fields that a finding is about besides the one it names.
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

// located adds line and column to a finding about a value: of the value itself, or of the
// nearest thing around it that is there.
func (r *reader) located(f connector.Finding) connector.Finding {
	for path := f.Where(); path != ""; path = above(path) {
		if n := r.places[path]; n != nil {
			f.Line, f.Column = n.Line, n.Column
			break
		}
	}
	return f
}

// named gives a finding the names that the file has for its fields.
func (r *reader) named(f connector.Finding) connector.Finding {
	if f.Path == lint.WholeFile {
		return f.Named(f.Path, r.word)
	}
	return f.Named(r.labelOf(f.Where()), r.word)
}

// labelOf returns a path in the words of the file. What the file does not have is called by its
// label where the file uses labels.
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

// word returns what the file calls a key, or would call it.
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

// secretHere warns of a secret in a file that every user can read, or others can change.
func (r *reader) secretHere(path string, n *yaml.Node) {
	mode := fmt.Sprintf("%04o", r.mode)
	switch {
	case r.mode&0o022 != 0:
		r.fail("W218/changed", path, n, mode)
	case r.mode&0o004 != 0:
		r.fail("W218/here", path, n, mode)
	}
}

// tags looks at what stands behind ! in the document. A tag that nobody knows would be dropped, and
// the words behind it taken for the value.
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
			r.tagged[n] = "E148" // not the tag itself: it may be the beginning of a password
		}
	}
	for _, below := range n.Content {
		r.tags(below)
	}
}

// tag tells of a tag of the value at path.
func (r *reader) tag(path string, n *yaml.Node) {
	if rule := r.tagged[n]; rule != "" {
		delete(r.tagged, n)
		r.fail(rule, path, n)
	}
}

// otherTags tells of tags where no value is expected.
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

// nearest returns the name that a mistyped key probably means, or nothing.
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
