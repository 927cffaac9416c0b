package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var install = flag.Bool("release.install", false, "install, upgrade and remove the deb on this machine, as root")

// here is the target of this machine.
var here = target{runtime.GOOS, runtime.GOARCH}

// The same commit in two folders, with nothing that was built before: the same bytes, packages and image included.
func TestSameBytes(t *testing.T) {
	sums := func(cache string) string {
		source, out := filepath.Join(t.TempDir(), "some where", "mqtt311"), filepath.Join(t.TempDir(), "dist")
		command(t, "", "git", "clone", "--quiet", "--local", "--no-tags", "..", source)
		if cache != "" {
			t.Setenv("GOCACHE", cache)
		}
		require.NoError(t, run(t.Context(), source, out, here.String(), nil))
		text, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
		require.NoError(t, err)
		command(t, out, "sha256sum", "--check", "--strict", "SHA256SUMS")
		return string(text)
	}
	first := sums("")
	require.Equal(t, 5, strings.Count(first, "\n"), first)
	require.Equal(t, first, sums(t.TempDir()))
}

// What the packages and the image are made of, with a binary that was built once for all tests.
func TestRelease(t *testing.T) {
	r := &release{ctx: t.Context(), source: "..", work: t.TempDir(), binaries: make(map[target]string)}
	r.version = version{Name: "1.2.3", Commit: "0123abc", Time: time.Unix(1e9, 0).UTC()}
	require.NoError(t, r.documents())
	binary, err := r.build(here)
	require.NoError(t, err)
	r.binaries[here] = binary

	t.Run("the binary", func(t *testing.T) {
		require.Contains(t, command(t, "", binary, "version"), "mqtt311 1.2.3,")
		require.JSONEq(t, `"0123abc"`, fmt.Sprintf("%q", about(t, command(t, "", binary, "version", "--json"))["commit"]))
		text, err := os.ReadFile(binary)
		require.NoError(t, err)
		folder, err := filepath.Abs("..")
		require.NoError(t, err)
		require.False(t, bytes.Contains(text, []byte(folder)), "the path of the checkout is in the binary")
	})
	t.Run("in an empty folder as root folder", func(t *testing.T) { inEmptyRoot(t, binary) })
	t.Run("the bill of materials", func(t *testing.T) {
		r.out = t.TempDir()
		require.NoError(t, r.bill(here, binary))
		var bom struct {
			BOMFormat  string
			Components []struct{ Name, Version string }
		}
		require.NoError(t, json.Unmarshal(only(t, r.out, "*.cdx.json"), &bom))
		require.Equal(t, "CycloneDX", bom.BOMFormat)
		versions := make(map[string]string)
		for _, c := range bom.Components {
			versions[c.Name] = c.Version
		}
		require.Equal(t, strings.TrimPrefix(Toolchain, "go"), versions["std"])
		require.Contains(t, versions, "github.com/gorilla/websocket")
		require.NotContains(t, versions, "github.com/stretchr/testify")
	})
	t.Run("rpm", func(t *testing.T) {
		if _, err := exec.LookPath("rpm"); err != nil {
			t.Skip("rpm is not installed")
		}
		r.out = t.TempDir()
		require.NoError(t, r.pack("rpm", here, binary))
		name, err := filepath.Glob(filepath.Join(r.out, "*.rpm"))
		require.NoError(t, err)
		require.Contains(t, command(t, "", "rpm", "-qip", name[0]), "Version     : 1.2.3")
		list := command(t, "", "rpm", "-qlp", name[0])
		for _, path := range []string{"/usr/bin/mqtt311", "/usr/lib/systemd/system/mqtt311@.service", "/usr/share/man/man1/mqtt311-run.1"} {
			require.Contains(t, list, path+"\n")
		}
	})
	t.Run("deb", func(t *testing.T) { lives(t, r, binary) })
	t.Run("the image", func(t *testing.T) { runsImage(t, r) })
}

// The unit is as closed as systemd can tell: 0 is safe, 10 is not.
func TestExposureOfTheUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd is not installed")
	}
	command(t, "", "systemd-analyze", "security", "--offline=true", "--threshold=15", "files/mqtt311@.service")
}

// The configuration of the packages has no mistake but for the folder, which the unit makes.
func TestExample(t *testing.T) {
	cmd := exec.Command("go", "run", "./connector/cmd/mqtt311", "check", "--json", "release/files/connector.yaml")
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		require.Contains(t, line, "W229")
	}
}

// command runs a command and returns its output.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, args, out)
	return string(out)
}

func about(t *testing.T, line string) (m map[string]string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(line), &m))
	return m
}

// only returns the text of the one file that matches.
func only(t *testing.T, dir, pattern string) []byte {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), pattern)
	require.NoError(t, err)
	require.Len(t, names, 1)
	text, err := os.ReadFile(filepath.Join(dir, names[0]))
	require.NoError(t, err)
	return text
}
