package jsonpath

import (
	"bytes"
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func text(t *testing.T, doc string, path ...string) (string, error) {
	t.Helper()
	got, err := Find([]byte(doc), [][]string{path})
	require.NoError(t, err)
	if got[0].Raw == nil {
		return "", nil
	}
	return Text(got[0].Raw)
}

// Numbers keep their digits, wherever they are.
func TestAsWritten(t *testing.T) {
	for _, v := range []string{"7", "1234567", "10000000", "1724442618569203714", "0.10", "1e3", "1E+400", "-0", "12345678.50", "true", "false",
		`{"a":[1724442618569203714,1e400],"b":{"c":0.10}}`, `[1,[2,[{"d":-0.0}]]]`} {
		for _, doc := range []string{`{"v":` + v + `}`, "\t{ \"a\" : [ {\"v\": 1} ] ,\r\n\"v\" : " + v + " }", `{"v":{"v":5},"v":` + v + `}`, `{"\u0076":` + v + `}`} {
			got, err := text(t, doc, "v")
			require.NoError(t, err)
			require.Equal(t, v, got, doc)
		}
		got, err := text(t, v)
		require.NoError(t, err)
		require.Equal(t, v, got)
	}
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		`"a"`: "a", `""`: "", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"\u00e9\ud83d\ude00x"`: "é😀x", `"产线"`: "产线", "\"\xff\"": "\xff", `"<&>"`: "<&>", `"\u0000"`: "\x00",
		`"0055"`: "0055", `"}{"`: "}{",
	} {
		got, err := text(t, `{"x": "\\", "v": `+in+`}`, "v")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, in := range []string{`"\ud83d"`, `"\ude00"`, `"\ud83dx12345"`, `"\ud83d\u0041"`, `"a\ud83d\n"`, `"\ude00\ud83d"`} {
		_, err := text(t, `{"v": `+in+`}`, "v")
		require.ErrorIs(t, err, ErrSurrogate, in)
	}
	_, err := text(t, `{"v": null}`, "v")
	require.ErrorIs(t, err, ErrNull)
}

// For a missing value, Depth says how far its path leads.
func TestMissing(t *testing.T) {
	doc := []byte(`{"a": {"b": 1, "c": {}}, "a2": [], "a": {"b": 2, "c": {"d": 3}}}`)
	for path, depth := range map[string]int{"x": 0, "a.x": 1, "a.b.x": 2, "a.c.x": 2, "a2.x": 1, "a.c.d.x": 3} {
		got, err := Find(doc, [][]string{strings.Split(path, ".")})
		require.NoError(t, err)
		require.Equal(t, Value{Depth: depth}, got[0], path)
	}
	got, err := Find([]byte(`{"a": {"b": 1}, "a": {"c": 2}}`), [][]string{{"a", "b"}, {"a", "c"}, {"a"}, {}})
	require.NoError(t, err)
	require.Equal(t, []Value{{nil, 1}, {[]byte("2"), 2}, {[]byte(`{"c": 2}`), 1}, {[]byte(`{"a": {"b": 1}, "a": {"c": 2}}`), 0}}, got, "the last of two counts")
	for _, doc := range []string{"", "x", "{", `{"a": 1} 2`, `{"a": 01}`, `{"a": NaN}`} {
		_, err := Find([]byte(doc), [][]string{{"a"}})
		require.Error(t, err, doc)
	}
}

// Allocations do not grow with the text.
func TestFindIsBounded(t *testing.T) {
	doc := []byte(`{"items": [` + strings.TrimSuffix(strings.Repeat(`{"id": 1724442618569203714, "name": "reading"},`, 300_000), ",") + `], "a": 1, "b": {"c": 2}, "d": 3}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := Find(doc, [][]string{{"a"}, {"b", "c"}, {"d"}})
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Equal(t, "2", string(got[1].Raw))
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "%d bytes", len(doc))
}

// The finder and encoding/json agree on every text.
func FuzzFind(f *testing.F) {
	f.Add([]byte(`{"a": {"b": [1, "x"]}, "a": {"b": null}}`), "a.b")
	f.Add([]byte(`{"a\u0062": "\ud83d"}`), "ab")
	f.Add([]byte("\"\xff\""), "")
	f.Add([]byte(`[{"a": 1}]`), "a")
	f.Fuzz(func(t *testing.T, doc []byte, path string) {
		names := strings.Split(path, ".")
		if path == "" {
			names = nil
		}
		got, err := Find(doc, [][]string{names})
		require.Equal(t, json.Valid(doc), err == nil)
		if err != nil || !utf8Valid(doc) {
			return
		}
		d := json.NewDecoder(bytes.NewReader(doc))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			return
		}
		ok := true
		for _, name := range names {
			m, is := v.(map[string]any)
			if v, ok = m[name]; !is || !ok {
				ok = false
				break
			}
		}
		if bytes.Contains(doc, []byte(`\ud`)) || bytes.Contains(doc, []byte(`\uD`)) {
			return // encoding/json replaces an unpaired surrogate with U+FFFD
		}
		require.Equal(t, ok, got[0].Raw != nil)
		if !ok {
			return
		}
		s, err := Text(got[0].Raw)
		switch v := v.(type) {
		case nil:
			require.ErrorIs(t, err, ErrNull)
		case string:
			require.Equal(t, v, s)
		case json.Number:
			require.Equal(t, v.String(), s)
		default:
			require.NoError(t, err)
		}
	})
}

func utf8Valid(b []byte) bool { return bytes.Equal(bytes.ToValidUTF8(b, nil), b) }
