package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// manuals are the folders of manual pages by language, below one that man(1) can search.
var manuals = []struct{ Lang, Dir string }{{"en", "man1"}, {"zh", "zh_CN/man1"}}

// documents writes the manual pages and the completions of a program, with the program built for this machine.
func (r *release) documents(p program) error {
	binary, err := r.build(p, target{runtime.GOOS, runtime.GOARCH})
	if err != nil {
		return err
	}
	own := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(r.ctx, binary, args...)
		cmd.Env = []string{"LC_ALL=C.UTF-8"} // nothing of this machine
		return cmd
	}
	for _, m := range manuals {
		dir := filepath.Join(r.work, p.Name, "man", m.Dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if out, err := own("man", dir, "--lang", m.Lang).CombinedOutput(); err != nil {
			return fmt.Errorf("manual pages: %w: %s", err, out)
		}
	}
	completions := filepath.Join(r.work, p.Name, "completions")
	if err := os.Mkdir(completions, 0o755); err != nil {
		return err
	}
	for shell, name := range map[string]string{"bash": p.Name + ".bash", "zsh": "_" + p.Name, "fish": p.Name + ".fish"} {
		text, err := own("completion", shell).Output()
		if err != nil {
			return fmt.Errorf("completion for %s: %w", shell, err)
		}
		if err := os.WriteFile(filepath.Join(completions, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
