package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

const redacted = "[redacted]"

// A Secret is text that is never printed: every way to format it yields "[redacted]". Use string(s)
// to get the text.
type Secret string

// String returns "[redacted]", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format prints the result of String, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// GoString returns the same as String.
func (s Secret) GoString() string { return s.String() }

// MarshalText returns the same as String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns the same as String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// A SecretSource says where to read a secret. It is read at every attempt to connect, so tokens can
// be renewed. Exactly one of File, Env and Exec must be set. Neither the secret nor the arguments
// of a command are ever printed.
type SecretSource struct {
	// File is the path of a regular file of at most 64 KiB. A byte order mark and one newline at
	// the end are removed.
	File string

	// Env is the name of an environment variable.
	Env string

	// Exec is a command with its arguments, run without a shell. Its standard output is treated
	// like the contents of File. An exit code other than 0 is an error.
	Exec []string

	// Timeout limits a run of Exec, which ConnectTimeout limits too. If zero or negative, 10
	// seconds.
	Timeout time.Duration
}

const (
	maxSecret          = 64 << 10
	defaultExecTimeout = 10 * time.Second
)

// String describes the source, without the arguments of a command.
func (s SecretSource) String() string {
	switch {
	case len(s.Exec) > 0:
		return fmt.Sprintf("exec %q", s.Exec[0])
	case s.Env != "":
		return fmt.Sprintf("env %q", s.Env)
	}
	return fmt.Sprintf("file %q", s.File)
}

// Format prints the result of String, whatever the verb.
func (s SecretSource) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText returns the same as String.
func (s SecretSource) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns the same as String.
func (s SecretSource) LogValue() slog.Value { return slog.StringValue(s.String()) }

// A secretError says why a secret could not be read. It never contains any of it.
type secretError struct {
	source SecretSource
	kind   string // as in the rules of lint: missing, denied, irregular, large, empty, utf16 or unreadable
	err    error  // more, or nil
}

var secretTexts = map[string]string{
	"missing": "is not there", "denied": "may not be read by this user", "irregular": "is not a regular file",
	"large": fmt.Sprintf("is larger than %d bytes", maxSecret), "empty": "is empty",
	"utf16": "is UTF-16", "unreadable": "cannot be read", "proxy": "holds neither a proxy's URL nor env", "pem": "holds no PEM",
}

func (e *secretError) Error() string {
	text := "connector: secret: " + e.source.String() + " " + secretTexts[e.kind]
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}

func (e *secretError) Unwrap() error { return e.err }

// Is reports whether target is TypeSecret or a type above it.
func (e *secretError) Is(target error) bool { return flow.TypeSecret.Is(target) }

// Read reads the secret. The error never contains any of it.
func (s SecretSource) Read(ctx context.Context) (string, error) {
	switch {
	case len(s.Exec) > 0:
		return s.run(ctx)
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", &secretError{source: s, kind: "missing"}
		}
		if v == "" {
			return "", &secretError{source: s, kind: "empty"}
		}
		return v, nil
	}
	return s.readFile()
}

func (s SecretSource) readFile() (string, error) {
	fail := func(kind string) (string, error) { return "", &secretError{source: s, kind: kind} }
	f, kind := openRegular(s.File)
	if kind != "" {
		return fail(kind)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return fail("unreadable")
	}
	return s.trimmed(text)
}

// openRegular opens a regular file. If it cannot, kind says why. It never blocks, as opening a pipe
// could.
func openRegular(path string) (f *os.File, kind string) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, "irregular"
	}
	if err == nil {
		// It may have been replaced by a pipe since.
		f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	if err == nil {
		if info, err = f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, ""
		}
		f.Close()
		return nil, "irregular"
	}
	return nil, fileFault(err)
}

func fileFault(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case errors.Is(err, fs.ErrPermission):
		return "denied"
	}
	return "unreadable"
}

// trimmed removes what editors and shells add.
func (s SecretSource) trimmed(text []byte) (string, error) {
	fail := func(kind string) (string, error) { return "", &secretError{source: s, kind: kind} }
	secret := string(text)
	switch {
	case len(text) > maxSecret:
		return fail("large")
	case len(text)%2 == 0 && (strings.HasPrefix(secret, "\xff\xfe") || strings.HasPrefix(secret, "\xfe\xff")):
		return fail("utf16")
	}
	secret = strings.TrimPrefix(secret, "\ufeff")
	secret = strings.TrimSuffix(strings.TrimSuffix(secret, "\n"), "\r")
	if secret == "" {
		return fail("empty")
	}
	return secret, nil
}

// run runs the command. Processes that it leaves running are killed.
func (s SecretSource) run(ctx context.Context) (string, error) {
	limit := s.Timeout
	if limit <= 0 {
		limit = defaultExecTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Exec[0], s.Exec[1:]...)
	ownGroup(cmd)
	cmd.WaitDelay = time.Second // for processes that keep its standard output open
	out := &bounded{most: maxSecret + 1, full: cancel}
	cmd.Stdout = out
	err := cmd.Run()
	endGroup(cmd)
	switch {
	case out.len() > maxSecret:
		return "", &secretError{source: s, kind: "large"}
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound):
		return "", &secretError{source: s, kind: "missing"}
	case err != nil && ctx.Err() != nil:
		return "", &secretError{source: s, kind: "unreadable", err: context.Cause(ctx)}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return "", &secretError{source: s, kind: "unreadable", err: exitOf(err)}
	}
	return s.trimmed(out.bytes())
}

// exitOf returns the part of an error of a command that cannot contain its output.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("the command ended with %s", exit.ProcessState)
	}
	return err
}

// bounded keeps the first bytes that are written to it and reports if there are too many.
type bounded struct {
	mu   sync.Mutex // guards buf
	buf  []byte
	most int
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p[:min(len(p), b.most-len(b.buf))]...)
	if len(b.buf) == b.most {
		b.full()
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func (b *bounded) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf
}

func (b *bounded) len() int { return len(b.bytes()) }

// now reads a secret for a check, which runs no command.
func (s SecretSource) now() (string, bool) {
	if len(s.Exec) > 0 {
		return "", false
	}
	text, err := s.Read(context.Background())
	return text, err == nil
}

// hasPassword reports whether a password is sent.
func (g *General) hasPassword() bool { return g.Password != "" || g.PasswordFrom != nil }

// credentials returns the function for client.Config.Credentials, or nil if no secret has a source.
func (g *General) credentials() func(context.Context) (string, []byte, error) {
	if g.UserNameFrom == nil && g.PasswordFrom == nil {
		return nil
	}
	return func(ctx context.Context) (user string, password []byte, err error) {
		user, password = g.UserName, passwordOf(g.Password)
		if g.UserNameFrom != nil {
			if user, err = g.UserNameFrom.Read(ctx); err != nil {
				return "", nil, err
			}
		}
		if g.PasswordFrom != nil {
			secret, err := g.PasswordFrom.Read(ctx)
			if err != nil {
				return "", nil, err
			}
			password = []byte(secret)
		}
		return user, password, nil
	}
}

// passwordOf returns the password for package client: nil, which is not sent, if s is empty.
func passwordOf(s Secret) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
