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

var (
	install = flag.Bool("release.install", false, "install, upgrade and remove the deb on this machine, as root")
	all     = flag.Bool("release.all", false, "build every program for every system twice, not only mqtt311 for this one")
)

// here is the target of this machine.
var here = target{runtime.GOOS, runtime.GOARCH}

// The same commit in two folders, with nothing that was built before: the same bytes, packages and images included.
func TestSameBytes(t *testing.T) {
	origin, cold := filepath.Join(t.TempDir(), "origin"), t.TempDir()
	clone := func(from, to string) { command(t, "", "git", "clone", "--quiet", "--local", "--no-tags", from, to) }
	clone("..", origin) // a commit in the meantime changes nothing
	for name, files := range map[string]struct{ here, others int }{
		"mqtt311":         {5, 2 + 5*2},
		"mqtt311-nats":    {3, 5 * 2},
		"mqtt311-benthos": {2, 5 * 2},
	} {
		t.Run(name, func(t *testing.T) {
			want, targets := files.here, here.String()
			switch {
			case *all:
				want, targets = files.here+files.others, ""
			case name != "mqtt311":
				t.Skip("-release.all was not given")
			}
			sums := func() string {
				source, out := filepath.Join(t.TempDir(), "some where", "mqtt311"), filepath.Join(t.TempDir(), "dist")
				clone(origin, source)
				require.NoError(t, run(t.Context(), source, out, targets, name, nil))
				text, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
				require.NoError(t, err)
				command(t, out, "sha256sum", "--check", "--strict", "SHA256SUMS")
				return string(text)
			}
			first := sums()
			require.Equal(t, want, strings.Count(first, "\n"), first)
			t.Setenv("GOCACHE", cold)
			require.Equal(t, first, sums())
		})
	}
}

// What a release contains, of programs that were built once for all tests.
func TestRelease(t *testing.T) {
	r := &release{ctx: t.Context(), source: "..", work: t.TempDir()}
	r.version = version{Name: "1.2.3", Commit: "0123abc", Time: time.Unix(1e9, 0).UTC()}
	for _, p := range programs {
		t.Run(p.Name, func(t *testing.T) { contains(t, r, p) })
	}
	binary, err := r.build(programs[0], here)
	require.NoError(t, err)
	t.Run("in an empty folder as root folder", func(t *testing.T) { inEmptyRoot(t, binary) })
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
		for _, path := range []string{"/usr/bin/mqtt311", "/usr/lib/systemd/system/mqtt311@.service", "/usr/share/man/man1/mqtt311-run.1", "/usr/share/man/zh_CN/man1/mqtt311-run.1"} {
			require.Contains(t, list, path+"\n")
		}
	})
	t.Run("deb", func(t *testing.T) { lives(t, r, binary) })
	for _, p := range programs {
		if p.Image {
			t.Run("the image of "+p.Name, func(t *testing.T) { runsImage(t, r, p) })
		}
	}
}

// contains checks the archive and the bill of materials of a program.
func contains(t *testing.T, r *release, p program) {
	r.out = t.TempDir()
	plain := p
	plain.Image, plain.Packages = false, false // they have tests of their own
	require.NoError(t, r.program(plain, []target{here}))
	names, err := filepath.Glob(filepath.Join(r.out, "*.tar.gz"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	dir := t.TempDir()
	unpackGzip(t, names[0], dir)
	dir = filepath.Join(dir, fmt.Sprintf("%s_1.2.3_%s_%s", p.Name, here.OS, here.Arch))
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		require.FileExists(t, filepath.Join(dir, name))
	}

	binary := filepath.Join(dir, p.Name)
	text, err := os.ReadFile(binary)
	require.NoError(t, err)
	folder, err := filepath.Abs("..")
	require.NoError(t, err)
	require.False(t, bytes.Contains(text, []byte(folder)), "the path of the checkout is in the binary")
	out := command(t, "", binary, "--version")
	require.Contains(t, out, "1.2.3,")
	if p.Date != "" {
		require.Contains(t, out, "2001-09-09T01:46:40Z")
	}
	if p.Commit != "" {
		require.Contains(t, out, p.Name+" 1.2.3,")
		require.Equal(t, "0123abc", about(t, command(t, "", binary, "version", "--json"))["commit"])
	}
	example := filepath.Join(dir, strings.TrimSuffix(p.Example, ".yaml")+".example.yaml")
	if p.Documents {
		out, err := exec.Command(binary, "check", "--json", example).Output()
		require.NoError(t, err)
		for line := range strings.Lines(string(out)) { // no mistake but for the folder, which the unit makes
			require.Contains(t, line, "W229")
		}
		for name, want := range map[string]string{
			"man/man1/" + p.Name + "-run.1": "acknowledged", "man/zh_CN/man1/" + p.Name + "-run.1": "确认",
			"completions/_" + p.Name: p.Name, "completions/" + p.Name + ".fish": p.Name,
		} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Contains(t, string(text), want)
		}
		require.Contains(t, command(t, "", "bash", "-c", `. "$1" && complete -p "$2"`, "bash", filepath.Join(dir, "completions", p.Name+".bash"), p.Name), "_mqtt311")
	} else {
		command(t, "", binary, "lint", example)
		require.NoDirExists(t, filepath.Join(dir, "man"))
	}

	var bom struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	require.NoError(t, json.Unmarshal(only(t, r.out, "*.cdx.json"), &bom))
	require.Equal(t, "CycloneDX", bom.BOMFormat)
	require.Equal(t, p.Name, bom.Metadata.Component.Name)
	require.Equal(t, "1.2.3", bom.Metadata.Component.Version)
	versions := make(map[string]string)
	for _, c := range bom.Components {
		require.NotEmpty(t, c.Version, c.Name)
		require.NotContains(t, c.PURL, "..", "a path of this machine")
		versions[c.Name] = c.Version
	}
	require.Equal(t, strings.TrimPrefix(Toolchain, "go"), versions["std"])
	require.NotContains(t, versions, "github.com/stretchr/testify")
	if p.Module != "." {
		require.Equal(t, "v1.2.3", versions["github.com/mqtt311/mqtt311"])
	}
	for _, other := range []struct{ program, module string }{
		{"mqtt311-nats", "github.com/nats-io/nats.go"}, {"mqtt311-benthos", "github.com/redpanda-data/benthos/v4"},
	} {
		if p.Name == other.program {
			require.Contains(t, versions, other.module)
		} else {
			require.NotContains(t, versions, other.module)
		}
	}
	require.Contains(t, versions, "github.com/gorilla/websocket")
}

// The unit is as closed as systemd can tell: 0 is safe, 10 is not.
func TestExposureOfTheUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd is not installed")
	}
	command(t, "", "systemd-analyze", "security", "--offline=true", "--threshold=15", "files/mqtt311@.service")
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
