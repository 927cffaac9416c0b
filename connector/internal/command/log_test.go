package command

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/session"
	"github.com/stretchr/testify/require"
)

// Every log message, of this package and those below, and every attribute name has a Chinese
// translation.
func TestLogsSpeakChinese(t *testing.T) {
	p := &Program{Lang: "zh"}
	missing := make(map[string]string)
	known := func(where, s string) {
		if p.word(s) == s && s != "consumer" && s != "" {
			missing[s] = where
		}
	}
	found := 0
	for _, dir := range []string{"client", "transport", "connector"} {
		require.NoError(t, filepath.WalkDir("../../../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, call := range logCalls(t, path) {
				found++
				for i, arg := range call {
					if i == 0 || i%2 == 1 {
						known(path, arg)
					}
				}
			}
			return nil
		}))
	}
	require.Greater(t, found, 25)
	for k := session.EventConnected; k <= session.EventSubscriptionDowngraded; k++ {
		known("session", k.String())
	}
	for _, k := range []client.EventKind{client.ConnectAwaited, client.Attempting, client.ConnectionUp, client.ConnectFailed, client.ConnectionLost,
		client.Disconnected, client.WaitingToReconnect, client.ClientClosed, client.InboxFull, client.NobodyConsumes, client.ClientParked, client.Shedding,
		client.MessageSkipped, client.MessageUnmatched} {
		known("client", string(k))
	}
	require.Empty(t, missing)
}

// logCalls returns the constant arguments of the calls of a logger in a file: the message, then
// names at odd positions. An argument that is not constant is "", and is omitted at the front.
func logCalls(t *testing.T, path string) (calls [][]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		switch method.Sel.Name {
		case "Debug", "Info", "Warn", "Error":
		default:
			return true
		}
		message, ok := constant(call.Args[0])
		if x, is := method.X.(*ast.Ident); is && x.Name == "p" { // Program.Warn takes both languages
			return true
		}
		if !ok {
			return true
		}
		out := []string{message}
		for i, arg := range call.Args[1:] {
			if inner, ok := arg.(*ast.CallExpr); ok { // slog.String("name", value)
				f, ok := inner.Fun.(*ast.SelectorExpr)
				if !ok || len(inner.Args) != 2 {
					continue
				}
				if x, ok := f.X.(*ast.Ident); !ok || x.Name != "slog" {
					continue
				}
				if name, ok := constant(inner.Args[0]); ok {
					out = append(out, name, "")
				}
				continue
			}
			if name, ok := constant(arg); ok && i%2 == 0 {
				out = append(out, name, "")
			}
		}
		calls = append(calls, out)
		return true
	})
	return calls
}

func constant(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
