package connector

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTemplate(t *testing.T) {
	m := NewMessage("plant/7", []byte(`{"line": 7, "id": 12345678901234567890, "name": "höhe", "deep": {"a": [1, 2]}, "none": null, "ok": true}`), 1, 4)
	m.Variable = map[string]any{"line": 9, "raw": []byte("bytes"), "a": map[string]any{"b": "c"}}
	cases := map[string]struct{ text, want, err string }{
		"plain":                {text: "a/b", want: "a/b"},
		"a dollar is a dollar": {text: "cost $5 {x}", want: "cost $5 {x}"},
		"payload":              {text: "${payload.name}", want: "höhe"},
		"a long number":        {text: "id/${payload.id}", want: "id/12345678901234567890"},
		"between":              {text: "a/${variable.line}/b/${attribute.topic}", want: "a/9/b/plant/7"},
		"spaces":               {text: "${ variable.line }", want: "9"},
		"QoS":                  {text: "${attribute.QoS}${attribute.messageID}", want: "14"},
		"object":               {text: "${payload.deep}", want: `{"a":[1,2]}`},
		"bool":                 {text: "${payload.ok}", want: "true"},
		"bytes":                {text: "${variable.raw}", want: "bytes"},
		"deeper":               {text: "${variable.a.b}", want: "c"},
		"missing":              {text: "${payload.deep.z}", err: "there is no payload.deep.z"},
		"through a scalar":     {text: "${payload.line.z}", err: "there is no payload.line.z"},
		"null":                 {text: "${payload.none}", err: "payload.none is null"},
		"no variable":          {text: "${variable.z}", err: "there is no variable.z"},
		"unclosed":             {text: "a/${payload.line", err: `"a/${payload.line" has "${" without "}"`},
		"unknown root":         {text: "${env:HOME}", err: "${env:HOME} is none of ${payload.path}, ${attribute.name}, ${variable.name}"},
		"no field":             {text: "${attribute}", err: "${attribute} names no field, as in ${attribute.name}"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			parsed, err := parseTemplate(c.text)
			var got string
			if err == nil {
				got, err = parsed.eval(m)
			}
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestTemplateOfWholePayload(t *testing.T) {
	parsed, err := parseTemplate("<${payload}>")
	require.NoError(t, err)
	got, err := parsed.eval(NewMessage("t", []byte{0xff, 'x'}, 0, 0))
	require.NoError(t, err)
	require.Equal(t, "<\xffx>", got)
}

// What follows the JSON in a payload makes it none.
func TestTemplateNeedsJSON(t *testing.T) {
	parsed, err := parseTemplate("${payload.a}")
	require.NoError(t, err)
	for _, payload := range []string{"", "not json", `{"a": 1} trailing`, `{"a": 1`} {
		_, err = parsed.eval(NewMessage("t", []byte(payload), 0, 0))
		require.ErrorContains(t, err, "the payload is no JSON", payload)
	}
}
