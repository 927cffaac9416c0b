package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// The whole quickstart against a broker in the process: nothing is lost, nothing comes
// twice, and the table says so.
func TestQuickstart(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rs, err := loadReadings()
	require.NoError(t, err)
	r := newRun(rs, "en")
	require.NoError(t, r.do(ctx, b.Addr))
	require.True(t, r.ok())
	for qos := range r.tallies {
		tally := &r.tallies[qos]
		require.Equal(t, 1000, tally.sent)
		require.Equal(t, 1000, tally.received)
		require.Equal(t, 1000, tally.succeeded)
		require.Zero(t, tally.lost())
		require.Zero(t, tally.duplicated())
		if qos > 0 {
			require.EqualValues(t, 1000, tally.acknowledged)
		}
	}
	var table strings.Builder
	r.table(&table)
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	require.Len(t, lines, 4)
	require.Equal(t, "QoS sent received flows succeeded acknowledged lost duplicated seconds", strings.Join(strings.Fields(lines[0]), " "))
	require.Equal(t, []string{"2", "1000", "1000", "1000", "1000", "0", "0"}, strings.Fields(lines[3])[:7])
	table.Reset()
	r.say = "zh"
	r.table(&table)
	lines = strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	require.Equal(t, "QoS 已发送 已收到 流程成功 已确认 丢失 重复 秒", strings.Join(strings.Fields(lines[0]), " "))
	for _, line := range lines {
		require.Equal(t, terminal.Columns(lines[0]), terminal.Columns(line), "%q is not aligned", line)
	}
}

// The readings are what they are meant to try.
func TestReadings(t *testing.T) {
	rs, err := loadReadings()
	require.NoError(t, err)
	topics, empty, largest, binary, wide := map[string]bool{}, 0, 0, 0, 0
	for i := range rs {
		b := rs[i].content()
		topics[rs[i].Topic] = true
		largest = max(largest, len(b))
		if len(b) == 0 {
			empty++
		}
		if rs[i].Base64 != nil {
			binary++
		}
		if strings.ContainsFunc(rs[i].Topic+rs[i].Payload, func(r rune) bool { return r > 0x7f }) {
			wide++
		}
	}
	require.Len(t, rs, 1000)
	require.Greater(t, len(topics), 5)
	require.Positive(t, empty)
	require.Positive(t, binary)
	require.Positive(t, wide)
	require.GreaterOrEqual(t, largest, 100<<10)
}

// A verdict that cannot fail is none: each way to go wrong makes it one.
func TestVerdict(t *testing.T) {
	good := func() *run {
		r := newRun(nil, "en")
		for qos := range r.tallies {
			tally := &r.tallies[qos]
			tally.sent, tally.received, tally.succeeded = 1, 1, 1
			tally.want[identify("t", nil)], tally.got[identify("t", nil)] = 1, 1
		}
		return r
	}
	require.True(t, good().ok())
	r := good()
	r.tallies[1].got = map[identity]int{}
	require.Equal(t, 1, r.tallies[1].lost())
	require.False(t, r.ok(), "lost")
	r = good()
	r.tallies[2].got[identify("t", nil)] = 2
	require.Equal(t, 1, r.tallies[2].duplicated())
	require.False(t, r.ok(), "duplicated at QoS 2")
	r = good()
	r.tallies[1].got[identify("t", nil)] = 2
	require.True(t, r.ok(), "QoS 1 may repeat")
	r = good()
	r.tallies[0].succeeded = 0
	require.False(t, r.ok(), "a flow failed")
	r = good()
	r.tallies[0].got = map[identity]int{identify("t", []byte("else")): 1}
	require.False(t, r.ok(), "another content")
}

// Messages are in the language of the locale, or of --lang.
func TestLanguage(t *testing.T) {
	tell := func(locale string, args ...string) (code int, out, errs string) {
		env := func(name string) string {
			if name == "LANG" {
				return locale
			}
			return ""
		}
		var stdout, stderr strings.Builder
		code = command(t.Context(), args, env, &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
	nobody := []string{"-broker", "127.0.0.1:1"}
	code, out, errs := tell("C", nobody...)
	require.Equal(t, 1, code)
	require.Equal(t, "readings 1000, each at QoS 0, 1 and 2\n", out)
	require.Contains(t, errs, "connection refused")
	for _, lang := range [][]string{nil, {"--lang", "zh"}, {"--lang=zh"}, {"-lang", "zh"}} {
		locale := "zh_CN.UTF-8"
		if lang != nil {
			locale = "C"
		}
		code, out, errs = tell(locale, append(lang, nobody...)...)
		require.Equal(t, 1, code)
		require.Equal(t, "读数    1000 条，以 QoS 0、1、2 各发送一次\n", out)
		require.Regexp(t, "^quickstart：.*连接被拒绝", errs)
	}
	_, out, _ = tell("zh_CN.UTF-8", append(nobody, "--lang", "en")...)
	require.Contains(t, out, "readings 1000")

	code, _, errs = tell("zh_CN.UTF-8", "-h")
	require.Zero(t, code)
	for _, want := range []string{"示例：", "选项：", "不自行启动", "（默认 1m0s）"} {
		require.Contains(t, errs, want)
	}
	require.NotContains(t, errs, "default")
	code, _, errs = tell("C", "--help")
	require.Zero(t, code)
	require.Contains(t, errs, "  -timeout duration\n    \tgive up after this time (default 1m0s)\n")
	code, _, errs = tell("C", "--lang", "fr")
	require.Equal(t, 2, code)
	require.Contains(t, errs, `--lang "fr" is neither en nor zh`)
	code, _, _ = tell("C", "--nothing")
	require.Equal(t, 2, code)
}
