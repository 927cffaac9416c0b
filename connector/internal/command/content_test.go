package command

import (
	"encoding/json"
	"testing"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// The same rule holds for payload and payload_base64: null is the same as leaving the key out, and a
// value is passed on as it is written.
func TestContent(t *testing.T) {
	for line, want := range map[string]string{
		`{}`: "-", `{"payload": null}`: "-", `{"payload_base64": null}`: "-", `{"payload": null, "payload_base64": null}`: "-",
		`{"payload": "x", "payload_base64": null}`: "x", `{"payload": null, "payload_base64": "eA=="}`: "x",
		`{"payload": ""}`: "", `{"payload_base64": ""}`: "", `{"payload": "on"}`: "on", `{"payload_base64": "/wA="}`: "\xff\x00",
		`{"payload": 1724442618569203714}`: "1724442618569203714", `{"payload": 1e400}`: "1e400", `{"payload": {"v": 1724442618569203714, "w": "<"}}`: `{"v": 1724442618569203714, "w": "<"}`,
		`{"payload": [0.10]}`: "[0.10]", `{"payload": false}`: "false", `{"payload": "\u00e9\ud83d\ude00"}`: "é😀",
		`{"payload": "\ud83d"}`: "!half of a surrogate", `{"payload": "x", "payload_base64": "eA=="}`: "!both given", `{"payload_base64": "%"}`: "!payload_base64: illegal",
		`{"payload_base64": 7}`: "!no text", `{"payload_base64": {}}`: "!no text",
	} {
		var c content
		require.NoError(t, json.Unmarshal([]byte(line), &c))
		payload, _, given, err := c.bytes()
		switch {
		case want == "-":
			require.NoError(t, err)
			require.False(t, given, line)
		case want != "" && want[0] == '!':
			require.ErrorContains(t, err, want[1:], line)
		default:
			require.NoError(t, err, line)
			require.True(t, given, line)
			require.Equal(t, want, string(payload), line)
		}
		// In the answer of a co-process, a field that is missing keeps its value.
		head := `{"id": "1", "ok": true, `
		if line == "{}" {
			head = `{"id": "1", "ok": true`
		}
		a, ok := parseAnswer([]byte(head + line[1:]))
		require.True(t, ok, line)
		require.NoError(t, a.err, line)
		m, err := a.message(flow.NewMessage("t", []byte("came"), 1, 1))
		if want == "-" {
			want = "came"
		}
		if want != "" && want[0] == '!' {
			require.ErrorContains(t, err, want[1:])
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, string(m.Payload.Blob))
	}
}

// Numbers in lines of standard input keep all their digits, and nothing in a line is silently lost.
func TestRunLinesAsWritten(t *testing.T) {
	addr := startBroker(t)
	file := configFile(t, addr, `producers:
  number: {topic: 'n/${variable.v}', payload: '{"v": ${attribute.v}, "all": ${variable.all}}', qos: 1, retained: true}
  direct: {topic: 'd/${variable.v}', qos: 1, retained: true}
`)
	for _, v := range []string{"1234567", "1724442618569203714", "12345678.5", "0.10", "1e3"} {
		r := runWith(t, t.Context(), `{"producer": "number", "variable": {"v": `+v+`, "all": {"w": `+v+`}}, "attribute": {"v": `+v+`}}
{"producer": "direct", "payload": {"v": `+v+`}, "variable": {"v": `+v+`}}
`, "run", "-c", file)
		require.Equal(t, 0, r.code, r.err)
		require.Equal(t, `{"v": `+v+`, "all": {"w":`+v+`}}`+"\n", ok(t, "sub", "-b", addr, "-t", "n/"+v, "-C", "1", "-W", "120"))
		require.Equal(t, `{"v": `+v+"}\n", ok(t, "sub", "-b", addr, "-t", "d/"+v, "-C", "1", "-W", "120"))
	}
	for line, want := range map[string]string{
		`{"producer": "direct", "variable": {"v": 1}}`:                                   "the line has no payload",
		`{"producer": "direct", "payload": null, "variable": {"v": 1}}`:                  "the line has no payload",
		`{"producer": "direct", "payload_base64": null, "variable": {"v": 1}}`:           "the line has no payload",
		`{"producer": "direct", "payload": "x", "variable": {"v": 1}} {"producer": "x"}`: "something follows the object",
		"{\"producer\": \"direct\", \"payload\": \"\xff\", \"variable\": {\"v\": 1}}":    "not UTF-8",
		`{"producer": "direct", "payload": "x", "variable": {"v": "a\nb"}}`:              "${variable.v} holds the character U+000A",
		`{"producer": "direct", "payload": "\ud83d", "variable": {"v": 1}}`:              "half of a surrogate pair",
	} {
		r := runWith(t, t.Context(), line+"\n", "run", "-c", file)
		require.NotEqual(t, 0, r.code, line)
		require.Contains(t, r.err, want)
	}
}
