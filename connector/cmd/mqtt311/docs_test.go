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

// document returns the examples and the configuration of docs/command.md.
func document(t *testing.T) (blocks [][]example, config string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/command.md")
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
	return blocks, config
}

// The examples of the document do what it says. A command that ends with & runs until the
// end of its block.
func TestExamplesOfTheDocument(t *testing.T) {
	b, err := broker.Start()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	dir, bin := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(bin, "mqtt311")))
	blocks, config := document(t)
	here := strings.NewReplacer("127.0.0.1:1883", b.Addr)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "connector.yaml"), []byte(here.Replace(config)), 0o600))
	ran := make(map[string]bool)
	for _, block := range blocks {
		ctx, cancel := context.WithCancel(t.Context())
		var behind []*exec.Cmd
		for _, e := range block {
			command, background := strings.CutSuffix(e.command, " &")
			cmd := exec.CommandContext(ctx, "sh", "-c", here.Replace(command))
			if background {
				cmd = exec.CommandContext(ctx, "sh", "-c", "exec "+here.Replace(command))
			}
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "MQTT311_TEST_MAIN=1", "LC_ALL=C", "HOME="+dir, "XDG_CONFIG_HOME="+dir)
			out := new(output)
			cmd.Stdout, cmd.Stderr = out, out
			require.NoError(t, cmd.Start())
			if background {
				behind = append(behind, cmd)
				require.Eventually(t, func() bool { return e.matches(here, out.String()) }, time.Minute, 5*time.Millisecond, "%s\n%s", e.command, out)
			} else {
				cmd.Wait()
				require.True(t, e.matches(here, out.String()), "%s\nsays\n%s", e.command, out)
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
	for _, cmd := range command.Root("en", verbs.All...).Commands() {
		require.True(t, ran[cmd.Name()] || cmd.Name() == "help", "%s has no example", cmd.Name())
	}
}

// matches compares what was printed; … stands for anything within a line.
func (e example) matches(here *strings.Replacer, got string) bool {
	pattern := regexp.QuoteMeta(here.Replace(e.want))
	pattern = regexp.MustCompile(` *…`).ReplaceAllString(pattern, ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}
