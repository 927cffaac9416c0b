//go:build unix

package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/thorough"
)

// shellOf returns a directory with the command and a configuration. It requires the shell to be
// installed.
func shellOf(t *testing.T, shell string) (dir string, env []string) {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir = t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, "mqtt311")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.yaml"), []byte("connector:\n  general: {broker_url: 'h:1', client_id: c}\nproducers:\n  lamp: {topic: lamp}\n  line: {topic: line}\n"), 0o600))
	script := ok(t, "completion", shell)
	require.NotContains(t, script, "`host")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o600))
	return dir, append(os.Environ(), "MQTT311_TEST_MAIN=1", "LC_ALL=C", "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "ZDOTDIR="+dir)
}

// completions are command lines, and what shells must offer for them.
var completions = map[string]string{
	"mqtt311 ":                            "pub sub run check",
	"mqtt311 pu":                          "pub",
	"mqtt311 sub --will-":                 "--will-topic --will-qos",
	"mqtt311 pub -t a:b --qos ":           "0 1 2",
	"mqtt311 --lang z":                    "zh",
	"mqtt311 run -c c.yaml --producer l":  "lamp line",
	"mqtt311 run -c c.yaml --producer=li": "line",
	"mqtt311 check ":                      "c.yaml",
}

// The script works in a bash that has loaded nothing else.
func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	dir, env := shellOf(t, "bash")
	for line, want := range completions {
		cmd := exec.Command("bash", "--norc", "--noprofile", "-c", `
			source script
			COMP_LINE=$1 COMP_POINT=${#1}
			set -f
			COMP_WORDS=()
			rest=${1//:/ : } rest=${rest//=/ = }
			for w in $rest; do COMP_WORDS+=("$w"); done
			[[ $1 == *' ' ]] && COMP_WORDS+=("")
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			set +f
			_mqtt311
			printf '%s\n' "${COMPREPLY[@]}"`, "bash", line)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		offers(t, line, string(out), want)
	}
}

func offers(t *testing.T, line, out, want string) {
	t.Helper()
	for _, w := range strings.Fields(want) {
		require.Contains(t, strings.Fields(out), w, "%q", line)
	}
	require.NotContains(t, out, "`", line)
	require.NotContains(t, strings.ToLower(out), "not found", line)
}

func TestCompletionInFish(t *testing.T) {
	t.Parallel()
	dir, env := shellOf(t, "fish")
	for line, want := range completions {
		cmd := exec.Command("fish", "--no-config", "-c", `source script; complete -C "$argv[1]"`, line)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		offers(t, line, strings.ReplaceAll(string(out), "--producer=", ""), want)
	}
}

// Zsh only completes on a terminal, which zpty provides.
func TestCompletionInZsh(t *testing.T) {
	thorough.Only(t)
	t.Parallel()
	dir, env := shellOf(t, "zsh")
	for line, want := range completions {
		cmd := exec.Command("zsh", "-f", "-c", `
			zmodload zsh/zpty
			zpty z zsh -f -i
			zpty -w z "PS1=; PROMPT_EOL_MARK=; stty columns 200; autoload -Uz compinit && compinit -u -d $PWD/dump; source script; compdef _mqtt311 mqtt311; LISTMAX=10000; setopt no_list_ambiguous; print REA''DY"
			zpty -r z before '*READY*'
			zpty -w -n z "$1"$'\t\t\t'
			sleep 0.1
			zpty -w -n z $'\C-a'"print -r -- DO"$'\C-e'"NE"
			for i in {1..2000}; do
				zpty -r -t z part && text+=$part
				[[ $text == *NE* ]] && break
				sleep 0.05
			done
			print -r -- "$text"
			zpty -d z`, "zsh", line)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		for _, w := range strings.Fields(want) {
			require.Contains(t, string(out), w, "%q", line)
		}
	}
}

// Every manual page is valid: the formatter of man(1) finds no problem, in both languages.
func TestManualPages(t *testing.T) {
	t.Parallel()
	for lang, want := range map[string]string{"en": "acknowledged", "zh": "发布消息"} {
		dir := t.TempDir()
		require.Empty(t, ok(t, "man", dir, "--lang", lang))
		pages, err := filepath.Glob(dir + "/*.1")
		require.NoError(t, err)
		require.Greater(t, len(pages), 15)
		text, err := os.ReadFile(filepath.Join(dir, "mqtt311-pub.1"))
		require.NoError(t, err)
		require.Contains(t, string(text), want)
		if _, err := exec.LookPath("groff"); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		out, err := exec.Command("groff", append([]string{"-k", "-man", "-Tutf8", "-z", "-Wbreak", "-wmac", "-wescape"}, pages...)...).CombinedOutput()
		require.NoError(t, err)
		require.Empty(t, string(out))
	}
}
