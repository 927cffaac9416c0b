//go:build unix

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/verbs"
	"github.com/mqtt311/mqtt311/internal/broker"
	"github.com/stretchr/testify/require"
)

// TestMain lets a test start this command as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("MQTT311_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// output is a buffer that a test may look at while the command writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// An example is a command of the document and what it prints.
type example struct{ command, want string }

// A page is a document with commands to try: the examples in its blocks "console", and its YAML, which is
// the file that they use.
type page struct{ path, file, locale string }

var pages = []page{
	{"docs/command.md", "connector.yaml", "C"},
	{"docs/zh/command.md", "connector.yaml", "zh_CN.UTF-8"},
	{"docs/start.md", "plant.yaml", "C"},
	{"docs/zh/start.md", "plant.yaml", "zh_CN.UTF-8"},
}

// read returns the examples and the configuration of a page.
func (p page) read(t *testing.T) (blocks [][]example, config string) {
	t.Helper()
	text, err := os.ReadFile("../../../" + p.path)
	require.NoError(t, err)
	kind := ""
	for line := range strings.Lines(string(text)) {
		if fence, ok := strings.CutPrefix(line, "```"); ok {
			if kind = strings.TrimSpace(fence); kind == "console" {
				blocks = append(blocks, nil)
			}
			continue
		}
		switch kind {
		case "yaml":
			config += line
		case "console":
			block := &blocks[len(blocks)-1]
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				*block = append(*block, example{command: strings.TrimSpace(command)})
			} else {
				(*block)[len(*block)-1].want += line
			}
		}
	}
	require.NotEmpty(t, blocks)
	return blocks, config
}

// The examples of the documents do what they say. A command that ends with & runs until the end of its
// block; one that only looks is tried again until it sees what another one is about to do.
func TestExamplesOfTheDocument(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(bin, "mqtt311")))
	for _, p := range pages {
		t.Run(p.path, func(t *testing.T) {
			t.Parallel()
			ran := p.run(t, bin)
			for _, cmd := range command.Root("en", verbs.All...).Commands() {
				require.True(t, !strings.HasSuffix(p.path, "command.md") || ran[cmd.Name()] || cmd.Name() == "help", "%s has no example", cmd.Name())
			}
		})
	}
}

// run tries the examples of a page, and returns the subcommands that they used.
func (p page) run(t *testing.T, bin string) map[string]bool {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	dir := t.TempDir()
	blocks, config := p.read(t)
	here := strings.NewReplacer("127.0.0.1:1883", b.Addr)
	require.NoError(t, os.WriteFile(filepath.Join(dir, p.file), []byte(here.Replace(config)), 0o600))
	ran := make(map[string]bool)
	start := func(ctx context.Context, line string) (*exec.Cmd, *output) {
		cmd, out := exec.CommandContext(ctx, "sh", "-c", line), new(output)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "MQTT311_TEST_MAIN=1", "LC_ALL="+p.locale, "HOME="+dir, "XDG_CONFIG_HOME="+dir)
		cmd.Stdout, cmd.Stderr = out, out
		require.NoError(t, cmd.Start())
		return cmd, out
	}
	for _, block := range blocks {
		ctx, cancel := context.WithCancel(t.Context())
		var behind []*exec.Cmd
		for _, e := range block {
			line, background := strings.CutSuffix(e.command, " &")
			if line = here.Replace(line); background {
				cmd, out := start(ctx, "exec "+line)
				behind = append(behind, cmd)
				require.Eventually(t, func() bool { return e.matches(here, out.String()) }, time.Minute, 5*time.Millisecond, "%s\n%s", e.command, out)
			} else {
				for deadline := time.Now().Add(time.Minute); ; {
					cmd, out := start(ctx, line)
					cmd.Wait()
					if e.matches(here, out.String()) {
						break
					}
					require.True(t, e.looks() && time.Now().Before(deadline), "%s\nsays\n%s", e.command, out)
				}
			}
			for _, word := range regexp.MustCompile(`mqtt311 (\w+)`).FindAllStringSubmatch(e.command, -1) {
				ran[word[1]] = true
			}
		}
		for _, cmd := range behind {
			require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
			require.NoError(t, cmd.Wait(), "an interrupt ends it well")
		}
		cancel()
	}
	return ran
}

// looks reports whether e changes nothing, so that it may be run again.
func (e example) looks() bool {
	return strings.HasPrefix(e.command, "cat ") || strings.HasPrefix(e.command, "mqtt311 deadletter ls ")
}

// matches compares what was printed; … stands for anything within a line.
func (e example) matches(here *strings.Replacer, got string) bool {
	pattern := regexp.QuoteMeta(here.Replace(e.want))
	pattern = regexp.MustCompile(` *…`).ReplaceAllString(pattern, ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}
