package hostile_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/hostile"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("hostile.update", false, "rewrite the tables in docs/hostile.md and docs/zh/hostile.md")

const (
	begins = "<!-- go test ./internal/hostile -run TestTable -hostile.update -->\n"
	ends   = "<!-- end of the table -->\n"
)

// The documents list the servers and budgets of the tests.
func TestTable(t *testing.T) {
	servers := hostile.Servers()
	require.GreaterOrEqual(t, len(servers), 30)
	names := make(map[string]bool)
	for _, s := range servers {
		require.False(t, names[s.Name], "two are named %q", s.Name)
		names[s.Name] = true
		require.Equal(t, s.Budget == (hostile.Budget{}), s.Why == "", "%s: a budget of its own has a reason", s.Name)
	}
	t.Run("en", func(t *testing.T) {
		compare(t, "../../docs/hostile.md", "server | over | what it does | told as | its own budget", "or", func(s *hostile.Server) row {
			return row{string(cmp.Or(s.Over, "TCP")), s.Does, budget(s)}
		})
	})
	t.Run("zh", func(t *testing.T) {
		used := make(map[string]bool)
		translate := func(text string) string {
			used[text] = true
			require.NotEmpty(t, inChinese[text], "inChinese lacks %q", text)
			return inChinese[text]
		}
		compare(t, "../../docs/zh/hostile.md", "服务端 | 传输 | 行为 | 日志须匹配 | 自己的限额", "或", func(s *hostile.Server) row {
			over := cmp.Or(carriersInChinese[s.Over], string(s.Over), "TCP")
			return row{over, translate(s.Does), budgetInChinese(s, translate)}
		})
		require.Len(t, used, len(inChinese), "texts of no server have a translation")
	})
}

// A row has the cells for a server that differ between the languages.
type row struct{ over, does, budget string }

// compare compares the table of a document with the servers, or rewrites it.
func compare(t *testing.T, document, head, or string, of func(*hostile.Server) row) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "\n| %s |\n|---|---|---|---|---|\n", head)
	for _, s := range hostile.Servers() {
		told := "-"
		if s.Told != "" {
			told = "`" + strings.ReplaceAll(s.Told, "|", "` "+or+" `") + "`"
		}
		r := of(&s)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.Name, r.over, r.does, told, cmp.Or(r.budget, "-"))
	}
	b.WriteString("\n")

	text, err := os.ReadFile(document)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begins)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, ends)
	require.True(t, ok)
	want := before + begins + b.String() + ends + after
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(want), 0o644))
		return
	}
	require.True(t, want == string(text), "run with -hostile.update")
}

// budget describes how a server's budget differs from the usual one; "" if it does not.
func budget(s *hostile.Server) string {
	switch {
	case s.Lines != 0:
		return fmt.Sprintf("%s, and %d MiB more for the command: %s", s.Budget, s.Lines, s.Why)
	case s.Why != "":
		return fmt.Sprintf("%s: %s", s.Budget, s.Why)
	case s.Ends != 0:
		return fmt.Sprintf("`mqtt311 run` may end with exit code %d", s.Ends)
	}
	return ""
}

func budgetInChinese(s *hostile.Server, translate func(string) string) string {
	if s.Why == "" {
		if s.Ends != 0 {
			return fmt.Sprintf("`mqtt311 run` 可以以退出码 %d 结束", s.Ends)
		}
		return ""
	}
	var limits []string
	add := func(set bool, format string, v any) {
		if set {
			limits = append(limits, fmt.Sprintf(format, v))
		}
	}
	b := s.Budget
	add(b.Memory > 0, "%d MiB", b.Memory)
	add(b.Files > 0, "%d 个文件描述符", b.Files)
	add(b.Goroutines > 0, "%d 个 goroutine", b.Goroutines)
	add(b.Log > 0, "%d KiB 日志", b.Log)
	add(b.CPU == hostile.AnyCPU, "处理器时间不限%s", "")
	add(b.CPU > 0 && b.CPU < hostile.AnyCPU, "一个核的 %.0f %%", 100*b.CPU)
	add(s.Lines != 0, "命令另加 %d MiB", s.Lines)
	return strings.Join(limits, "，") + "：" + translate(s.Why)
}
