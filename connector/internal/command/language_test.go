package command

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func hasHan(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

// walk calls f for every command.
func walk(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		walk(c, f)
	}
}

// Every text of every command and flag exists in English and in Chinese.
func TestHelpSpeaksBothLanguages(t *testing.T) {
	texts := func(lang string) map[string]string {
		all := make(map[string]string)
		root := (&Program{Lang: lang, Streams: fakeStreams{}}).root()
		root.InitDefaultHelpCmd()
		walk(root, func(c *cobra.Command) {
			all[c.CommandPath()+" short"] = c.Short
			all[c.CommandPath()+" long"] = c.Long
			note := func(f *pflag.Flag) { all[c.CommandPath()+" --"+f.Name] = f.Usage }
			c.Flags().VisitAll(note)
			c.PersistentFlags().VisitAll(note)
		})
		return all
	}
	en, zh := texts("en"), texts("zh")
	require.Len(t, zh, len(en))
	require.Greater(t, len(en), 100)
	for name, text := range en {
		if text == "" && strings.HasSuffix(name, " long") {
			require.Empty(t, zh[name], name)
			continue
		}
		require.NotEmpty(t, text, name)
		require.False(t, hasHan(strings.ReplaceAll(text, "测试连接", "")), "%s in English: %s", name, text)
		require.True(t, hasHan(zh[name]), "%s in Chinese: %s", name, zh[name])
	}
}

// With --lang zh the whole help is in Chinese, and so are usage errors.
func TestHelpInChinese(t *testing.T) {
	out := ok(t, "run", "--help", "--lang", "zh")
	for _, want := range []string{"用法：", "示例：", "选项：", "各命令通用选项：", "（默认 25s）"} {
		require.Contains(t, out, want)
	}
	for _, not := range []string{"Usage", "Flags", "default"} {
		require.NotContains(t, out, not)
	}
	require.Contains(t, ok(t, "help", "pub", "--lang=zh"), "发布消息")
	require.Contains(t, ok(t, "--lang", "zh"), "命令：\n")
	for args, want := range map[string]string{
		"pub":                         "缺少 --topic",
		"pub --nothing":               "没有选项 --nothing",
		"pub -Z":                      "没有选项 -Z",
		"pub -t":                      "选项 --topic 缺少取值",
		"pub -t a -q x":               `--qos 为 "x"：应为整数`,
		"pubb":                        `没有命令 "pubb"：是否指 pub`,
		"help nothing":                `没有命令 "nothing"`,
		"sub -t a b":                  `此处不应有 "b"`,
		"completion tcsh":             "请给出一个 shell",
		"run":                         "缺少 --config",
		"pub -t a -m x -V 5":          "仅支持 MQTT 3.1.1",
		"pub -t a -m x --proxy ftp:x": "--proxy：",
	} {
		r := mqtt311(t, append([]string{"--lang", "zh"}, strings.Fields(args)...)...)
		require.Equal(t, ExitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
		require.Contains(t, r.err, "用法见 mqtt311", args)
	}
	t.Setenv("LC_ALL", "C")
	r := mqtt311(t, "version", "--lang", "fr")
	require.Equal(t, ExitUsage, r.code)
	require.Contains(t, r.err, `--lang "fr" is neither en nor zh`)
	t.Setenv("LC_ALL", "zh_CN.UTF-8")
	require.Contains(t, mqtt311(t, "sub", "-t", "x", "--lang", "fr").err, `--lang "fr" 既不是 en 也不是 zh`)
}

// Help fits into 80 columns, in both languages.
func TestHelpFits(t *testing.T) {
	for _, lang := range []string{"en", "zh"} {
		p := &Program{Lang: lang, Streams: fakeStreams{}}
		walk(p.root(), func(c *cobra.Command) {
			var out bytes.Buffer
			p.help(&out, c)
			for line := range strings.Lines(out.String()) {
				line = strings.ReplaceAll(line, "mqtt311-nats", "mqtt311") // its examples are longer
				require.LessOrEqual(t, terminal.Columns(strings.TrimRight(line, "\n")), 80, "%s: %s", c.CommandPath(), line)
				require.NotContains(t, line, "`")
			}
		})
	}
}
