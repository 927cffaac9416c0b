package flow

import (
	"encoding/json"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

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
			parsed, err := ParseTemplate(c.text)
			var got string
			if err == nil {
				got, err = parsed.Text(m)
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

// Full is for what tells messages apart: an empty text does not.
func TestTemplateFull(t *testing.T) {
	id, err := ParseTemplate("${payload.device}/${payload.id}")
	require.NoError(t, err)
	for payload, want := range map[string]string{
		`{"device": "a", "id": 7}`: "a/7", `{"device": "a", "id": 0}`: "a/0",
		`{"device": "a", "id": ""}`: "", `{"device": "", "id": 7}`: "", `{"device": "a", "id": null}`: "", `{"device": "a"}`: "", `no JSON`: "",
	} {
		text, err := id.Full(&Message{Payload: Entity{Blob: []byte(payload)}})
		require.Equal(t, want, text, payload)
		require.Equal(t, want == "", err != nil, payload)
	}
}

func TestTemplateOfWholePayload(t *testing.T) {
	parsed, err := ParseTemplate("<${payload}>")
	require.NoError(t, err)
	got, err := parsed.Text(NewMessage("t", []byte{0xff, 'x'}, 0, 0))
	require.NoError(t, err)
	require.Equal(t, "<\xffx>", got)
}

// What follows the JSON in a payload makes it none.
func TestTemplateNeedsJSON(t *testing.T) {
	parsed, err := ParseTemplate("${payload.a}")
	require.NoError(t, err)
	for _, payload := range []string{"", "not json", `{"a": 1} trailing`, `{"a": 1`} {
		_, err = parsed.Text(NewMessage("t", []byte(payload), 0, 0))
		require.ErrorContains(t, err, "the payload is no JSON", payload)
	}
}

// Numbers come out as they went in, wherever they stand and whoever put them there.
func TestTemplateNumbers(t *testing.T) {
	for _, v := range []string{"7", "123456", "1234567", "10000000", "1724442618569203714", "0.10", "1e3", "1e400", "-5", "12345678.5", "-0", "true"} {
		m := NewMessage("t", []byte(`{"v":`+v+`,"deep":{"list":[`+v+`],"v":`+v+`}}`), 1, 1)
		d := json.NewDecoder(strings.NewReader(string(m.Payload.Blob)))
		d.UseNumber()
		require.NoError(t, d.Decode(&m.Variable))
		m.Attribute["raw"] = json.RawMessage(m.Payload.Blob)
		for text, want := range map[string]string{
			"${payload.v}": v, "${payload.deep.v}": v, "${payload.deep}": `{"list":[` + v + `],"v":` + v + `}`, "${payload}": string(m.Payload.Blob),
			"${variable.v}": v, "${variable.deep.v}": v, "${variable.deep.list}": "[" + v + "]", "${variable.deep}": `{"list":[` + v + `],"v":` + v + `}`,
			"${attribute.raw.deep.v}": v, "${attribute.raw.deep.list}": "[" + v + "]",
		} {
			parsed, err := ParseTemplate("a" + text + "b")
			require.NoError(t, err)
			got, err := parsed.Text(m)
			require.NoError(t, err)
			require.Equal(t, "a"+want+"b", got, text)
		}
	}
}

// What a program puts into a message is written as JSON would be, without the exponent that
// fmt makes of large numbers.
func TestTemplateValuesOfPrograms(t *testing.T) {
	type reading struct {
		V float64 `json:"v"`
	}
	seven := 7
	for want, v := range map[string]any{
		"1234567": 1234567.0, "10000000": 1e7, "12345678.5": 12345678.5, "0.1": float32(0.1), "16777216": float32(1 << 24), "1e+21": 1e21, "1724442618569203714": int64(1724442618569203714),
		"18446744073709551615": uint64(math.MaxUint64), `{"a":[10000000],"b":"<&>"}`: map[string]any{"a": []any{1e7}, "b": "<&>"}, `["a","b"]`: []string{"a", "b"},
		`{"v":10000000}`: reading{1e7}, "bytes": []byte("bytes"), "8": &seven, "1m0s": time.Minute, "x": json.Number("x"), "NaN": math.NaN(), "false": false,
	} {
		if v == &seven {
			seven = 8
		}
		m := NewMessage("t", nil, 0, 0)
		m.Variable["v"] = v
		parsed, err := ParseTemplate("${variable.v}")
		require.NoError(t, err)
		got, err := parsed.Text(m)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for path, want := range map[string]string{"m.a": "7", "n.x": "", "nil": "", "f": "", "raw.x": ""} {
		m := NewMessage("t", nil, 0, 0)
		m.Variable = map[string]any{"m": map[string]int{"a": 7}, "n": map[string]string{"a": "7"}, "nil": (*int)(nil), "f": []any{func() {}}, "raw": json.RawMessage("{")}
		parsed, err := ParseTemplate("${variable." + path + "}")
		require.NoError(t, err)
		got, err := parsed.Text(m)
		require.Equal(t, want == "", err != nil, "%v", err)
		require.Equal(t, want, got)
	}
}

// Half of a surrogate pair is refused, not replaced.
func TestTemplateLosesNoCharacter(t *testing.T) {
	parsed, err := ParseTemplate("${payload.v}")
	require.NoError(t, err)
	_, err = parsed.Text(NewMessage("t", []byte(`{"v": "\ud83d"}`), 0, 0))
	require.EqualError(t, err, "payload.v holds half of a surrogate pair, which no text can hold")
	got, err := parsed.Text(NewMessage("t", []byte("{\"v\": \"\xb2\xfa\"}"), 0, 0))
	require.NoError(t, err)
	require.Equal(t, "\xb2\xfa", got, "bytes that are not UTF-8 stay as they came")
}

// A large payload is read once for all templates of a producer, and never turned into a tree.
func TestTemplateMemory(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`{"a": 1, "b": 2, "c": {"d": 3}, "readings": [`)
	for doc.Len() < 15<<20 {
		doc.WriteString(`{"id":1724442618569203714,"v":0.10},`)
	}
	doc.WriteString(`{}]}`)
	m := NewMessage("t", []byte(doc.String()), 1, 1)
	var all []*Template
	for _, text := range []string{"t/${payload.a}/${payload.b}", "${payload.c.d} ${payload.c}", "${payload.a}"} {
		parsed, err := ParseTemplate(text)
		require.NoError(t, err)
		all = append(all, parsed)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e := Evaluate(m, all...)
	topic, err := e.Topic(all[0], true)
	require.NoError(t, err)
	payload, err := e.Text(all[1])
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Equal(t, []string{"t/1/2", `3 {"d":3}`}, []string{topic, payload})
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}
