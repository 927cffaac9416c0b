package fuzz

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

// asPattern translates a filter into a regular expression, as section 4.7.1 defines it.
func asPattern(filter string) *regexp.Regexp {
	var levels []string
	for _, level := range strings.Split(filter, "/") {
		switch level {
		case "+":
			levels = append(levels, "[^/]*")
		case "#":
			levels = append(levels, "#")
		default:
			levels = append(levels, regexp.QuoteMeta(level))
		}
	}
	pattern := strings.Join(levels, "/")
	switch {
	case pattern == "#":
		pattern = ".*"
	case strings.HasSuffix(pattern, "/#"):
		pattern = strings.TrimSuffix(pattern, "/#") + "(/.*)?"
	}
	return regexp.MustCompile(`(?s)\A` + pattern + `\z`)
}

func isText(s string) bool {
	return s != "" && len(s) <= 65535 && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

var (
	wholeLevels = regexp.MustCompile(`\A(([^+#/]*|\+)/)*([^+#/]*|\+|#)\z`)
	toAlphabet  = []string{"a", "b", "/", "+", "#", "$", "/", "é"}
)

// spelled maps arbitrary bytes to the few characters that matter in a filter.
func spelled(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString(toAlphabet[s[i]%8])
	}
	return b.String()
}

// FuzzMatcher compares filters and names with regular expressions: which are valid, and which
// match.
func FuzzMatcher(f *testing.F) {
	for _, s := range [][2]string{
		{"#", "a"}, {"+/+", "/a"}, {"a/#", "a"}, {"$SYS/#", "$SYS/a"}, {"+", "$a"}, {"a//b", "a//b"}, {"a#", "\x00"},
		{"$share/g/a/+", "a/b"}, {"a/+/#", "a/\n/b"}, {"\xff", "\xed\xa0\x80"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		requireMatch(t, filter, name)
		requireMatch(t, spelled(filter), spelled(name))
	})
}

func requireMatch(t *testing.T, filter, name string) {
	got := packets.Match(filter, name)
	validFilter, validName := packets.ValidTopicFilter(filter) == nil, packets.ValidTopicName(name) == nil
	require.Equal(t, isText(filter) && wholeLevels.MatchString(filter), validFilter, "%q", filter)
	require.Equal(t, isText(name) && !strings.ContainsAny(name, "+#"), validName, "%q", name)
	if validFilter && validName {
		want := asPattern(filter).MatchString(name) && (name[0] != '$' || filter[0] != '+' && filter[0] != '#')
		require.Equal(t, want, got, "%q %q", filter, name)
	}
	if group, rest, ok := packets.ParseShared(filter); ok {
		require.Equal(t, filter, "$share/"+group+"/"+rest)
		require.NotContains(t, group, "/")
		require.NotEmpty(t, group)
		require.True(t, packets.ValidTopicFilter(rest) == nil)
	}
}
