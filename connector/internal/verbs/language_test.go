package verbs

import (
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
)

// Every text of these verbs and their flags exists in English and in Chinese.
func TestVerbsSpeakBothLanguages(t *testing.T) {
	texts := func(lang string) map[string]string {
		all := make(map[string]string)
		var walk func(*cobra.Command)
		walk = func(c *cobra.Command) {
			all[c.CommandPath()+" short"] = c.Short
			all[c.CommandPath()+" long"] = c.Long
			c.LocalFlags().VisitAll(func(f *pflag.Flag) { all[c.CommandPath()+" --"+f.Name] = f.Usage })
			for _, sub := range c.Commands() {
				walk(sub)
			}
		}
		walk(command.Root(lang, All...))
		return all
	}
	han := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
	}
	en, zh := texts("en"), texts("zh")
	require.Len(t, zh, len(en))
	for _, verb := range []string{"explain", "doctor", "request", "deadletter", "deadletter replay"} {
		require.Contains(t, en, "mqtt311 "+verb+" short")
	}
	for name, text := range en {
		if text == "" && strings.HasSuffix(name, " long") {
			require.Empty(t, zh[name], name)
			continue
		}
		require.NotEmpty(t, text, name)
		require.False(t, han(strings.ReplaceAll(text, "测试连接", "")), "%s in English: %s", name, text)
		require.True(t, han(zh[name]), "%s in Chinese: %s", name, zh[name])
	}
}

// The help of these verbs fits into 80 columns, in both languages.
func TestHelpOfVerbsFits(t *testing.T) {
	var paths [][]string
	var walk func(*cobra.Command, []string)
	walk = func(c *cobra.Command, path []string) {
		for _, sub := range c.Commands() {
			paths = append(paths, append(path[:len(path):len(path)], sub.Name()))
			walk(sub, paths[len(paths)-1])
		}
	}
	walk(command.Root("en", All...), nil)
	require.Greater(t, len(paths), 20)
	for _, lang := range []string{"en", "zh"} {
		for _, path := range paths {
			for line := range strings.Lines(ok(t, append(path, "--help", "--lang", lang)...)) {
				require.LessOrEqual(t, terminal.Columns(strings.TrimRight(line, "\n")), 80, "%v: %s", path, line)
				require.NotContains(t, line, "`")
			}
		}
	}
}
