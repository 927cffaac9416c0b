package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Escaped text has no control characters except line ends and tabs.
func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"plain, 中文, é, 🙂":          "plain, 中文, é, 🙂",
		"a\tb\nc":                  "a\tb\nc",
		"\x1b[2J\x07\x7f\r\x00":    `\x1b[2J\a\x7f\r\x00`,
		"\u009b31m\u0085":          `\u009b31m\u0085`,
		"\xff\xc3(":                `\xff\xc3(`,
		"\ufffd is a character":    "\ufffd is a character",
		"abc\u202eevil\u2066":      `abc\u202eevil\u2066`,
		"a\u200bb\ufeff\U000e0041": `a\u200bb\ufeff\U000e0041`,
	} {
		require.Equal(t, want, string(EscapeText([]byte(in))), "%q", in)
	}
	require.Equal(t, `a\tb\nc`, EscapeLine("a\tb\nc"))
	text := []byte("nothing to do")
	require.Equal(t, &text[0], &EscapeText(text)[0], "it is not copied")
}

// Escaped JSON means the same.
func TestEscapeJSON(t *testing.T) {
	for _, s := range []string{"plain 中文", "\u009b31m\u202e\x7f", "\U000e0041🙂", "\x1b"} {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		out := EscapeJSON(b)
		var back string
		require.NoError(t, json.Unmarshal(out, &back), "%s", out)
		require.Equal(t, s, back)
		require.Equal(t, string(out), string(EscapeText(out)), "nothing is left to escape")
	}
}

// Chinese characters take two columns, and combining marks none.
func TestCut(t *testing.T) {
	require.Equal(t, 4+2+1+2, Columns("中文ab"+"e\u0301"+"🙂"))
	for _, c := range []struct {
		s    string
		most int
		want string
	}{
		{"abcdef", 6, "abcdef"}, {"abcdef", 5, "abcd…"}, {"abcdef", 1, "…"}, {"abcdef", 0, ""}, {"abcdef", -1, ""},
		{"中文字", 6, "中文字"}, {"中文字", 5, "中文…"}, {"中文字", 4, "中…"}, {"中文字", 2, "…"},
	} {
		require.Equal(t, c.want, Cut(c.s, c.most), "%q in %d", c.s, c.most)
		require.LessOrEqual(t, Columns(Cut(c.s, c.most)), max(0, c.most))
	}
}

// Text is folded at blanks, and Chinese text wherever a line may end.
func TestFold(t *testing.T) {
	for _, c := range []struct {
		s    string
		most int
		want []string
	}{
		{"", 10, []string{""}},
		{"one two three", 8, []string{"one two", "three"}},
		{"averylongword b", 5, []string{"averylongword", "b"}},
		{"消息可能已送达，重发可能重复。", 16, []string{"消息可能已送达，", "重发可能重复。"}},
		{"消息可能已送达，重发", 14, []string{"消息可能已送", "达，重发"}},
		{"使用 --qos 1 可重发", 11, []string{"使用 --qos", "1 可重发"}},
	} {
		require.Equal(t, c.want, Fold(c.s, c.most), "%q in %d", c.s, c.most)
		require.Equal(t, strings.ReplaceAll(c.s, " ", ""), strings.ReplaceAll(strings.Join(Fold(c.s, c.most), ""), " ", ""), "nothing is lost")
	}
}

// A record is one line; its attributes follow the message, with groups and with those added before.
func TestLogHandler(t *testing.T) {
	var out bytes.Buffer
	h := NewLogHandler(LogOptions{W: &out, Level: slog.LevelInfo, Key: func(s string) string { return strings.ReplaceAll(s, "reason", "why") }})
	log := slog.New(h).With("client", "c").WithGroup("g").With("n", 1)
	log.Debug("not this")
	log.Warn("lost", "reason", errors.New("a\nb"), "took", 1500*time.Millisecond, slog.Group("in", "x", ""))
	require.Regexp(t, `^\d\d:\d\d:\d\d WARN  lost  client=c  g\.n=1  g\.why=a\\nb  g\.took=1\.5s  g\.in\.x=""\n$`, out.String())
}

// Text is unchanged if it is not written to a terminal.
func TestTextElsewhere(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, NewText(&out).Add(Red, "a\x1b").Add(Plain, "b").Print())
	require.Equal(t, "a\x1bb", out.String())
	require.Nil(t, Open(&out, func(string) string { return "xterm" }))
	require.False(t, Is(&out))
}
