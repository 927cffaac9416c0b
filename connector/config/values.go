package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/lint"
	"go.yaml.in/yaml/v3"
)

func (r *reader) scalar(path string, n *yaml.Node) (string, bool) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		r.fail("E134", path, n)
		return "", false
	}
	return n.Value, true
}

func text(to *string) readFunc {
	return func(r *reader, path string, n *yaml.Node) { *to, _ = r.scalar(path, n) }
}

// optionalText reads text that may be empty and still be set.
func optionalText(to **string) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if s, ok := r.scalar(path, n); ok {
			*to = &s
		}
	}
}

// expanded reads text in which ${env:NAME} and ${hostname} are replaced. Nothing else is allowed in
// ${}.
func expanded(to *string) readFunc { return expandedBut(to, never) }

// clientID reads a client id, which may also contain ${random}, replaced by the connector.
func clientID(to *string) readFunc {
	return expandedBut(to, func(expr string) bool { return expr == "random" || strings.HasPrefix(expr, "random:") })
}

// templated reads text that may also contain references to messages.
func templated(to *string) readFunc { return expandedBut(to, func(string) bool { return true }) }

func expandedBut(to *string, keep func(expr string) bool) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if s, ok := r.scalar(path, n); ok {
			*to = r.expand(path, n, s, keep)
		}
	}
}

func (r *reader) expand(path string, n *yaml.Node, s string, keep func(expr string) bool) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "${")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		expr, rest, closed := strings.Cut(after, "}")
		name, isEnv := strings.CutPrefix(expr, "env:")
		switch {
		case !closed:
			r.fail("E142/unclosed", path, n)
		case expr == "hostname":
			host, err := os.Hostname()
			if err != nil {
				r.fail("E135/hostname", path, n)
			}
			b.WriteString(host)
		case isEnv && !r.refer(path, n, "env", name):
			b.WriteString("${" + expr + "}")
		case isEnv:
			v, ok := os.LookupEnv(name)
			if !ok {
				r.fail("E135", path, n, name)
			}
			b.WriteString(v)
		case keep(expr):
			b.WriteString("${" + expr + "}")
		default:
			r.fail("E142/unknown", path, n, expr)
		}
		s = rest
	}
}

func never(string) bool { return false }

func boolean(to *bool) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n)
		if !ok {
			return
		}
		v, err := connector.ParseBool(s)
		if err != nil {
			r.fail("E136", path, n, s)
			return
		}
		*to = v
	}
}

// orTemplate reads a value, or a template for the value of each message.
func orTemplate(value readFunc, template *string) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if v := resolve(n); v.Kind == yaml.ScalarNode && strings.Contains(v.Value, "${") {
			templated(template)(r, path, n)
			return
		}
		value(r, path, n)
	}
}

// orKeep reads a value, or "keep".
func orKeep(value readFunc, keep *bool) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if v := resolve(n); v.Kind == yaml.ScalarNode && (lint.Fold(v.Value) == "keep" || v.Value == "保持") {
			*keep = true
			return
		}
		value(r, path, n)
	}
}

func optionalBool(to **bool) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		var v bool
		boolean(&v)(r, path, n)
		if !r.unread[path] {
			*to = &v
		}
	}
}

func integer(to *int, least, most int) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n)
		if !ok {
			return
		}
		v, err := strconv.Atoi(s)
		if err != nil || v < least || v > most {
			r.fail("E137", path, n, s, least, most)
			return
		}
		*to = v
	}
}

func optionalInt(to **int, least, most int) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		var v int
		integer(&v, least, most)(r, path, n)
		if !r.unread[path] {
			*to = &v
		}
	}
}

// duration reads a Go duration, also with Chinese units, or whole seconds, as a string or a number.
// A number without a unit that looks like milliseconds leads to a warning.
func duration(to **time.Duration) readFunc { return span(to, likelyMillis) }

// timeout reads a network timeout: values of 1,000 seconds or more are suspicious.
func timeout(to **time.Duration) readFunc {
	return span(to, func(secs uint64) bool { return secs >= 1000 })
}

// likelyMillis reports whether a number of seconds is probably one of milliseconds, such as 5000 or 60000, but not 1800, 3600 or 86400.
func likelyMillis(secs uint64) bool { return secs >= 1000 && (secs%600 != 0 || secs%1000 == 0) }

var units = strings.NewReplacer("毫秒", "ms", "小时", "h", "分钟", "m", "分", "m", "秒钟", "s", "秒", "s",
	"seconds", "s", "second", "s", "secs", "s", "sec", "s", "minutes", "m", "minute", "m", "mins", "m", "min", "m", "hours", "h", "hour", "h")

func span(to **time.Duration, odd func(secs uint64) bool) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n)
		if !ok {
			return
		}
		plain := s
		if !strings.Contains(s, "-") { // Fold would remove the minus sign
			plain = units.Replace(lint.Fold(s))
		}
		d, err := time.ParseDuration(plain)
		if secs, serr := strconv.ParseUint(plain, 10, 31); serr == nil {
			d, err = time.Duration(secs)*time.Second, nil
			if odd(secs) {
				r.asked[path] = true
				r.fail("W219", path, n, int(secs), d.String(), (time.Duration(secs) * time.Millisecond).String())
			}
		}
		if err != nil || d < 0 {
			r.fail("E138", path, n, s)
			return
		}
		*to = &d
	}
}

// choice reads one of the words that parse knows; names are the usual ones.
func choice[T any](to *T, parse func(string) (T, error), names ...string) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n)
		if !ok {
			return
		}
		v, err := parse(s)
		if err != nil {
			r.fail("E139", path, n, s, names)
			return
		}
		*to = v
	}
}

func errorType(to *flow.ErrorType) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n)
		if !ok {
			return
		}
		v, err := connector.ParseErrorType(s)
		if err != nil {
			r.fail("E139/type", path, n, s)
			return
		}
		*to = v
	}
}

// where reads the only key of an object that says where a value is. An unknown key is not shown: it
// may be the value itself, written in the wrong place.
func (r *reader) where(path string, n *yaml.Node, keys ...string) (key string, value *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i].Value
			switch {
			case k == "timeout" && slices.Contains(keys, "exec"):
			case key == "" && slices.Contains(keys, k):
				key, value = k, resolve(n.Content[i+1])
			default:
				key, value = "", nil
				i = len(n.Content)
			}
		}
		if value != nil && (value.Kind != yaml.ScalarNode || value.Value != "") {
			return key, value
		}
	}
	forms := make([]string, len(keys))
	for i, k := range keys {
		forms[i] = "{" + k + ": ...}"
	}
	r.fail("E140", path, n, forms)
	return "", nil
}

// secret reads a string into text, or a source: {file: PATH}, {env: NAME} or {exec: [COMMAND,
// ARGUMENT]}.
func secret(text *connector.Secret, from **connector.SecretSource) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		n = resolve(n)
		if n.Kind == yaml.ScalarNode {
			*text = connector.Secret(n.Value) // as written: a password may contain "${"
			if n.Value != "" && n.Value != "env" {
				r.secretHere(path, n)
			}
			return
		}
		*from = r.source(path, n)
	}
}

// maybeSecret reads text in which ${env:NAME} is replaced, or a source as for a secret.
func maybeSecret(text *string, from **connector.SecretSource) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if resolve(n).Kind == yaml.ScalarNode {
			expanded(text)(r, path, n)
			return
		}
		*from = r.source(path, resolve(n))
	}
}

// source reads the source of a secret. It returns nil after an error.
func (r *reader) source(path string, n *yaml.Node) *connector.SecretSource {
	key, value := r.where(path, n, "file", "env", "exec")
	if value == nil {
		return nil
	}
	s := new(connector.SecretSource)
	if key != "exec" {
		text, ok := r.scalar(path+"."+key, value)
		if !ok {
			return nil
		}
		if key == "file" {
			text = r.path(text)
		}
		switch {
		case !r.refer(path, value, key, text):
			return &connector.SecretSource{Env: withheld}
		case key == "env":
			s.Env = text
		default:
			s.File = text
		}
		return s
	}
	items := value.Content
	if value.Kind == yaml.ScalarNode {
		items = []*yaml.Node{value}
	}
	for _, item := range items {
		text, ok := r.scalar(path+".exec", item)
		if !ok {
			return nil
		}
		s.Exec = append(s.Exec, text)
	}
	if value.Kind != yaml.SequenceNode && value.Kind != yaml.ScalarNode || len(s.Exec) == 0 || s.Exec[0] == "" {
		r.fail("E147/empty", path, value)
		return nil
	}
	if strings.ContainsRune(filepath.ToSlash(s.Exec[0]), '/') {
		s.Exec[0] = r.path(s.Exec[0])
	}
	if !r.refer(path, value, "exec", strings.Join(s.Exec, "\x00")) {
		return &connector.SecretSource{Env: withheld}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "timeout" {
			var limit *time.Duration
			timeout(&limit)(r, path+".timeout", n.Content[i+1])
			if limit != nil {
				s.Timeout = *limit
			}
		}
	}
	return s
}

// pemFile reads a path, {path: P}, {pem: TEXT} or {env: NAME}, and returns a path or PEM text, as
// package transport expects.
func pemFile[T ~string](to *T) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		n = resolve(n)
		if n.Kind == yaml.ScalarNode {
			*to = T(r.file(path, n, n.Value))
			return
		}
		key, v := r.where(path, n, "path", "pem", "env")
		if v == nil {
			return
		}
		value, ok := r.scalar(path+"."+key, v)
		switch {
		case !ok:
		case key == "path":
			*to = T(r.file(path, v, value))
		case key == "pem":
			*to = T(value)
			if strings.HasSuffix(path, "tls_client_key") {
				r.secretHere(path, n)
			}
		default:
			before := len(r.withheld)
			if text := r.expand(path, v, "${env:"+value+"}", never); len(r.withheld) == before {
				*to = T(r.file(path, v, text))
			}
		}
	}
}

// keyFile is like pemFile, but also accepts {exec: [COMMAND, ARGUMENT]} for a key that a command
// prints.
func keyFile(to *connector.Secret, from **connector.SecretSource) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		v := resolve(n)
		if v.Kind == yaml.MappingNode && slices.ContainsFunc(v.Content, func(k *yaml.Node) bool { return k.Value == "exec" }) {
			*from = r.source(path, v)
			return
		}
		pemFile(to)(r, path, n)
	}
}

// path makes a path in the file absolute; PEM text is returned unchanged.
func (r *reader) path(p string) string {
	if p == "" || filepath.IsAbs(p) || strings.Contains(p, "-----BEGIN") {
		return p
	}
	return filepath.Join(r.folder, p)
}

func list[T any](to *[]T, one func(*T) readFunc) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		n = resolve(n)
		items := n.Content
		if n.Kind == yaml.ScalarNode {
			items = []*yaml.Node{n} // a single item where a list is allowed
		} else if n.Kind != yaml.SequenceNode {
			r.fail("E141", path, n)
			return
		}
		*to = make([]T, len(items))
		for i, item := range items {
			at := fmt.Sprintf("%s[%d]", path, i)
			r.places[at], r.labels[at] = item, r.labels[path]+at[len(path):]
			if n.Kind == yaml.SequenceNode {
				r.below[path] = append(r.below[path], entry{strconv.Itoa(i), at, pair{value: item}})
			}
			r.tag(at, item)
			one(&(*to)[i])(r, at, item)
		}
	}
}

// named reads an object whose keys are names chosen by the user. The values have the given fields,
// or are not objects if fields is nil.
func named[T any](to *map[string]T, one func(*T) readFunc, fields []field) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		n = resolve(n)
		switch {
		case n.Kind == yaml.SequenceNode:
			r.fail("E131/list", path, n)
			return
		case n.Kind != yaml.MappingNode:
			r.noObject("E131/names", path, n)
			return
		}
		*to = make(map[string]T)
		for _, p := range r.pairs(path, n) {
			name := p.key.Value
			at := join(path, name)
			if resolve(p.value).Kind != yaml.MappingNode && slices.ContainsFunc(fields, func(f field) bool { return f.is(name) }) {
				r.fail("E131/unnamed", path, p.key, name)
				return
			}
			if _, twice := (*to)[name]; twice {
				r.fail("E132", at, p.key)
				continue
			}
			r.note(path, at, name, p)
			var v T
			one(&v)(r, at, p.value)
			(*to)[name] = v
		}
	}
}

// headers reads the headers of a WebSocket handshake, each a secret.
func headers(fixed *map[string]connector.Secret, from *map[string]connector.SecretSource) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		type header struct {
			text connector.Secret
			from *connector.SecretSource
		}
		var all map[string]header
		named(&all, func(h *header) readFunc { return secret(&h.text, &h.from) }, nil)(r, path, n)
		for name, h := range all {
			if h.from != nil {
				*from = with(*from, name, *h.from)
			} else {
				*fixed = with(*fixed, name, h.text)
			}
		}
	}
}

func with[T any](m map[string]T, key string, v T) map[string]T {
	if m == nil {
		m = make(map[string]T)
	}
	m[key] = v
	return m
}
