package lint

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var placeholder = regexp.MustCompile(`\{\{|\{(\d+)\}`)

// placeholders returns the arguments that a text shows.
func placeholders(w words) []string {
	var out []string
	for _, m := range placeholder.FindAllStringSubmatch(w.message+" "+w.fix, -1) {
		if m[1] != "" {
			out = append(out, m[1])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Every rule says in both languages what is wrong and what to do, and its texts in both languages
// show the same arguments.
func TestEveryRuleInBothLanguages(t *testing.T) {
	require.Equal(t, slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(chinese)))
	for rule, en := range english {
		zh := chinese[rule]
		for _, s := range []string{en.message, en.fix, zh.message, zh.fix} {
			require.NotEmpty(t, s, rule)
			require.Equal(t, strings.TrimSpace(s), s, rule)
		}
		require.False(t, strings.ContainsFunc(en.message+en.fix, han), rule)
		require.True(t, strings.ContainsFunc(zh.message, han), rule)
		require.True(t, strings.ContainsFunc(zh.fix, han) || rule == "W209", rule)
		all := append(placeholders(en), placeholders(zh)...)
		most := 0
		for _, p := range all {
			n, _ := strconv.Atoi(p)
			most = max(most, n)
		}
		args := make([]any, most)
		for i := range args {
			args[i] = "ARG" + strconv.Itoa(i+1)
		}
		f := New(rule, "a.b", args...)
		for _, text := range []string{f.Text("en"), f.Text("zh")} {
			require.NotContains(t, text, "{{", rule)
			require.Contains(t, text, "a.b", rule)
		}
		shown := f.Text("en") + f.Text("zh")
		for i := range args {
			require.Contains(t, shown, "ARG"+strconv.Itoa(i+1), rule)
		}
	}
}

func han(r rune) bool { return unicode.Is(unicode.Han, r) }

// terms may stand untranslated in a Chinese text: keys, choices, commands, and words that are not
// usually translated.
var terms = strings.Fields(`ack_mode after_flow_success allow_shared any attribute auto_reconnect binary broker client_id concurrency connect_retry connection connections
	connector consumers count dead_letter defaultMode done_when env exclusive exec extension failover_urls false file flow_timeout hold host keep_alive
	ledger malformed max_in_flight max_inflight max_inflight_qos max_oversize max_packet_size name on_failure order oversize partition path payload pem port producers
	queue retries root secret session_store share share_group skip stop stored strict then topic_characters true unmatched url variable
	Authorization Broker Consumer ENV GBK IPv JSON Key Kubernetes Least MQTT Most NAME Once PUBLISH Producer QoS Secure TCP TLS URL UTF WebSocket YAML base
	lease nats partitions index ordinal replicas keep duplicates token username password StatefulSet JetStream NATS sync_interval always confirmed tls clean_session
	chmod com example http iconv keep alive max_bytes mosquitto plant reading socks`)

var (
	statement = regexp.MustCompile(`\[MQTT-[^]]*\]|\{[a-z_0-9]+\}`)
	word      = regexp.MustCompile(`[A-Za-z][A-Za-z_]{2,}`)
)

// A Chinese text contains no English except terms.
func TestChineseIsChinese(t *testing.T) {
	check := func(where, text string) {
		for _, w := range word.FindAllString(statement.ReplaceAllString(text, ""), -1) {
			require.Contains(t, terms, w, "%s: %s", where, text)
		}
	}
	for rule, zh := range chinese {
		check(rule, zh.message)
		check(rule, zh.fix)
	}
	for _, a := range about {
		check(a.codes, a.zh)
	}
}

var called = regexp.MustCompile(`"([EW]\d\d\d(?:/[a-z0-9]*)?)"`)

// Every rule used by a check has texts, and every rule with texts is used by a check.
func TestRulesAreThoseOfTheChecks(t *testing.T) {
	used := map[string]bool{"more": true}
	for _, pattern := range []string{"../*.go", "../config/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			src, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, m := range called.FindAllStringSubmatch(string(src), -1) {
				used[m[1]] = true
				if strings.HasSuffix(m[1], "/") { // the rest is chosen at run time
					for rule := range english {
						if strings.HasPrefix(rule, m[1]) {
							used[rule] = true
						}
					}
					delete(used, m[1])
				}
			}
		}
	}
	for rule := range used {
		_, ok := english[rule]
		if !ok && !strings.Contains(rule, "/") { // a code alone: from dependsOn, or of a rule with several texts
			for known := range english {
				ok = ok || strings.HasPrefix(known, rule+"/")
			}
		}
		require.True(t, ok, "%s has no text", rule)
	}
	for rule := range english {
		require.True(t, used[rule], "%s is named by no check", rule)
	}
}

// Text from a file or a server is always escaped before it reaches a terminal.
func TestShow(t *testing.T) {
	for in, want := range map[string]string{
		"plant/7":             "plant/7",
		"产线/7 读数":             "产线/7 读数",
		"a\x1b[31mred\x1b[0m": `a\x1b[31mred\x1b[0m`,
		"a\nb\tc\r":           `a\nb\tc\r`,
		"\x00\x7f":            `\x00\x7f`,
		"\u0085\u009b":        `\u0085\u009b`,
		"\u202eabc\u2066":     `\u202eabc\u2066`,
		"a\u200bb\ufeff":      `a\u200bb\ufeff`,
		"\u00a0\u3000":        `\u00a0\u3000`,
		"a\xffb\xc3":          `a\xffb\xc3`,
		"\u2028\u2029":        `\u2028\u2029`,
		"x\u3164\U000e0041":   `x\u3164\U000e0041`,
	} {
		require.Equal(t, want, Show(in))
		require.Equal(t, []string{want}, New("E116", "p", in).Args)
	}
	require.Equal(t, strings.Repeat("x", 200)+"…", Show(strings.Repeat("x", 1<<20)))
	f := New("E116", "a\x1b[2J", "h\x1b]0;x\a{1}{username}")
	require.Equal(t, `E116 a\x1b[2J: "h\x1b]0;x\a{1}{username}" is not host:port → write it as broker.example.com:1883, or [::1]:1883 for IPv6`, f.String())
	f = f.Named("连接器\u202e.用户名", strings.ToUpper)
	require.Equal(t, `连接器\u202e.用户名`, f.Label)
}

// A list says how many findings it left out.
func TestListIsBounded(t *testing.T) {
	var l List
	for range 1000 {
		l.Add(New("E113", "p"))
		if !l.Count("W209") {
			l.Add(New("W209", "p"))
		}
	}
	l.Add(New("E111", "p"))
	got := l.Findings()
	require.Len(t, got, 2*MaxOfRule+3)
	require.Equal(t, "E113 p: 980 more findings of this code are not shown → mend those above and check again", got[2*MaxOfRule+1].String())
	require.Equal(t, "W209 p: 另有 980 条同类问题未列出 → 请先修正上面的问题，再重新检查", got[2*MaxOfRule+2].Text("zh"))
}
