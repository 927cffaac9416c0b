package house

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// make fuzz runs every fuzz target of the project, in whatever package it is.
func TestEveryFuzzTargetIsRun(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil && os.Getenv("CI") == "" {
		t.Skip("make is not installed")
	}
	cmd := exec.Command("make", "-n", "fuzz")
	cmd.Dir = top
	out, err := cmd.Output()
	require.NoError(t, err)
	run := make(map[string]bool)
	for _, word := range strings.FieldsFunc(string(out), func(r rune) bool { return r == ' ' || r == ';' || r == '\n' }) {
		run[word] = true
	}
	target := regexp.MustCompile(`(?m)^func (Fuzz\w*)\(`)
	found := 0
	err = filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(file)
		for _, m := range target.FindAllSubmatch(text, -1) {
			rel, rerr := filepath.Rel(top, filepath.Dir(file))
			require.NoError(t, rerr)
			name := path.Join(filepath.ToSlash(rel), string(m[1]))
			require.True(t, run[name], "make fuzz does not run %s", name)
			found++
		}
		return err
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, found, 15)
}
