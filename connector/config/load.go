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
	"runtime"
	"slices"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/yamltext"
	"github.com/mqtt311/mqtt311/connector/lint"
	"go.yaml.in/yaml/v3"
)

// maxFile is far more than any configuration needs: 30,000 topics take 2 MB.
const maxFile = 8 << 20

// Load reads a configuration file of at most 8 MiB. It returns all errors and warnings as findings,
// in the order of the file. The error says why the configuration cannot be used: the file cannot be
// read, or it has errors (a [*connector.ConfigError]). Relative paths in the file are relative to
// its folder.
func Load(path string) (*connector.Config, []connector.Finding, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	r := newReader(filepath.Dir(path))
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && runtime.GOOS != "windows" {
		r.mode = info.Mode().Perm()
	}
	return r.parse(text)
}

// Parse reads a configuration from text in UTF-8, or in UTF-16 with a byte order mark. Its results
// are those of [Load]. Relative paths are relative to folder.
func Parse(text []byte, folder string) (*connector.Config, []connector.Finding, error) {
	return newReader(folder).parse(text)
}

func (r *reader) parse(text []byte) (*connector.Config, []connector.Finding, error) {
	cfg := new(connector.Config)
	if top := r.document(text); top != nil {
		r.top = top
		r.object("", top, root(cfg))
		r.otherTags(top)
		for _, f := range cfg.Check() {
			switch {
			case r.follows(f):
			case f.Code == "W220" && r.asked[f.Where()]: // its unit is unclear
			default:
				r.found.Add(r.located(f))
			}
		}
	}
	findings := r.found.Findings()
	for i, f := range findings {
		findings[i] = r.named(f)
	}
	slices.SortStableFunc(findings, func(a, b connector.Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if err := lint.Errors(findings); err != nil {
		return nil, findings, err
	}
	return cfg, findings, nil
}

// document parses the text, which must be one document. It returns nil after an error.
func (r *reader) document(text []byte) *yaml.Node {
	start := place{1, 1}.node()
	if len(text) > maxFile {
		r.fail("E128/large", "", start, maxFile)
		return nil
	}
	text, ok := unicodeText(text)
	if !ok {
		r.fail("E128/utf16", "", start)
		return nil
	}
	r.text = text
	if json.Valid(text) && utf8.Valid(text) {
		return yamltext.JSON(text) // not all JSON is valid YAML: tabs, surrogates
	}
	if r.notUTF8(text) {
		return nil
	}
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		r.fail("E129", "", start)
		return nil
	case err != nil && looksLikeJSON(text):
		at, rule, args := jsonFault(text)
		r.fail(rule, "", placeOf(text, at).node(), args...)
		return nil
	case err != nil:
		r.notYAML(text, err)
		return nil
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		r.fail("E127", "", &second)
	}
	if at, rule, args := jsonFault(text); looksLikeJSON(text) && rule == "E128/comma" {
		r.fail("W226", "", placeOf(text, at).node(), args...)
	}
	r.tags(doc.Content[0])
	return doc.Content[0]
}
