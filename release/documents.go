package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// documents writes the manual pages and the completions, with the command built for this machine.
func (r *release) documents() error {
	binary, err := (&release{ctx: r.ctx, source: r.source, work: filepath.Join(r.work, "here"), version: r.version}).here()
	if err != nil {
		return err
	}
	man := filepath.Join(r.work, "man")
	completions := filepath.Join(r.work, "completions")
	for _, dir := range []string{man, completions} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(r.ctx, binary, "man", man)
	cmd.Env = []string{"LC_ALL=C.UTF-8"} // nothing of this machine
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("manual pages: %w: %s", err, out)
	}
	for shell, name := range map[string]string{"bash": "mqtt311.bash", "zsh": "_mqtt311", "fish": "mqtt311.fish"} {
		cmd := exec.CommandContext(r.ctx, binary, "completion", shell)
		cmd.Env = []string{"LC_ALL=C.UTF-8"}
		text, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("completion for %s: %w", shell, err)
		}
		if err := os.WriteFile(filepath.Join(completions, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// here builds the command for this machine.
func (r *release) here() (string, error) {
	if err := os.Mkdir(r.work, 0o755); err != nil {
		return "", err
	}
	return r.build(target{runtime.GOOS, runtime.GOARCH})
}
