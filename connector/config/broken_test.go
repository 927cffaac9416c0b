package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/stretchr/testify/require"
)

// broken are texts that cannot be parsed at all, with the place of the fault.
var broken = []struct {
	name, rule, text string
	line, column     int
}{
	{"unclosed quote", "E128/yaml", "connector:\n  general: 'c\n", 2, 1},
	{"unclosed bracket", "E128/yaml", "connector: {general: {\n", 1, 1},
	{"tab", "E128/tab", "connector:\n\tgeneral: {}\n", 2, 1},
	{"tab behind blanks", "E128/tab", "connector:\n  general:\n  \tbroker_url: h:1\n", 3, 3},
	{"full-width colon", "E128/colon", "connector:\n  general:\n    broker_url：h:1883\n    client_id: c\n", 3, 15},
	{"full-width colon behind a label", "E128/colon", "connector:\n  通用配置：\n    Broker URL: h:1883\n", 2, 7},
	{"full-width colon in the last line", "E128/colon", "connector:\n  general:\n    broker_url: h:1\n    client_id：c", 4, 14},
	{"full-width colon alone", "E128/colon", "connector:\n  general:\n    broker_url：h", 3, 15},
	{"full-width colon in a list of consumers", "E128/colon", "connector: {general: {broker_url: h:1, client_id: c}}\nconsumers:\n  读数：{topics: [a]}\n", 3, 5},
	{"full-width colon, lines that end with CR", "E128/colon", "connector:\r  general:\r    broker_url：h", 3, 15},
	{"full-width colon behind other line ends", "E128/colon", "# a\u2028# b\u0085connector:\r\n  general:\n    broker_url：h", 5, 15},
	{"GBK, lines that end with CR", "E128/gbk", "connector:\r  general: {client_id: \xb2\xfa\xcf\xdf}\r", 2, 24},
	{"full-width blank", "E128/blank", "connector:\n  general:\n　　broker_url: h:1883\n    client_id: c\n", 3, 1},
	{"no-break blank", "E128/blank", "connector:\n  general:\n\u00a0\u00a0broker_url: h:1883\n    client_id: c\n", 3, 1},
	{"full-width brackets", "E128/sign", "connector:\n  general: ｛broker_url: h:1, client_id: c｝\n", 2, 12},
	{"full-width quotes around a key", "E128/sign", "connector:\n  general: {“broker_url”: h:1, client_id: c\n", 2, 13},
	{"full-width comma between keys", "E128/sign", "connector:\n  general:\n    {broker_url: h:1，client_id: c}\n", 3, 21},
	{"full-width comma between labels", "E128/sign", "连接器配置:\n  通用配置: {Broker URL: h:1，Client ID: c}\n", 2, 25},
	{"full-width comma between keys of a line", "E128/sign", "connector:\n  general:\n    broker_url: h:1，client_id: c\n", 3, 20},
	{"full-width comma behind a text that may hold one", "E128/sign", "consumers:\n  c: {topics: [a，b], order_by: topic、ledger: true}\n", 2, 37},
	{"full-width semicolon between keys", "E128/sign", "connector:\n  general: {broker_url: h:1；client_id: c}\n", 2, 28},
	{"no blank behind a colon", "E128/space", "connector:\n  general:\n    broker_url: h:1\n    client_id:c\n", 4, 14},
	{"no blank, alone", "E128/space", "connector:\n  general:\n    client_id:c\n", 3, 14},
	{"anchor", "E128/reference", "connector: {general: {password: *x}}\n", 1, 1},
	{"GBK", "E128/gbk", "connector:\n  general: {client_id: \xb2\xfa\xcf\xdf}\n", 2, 24},
	{"GBK comment behind ASCII", "E128/gbk", "# \xc5\xe4\xd6\xc3\nconnector:\n", 1, 3},
	{"GB18030 of four bytes", "E128/gbk", "connector: \x81\x30\x81\x30\n", 1, 12},
	{"Latin-1", "E128/utf8", "connector:\n  general: {client_id: h\xf6}\n", 2, 25},
	{"one bad byte amid UTF-8", "E128/utf8", "# 产线\xff\n", 1, 5},
	{"UTF-16 without a mark", "E128/utf16", "c\x00o\x00", 1, 2},
	{"UTF-16 cut off", "E128/utf16", "\xff\xfec\x00o", 1, 1},
	{"escape", "E128/control", "connector: \x1b[31m\n", 1, 12},
	{"JSON with a comment", "E128/comment", "{\"connector\": {}, // x\n\"consumers\": {}}", 1, 19},
	{"JSON with a comma too many and a comment", "E128/comment", "{\n  \"connector\": {\"general\": {},},\n  // x\n}", 3, 3},
	{"JSON with a comma too many and one too few", "E128/comma", "{\"connector\": [1,] \"b\": 2}", 1, 17},
	{"JSON in single quotes", "E128/quote", "{'connector': {'general': {}}", 1, 2},
	{"JSON with a full-width colon", "E128/sign", "{\"connector\"：{}}", 1, 13},
	{"JSON with a full-width comma", "E128/sign", "{\"connector\": {}，\n\"consumers\": {}}", 1, 17},
	{"JSON with a full-width bracket", "E128/sign", "{\"connector\": ｛}}", 1, 15},
	{"JSON with quotes of another width", "E128/sign", "{\"connector\": {\"general\": {“client_id”: \"c\"}}", 1, 28},
	{"JSON with a full-width blank", "E128/sign", "{\"connector\":\n\u3000{}}", 2, 1},
	{"JSON that ends too soon", "E128/json", "{\"connector\": {\"general\": {}", 1, 29},
	{"JSON without a comma", "E128/json", "{\"connector\": {}\n \"consumers\": {}}", 2, 2},
	{"too large", "E128/large", strings.Repeat("# x\n", 5<<20), 1, 1},
	{"merge of merges", "E128/depth", bomb(), 42, 3},
	{"two documents", "E127", "connector: {}\n---\nproducers: {}\n", 2, 1},
	{"nothing", "E129", "", 1, 1},
	{"comments alone", "E129", "# x\n", 1, 1},
	{"JSON read as YAML", "W226", "{\"connector\": {\"general\": {\"broker_url\": \"h:1\", \"client_id\": \"c\",}}}", 1, 65},
	{"JSON list read as YAML", "W226", "{\"connector\": {\"general\": {\"broker_url\": \"h:1\", \"client_id\": \"c\"}},\n\"consumers\": {\"c\": {\"topics\": [\"a\", ]}}}", 2, 35},
}

// bomb is a text with merges of merges, each doubling the number of pairs.
func bomb() string {
	var b strings.Builder
	b.WriteString("x-0: &a0 {k: 1}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d {<<: [*a%d, *a%d]}\n", i, i, i-1, i-1)
	}
	return b.String() + "connector:\n  general:\n    <<: *a39\n"
}

// For a text that is no configuration at all, the finding names the place of the fault in both
// languages, and its Chinese text contains no English.
func TestBrokenTexts(t *testing.T) {
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			_, findings, _ := config.Parse([]byte(c.text), "")
			var f *connector.Finding
			for i := range findings {
				if findings[i].Rule() == c.rule {
					f = &findings[i]
				}
			}
			require.NotNil(t, f, "%v", findings)
			if c.rule != "E128/depth" {
				require.Equal(t, []int{c.line, c.column}, []int{f.Line, f.Column}, "%v", f)
			}
			require.NotContains(t, f.MessageZH, "expected")
			require.NotContains(t, f.MessageZH, "found")
		})
	}
}

// files are faults of files that a configuration names: the text, with FILE for the path, and a
// function that makes the file.
var files = []struct {
	rule, text string
	make       func(t *testing.T, path string)
}{
	{"E117/missing", "password: {file: FILE}", func(*testing.T, string) {}},
	{"E117/irregular", "password: {file: FILE}", func(t *testing.T, path string) { require.NoError(t, mkfifo(path)) }},
	{"E117/irregular", "password: {file: /dev/zero}", func(*testing.T, string) {}},
	{"E117/irregular", "password: {file: FILE}", func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }},
	{"E117/irregular", "protocol: TLS\n    tls_server_cert: FILE", func(t *testing.T, path string) { require.NoError(t, mkfifo(path)) }},
	{"E117/large", "password: {file: FILE}", written(strings.Repeat("x", 1<<17), 0o600)},
	{"E117/empty", "password: {file: FILE}", written("\n", 0o600)},
	{"E135/empty", "password: {env: MQTT311_TEST_EMPTY}", func(t *testing.T, _ string) { t.Setenv("MQTT311_TEST_EMPTY", "") }},
	{"E117/utf16", "password: {file: FILE}", written("\xff\xfep\x00", 0o600)},
	{"E117/key", "protocol: TLS\n    tls_client_cert: {pem: '-----BEGIN'}\n    tls_client_key: FILE", func(*testing.T, string) {}},
	{"W218/writable", "password: {file: FILE}", written("p", 0o666)},
	{"W218/writable", "username: {file: FILE}", written("p", 0o620)},
	{"W218/readable", "password: {file: FILE}", written("p", 0o644)},
	{"W218/readable", "protocol: TLS\n    tls_client_cert: {pem: '-----BEGIN'}\n    tls_client_key: FILE", written("-----BEGIN", 0o644)},
	{"W229/missing", "DEAD: FILE/x.jsonl", func(*testing.T, string) {}},
	{"W229/missing", "DEAD: FILE/x.jsonl", written("", 0o600)},
	{"E150/irregular", "DEAD: FILE", func(t *testing.T, path string) { require.NoError(t, mkfifo(path)) }},
	{"E150/irregular", "DEAD: FILE", func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }},
	{"W228/file", "STORE: FILE", written("", 0o600)},
	{"W228/other", "STORE: FILE/store", strangers},
	{"W228/other", "STORE: FILE", strangers},
	{"W228/other", "BRIDGE: FILE/store", strangers},
	{"W228/taken", "DEAD: FILE/x.jsonl", strangers},
	{"W228/taken", "DEAD: FILE/a/x.jsonl", func(t *testing.T, path string) {
		require.NoError(t, os.MkdirAll(filepath.Join(path, "a"), 0o700))
		giveAway(t, path)
	}},
	{"W228/taken", "DEAD: FILE", func(t *testing.T, path string) { written("", 0o600)(t, path); giveAway(t, path) }},
	{"W228/anybody", "DEAD: FILE/x.jsonl", func(t *testing.T, path string) {
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.Chmod(path, 0o777))
	}},
}

// strangers makes a folder that belongs to another user.
func strangers(t *testing.T, path string) {
	require.NoError(t, os.Mkdir(path, 0o700))
	giveAway(t, path)
}

func giveAway(t *testing.T, path string) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a file away")
	}
	require.NoError(t, os.Chown(path, 12345, -1))
}

func written(text string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		require.NoError(t, os.Chmod(path, mode)) // set the mode whatever the umask is
	}
}

// A file that cannot be used is reported as a finding. The check neither waits for the writer of a
// pipe nor reads without limit.
func TestFilesOfAConfiguration(t *testing.T) {
	for _, c := range files {
		t.Run(c.rule, func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, "FILE")
			c.make(t, path)
			text := good
			switch {
			case strings.HasPrefix(c.text, "DEAD: "):
				text = strings.Replace(text, "then: drop", "then: dead_letter, dead_letter: {file: '"+c.text[6:]+"'}", 1)
			case strings.HasPrefix(c.text, "BRIDGE: "):
				text = strings.Replace(text, "consumers:", "connections:\n  far:\n    general: {broker_url: '127.0.0.1:1884', client_id: d}\n"+
					"    advanced: {clean_session: false, auto_reconnect: true, connect_retry: true}\n"+
					"    extension: {session_store: {dir: '"+c.text[8:]+"'}}\nconsumers:", 1)
				text = strings.Replace(text, "producers:", "producers:\n  far: {connection: far, topic: out, qos: 1}", 1)
			case strings.HasPrefix(c.text, "STORE: "):
				text = strings.Replace(text, "consumers:", "  extension: {session_store: {dir: '"+c.text[7:]+"'}}\nconsumers:", 1)
			default:
				text = strings.Replace(text, "client_id: c", "client_id: c\n    "+c.text, 1)
				if strings.Contains(c.text, "TLS") {
					text = strings.Replace(text, ":1883", ":8883", 1)
				}
				if strings.Contains(c.text, "password") {
					text = strings.Replace(text, "client_id: c", "client_id: c\n    username: u", 1)
				}
			}
			_, findings, _ := config.Parse([]byte(text), folder)
			require.Len(t, findings, 1)
			require.Equal(t, c.rule, findings[0].Rule(), "%v", findings)
			require.Positive(t, findings[0].Line)
		})
	}
}

// Files that belong to the user of the service, in folders with safe modes, lead to no finding.
func TestFilesAsTheyShouldBe(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "pw"), []byte("\ufeffp\r\n"), 0o600))
	text := strings.Replace(good, "client_id: c", "client_id: c\n    username: u\n    password: {file: pw}", 1)
	text = strings.Replace(text, "then: drop", "then: dead_letter, dead_letter: {file: dead.jsonl}", 1)
	text = strings.Replace(text, "consumers:", "  extension: {session_store: {dir: store}}\nconsumers:", 1)
	_, findings, err := config.Parse([]byte(text), folder)
	require.NoError(t, err)
	require.Empty(t, findings)
	// A volume whose permissions the user cannot change.
	require.NoError(t, os.Mkdir(filepath.Join(folder, "store"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(folder, "store"), 0o777))
	_, findings, err = config.Parse([]byte(strings.Replace(text, "{dir: store}", "{dir: store, allow_shared: true}", 1)), folder)
	require.NoError(t, err)
	require.Empty(t, findings)
}

// Secrets written in the configuration are only as private as its file.
func TestSecretInAFileForEverybody(t *testing.T) {
	for mode, want := range map[os.FileMode]string{0o600: "", 0o640: "", 0o644: "W218/here", 0o666: "W218/changed", 0o620: "W218/changed"} {
		for _, of := range []string{"username: u\n    password: p", "protocol: TLS\n    tls_client_cert: {pem: '-----BEGIN'}\n    tls_client_key: {pem: '-----BEGIN'}", "username: u\n    password: {env: HOME}", "username: u"} {
			file := filepath.Join(t.TempDir(), "c.yaml")
			written(strings.Replace(good, "client_id: c", "client_id: c\n    "+of, 1), mode)(t, file)
			_, findings, err := config.Load(file)
			require.NoError(t, err)
			var rules []string
			for _, f := range findings {
				if f.Code == "W218" {
					rules = append(rules, f.Rule())
				}
			}
			if want == "" || strings.Contains(of, "env") || of == "username: u" {
				require.Empty(t, rules)
			} else {
				require.Equal(t, []string{want}, rules, of)
			}
		}
	}
}
