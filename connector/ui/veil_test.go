package ui

import (
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

const secrets = `# password: old-in-comment
connector:
  general:
    broker_url: wss://me:in-url@mq.example.com:443/mqtt?X-Sig=in-query   # here
    protocol: WebSocket Secure
    client_id: line-7
    username: line-7
    password: "with \"quotes\" # and hash"
    tls_client_cert: c.pem
    tls_client_key:
      pem: |
        -----BEGIN PRIVATE KEY-----
        in-pem
        -----END PRIVATE KEY-----
  extension:
    failover_urls: [mq2:443, "u:in-failover@mq3:443"]
    proxy: socks5://p:in-proxy@10.0.0.1:1080
    ws_headers: {Authorization: Bearer in-header, X-Other: {file: token.txt}}
connections:
  far:
    general:
      broker_url: far:1883
      client_id: far
      username: {exec: [vault, read, --token=in-args]}
      password: 'in-far ''it'''
x-old: &anchored in-anchor
consumers:
  in:
    topics: [a/token/b, secret]
    passwrod: in-typo
`

// inSecrets are parts of secrets that the page must never see.
var inSecrets = []string{
	"old-in-comment", "in-url", "in-query", "quotes", "and hash", "in-pem", "PRIVATE", "in-failover", "in-proxy", "in-header", "in-args", "in-far", "in-typo",
}

func hide(t *testing.T, text string) *veil {
	t.Helper()
	v, err := newVeil(text)
	require.NoError(t, err)
	return v
}

func TestLiteralSecretsReachThePageAsPlaceholders(t *testing.T) {
	v := hide(t, secrets)
	for _, s := range inSecrets {
		require.NotContains(t, v.text, s)
	}
	require.Contains(t, v.text, "wss://me:<secret-")
	require.Contains(t, v.text, "@mq.example.com:443/mqtt?<secret-")
	require.Contains(t, v.text, "topics: [a/token/b, secret]")
	require.Contains(t, v.text, "X-Other: {file: token.txt}")
	require.Contains(t, v.text, "exec: [vault, \"<secret-")
	require.NotEmpty(t, config.Read([]byte(v.text), ".", never).Values)

	// The secrets are put back exactly, even if something else changes.
	u, err := v.lift(v.text)
	require.NoError(t, err)
	require.Equal(t, secrets, u.text)
	u, err = v.lift("# new\n" + strings.Replace(v.text, "client_id: line-7", "client_id: line-8", 1))
	require.NoError(t, err)
	require.Equal(t, "# new\n"+strings.Replace(secrets, "client_id: line-7", "client_id: line-8", 1), u.text)

	// A value that is changed in part keeps its secret.
	u, err = v.lift(strings.Replace(v.text, "wss://me:", "wss://you:", 1))
	require.NoError(t, err)
	require.Contains(t, u.text, `"wss://you:in-url@mq.example.com:443/mqtt?X-Sig=in-query"   # here`)
}

func TestSecretsInOtherKindsOfText(t *testing.T) {
	for text, shown := range map[string]string{
		"{\"connector\": {\"general\": {\"password\": \"h\\u0075nter\", \"client_id\": \"c\"}}}": `"client_id": "c"`,
		"{\n\t\"connector\": {\"general\": {\"password\": \"hunter\"}}\n}":                       `"connector"`,
		"x-pw: &p hunter\nconnector: {general: {password: *p}}":                                  "password: *p",
		"x: &g {password: hunter}\nconnector: {general: {<<: *g}}":                               "<<: *g",
		"连接器: {通用: {密码: hunter}}":                                                                "密码: ",
		"a: {通用: {ＰＡＳＳＷＯＲＤ: hunter}}":                                                            "ＰＡＳＳＷＯＲＤ: ",
		"api_key: hunter":                                                         "api_key: ",
		"Authorization: hunter":                                                   "Authorization: ",
		"a: https://hunter@host/x":                                                "@host/x",
		"a: see http://u:hunter@h.":                                               "@h.",
		"proxy: u:hunter@h:1":                                                     "u:",
		"password: >-\n  hunter\n  hunter\nb: 1":                                  "b: 1",
		"password: hunter\n  hunter":                                              "password: ",
		"a:\n- b:\n  - password: |\n      hunter\n    c: 1\n":                     "    c: 1",
		"key: |\n  -----BEGIN EC PRIVATE KEY-----\n  hunter":                      "key: ",
		"# mqtt://u:hunter@h\na: 1":                                               "a: 1",
		"a: 1\n  # 密码：hunter\n":                                                   "a: 1",
		"password: !!binary aHVudGVy\nb: hunted":                                  "",
		"password: !x hunter":                                                     "",
		"a: {exec: [x, hunter]}\nb: [exec, c]":                                    "b: [exec, c]",
		"ws_headers:\n  X: hunter\n  Y:\n    file: f\n":                           "file: f",
		"tls_client_key: \"-----BEGIN\\nhunter\"":                                 "tls_client_key: ",
		"producers: {secret-door: {topic: a, payload: hunted}}":                   "topic: a, payload: hunted",
		"a: \"password: not a key\"\nb: '# not a comment'\ntls_client_key: k.pem": "tls_client_key: k.pem",
	} {
		v, err := newVeil(text)
		if shown == "" {
			require.ErrorIs(t, err, errHidden, text)
			continue
		}
		require.NoError(t, err, text)
		require.NotContains(t, v.text, "hunter", text)
		require.Contains(t, v.text, shown, text)
		u, err := v.lift(v.text)
		require.NoError(t, err, text)
		require.Equal(t, text, u.text)
	}
}

// A placeholder cannot be moved to a place from which its secret would be sent to another server,
// or shown.
func TestPlaceholdersStayWhereTheirSecretsWere(t *testing.T) {
	v := hide(t, secrets)
	pw := placeholder.FindAllString(v.text[strings.Index(v.text, "    password:"):], 1)[0]
	comment := placeholder.FindString(v.text)
	for name, change := range map[string]func(string) string{
		"as a client id":      func(s string) string { return strings.Replace(s, "client_id: line-7", "client_id: "+pw, 1) },
		"within a client id":  func(s string) string { return strings.Replace(s, "client_id: line-7", "client_id: a"+pw, 1) },
		"as a topic":          func(s string) string { return strings.Replace(s, "a/token/b", pw, 1) },
		"as a key":            func(s string) string { return strings.Replace(s, "passwrod", pw, 1) },
		"in a comment":        func(s string) string { return s + "# see " + pw + "\n" },
		"in a comment behind": func(s string) string { return strings.Replace(s, "# here", "# "+pw, 1) },
		"of a comment":        func(s string) string { return strings.Replace(s, "client_id: line-7", "client_id: "+comment, 1) },
		"a comment, changed":  func(s string) string { return strings.Replace(s, "# "+comment, "# x "+comment, 1) },
		"to another server":   func(s string) string { return strings.Replace(s, "username: line-7", "username: "+pw, 1) },
		"with more around it": func(s string) string { return strings.Replace(s, `"`+pw+`"`, `"x`+pw+`"`, 1) },
		"twice":               func(s string) string { return strings.Replace(s, `"`+pw+`"`, `"`+pw+pw+`"`, 1) },
		"by an alias": func(s string) string {
			return strings.Replace(strings.Replace(s, `"`+pw, `&x "`+pw, 1), "client_id: line-7", "client_id: x", 1) + "y: *x\n"
		},
		"by a merge":           func(s string) string { return strings.Replace(s, "  general:", "  general: &g", 1) + "z: {<<: *g}\n" },
		"of another state":     func(s string) string { return strings.Replace(s, pw, "<secret-aaaaaa-1>", 1) },
		"to another, the same": func(s string) string { return strings.Replace(s, "'line-7'", pw, 1) + "password: " + pw + "\n" },
	} {
		_, err := v.lift(change(v.text))
		var f *fault
		require.ErrorAs(t, err, &f, name)
		require.Regexp(t, `^Line \d+: (a|the) placeholder`, f.EN, name)
	}
	// No secret is put into a text that cannot be parsed, either.
	u, err := v.lift(v.text + "\n[")
	require.NoError(t, err)
	require.NotContains(t, u.text, "quotes")
}

// Findings are about the text with its secrets, but their places are those in the text of the page.
func TestPlacesOfFindingsAreThoseOfThePage(t *testing.T) {
	v := hide(t, secrets)
	u, err := v.lift(v.text)
	require.NoError(t, err)
	for _, word := range []string{"broker_url: wss", "# here", "tls_client_cert", "failover_urls", "passwrod", "topics"} {
		real, shown := strings.Index(secrets, word), strings.Index(v.text, word)
		line, column := lineOf(secrets, real)
		wantLine, wantColumn := lineOf(v.text, shown)
		gotLine, gotColumn := u.place(line, column)
		require.Equal(t, []int{wantLine, wantColumn}, []int{gotLine, gotColumn}, word)
	}
	gotLine, _ := u.place(12, 5) // within the key
	require.Equal(t, 11, gotLine)
}

func lineOf(text string, at int) (line, column int) {
	before := text[:at]
	return 1 + strings.Count(before, "\n"), at - strings.LastIndexByte(before, '\n')
}

// Hiding the secrets of any file and putting them back restores the file exactly.
func FuzzVeil(f *testing.F) {
	f.Add(secrets)
	f.Add("password: |\n a\n# password: b\nx: {password: 'c'}")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := newVeil(text)
		if err != nil {
			return
		}
		if u, err := v.lift(v.text); err == nil && !strings.Contains(text, "<secret-") {
			require.Equal(t, text, u.text)
		}
	})
}
