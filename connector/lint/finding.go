package lint

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Finding is an error (code E...) or a warning (code W...) about a configuration.
type Finding struct {
	Code      string   `json:"code"`
	Path      string   `json:"path"`            // such as connector.general.broker_url
	Label     string   `json:"label,omitempty"` // the path with the names used in the file, if they differ
	Line      int      `json:"line,omitempty"`
	Column    int      `json:"column,omitempty"` // in characters, from 1
	Args      []string `json:"args,omitempty"`   // the arguments of the texts, escaped
	Message   string   `json:"message"`
	MessageZH string   `json:"message_zh"`
	Fix       string   `json:"fix"`
	FixZH     string   `json:"fix_zh"`

	rule  string
	where string
	args  []any
}

// New returns a finding of a rule, which is a code, optionally followed by a slash and the name of
// one of its texts, as in "E105/hash". An argument is a string, an integer or a []string. New
// panics if the rule is unknown.
func New(rule, path string, args ...any) Finding {
	code, _, _ := strings.Cut(rule, "/")
	f := Finding{Code: code, Path: Show(path), where: path, rule: rule, args: args}
	for _, a := range args {
		f.Args = append(f.Args, shown(a, ", "))
	}
	f.render(func(key string) string { return key })
	return f
}

// Named returns the finding with the names that the file uses for fields: label is the path with
// these names, and name returns the name for the key of a field.
func (f Finding) Named(label string, name func(key string) string) Finding {
	if label = Show(label); label != f.Path {
		f.Label = label
	}
	f.render(name)
	return f
}

func (f *Finding) render(name func(key string) string) {
	en, ok := english[f.rule]
	zh, okZH := chinese[f.rule]
	if !ok || !okZH {
		panic("lint: no text for " + f.rule)
	}
	f.Message, f.Fix = fill(en.message, f.args, ", ", name), fill(en.fix, f.args, ", ", name)
	f.MessageZH, f.FixZH = fill(zh.message, f.args, "、", name), fill(zh.fix, f.args, "、", name)
}

// Rule returns the rule, as passed to [New].
func (f Finding) Rule() string { return f.rule }

// Rules lists every rule, sorted.
func Rules() []string { return slices.Sorted(maps.Keys(english)) }

// Where returns the path without escaping.
func (f Finding) Where() string { return f.where }

// IsError reports whether the finding is an error, not a warning.
func (f Finding) IsError() bool { return strings.HasPrefix(f.Code, "E") }

// String returns the finding in one line, in English.
func (f Finding) String() string { return f.Text("en") }

// Text returns the finding in one line, in "en" or "zh".
func (f Finding) Text(lang string) string {
	var at string
	if f.Line > 0 {
		at = strconv.Itoa(f.Line) + ":" + strconv.Itoa(f.Column) + ": "
	}
	message, fix, path := f.Message, f.Fix, f.Path
	if f.Label != "" {
		path = f.Label
	}
	if lang == "zh" {
		message, fix = f.MessageZH, f.FixZH
		if f.Path == WholeFile {
			path = "文件"
		}
	}
	return at + f.Code + " " + path + ": " + message + " → " + fix
}

// WholeFile is the path of a finding about the file as a whole.
const WholeFile = "the file"

// An Error holds all errors found in a configuration.
type Error struct{ Findings []Finding }

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connector: %d mistakes in the configuration:", len(e.Findings))
	if len(e.Findings) == 1 {
		b.Reset()
		b.WriteString("connector: a mistake in the configuration:")
	}
	for _, f := range e.Findings {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

// Errors returns the errors among findings as an [*Error], or nil if there are none.
func Errors(findings []Finding) error {
	var errs []Finding
	for _, f := range findings {
		if f.IsError() {
			errs = append(errs, f)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &Error{errs}
}

// A List collects findings. It keeps at most MaxOfRule findings of one code and only counts the
// others, so that the result stays readable even if every line of a file has an error.
type List struct {
	findings []Finding
	count    map[string]int
	first    map[string]Finding // of those that were only counted
}

// MaxOfRule is the maximum number of findings of one code that a List keeps.
const MaxOfRule = 20

// Add adds a finding.
func (l *List) Add(f Finding) {
	if l.count == nil {
		l.count, l.first = make(map[string]int), make(map[string]Finding)
	}
	l.count[f.Code]++
	switch n := l.count[f.Code]; {
	case n <= MaxOfRule:
		l.findings = append(l.findings, f)
	case n == MaxOfRule+1:
		l.first[f.Code] = f
	}
}

// Count counts a finding of a rule if enough of its code are shown already, and reports whether it
// did: then the caller does not make the finding.
func (l *List) Count(rule string) bool {
	code, _, _ := strings.Cut(rule, "/")
	if !l.Full(code) {
		return false
	}
	l.count[code]++
	return true
}

// Full reports whether the List keeps MaxOfRule findings of the code and only counts further ones.
func (l *List) Full(code string) bool { return l.count[code] > MaxOfRule }

// Findings returns the findings that were kept, and for each code of which some were only counted
// an additional finding with their number.
func (l *List) Findings() []Finding {
	out := slices.Clone(l.findings)
	for _, code := range slices.Sorted(maps.Keys(l.first)) {
		f := l.first[code]
		more := New("more", f.where, l.count[code]-MaxOfRule)
		more.Code, more.Label, more.Line, more.Column = f.Code, f.Label, f.Line, f.Column
		out = append(out, more)
	}
	return out
}
