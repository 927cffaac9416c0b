package config

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/lint"
)

// EditorSchema returns the JSON Schema (draft 2020-12) for editors. It accepts what [Parse]
// accepts, including labels, headings and other spellings, and lets editors complete keys and
// labels. It does not check relations between fields.
func EditorSchema() []byte { return slices.Clone(editorSchema()) }

// editorSchema is generated from the canonical schema and the fields of Parse, so that they cannot
// differ.
var editorSchema = sync.OnceValue(func() []byte {
	var canonical map[string]any
	if err := json.Unmarshal(schema, &canonical); err != nil {
		panic(err) // the file is part of the program
	}
	e := &editor{defs: make(map[string]any)}
	c := new(connector.Config)
	for name, def := range canonical["$defs"].(map[string]any) {
		switch name {
		case "general":
			e.defs[name] = e.object(name, def.(map[string]any), general(&c.General), "")
		case "advanced":
			e.defs[name] = e.object(name, def.(map[string]any), advanced(&c.Advanced), "")
		case "extension":
			e.defs[name] = e.object(name, def.(map[string]any), extension(&c.Extension), "")
		case "connection":
			e.defs[name] = e.object(name, def.(map[string]any), sections(&c.General, &c.Advanced, &c.Extension), "")
		case "consumer":
			e.defs[name] = e.object(name, def.(map[string]any), consumer(new(connector.ConsumerParams)), "consumers")
		case "producer":
			e.defs[name] = e.object(name, def.(map[string]any), producer(new(connector.ProducerParams)), "producers")
		case "nats":
			e.defs[name] = e.object(name, def.(map[string]any), nats(new(connector.NATS)), "")
		default:
			e.defs[name] = e.lenient(name, def)
		}
	}
	out := e.object("file", canonical, root(c), "root")
	out["patternProperties"].(map[string]any)["^x-"] = true
	out["$schema"] = canonical["$schema"]
	out["$id"] = "https://github.com/mqtt311/mqtt311/connector/config/editor.schema.json"
	out["title"] = canonical["title"]
	out["description"] = "What mqtt311 check accepts. The canonical spelling is that of schema.json."
	out["$defs"] = e.defs
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		panic(err) // the value came from JSON
	}
	return append(text, '\n')
})

type editor struct{ defs map[string]any }

// object makes an object accept all names of its fields, and headings if the section has some.
func (e *editor) object(name string, in map[string]any, fields []field, section string) map[string]any {
	properties, patterns := make(map[string]any), make(map[string]any)
	var needed []any
	below, _ := in["properties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(below)) {
		f := field{key: key}
		if property, ok := below[key].(map[string]any); ok { // property is an object within another
			f.zh, _ = property["x-label-zh"].(string)
		}
		if i := slices.IndexFunc(fields, func(f field) bool { return f.key == key }); i >= 0 {
			f = fields[i]
		}
		def := name + "." + key
		e.defs[def] = orNull(e.lenient(def, below[key]))
		ref := map[string]any{"$ref": "#/$defs/" + def}
		properties[key] = ref
		if f.zh != "" {
			properties[f.zh] = ref
		}
		pattern := spelled(append([]string{f.key, f.zh}, f.also...)...)
		patterns[pattern] = ref
		if required, _ := in["required"].([]any); slices.Contains(required, any(key)) {
			needed = append(needed, has(pattern))
		}
	}
	patterns["^<<$"] = true // "<<" is a merge, which editors may treat as a key
	if section != "" {
		words := headings[section]
		if section == "root" {
			words = headings[""]
		}
		heading := spelled(words...)
		inner := map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "patternProperties": maps.Clone(patterns)}
		inner["patternProperties"].(map[string]any)[heading] = map[string]any{"$ref": "#/$defs/" + name + ".heading"}
		e.defs[name+".heading"] = inner
		patterns[heading] = map[string]any{"$ref": "#/$defs/" + name + ".heading"}
		for i, one := range needed { // a required key may be below a heading
			needed[i] = map[string]any{"anyOf": []any{one, has(heading)}}
		}
	}
	out := map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "patternProperties": patterns}
	if len(needed) > 0 {
		all := make([]any, len(needed))
		for i, one := range needed { // or it may be merged
			all[i] = map[string]any{"anyOf": []any{one, has("^<<$")}}
		}
		out["allOf"] = all
	}
	if least, ok := in["minProperties"]; ok {
		out["minProperties"], out["maxProperties"] = least, in["maxProperties"]
	}
	return out
}

// has returns a schema for objects that have a key matching a pattern.
func has(pattern string) map[string]any {
	return map[string]any{"not": map[string]any{"propertyNames": map[string]any{"not": map[string]any{"pattern": pattern}}}}
}

func orNull(s any) any {
	return map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
}

// lenient makes a schema accept all spellings of its values.
func (e *editor) lenient(name string, s any) any {
	in, ok := s.(map[string]any)
	if !ok {
		return s
	}
	if ref, ok := in["$ref"].(string); ok {
		return map[string]any{"$ref": ref}
	}
	out := make(map[string]any)
	for _, key := range []string{"description", "examples", "default"} {
		if v, ok := in[key]; ok {
			out[key] = v
		}
	}
	var forms []any
	if name == "duration" {
		forms = []any{map[string]any{"type": "number", "minimum": 0}, map[string]any{"type": "string", "pattern": "^[^-]*[0-9０-９][^-]*$"}}
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		if some, ok := in[key].([]any); ok && in["type"] == nil && name != "duration" {
			for i, form := range some {
				forms = append(forms, e.lenient(name+"."+strconv.Itoa(i), form))
			}
		}
	}
	if words, ok := in["enum"].([]any); ok {
		forms = append(forms, choiceForms(words)...)
	}
	if v, ok := in["const"]; ok {
		forms = append(forms, choiceForms([]any{v})...)
	}
	switch in["type"] {
	case "string":
		text := map[string]any{"type": []any{"string", "number", "boolean"}}
		for _, key := range []string{"minLength", "maxLength", "pattern"} {
			if v, ok := in[key]; ok {
				text[key] = v
			}
		}
		forms = append(forms, text)
	case "boolean":
		forms = append(forms, map[string]any{"type": "boolean"}, map[string]any{"type": "string", "pattern": spelled(boolWords...)})
	case "integer":
		number := map[string]any{"type": "integer"}
		for _, key := range []string{"minimum", "maximum"} {
			if v, ok := in[key]; ok {
				number[key] = v
			}
		}
		forms = append(forms, number, map[string]any{"type": "string", "pattern": "^[+-]?[0-9]+$"})
	case "array":
		item := e.lenient(name+".item", in["items"])
		list := map[string]any{"type": "array", "items": item}
		if least, ok := in["minItems"]; ok {
			list["minItems"] = least
		}
		forms = append(forms, list, map[string]any{"allOf": []any{map[string]any{"type": []any{"string", "number", "boolean"}}, item}})
	case "object":
		if inner, ok := in["additionalProperties"].(map[string]any); ok {
			forms = append(forms, map[string]any{"type": "object", "additionalProperties": e.lenient(name+".value", inner)})
		} else {
			forms = append(forms, e.object(name, in, nil, ""))
		}
	}
	if len(forms) == 1 && len(out) == 0 {
		return forms[0]
	}
	out["anyOf"] = forms
	return out
}

var boolWords = []string{"true", "false", "yes", "no", "on", "off", "是", "否", "启用", "禁用", "开启", "关闭", "真", "假"}

// moreWords are additional spellings of choices.
var moreWords = map[string][]string{
	"At Most Once":       {"最多一次", "至多一次", "0", "QoS 0", "QoS 最多一次", "QoS 至多一次", "QoS At Most Once"},
	"At Least Once":      {"至少一次", "最少一次", "1", "QoS 1", "QoS 至少一次", "QoS 最少一次", "QoS At Least Once"},
	"Exactly Once":       {"恰好一次", "正好一次", "仅一次", "只有一次", "精确一次", "2", "QoS 2", "QoS 恰好一次", "QoS 正好一次", "QoS 仅一次", "QoS 只有一次", "QoS 精确一次", "QoS Exactly Once"},
	"TCP":                {"mqtt"},
	"TLS":                {"ssl", "mqtts"},
	"WebSocket":          {"ws"},
	"WebSocket Secure":   {"wss"},
	"after_flow_success": {"流运行成功后确认", "消费后直到触发的流成功结束后才确认", "消费后直到触发的流成功结束后才确认 offset"},
	"keep":               {"保持"},
	"fast":               {"快速"},
	"strict":             {"严格"},
	"immediately":        {"流开始前立即确认", "立即确认", "消费后立即确认", "消费后立即确认 offset", "消费后立即确认offset，不等待流的触发及运行结果"},
}

// choiceForms returns patterns for all spellings of a choice, including numbers.
func choiceForms(words []any) (forms []any) {
	var names []string
	values := slices.Clone(words)
	for _, w := range words {
		switch w := w.(type) {
		case string:
			names = append(append(names, w), moreWords[w]...)
			if n, err := strconv.ParseFloat(w, 64); err == nil {
				values = append(values, n)
			}
		case float64:
			names = append(names, strconv.FormatFloat(w, 'f', -1, 64))
		}
	}
	return []any{map[string]any{"enum": values}, map[string]any{"type": "string", "pattern": spelled(names...)}}
}

// ignored matches what lint.Fold removes.
const ignored = "[ \t\u00a0\u3000_-]*"

// spelled returns a pattern for all texts that lint.Fold maps to one of the names.
func spelled(names ...string) string {
	var all []string
	for _, name := range names {
		if name == "" {
			continue
		}
		var b strings.Builder
		b.WriteString(ignored)
		for _, r := range lint.Fold(name) {
			switch {
			case r == ',':
				b.WriteString("[,，、]")
			case 'a' <= r && r <= 'z':
				wide := r + '！' - '!'
				b.WriteString("[" + string([]rune{r, unicode.ToUpper(r), wide, unicode.ToUpper(wide)}) + "]")
			case '!' <= r && r <= '~':
				b.WriteString("(" + regexp.QuoteMeta(string(r)) + "|" + string(r+'！'-'!') + ")")
			default:
				b.WriteString(regexp.QuoteMeta(string(r)))
			}
			b.WriteString(ignored)
		}
		if s := b.String(); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return "^(" + strings.Join(all, "|") + ")$"
}
