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
	"go.yaml.in/yaml/v3"
)

type readFunc = func(r *reader, path string, n *yaml.Node)

func (r *reader) scalar(path string, n *yaml.Node) (string, bool) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		r.fail("E134", path, n, "is not a single value", "应为单个值", "write one value", "请填写单个值")
		return "", false
	}
	return n.Value, true
}

func text(to *string) readFunc {
	return func(r *reader, path string, n *yaml.Node) { *to, _ = r.scalar(path, n) }
}

// optionalText is text that may be empty and still be set.
func optionalText(to **string) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if s, ok := r.scalar(path, n); ok {
			*to = &s
		}
	}
}

// expanded is text in which ${env:NAME} and ${hostname} are replaced, and nothing else
// may stand in ${}.
func expanded(to *string) readFunc { return expandedBut(to, never) }

// clientID may hold ${random} too, which the connector replaces.
func clientID(to *string) readFunc {
	return expandedBut(to, func(expr string) bool { return expr == "random" || strings.HasPrefix(expr, "random:") })
}

// templated may hold expressions on messages too.
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
			r.fail("E142", path, n, `has "${" without "}"`, "“${”缺少“}”", "close it", "请补上“}”")
		case expr == "hostname":
			host, err := os.Hostname()
			if err != nil {
				r.fail("E135", path, n, "has no host name to use: "+err.Error(), "无法获取主机名："+err.Error(), "write the name out", "请直接填写名称")
			}
			b.WriteString(host)
		case isEnv:
			v, ok := os.LookupEnv(name)
			if !ok {
				r.fail("E135", path, n, "needs the environment variable "+name+", which is not set", "需要环境变量 "+name+"，但未设置", "set it", "请设置该变量")
			}
			b.WriteString(v)
		case keep(expr):
			b.WriteString("${" + expr + "}")
		default:
			r.fail("E142", path, n, "has ${"+expr+"}, which means nothing here", "包含此处无意义的 ${"+expr+"}",
				"write ${env:NAME} or ${hostname}", "可使用 ${env:变量名} 或 ${hostname}")
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
			r.fail("E136", path, n, err.Error(), strconv.Quote(s)+" 不是 true 或 false", "write true or false", "请填写 true 或 false")
			return
		}
		*to = v
	}
}

// orTemplate is a value, or a template that gives it for each message.
func orTemplate(value readFunc, template *string) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if v := resolve(n); v.Kind == yaml.ScalarNode && strings.Contains(v.Value, "${") {
			templated(template)(r, path, n)
			return
		}
		value(r, path, n)
	}
}

func optionalBool(to **bool) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		var v bool
		before := len(r.findings)
		boolean(&v)(r, path, n)
		if len(r.findings) == before {
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
			r.fail("E137", path, n, fmt.Sprintf("%q is not a number from %d to %d", s, least, most),
				fmt.Sprintf("%q 不是 %d 到 %d 之间的整数", s, least, most), "write a number in that range", "请填写该范围内的整数")
			return
		}
		*to = v
	}
}

func optionalInt(to **int, least, most int) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		var v int
		before := len(r.findings)
		integer(&v, least, most)(r, path, n)
		if len(r.findings) == before {
			*to = &v
		}
	}
}

// duration reads a Go duration or whole seconds, as a string or a number.
func duration(to **time.Duration) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n)
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		if secs, serr := strconv.ParseUint(s, 10, 31); serr == nil {
			d, err = time.Duration(secs)*time.Second, nil
		}
		if err != nil || d < 0 {
			r.fail("E138", path, n, strconv.Quote(s)+" is not a duration", strconv.Quote(s)+" 不是合法的时长", "write 30s, 1m30s, 500ms or a number of seconds", "例如 30s、1m30s、500ms 或秒数")
			return
		}
		*to = &d
	}
}

// choice reads one of the words that parse knows.
func choice[T any](to *T, parse func(string) (T, error)) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n)
		if !ok {
			return
		}
		v, err := parse(s)
		if err != nil {
			r.fail("E139", path, n, err.Error(), strings.Replace(err.Error(), " is none of ", " 不在可选值之中：", 1), "choose one of them", "请从可选值中选择")
			return
		}
		*to = v
	}
}

// where reads the one key of an object that says where a value is. A key that is not known
// is not shown: it may be the value, written in the wrong place.
func (r *reader) where(path string, n *yaml.Node, keys ...string) (key, value string) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 {
		key = n.Content[0].Value
		if slices.Contains(keys, key) {
			value, ok := r.scalar(path+"."+key, n.Content[1])
			if !ok || value != "" {
				return key, value
			}
		}
	}
	forms := "{" + strings.Join(keys, ": ...}, {") + ": ...}"
	r.fail("E140", path, n, "is neither a string nor one of "+forms, "应为字符串，或 "+forms+" 之一", "choose one", "请选择一种")
	return "", ""
}

// secret reads a string, {env: NAME} or {file: PATH}.
func secret(to *connector.Secret) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		n = resolve(n)
		if n.Kind == yaml.ScalarNode {
			*to = connector.Secret(n.Value) // as it stands: a password may hold "${"
			return
		}
		switch key, value := r.where(path, n, "env", "file"); key {
		case "env":
			*to = connector.Secret(r.expand(path, n, "${env:"+value+"}", never))
		case "file":
			b, err := os.ReadFile(r.path(value))
			if err != nil {
				r.fail("E117", path, n, "cannot be read: "+err.Error(), "无法读取："+err.Error(), "check the path", "请检查路径")
			}
			*to = connector.Secret(strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"))
		}
	}
}

// pemFile reads a path, {path: P}, {pem: TEXT} or {env: NAME}, into what package
// transport takes: a path or PEM text.
func pemFile[T ~string](to *T) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		n = resolve(n)
		if n.Kind == yaml.ScalarNode {
			*to = T(r.path(n.Value))
			return
		}
		switch key, value := r.where(path, n, "path", "pem", "env"); key {
		case "path":
			*to = T(r.path(value))
		case "pem":
			*to = T(value)
		case "env":
			*to = T(r.path(r.expand(path, n, "${env:"+value+"}", never)))
		}
	}
}

// path makes a path in the file absolute; PEM text stays what it is.
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
			items = []*yaml.Node{n} // one where a list may stand
		} else if n.Kind != yaml.SequenceNode {
			r.fail("E141", path, n, "is not a list", "应为列表", "write [a, b]", "请写成 [a, b]")
			return
		}
		*to = make([]T, len(items))
		for i, item := range items {
			at := fmt.Sprintf("%s[%d]", path, i)
			r.places[at] = item
			one(&(*to)[i])(r, at, item)
		}
	}
}

// named reads an object whose keys are names.
func named[T any](to *map[string]T, one func(*T) readFunc) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		n = resolve(n)
		if n.Kind != yaml.MappingNode {
			r.fail("E131", path, n, "is not an object with names", "应为以名称为键的对象", "write name: {...}", "请写成 名称: {...}")
			return
		}
		*to = make(map[string]T)
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			at := join(path, name)
			if _, twice := (*to)[name]; twice {
				r.fail("E132", at, n.Content[i], "stands here twice", "重复出现", "keep one", "只保留一个")
				continue
			}
			r.places[at] = n.Content[i+1]
			var v T
			one(&v)(r, at, n.Content[i+1])
			(*to)[name] = v
		}
	}
}
