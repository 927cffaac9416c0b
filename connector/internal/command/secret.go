package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/lint"
	"golang.org/x/term"
)

// passwordOptions are the sources of the password. At most one of them is given.
var passwordOptions = []string{"pw", "pw-file", "pw-env", "pw-exec", "pw-prompt"}

// passwordFrom returns the source of the password; nil if it is given with --pw, is to be asked for, or is not given.
func (c *Connection) passwordFrom() *connector.SecretSource {
	switch {
	case c.passwordSource != nil:
		return c.passwordSource
	case c.given("pw-file"):
		return &connector.SecretSource{File: c.pwFile}
	case c.given("pw-env"):
		return &connector.SecretSource{Env: c.pwEnv}
	case c.given("pw-exec"):
		return &connector.SecretSource{Exec: shellLine(c.pwExec)}
	}
	return nil
}

// shellLine returns the arguments that run a line in the shell of the system.
func shellLine(line string) []string {
	if runtime.GOOS == "windows" {
		return []string{"cmd", "/C", line}
	}
	return []string{"sh", "-c", line}
}

// readSecret reads a password before anything is dialled, so that a mistake is reported at once. Sources
// are read again at every attempt to connect.
func (p *Program) readSecret(ctx context.Context, from *connector.SecretSource) (string, error) {
	text, err := from.Read(ctx)
	if err != nil {
		return "", Usage("%w", "密码：%w", err)
	}
	if from.File != "" {
		p.warnOfReaders(from.File)
	}
	return text, nil
}

// warnOfReaders warns about a file with a secret that any user of the machine may read or replace.
func (p *Program) warnOfReaders(path string) {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o026 == 0 {
		return
	}
	p.Warn(fmt.Sprintf("%s: other users may read or change it (mode %04o): chmod 600", lint.Show(path), info.Mode().Perm()),
		fmt.Sprintf("%s：其他用户可读取或修改（权限 %04o）：请执行 chmod 600", lint.Show(path), info.Mode().Perm()))
}

// askPassword asks for a password on the terminal, without showing it.
func (p *Program) askPassword(ctx context.Context, user string) (string, error) {
	tty, err := os.OpenFile(terminalDevice(), os.O_RDWR, 0)
	if err != nil {
		return "", Usage("--pw-prompt needs a terminal: %w", "--pw-prompt 需要终端：%w", err)
	}
	defer tty.Close()
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", Usage("--pw-prompt needs a terminal: %w", "--pw-prompt 需要终端：%w", err)
	}
	fmt.Fprintf(tty, p.Say("password of %s: ", "%s 的密码："), lint.Show(user))
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		fmt.Fprintln(tty)
		if a.err == nil && len(a.text) == 0 {
			a.err = errors.New("nothing was typed")
		}
		if a.err != nil {
			return "", Usage("--pw-prompt: %w", "--pw-prompt：%w", a.err)
		}
		return string(a.text), nil
	case <-ctx.Done(): // interrupted: turn echo on again
		term.Restore(fd, before)
		fmt.Fprintln(tty)
		return "", context.Cause(ctx)
	}
}

func terminalDevice() string {
	if runtime.GOOS == "windows" {
		return "CONIN$"
	}
	return "/dev/tty"
}
