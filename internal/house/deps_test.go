// Package house tests the shape of the project: which package may import which.
package house

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/mqtt311/mqtt311/"

// A rule says what a package may depend on, directly or indirectly.
type rule struct {
	pkg    string
	ours   []string // packages of this module
	others []string // modules of others; nil: none
	not    []string // packages of the standard library
}

var rules = []rule{
	{pkg: "packets", not: []string{"net", "os", "fmt", "log/slog"}},
	{pkg: "session", ours: []string{"packets"}, not: []string{"net", "os", "fmt", "log/slog"}},
	{pkg: "transport", ours: []string{"transport"}, not: []string{"net/http"}},
	{pkg: "transport/ws", ours: []string{"transport"}, others: []string{"github.com/gorilla/websocket", "golang.org/x/net"}},
	{pkg: "client", ours: []string{"packets", "session", "internal/loglimit"}, not: []string{"crypto/tls", "net/http"}},
	{pkg: "client/wal", ours: []string{"packets", "session", "client", "internal/disk", "internal/loglimit"}, not: []string{"crypto/tls", "net/http"}},
	{pkg: "client/paho/packets", ours: []string{"packets"}, not: []string{"net", "log/slog"}},
	{
		pkg: "client/paho",
		ours: []string{
			"packets", "session", "client", "client/wal", "client/paho/packets", "internal/disk", "internal/loglimit", "transport", "transport/ws", "transport/proxy",
		},
		others: []string{"github.com/gorilla/websocket", "golang.org/x/net"},
	},
	{pkg: "connector/lint", not: []string{"net", "os/exec", "log/slog"}},
	{pkg: "connector/flow", ours: []string{"packets", "connector/internal/jsonpath", "connector/internal/classify"}, not: []string{"net", "os/exec"}},
	{
		pkg:    "connector",
		ours:   []string{"packets", "session", "client", "client/wal", "internal/disk", "internal/loglimit", "transport", "transport/ws", "transport/proxy", "connector", "connector/flow", "connector/lint"},
		others: []string{"github.com/gorilla/websocket", "golang.org/x/net"},
	},
	{
		pkg:    "connector/config",
		ours:   []string{"packets", "session", "client", "client/wal", "internal/disk", "internal/loglimit", "transport", "transport/ws", "transport/proxy", "connector", "connector/flow", "connector/lint"},
		others: []string{"github.com/gorilla/websocket", "golang.org/x/net", "go.yaml.in/yaml/v3"},
	},
}

func deps(t *testing.T, pkg string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "./"+pkg)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err, "go list -deps ./%s", pkg)
	return strings.Fields(string(out))
}

func foreign(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return strings.Contains(first, ".")
}

func TestDependencies(t *testing.T) {
	for _, r := range rules {
		t.Run(r.pkg, func(t *testing.T) {
			for _, dep := range deps(t, r.pkg) {
				switch own, ok := strings.CutPrefix(dep, module); {
				case dep == module+r.pkg:
				case ok:
					require.True(t, slices.ContainsFunc(r.ours, func(p string) bool {
						return own == p || strings.HasPrefix(own, p+"/internal/")
					}), "%s imports our package %s", r.pkg, own)
				case foreign(dep):
					require.True(t, slices.ContainsFunc(r.others, func(m string) bool {
						return dep == m || strings.HasPrefix(dep, m+"/")
					}), "%s imports %s", r.pkg, dep)
				default:
					require.NotContains(t, r.not, dep, "%s imports %s", r.pkg, dep)
				}
			}
		})
	}
}

// The libraries of the command are linked by nothing else: neither by the quickstart nor by
// importers of the packages above, whose rules do not list them.
func TestLibrariesOfTheCommand(t *testing.T) {
	of := []string{"github.com/prometheus/", "github.com/spf13/", "github.com/creack/pty"}
	ours := func(dep string) bool {
		return slices.ContainsFunc(of, func(m string) bool { return strings.HasPrefix(dep, m) })
	}
	command := deps(t, "connector/cmd/mqtt311")
	require.True(t, slices.ContainsFunc(command, ours), "the command links none of them: this test looks for the wrong names")
	require.False(t, slices.ContainsFunc(command, func(dep string) bool { return strings.HasPrefix(dep, "github.com/creack/") }), "pty is for tests")
	for _, pkg := range []string{"connector", "connector/config", "connector/quickstart", "client/...", "transport/..."} {
		for _, dep := range deps(t, pkg) {
			require.False(t, ours(dep), "%s links %s", pkg, dep)
		}
	}
}

// The test broker is linked by the quickstart, and by nothing else that we ship.
func TestNoBrokerInTheCommand(t *testing.T) {
	for _, dep := range deps(t, "connector/cmd/...") {
		require.NotContains(t, dep, "mochi", "the command links the test broker")
	}
}

// The two latest releases of Go can build the project.
func TestGoVersion(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	require.Contains(t, string(mod), "\ngo 1.25.0\n", "a requirement raised the version of Go")
}
