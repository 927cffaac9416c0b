package ui

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector/internal/yamltext"
	"go.yaml.in/yaml/v3"
)

// A veil is a configuration with its literal secrets replaced by placeholders, for the page.
// Secrets are put back only where they were.
type veil struct {
	text     string             // for the page
	secrets  map[string]*secret // by placeholder
	comments map[string]string  // hidden lines, by placeholder
}

// A secret is the secret behind a placeholder.
type secret struct {
	value string
	paths map[string]bool // where it occurs; each starts with a zero byte
	shown string          // the whole value on the page
	token string          // the whole value as written in the file
}

var placeholder = regexp.MustCompile(`<secret-[a-z0-9]+-\d+>`)

// errHidden: a file has secrets that cannot be separated from the rest.
var errHidden = &fault{409, "The file has a secret that cannot be hidden from the page where it stands: move it to a value of its own, without an anchor or a tag.",
	"文件中有无法对页面隐藏的保密内容：请将其写成独立的值，不带锚点或标签。"}

// nodes returns the top node of a configuration, or nil if it is empty.
func nodes(text []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		if json.Valid(text) {
			return yamltext.JSON(text), nil
		}
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// newVeil hides the secrets of a text, which must be valid.
func newVeil(text string) (*veil, error) {
	v := &veil{secrets: make(map[string]*secret), comments: make(map[string]string)}
	top, err := nodes([]byte(text))
	if err != nil {
		return nil, err
	}
	load := strings.ToLower(rand.Text()[:6]) // so that placeholders of other states of the file are not valid for this one
	places := yamltext.New([]byte(text))
	found := make(map[*yaml.Node]*hidden)
	paths := make(map[*yaml.Node]map[string]bool)
	var order []*yaml.Node
	w := &walker{left: maxNodes, visit: func(n *yaml.Node, path string, s secrecy) {
		if paths[n] == nil {
			paths[n] = make(map[string]bool)
		}
		paths[n][path] = true
		parts := secretParts(n.Value, s)
		if h := found[n]; len(parts) > 0 && (h == nil || length(parts) > length(h.parts)) {
			if h == nil {
				order = append(order, n)
			}
			found[n] = &hidden{n, path, parts}
		}
	}}
	if top != nil && !w.walk(top, "", open, 0) {
		return nil, errHidden
	}
	var edits []edit
	shown := make(map[*yaml.Node]string)
	for _, n := range order {
		h := found[n]
		start, end, ok := places.Span(n)
		if !ok {
			return nil, errHidden
		}
		s := &secret{paths: paths[n], token: text[start:end]}
		var masked strings.Builder
		token, exact, at := s.token, true, 0
		for _, p := range h.parts {
			name := fmt.Sprintf("<secret-%s-%d>", load, len(v.secrets)+1)
			one := *s
			one.value = n.Value[p.start:p.end]
			v.secrets[name] = &one
			masked.WriteString(n.Value[at:p.start] + name)
			at = p.end
			exact = exact && strings.Count(token, one.value) == 1
			token = strings.Replace(token, one.value, name, 1)
		}
		masked.WriteString(n.Value[at:])
		shown[n] = masked.String()
		if length(h.parts) == len(n.Value) || !exact || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			token = quote(masked.String())
		}
		for _, name := range placeholder.FindAllString(masked.String(), -1) {
			if one := v.secrets[name]; one != nil {
				one.shown = masked.String()
			}
		}
		edits = append(edits, edit{start, end, token})
	}
	out := apply(text, edits)
	out = v.hideComments(out, load)
	if again, err := nodes([]byte(out)); err != nil || !same(top, again, shown) {
		return nil, errHidden
	}
	v.text = out
	return v, nil
}

func length(parts []part) (n int) {
	for _, p := range parts {
		n += p.end - p.start
	}
	return n
}

// hideComments replaces comment lines that seem to contain a secret.
func (v *veil) hideComments(text, load string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		body := strings.TrimSpace(line)
		if strings.HasPrefix(body, "#") && secretComment.MatchString(body) {
			name := fmt.Sprintf("# <secret-%s-%d>", load, len(v.secrets)+len(v.comments)+1)
			v.comments[name] = body
			lines[i] = strings.Replace(line, body, name, 1)
		}
	}
	return strings.Join(lines, "")
}

// same reports whether two documents differ only in the texts of the nodes in shown.
func same(a, b *yaml.Node, shown map[*yaml.Node]string) bool {
	if a == nil || b == nil {
		return a == b
	}
	if s, ok := shown[a]; ok {
		return b.Kind == yaml.ScalarNode && b.Value == s && b.Anchor == a.Anchor
	}
	if a.Kind != b.Kind || a.Value != b.Value || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i], shown) {
			return false
		}
	}
	return true
}

// An edit is a change of bytes.
type edit struct {
	start, end int
	with       string
}

// apply makes edits that do not overlap.
func apply(text string, edits []edit) string {
	edits = slices.Clone(edits)
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(text[at:e.start] + e.with)
		at = e.end
	}
	return b.String() + text[at:]
}

// quote returns a text as a string that is valid in YAML and JSON.
func quote(s string) string {
	var b strings.Builder
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	j.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

// An unveiled is a text of the page with the secrets put back.
type unveiled struct {
	text  string
	edits []edit // edits of the page's text
	from  string // the page's text
	used  map[string]bool
}

// Why a secret is not put back.
var (
	errMoved = &fault{409, "Line %d: a placeholder stands only where its secret stood: enter the secret itself.", "第 %d 行：占位符只能留在原保密内容所在的位置，请直接输入保密内容。"}
	errStale = &fault{409, "Line %d: the placeholder is of an older state of the file: reload it, or enter the secret itself.", "第 %d 行：占位符来自旧的文件状态，请重新载入，或直接输入保密内容。"}
)

func (f *fault) at(line int) *fault {
	return &fault{f.status, fmt.Sprintf(f.EN, line), fmt.Sprintf(f.ZH, line)}
}

// lift puts the secrets back into a text of the page. An invalid text is returned unchanged.
func (v *veil) lift(text string) (*unveiled, error) {
	u := &unveiled{text: text, from: text, used: make(map[string]bool)}
	if !placeholder.MatchString(text) {
		return u, nil
	}
	top, err := nodes([]byte(text))
	if err != nil {
		return u, nil
	}
	paths := make(map[*yaml.Node]map[string]bool)
	var order []*yaml.Node
	w := &walker{left: maxNodes, visit: func(n *yaml.Node, path string, _ secrecy) {
		if placeholder.MatchString(n.Value) {
			if paths[n] == nil {
				paths[n] = make(map[string]bool)
				order = append(order, n)
			}
			paths[n][path] = true
		}
	}}
	if top != nil && !w.walk(top, "", open, 0) {
		return nil, errHidden
	}
	places := yamltext.New([]byte(text))
	for _, n := range order {
		e, err := v.restore(places, n, paths[n], u.used)
		if err != nil {
			return nil, err
		}
		u.edits = append(u.edits, e)
	}
	if err := v.liftComments(u); err != nil {
		return nil, err
	}
	u.text = apply(text, u.edits)
	return u, nil
}

// restore returns the edit that puts back the secrets of a node.
func (v *veil) restore(places *yamltext.Text, n *yaml.Node, at map[string]bool, used map[string]bool) (edit, error) {
	start, end, ok := places.Span(n)
	if !ok {
		return edit{}, errMoved.at(n.Line)
	}
	value, token := n.Value, ""
	for _, name := range placeholder.FindAllString(n.Value, -1) {
		s := v.secrets[name]
		switch {
		case s == nil:
			return edit{}, errStale.at(n.Line)
		case slices.ContainsFunc(keysOf(at), func(path string) bool { return !s.paths[path] }) || strings.Count(n.Value, name) != 1:
			return edit{}, errMoved.at(n.Line)
		case n.Value == s.shown:
			token = s.token
		case s.shown == name: // it was the whole value and is now only a part
			return edit{}, errMoved.at(n.Line)
		}
		used[name] = true
		value = strings.Replace(value, name, s.value, 1)
	}
	if token == "" {
		token = quote(value)
	}
	return edit{start, end, token}, nil
}

func keysOf(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// liftComments puts back hidden comments whose lines are unchanged. Placeholders anywhere else are
// refused.
func (v *veil) liftComments(u *unveiled) error {
	at := 0
	for i, line := range strings.SplitAfter(u.from, "\n") {
		body := strings.TrimSpace(line)
		start := at + strings.Index(line, body)
		at += len(line)
		within := func(e edit) bool { return e.start < at && e.end > at-len(line) }
		switch {
		case v.comments[body] != "" && !slices.ContainsFunc(u.edits, within):
			u.edits = append(u.edits, edit{start, start + len(body), v.comments[body]})
		case len(placeholder.FindAllString(line, -1)) > placed(u, at-len(line), at):
			return errMoved.at(i + 1)
		}
	}
	return nil
}

// placed returns how many placeholders the edits in a part of the text replace.
func placed(u *unveiled, start, end int) (n int) {
	for _, e := range u.edits {
		if e.start >= start && e.end <= end {
			n += len(placeholder.FindAllString(u.from[e.start:e.end], -1))
		}
	}
	return n
}

// place converts a line and column of the text with secrets to those of the page.
func (u *unveiled) place(line, column int) (int, int) {
	if len(u.edits) == 0 {
		return line, column
	}
	at, ok := yamltext.New([]byte(u.text)).Offset(line, column)
	if !ok {
		return line, 1
	}
	edits := slices.Clone(u.edits)
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	shift := 0 // difference in length to the page's text
	for _, e := range edits {
		start := e.start + shift
		if at < start {
			break
		}
		if at < start+len(e.with) {
			return yamltext.New([]byte(u.from)).Place(e.start)
		}
		shift += len(e.with) - (e.end - e.start)
	}
	return yamltext.New([]byte(u.from)).Place(at - shift)
}

// scrub removes all secrets from a text for the page.
func (v *veil) scrub(text string) string {
	var values []string
	for _, s := range v.secrets {
		if len(s.value) >= 3 {
			values = append(values, s.value)
		}
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // a secret may be a prefix of another one
	for _, value := range values {
		text = strings.ReplaceAll(text, value, "[redacted]")
	}
	return text
}
