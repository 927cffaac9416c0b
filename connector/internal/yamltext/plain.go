package yamltext

import (
	"encoding/json"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// plain returns the value of a node without positions, styles and types: what an edit must not change.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.AliasNode:
		return "*" + n.Value
	case yaml.MappingNode:
		out := make(map[string]any)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			for _, twice := out[key]; twice; _, twice = out[key] {
				key += "\x00"
			}
			out[key] = plain(n.Content[i+1])
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			out[i] = plain(item)
		}
		return out
	}
	if n.Tag == "!!null" {
		return nil
	}
	return n.Value
}

// plainOf is plain for a value that Set writes.
func plainOf(v any) any {
	switch v := v.(type) {
	case Object:
		out := make(map[string]any)
		for _, m := range v {
			out[m.Key] = plainOf(m.Value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = plainOf(item)
		}
		return out
	case json.Number:
		return v.String()
	}
	return fmt.Sprint(v)
}

// atPlain returns the value at a path, or nil.
func atPlain(v any, path []string) any {
	for _, name := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// setPlain does to a plain value what Set does to the text.
func setPlain(v any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	switch at := v.(type) {
	case nil:
		return map[string]any{path[0]: setPlain(nil, path[1:], value)}
	case map[string]any:
		at[path[0]] = setPlain(at[path[0]], path[1:], value)
	case []any:
		i, err := strconv.Atoi(path[0])
		switch {
		case err != nil || i < 0 || i > len(at):
			return nil
		case i == len(at):
			return append(at, setPlain(nil, path[1:], value))
		}
		at[i] = setPlain(at[i], path[1:], value)
	}
	return v
}

// removePlain does to a plain value what Remove does to the text.
func removePlain(v any, path []string) any {
	last := path[len(path)-1]
	switch around := atPlain(v, path[:len(path)-1]).(type) {
	case map[string]any:
		delete(around, last)
	case []any:
		i, err := strconv.Atoi(last)
		if err != nil || i < 0 || i >= len(around) {
			return nil
		}
		return setPlain(v, path[:len(path)-1], append(append([]any{}, around[:i]...), around[i+1:]...))
	}
	return v
}
