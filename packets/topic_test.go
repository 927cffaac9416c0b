package packets_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
)

// The examples of section 4.7, and corner cases.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter string
		yes    string
		no     string
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/score/wimbledon sport/tennis/player1/", "sport/tennis/player10 sport/tennis /sport/tennis/player1"},
		{"sport/#", "sport sport/ sport/a/b", "sports /sport"},
		{"#", "a / // a/b/c /a", "$SYS $SYS/a $"},
		{"sport/tennis/+", "sport/tennis/player1 sport/tennis/", "sport/tennis sport/tennis/player1/ranking"},
		{"sport/+", "sport/ sport/a", "sport sport/a/b"},
		{"+", "a finance $", "/finance a/ /"},
		{"+/+", "/finance / a/b a/", "a a/b/c"},
		{"/+", "/finance /", "finance //"},
		{"+/tennis/#", "sport/tennis /tennis /tennis/a/b", "tennis sport/x/tennis"},
		{"+/#", "a a/b / //", "$SYS/a"},
		{"/#", "/ /a //", "a"},
		{"a//b", "a//b", "a/b a///b a/x/b"},
		{"a/+/b", "a//b a/x/b", "a/b a/x/y/b"},
		{"$SYS/#", "$SYS $SYS/ $SYS/a", "SYS/a $SYSTEM"},
		{"$share/g/a", "$share/g/a", "a"},
	} {
		for _, topic := range strings.Fields(c.yes) {
			if c.filter == "+" && topic == "$" {
				require.False(t, packets.Match(c.filter, topic))
				continue
			}
			require.True(t, packets.Match(c.filter, topic), "%s matches %s", c.filter, topic)
		}
		for _, topic := range strings.Fields(c.no) {
			require.False(t, packets.Match(c.filter, topic), "%s does not match %s", c.filter, topic)
		}
	}
}

// naiveMatch implements section 4.7 by recursion over levels.
func naiveMatch(filter, topic []string) bool {
	switch {
	case len(filter) == 1 && filter[0] == "#":
		return true // also where no level is left: the parent level
	case len(filter) == 0 || len(topic) == 0:
		return len(filter) == len(topic)
	case filter[0] != "+" && filter[0] != topic[0]:
		return false
	}
	return naiveMatch(filter[1:], topic[1:])
}

// All filters and names of up to five of the characters that matter: they are valid if a grammar of
// levels says so, and match if the recursion says so.
func TestAllShortFiltersAndNames(t *testing.T) {
	const alphabet = "a/+#$"
	var all []string
	for level := []string{""}; len(level[0]) < 5; {
		var longer []string
		for _, s := range level {
			for _, c := range alphabet {
				longer = append(longer, s+string(c))
			}
		}
		all = append(all, longer...)
		level = longer
	}
	var filters, names []string
	for _, s := range all {
		legal := true
		levels := strings.Split(s, "/")
		for i, level := range levels {
			if strings.Contains(level, "#") && (level != "#" || i != len(levels)-1) || strings.Contains(level, "+") && level != "+" {
				legal = false
			}
		}
		require.Equal(t, legal, packets.ValidTopicFilter(s) == nil, s)
		if legal && len(s) <= 4 {
			filters = append(filters, s)
		}
		require.Equal(t, !strings.ContainsAny(s, "+#"), packets.ValidTopicName(s) == nil, s)
		if !strings.ContainsAny(s, "+#") {
			names = append(names, s)
		}
	}
	for _, f := range filters {
		for _, n := range names {
			want := naiveMatch(strings.Split(f, "/"), strings.Split(n, "/")) && (n[0] != '$' || f[0] != '+' && f[0] != '#')
			if want != packets.Match(f, n) {
				require.Equal(t, want, packets.Match(f, n), "%s %s", f, n)
			}
		}
	}
}

// Names are checked eight bytes at a time: each byte value at each position of names of up to three
// words.
func TestEveryByteAtEveryPlaceOfAName(t *testing.T) {
	for n := 1; n <= 24; n++ {
		for i := range n {
			for c := range 256 {
				b := []byte(strings.Repeat("x", n))
				b[i] = byte(c)
				s := string(b)
				legal := c != 0 && c != '+' && c != '#' && utf8.ValidString(s)
				if legal != (packets.ValidTopicName(s) == nil) {
					require.Fail(t, "wrong", "%q", s)
				}
			}
		}
	}
}

func TestParseShared(t *testing.T) {
	for filter, want := range map[string][2]string{
		"$share/g/a":       {"g", "a"},
		"$share/g/#":       {"g", "#"},
		"$share/g/+/b":     {"g", "+/b"},
		"$share/g//":       {"g", "/"},
		"$share/é/$SYS/+":  {"é", "$SYS/+"},
		"$share/g/$share/": {"g", "$share/"},
	} {
		group, rest, ok := packets.ParseShared(filter)
		require.True(t, ok, filter)
		require.Equal(t, want, [2]string{group, rest}, filter)
	}
	for _, filter := range []string{
		"", "a", "$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#", "$share/g#/a",
		"$share/g/a#", "$share/g/+a", "$SHARE/g/a", "/$share/g/a", "$shared/g/a", "$share/g/\x00", "$share/g/\xff",
	} {
		group, rest, ok := packets.ParseShared(filter)
		require.False(t, ok, filter)
		require.Empty(t, group+rest)
	}
}

func TestUndecorated(t *testing.T) {
	for filter, want := range map[string]string{
		"$share/g/a": "a", "$share/g/#": "#", "$share/é/$SYS/+": "$SYS/+", "$share/g//": "/",
		"$oshare/g/+/b": "+/b", "$share:g:a/b": "a/b", "$share:g::": ":",
		"$queue/a/+": "a/+", "$queue//a": "/a", "$exclusive/#": "#", "$exclusive/$SYS/x": "$SYS/x", "$local/a": "a",
	} {
		plain, ok := packets.Undecorated(filter)
		require.True(t, ok, filter)
		require.Equal(t, want, plain, filter)
	}
	for _, filter := range []string{
		"", "a", "$", "queue/a", "/$queue/a", "$queue", "$queue/", "$queues/a", "$QUEUE/a", "$exclusive/", "$exclusive/a#", "$share/", "$share/g", "$share//a",
		"$share/+/a", "$oshare/g", "$oshare//a", "$share:g:", "$share:g", "$share::a", "$share:g/h:a", "$SYS/a", "$queue/\x00", "$local/\xff",
	} {
		plain, ok := packets.Undecorated(filter)
		require.False(t, ok, filter)
		require.Empty(t, plain)
	}
}
