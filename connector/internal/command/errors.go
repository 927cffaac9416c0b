package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/connector/lint"
)

// The exit codes.
const (
	ExitOK         = 0
	ExitRuntime    = 1
	ExitUsage      = 2
	ExitConnection = 3
	ExitRefused    = 4
	ExitSubscribe  = 5
	ExitPublish    = 6
	ExitTimeout    = 7
	ExitFindings   = 8
	ExitInterrupt  = 130
)

// A codedError is an error with an exit code and, optionally, its text in Chinese.
type codedError struct {
	code   int
	err    error
	zh     string
	always bool // the code takes precedence even after an interrupt
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// Coded gives an error its exit code; nil stays nil.
func Coded(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code: code, err: err}
}

// Fail returns an error in both languages. Both formats have the same arguments; errors among them are formatted in
// the language of the format where possible.
func Fail(code int, en, zh string, args ...any) error {
	args = shortened(args)
	return &codedError{code: code, err: fmt.Errorf(en, args...), zh: fmt.Errorf(zh, inChinese(args)...).Error()}
}

// mostQuoted is the maximum length of a text from outside in an error.
const mostQuoted = 512

// shortened returns the arguments of a format with long texts cut, such as the contents of a file given instead of
// its name.
func shortened(args []any) []any {
	args = slices.Clone(args)
	for i, a := range args {
		if s, ok := a.(string); ok && len(s) > mostQuoted {
			args[i] = cut(s)
		}
	}
	return args
}

func cut(s string) string {
	return fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(s[:mostQuoted/4], ""), len(s))
}

// longWord matches a long misplaced text that errors of the system or of flags quote.
var longWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(fmt.Sprintf("[!-~]{%d}[!-~]+", mostQuoted)) })

// inChinese returns the arguments of a format with the errors among them in Chinese.
func inChinese(args []any) []any {
	args = slices.Clone(args)
	for i, a := range args {
		if err, ok := a.(error); ok {
			args[i] = errors.New(chineseOf(err))
		}
	}
	return args
}

// chineseOf returns the text of an error in Chinese.
func chineseOf(err error) string {
	c := translated(err)
	var mistakes *lint.Error
	if c == nil && errors.As(err, &mistakes) {
		text := fmt.Sprintf("配置中有 %d 处错误：", len(mistakes.Findings))
		for _, f := range mistakes.Findings {
			text += "\n  " + f.Text("zh")
		}
		return text
	}
	if c == nil {
		return chinese.Of(err.Error())
	}
	before, after, ok := strings.Cut(err.Error(), c.Error())
	if !ok || before+after == "" {
		return c.zh
	}
	const place = "\uFFFC" // stands for a text that is already Chinese
	return strings.Replace(chinese.Of(before+place+after), place, c.zh, 1)
}

// translated returns the outermost error in a chain that has its own Chinese text, or nil.
func translated(err error) *codedError {
	var c *codedError
	for errors.As(err, &c) && c.zh == "" {
		err = c.err
		c = nil
	}
	return c
}

// A toldError is an error with another text.
type toldError struct {
	text string
	err  error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.err }

// plainly returns the text of a client error for a user of the command: without package names, and with who ended a
// connection.
func plainly(err error) string {
	text := strings.TrimPrefix(err.Error(), "client: ")
	text = strings.Replace(text, ": closed: connection lost: ", ": connection lost: ", 1)
	reset := errors.Is(err, syscall.ECONNRESET)
	switch before, _, lost := strings.Cut(text, "connection lost: "); {
	case text == "EOF":
		return "the server closed it"
	case lost && reset:
		return before + "the server reset the connection"
	case reset && strings.HasPrefix(text, "read "):
		return "the server reset it"
	}
	if before, ok := strings.CutSuffix(text, "connection lost: EOF"); ok {
		return before + "the server closed the connection"
	}
	if strings.HasSuffix(text, " before CONNACK: EOF") {
		return strings.TrimSuffix(text, ": EOF")
	}
	return text
}

// Usage returns an error about wrong options.
func Usage(en, zh string, args ...any) error { return Fail(ExitUsage, en, zh, args...) }

// exitCode returns the exit code of an error. The type of the error takes precedence over the place
// where it occurred.
func exitCode(ctx context.Context, err error) int {
	var c *codedError
	switch known := errors.As(err, &c); {
	case known && (c.code == ExitTimeout || c.code == ExitInterrupt || c.always):
		return c.code
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return ExitInterrupt
	case known && c.code != ExitConnection:
		return c.code
	case errors.Is(errorType(err), flow.TypeRefused):
		return ExitRefused
	case known:
		return c.code
	}
	return ExitUsage // from cobra, about flags or commands
}

// codeOf returns the exit code for an error of the connector.
func codeOf(err error) int {
	t := errorType(err)
	for _, k := range []struct {
		t    flow.ErrorType
		code int
	}{
		{flow.TypeRefused, ExitRefused},
		{flow.TypeConnectivity, ExitConnection},
		{flow.TypeSubscribe, ExitSubscribe},
		{flow.TypePublish, ExitPublish},
		{flow.TypeConfig, ExitUsage},
		{flow.TypeTimeout, ExitTimeout},
	} {
		if t.Is(k.t) {
			return k.code
		}
	}
	return ExitRuntime
}

// errorType returns the type that the connector's documentation lists.
func errorType(err error) flow.ErrorType {
	var c *codedError
	t := flow.AsError(err).Type
	if t != flow.TypeRuntime || !errors.As(err, &c) {
		return t
	}
	switch c.code {
	case ExitUsage, ExitFindings:
		return flow.TypeConfig
	case ExitConnection:
		return flow.TypeConnectivity
	case ExitSubscribe:
		return flow.TypeSubscribe
	case ExitPublish:
		return flow.TypePublish
	case ExitTimeout:
		return flow.TypeTimeout
	}
	return t
}

// An errorLine is an error in JSON.
type errorLine struct {
	Error string         `json:"error"`
	Code  int            `json:"code"` // exit code
	Type  flow.ErrorType `json:"type"`
	Hint  string         `json:"hint,omitempty"`
}

// report prints an error and what to try to standard error.
func (p *Program) report(code int, err error) {
	text, hint := longWord().ReplaceAllStringFunc(p.text(err), cut), p.hint(code, err)
	if p.JSON {
		json.NewEncoder(p.Stderr).Encode(errorLine{text, code, errorType(err), hint})
		return
	}
	t := p.aside().Add(terminal.Red, "mqtt311:").Add(terminal.Plain, " "+text+"\n")
	for _, line := range p.folded(hint, 9) {
		t.Add(terminal.Plain, "         "+line+"\n")
	}
	t.Print()
}

// aside returns a writer for standard error that does not disturb the line of progress, if there is
// one.
func (p *Program) aside() *terminal.Text {
	if s := p.line.Load(); s != nil {
		return terminal.TextThrough(s, s.screen)
	}
	return terminal.NewText(p.Stderr)
}

// folded divides a text into lines that fit the terminal of standard error after an indent. Without a
// terminal it returns one line.
func (p *Program) folded(text string, indent int) []string {
	screen, ok := p.Stderr.(*terminal.Screen)
	switch {
	case text == "":
		return nil
	case !ok:
		return []string{text}
	}
	return terminal.Fold(text, max(20, screen.Width()-indent))
}

// A warningLine is a warning in JSON.
type warningLine struct {
	Warning string `json:"warning"`
}

// Warn writes a warning to standard error.
func (p *Program) Warn(en, zh string) {
	switch {
	case p.Quiet:
	case p.JSON:
		json.NewEncoder(p.Stderr).Encode(warningLine{p.Say(en, zh)})
	default:
		p.aside().Add(terminal.Yellow, p.Say("mqtt311: warning:", "mqtt311：警告：")).Add(terminal.Plain, " "+p.Say(en, zh)+"\n").Print()
	}
}

// A noteLine is a progress message in JSON.
type noteLine struct {
	Note string `json:"note"`
}

// note prints a progress message on standard error.
func (p *Program) note(en, zh string) {
	switch {
	case p.Quiet:
	case p.JSON:
		json.NewEncoder(p.Stderr).Encode(noteLine{p.Say(en, zh)})
	default:
		p.aside().Add(terminal.Plain, p.Say("mqtt311: ", "mqtt311：")+p.Say(en, zh)+"\n").Print()
	}
}

// Text returns the error in the user's language.
func (p *Program) Text(err error) string { return p.text(err) }

// text returns the error in the user's language.
func (p *Program) text(err error) string {
	if p.Lang == "zh" {
		return chineseOf(err)
	}
	// "client: connect: " only repeats what the cause says.
	return strings.Replace(strings.TrimPrefix(err.Error(), "connector: "), "client: connect: ", "", 1)
}

// hint returns what to try, in the user's language, or "".
func (p *Program) hint(code int, err error) string {
	if hint, known := p.optionHint(err); known {
		return hint
	}
	var knows interface {
		Hint() string
		HintZH() string
	}
	if errors.As(err, &knows) && knows.Hint() != "" {
		return p.Say(knows.Hint(), knows.HintZH())
	}
	if errors.Is(err, wal.ErrCorrupt) {
		return p.Say("mqtt311 store verify names the damage, mqtt311 store salvage saves what can be read.", "可用 mqtt311 store verify 查看损坏之处，用 mqtt311 store salvage 抢救可读的内容。")
	}
	if code == ExitUsage {
		return p.Say("See "+p.command+" --help.", "用法见 "+p.command+" --help。")
	}
	if hint, known := p.pubSubHint(err); known {
		return hint
	}
	var e *flow.Error
	if t := errorType(err); strings.HasPrefix(string(t), "MQTT:") {
		if !errors.As(err, &e) {
			e = &flow.Error{Type: t}
		}
		return e.Explain(p.Lang)
	}
	return ""
}
