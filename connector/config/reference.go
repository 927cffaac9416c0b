package config

import (
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Reference is a file, folder, environment variable or command that a configuration names.
type Reference struct {
	Path string // of the value that names it, such as connector.general.password
	Kind string // "file", "env" or "exec"
	Name string // the absolute path, the variable, or the command and its arguments separated by NUL

	Line, Column int
}

// Field returns the key of the value that names it, such as "password".
func (r Reference) Field() string {
	path := r.Path
	if i := strings.LastIndexByte(path, '['); i >= 0 && strings.HasSuffix(path, "]") {
		path = path[:i]
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

// withheld replaces a variable that may not be examined. No variable has this name.
const withheld = "="

// refer records a reference, and reports whether it may be examined. If not, findings that only
// follow from that are not reported.
func (r *reader) refer(path string, n *yaml.Node, kind, name string) bool {
	if n = resolve(n); name == "" {
		return true
	}
	ref := Reference{Path: path, Kind: kind, Name: name, Line: n.Line, Column: n.Column}
	r.references = append(r.references, ref)
	if r.may == nil || r.may(ref) {
		return true
	}
	r.withheld = append(r.withheld, ref)
	r.notRead(path)
	return false
}

// file makes a path in the configuration absolute; PEM data is returned unchanged. For a file that
// may not be examined it returns a path that does not exist.
func (r *reader) file(path string, n *yaml.Node, name string) string {
	name = r.path(name)
	if strings.Contains(name, "-----BEGIN") || r.refer(path, n, "file", name) {
		return name
	}
	return filepath.Join(r.folder, "withheld-"+strconv.Itoa(len(r.withheld)))
}
