//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

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
	addr := startBroker(t)
	dir, bin := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(bin, "mqtt311")))
	blocks, config := document(t)
	here := strings.NewReplacer("127.0.0.1:1883", addr)
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
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "MQTT311_TEST_MAIN=1", "LC_ALL=C")
			out := newOutput()
			cmd.Stdout, cmd.Stderr = out, out
			require.NoError(t, cmd.Start())
			if background {
				behind = append(behind, cmd)
				require.Eventually(t, func() bool { return e.matches(here, out.String()) }, 20*time.Second, 5*time.Millisecond, "%s\n%s", e.command, out)
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
	for _, cmd := range (&program{}).root().Commands() {
		require.True(t, ran[cmd.Name()] || cmd.Name() == "help", "%s has no example", cmd.Name())
	}
}

// matches compares what was printed; … stands for anything within a line.
func (e example) matches(here *strings.Replacer, got string) bool {
	pattern := regexp.QuoteMeta(here.Replace(e.want))
	pattern = regexp.MustCompile(` *…`).ReplaceAllString(pattern, ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}

// The table of metrics is that of the collector, and so are the labels.
func TestMetricsOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../docs/command.md")
	require.NoError(t, err)
	documented := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `(mqtt_\\w+)` \\| ([^|]*) ?\\| (.+) \\|$").FindAllSubmatch(text, -1) {
		documented[string(m[1])] = strings.TrimSpace(string(m[2]))
	}
	c, err := connector.New(connector.Config{General: connector.General{BrokerURL: "127.0.0.1:1", ClientID: "c"}}, connector.Options{})
	require.NoError(t, err)
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(collector{c}))
	families, err := r.Gather()
	require.NoError(t, err)
	delete(documented, "mqtt_tls_cert_expires_seconds") // only over TLS
	require.Len(t, documented, len(families))
	for _, f := range families {
		labels := make(map[string]bool)
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = true
		}
		want, ok := documented[f.GetName()]
		require.True(t, ok, "%s is not documented", f.GetName())
		for label := range strings.SplitSeq(want, ", ") {
			require.True(t, label == "" || labels[label], "%s has no label %q", f.GetName(), label)
			delete(labels, label)
		}
		require.Empty(t, labels, f.GetName())
	}
}

// The exit codes of the document are those of the command, and of its help.
func TestExitCodesOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../docs/command.md")
	require.NoError(t, err)
	_, table, _ := bytes.Cut(text, []byte("## Exit codes"))
	for _, code := range []int{exitOK, exitRuntime, exitUsage, exitConnection, exitRefused, exitSubscribe, exitPublish, exitTimeout, exitFindings, exitInterrupt} {
		require.Contains(t, string(table), fmt.Sprintf("\n| %d | ", code))
		for _, lang := range []string{"en", "zh"} {
			require.Regexp(t, fmt.Sprintf(`\b%d `, code), (&program{lang: lang}).root().Long)
		}
	}
}
