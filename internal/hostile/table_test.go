package hostile_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/internal/hostile"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("hostile.update", false, "rewrite the table in docs/hostile.md")

const (
	document = "../../docs/hostile.md"
	begins   = "<!-- go test ./internal/hostile -run TestTable -hostile.update -->\n"
	ends     = "<!-- end of the table -->\n"
)

// The document has the servers and budgets that are tried.
func TestTable(t *testing.T) {
	servers := hostile.Servers()
	require.GreaterOrEqual(t, len(servers), 30)
	names := make(map[string]bool)
	var b strings.Builder
	b.WriteString("\n| server | over | what it does | told as | its own budget |\n|---|---|---|---|---|\n")
	for _, s := range servers {
		require.False(t, names[s.Name], "two are named %q", s.Name)
		names[s.Name] = true
		require.Equal(t, s.Budget == (hostile.Budget{}), s.Why == "", "%s: a budget of its own has a reason", s.Name)
		over, told, own := string(s.Over), "-", "-"
		if over == "" {
			over = "TCP"
		}
		if s.Told != "" {
			told = "`" + strings.ReplaceAll(s.Told, "|", "` or `") + "`"
		}
		if s.Ends != 0 {
			own = fmt.Sprintf("`mqtt311 run` may end with exit code %d", s.Ends)
		}
		if s.Why != "" {
			own = fmt.Sprintf("%s: %s", s.Budget, s.Why)
			if s.Lines != 0 {
				own = fmt.Sprintf("%s, and %d MiB more for the command: %s", s.Budget, s.Lines, s.Why)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.Name, over, s.Does, told, own)
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
