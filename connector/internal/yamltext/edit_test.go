package yamltext_test

import (
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector/internal/yamltext"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const document = `# The plant.
connector:
  general:
    broker_url: mq.example.com:8883   # the cluster
    "client_id": 'line-7'
    password: "a \"b\" # c"
    ws_headers: {X-Key: abc, Y: 'it''s'} # both
    tls_client_key:
      pem: |
        -----BEGIN
        x
    note: several
      lines of text
  # what follows is advanced
  advanced: # nothing yet
consumers:
  in:
    topics:
      # the first
      - plant/door # one
      - topic: plant/+/t
        qos: 1
    flow: [a, "b, c", d]
`

func path(s string) []string { return strings.Split(s, "/") }

// Each case changes exactly the lines that it names.
func TestEditsChangeTheirLinesAlone(t *testing.T) {
	for name, c := range map[string]struct {
		edit      func([]byte) ([]byte, error)
		gone, new []string
	}{
		"a scalar": {
			set("connector/general/broker_url", "x:1"),
			[]string{"    broker_url: mq.example.com:8883   # the cluster"}, []string{"    broker_url: x:1   # the cluster"},
		},
		"quotes stay": {
			set("connector/general/client_id", "it's"),
			[]string{`    "client_id": 'line-7'`}, []string{`    "client_id": 'it''s'`},
		},
		"double quotes": {
			set("connector/general/password", "new\nline \"q\" <&>"),
			[]string{`    password: "a \"b\" # c"`}, []string{`    password: "new\nline \"q\" <&>"`},
		},
		"what must be quoted": {
			set("connector/general/broker_url", "a: b # c"),
			[]string{"    broker_url: mq.example.com:8883   # the cluster"}, []string{"    broker_url: 'a: b # c'   # the cluster"},
		},
		"a number as text": {
			set("connector/general/broker_url", "007"),
			[]string{"    broker_url: mq.example.com:8883   # the cluster"}, []string{`    broker_url: "007"   # the cluster`},
		},
		"within braces": {
			set("connector/general/ws_headers/X-Key", "a,b"),
			[]string{"    ws_headers: {X-Key: abc, Y: 'it''s'} # both"}, []string{`    ws_headers: {X-Key: "a,b", Y: 'it''s'} # both`},
		},
		"into braces": {
			set("connector/general/ws_headers/Z", "1"),
			[]string{"    ws_headers: {X-Key: abc, Y: 'it''s'} # both"}, []string{`    ws_headers: {Z: "1", X-Key: abc, Y: 'it''s'} # both`},
		},
		"out of braces": {
			remove("connector/general/ws_headers/Y"),
			[]string{"    ws_headers: {X-Key: abc, Y: 'it''s'} # both"}, []string{"    ws_headers: {X-Key: abc} # both"},
		},
		"a block of text": {
			set("connector/general/tls_client_key/pem", "short"),
			[]string{"      pem: |", "        -----BEGIN", "        x"}, []string{"      pem: short"},
		},
		"a block of other text": {
			set("connector/general/tls_client_key/pem", "-----A\n\n b\n"),
			[]string{"        -----BEGIN", "        x"}, []string{"        -----A", "", "         b"},
		},
		"text of several lines": {
			set("connector/general/note", yamltext.Object{{Key: "pem", Value: "a\nb"}}),
			[]string{"    note: several", "      lines of text"}, []string{"    note:", "      pem: |-", "        a", "        b"},
		},
		"an object by a reference": {
			set("connector/general/tls_client_key", yamltext.Object{{Key: "env", Value: "KEY"}}),
			[]string{"    tls_client_key:", "      pem: |", "        -----BEGIN", "        x"}, []string{"    tls_client_key: {env: KEY}"},
		},
		"text over lines": {
			set("connector/general/note", "one"),
			[]string{"    note: several", "      lines of text"}, []string{"    note: one"},
		},
		"a key where nothing stands": {
			set("connector/advanced/order", true),
			[]string{"  advanced: # nothing yet"}, []string{"  advanced:", "    order: true # nothing yet"},
		},
		"a key after another": {
			set("connector/general/protocol", "TLS", "broker_url"),
			nil, []string{"    protocol: TLS"},
		},
		"a key before all": {
			set("connector/general/protocol", "TLS"),
			nil, []string{"    protocol: TLS"},
		},
		"a section": {
			set("producers/out/topic", "a/${payload.x}", "connector", "consumers"),
			nil, []string{"producers:", "  out:", "    topic: a/${payload.x}"},
		},
		"a section between": {
			set("connections/far/general/client_id", "c", "connector"),
			nil, []string{"connections:", "  far:", "    general:", "      client_id: c"},
		},
		"an item": {
			set("consumers/in/topics/0", "plant/gate"),
			[]string{"      - plant/door # one"}, []string{"      - plant/gate # one"},
		},
		"an item more": {
			set("consumers/in/topics/2", "#"),
			nil, []string{`      - '#'`},
		},
		"an item less": {
			remove("consumers/in/topics/0"),
			[]string{"      - plant/door # one"}, nil,
		},
		"an item of several lines less": {
			remove("consumers/in/topics/1"),
			[]string{"      - topic: plant/+/t", "        qos: 1"}, nil,
		},
		"a key of an item": {
			set("consumers/in/topics/1/qos", "Exactly Once"),
			[]string{"        qos: 1"}, []string{"        qos: Exactly Once"},
		},
		"a list": {
			set("consumers/in/topics", []any{"a", "b"}),
			[]string{"    topics:", "      # the first", "      - plant/door # one", "      - topic: plant/+/t", "        qos: 1"}, nil,
		},
		"an item within brackets": {
			set("consumers/in/flow/1", "x, y"),
			[]string{`    flow: [a, "b, c", d]`}, []string{`    flow: [a, "x, y", d]`},
		},
		"an item into brackets": {
			set("consumers/in/flow/3", "e"),
			[]string{`    flow: [a, "b, c", d]`}, []string{`    flow: [a, "b, c", d, e]`},
		},
		"an item out of brackets": {
			remove("consumers/in/flow/0"),
			[]string{`    flow: [a, "b, c", d]`}, []string{`    flow: ["b, c", d]`},
		},
		"a key less": {
			remove("connector/general/tls_client_key"),
			[]string{"    tls_client_key:", "      pem: |", "        -----BEGIN", "        x"}, nil,
		},
		"the last key": {
			remove("connector/general/tls_client_key/pem"),
			[]string{"    tls_client_key:", "      pem: |", "        -----BEGIN", "        x"}, []string{"    tls_client_key: {}"},
		},
		"another name": {
			func(b []byte) ([]byte, error) { return yamltext.Rename(b, path("consumers/in"), "in: 2") },
			[]string{"  in:"}, []string{"  'in: 2':"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := c.edit([]byte(document))
			if name == "a list" { // it would lose a comment
				require.ErrorIs(t, err, yamltext.ErrShape)
				return
			}
			require.NoError(t, err)
			gone, added := difference(strings.Split(document, "\n"), strings.Split(string(out), "\n"))
			require.Equal(t, c.gone, gone, "%s", out)
			require.Equal(t, c.new, added, "%s", out)
		})
	}
}

func set(at string, value any, before ...string) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return yamltext.Set(b, path(at), value, before) }
}

func remove(at string) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return yamltext.Remove(b, path(at)) }
}

// difference returns the lines that differ between the common beginning and the common end of two
// texts.
func difference(a, b []string) (gone, added []string) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) > 0 {
		gone = a
	}
	if len(b) > 0 {
		added = b
	}
	return gone, added
}

func TestEditsFromNothing(t *testing.T) {
	text := []byte(nil)
	for _, step := range []struct {
		path  string
		value any
		want  string
	}{
		{"connector/general/broker_url", "h:1", "connector:\n  general:\n    broker_url: h:1\n"},
		{"connector/general/client_id", "", "connector:\n  general:\n    client_id: \"\"\n    broker_url: h:1\n"},
		{"connector/advanced/order", true, "connector:\n  advanced:\n    order: true\n  general:\n    client_id: \"\"\n    broker_url: h:1\n"},
	} {
		out, err := yamltext.Set(text, path(step.path), step.value, nil)
		require.NoError(t, err)
		require.Equal(t, step.want, string(out))
		text = out
	}
	out, err := yamltext.Set([]byte("# only a comment"), path("a/b"), []any{"x"}, nil)
	require.NoError(t, err)
	require.Equal(t, "# only a comment\na:\n  b:\n    - x\n", string(out))
}

// A change that would affect another value is refused, and the text stays unchanged.
func TestEditsThatWouldChangeOthersAreRefused(t *testing.T) {
	for _, c := range []struct{ text, path string }{
		{"a: &x 1\nb: *x\n", "a"},
		{"a: &x 1\nb: *x\n", "b"},
		{"a: &x\n  c: 1\nb: *x\n", "b/c"},
		{"a: !!str 1\n", "a"},
		{"a: 1\na: 2\n", "a"},
		{"a: 1\n", "a/b"},
		{"- 1\n", "a"},
		{"a:\n  - 1\n", "a/3"},
		{"a:\n  - 1\n", "a/-1"},
	} {
		_, err := yamltext.Set([]byte(c.text), path(c.path), "new", nil)
		require.ErrorIs(t, err, yamltext.ErrShape, "%s %s", c.text, c.path)
	}
	_, err := yamltext.Set([]byte("a: [\n"), path("a"), "new", nil)
	require.Error(t, err)
}

// After any change, the result differs in that value alone, or there is no result.
func FuzzSet(f *testing.F) {
	f.Add([]byte(document), "connector/general/password", "x")
	f.Add([]byte("a: [b, {c: d}]"), "a/1/c", "]\n'\"")
	f.Add([]byte("a:\n- b: |2\n    c\n- d\n"), "a/0/b", "#")
	f.Add([]byte("a: >-\n\n b\n\n\n c\nd: e"), "a", "")
	f.Fuzz(func(t *testing.T, text []byte, at, value string) {
		out, err := yamltext.Set(text, path(at), value, nil)
		if err == nil {
			var v yaml.Node
			require.NoError(t, yaml.Unmarshal(out, &v))
		}
		yamltext.Remove(text, path(at))
		yamltext.Rename(text, path(at), value)
	})
}
