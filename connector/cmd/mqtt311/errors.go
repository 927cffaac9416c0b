package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector"
)

// The exit codes.
const (
	exitOK         = 0
	exitRuntime    = 1
	exitUsage      = 2
	exitConnection = 3
	exitRefused    = 4
	exitSubscribe  = 5
	exitPublish    = 6
	exitTimeout    = 7
	exitFindings   = 8
	exitInterrupt  = 130
)

// A codedError is an error with the exit code it stands for and, if there is one, its text
// in Chinese.
type codedError struct {
	code int
	err  error
	zh   string
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func coded(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code: code, err: err}
}

// fail makes an error in both languages; both formats have the same arguments.
func fail(code int, en, zh string, args ...any) error {
	return &codedError{code: code, err: fmt.Errorf(en, args...), zh: fmt.Errorf(zh, args...).Error()}
}

func usage(en, zh string, args ...any) error { return fail(exitUsage, en, zh, args...) }

// exitCode returns the exit code of an error: its type says more than the place where it
// came up.
func exitCode(ctx context.Context, err error) int {
	var c *codedError
	switch known := errors.As(err, &c); {
	case known && (c.code == exitTimeout || c.code == exitInterrupt):
		return c.code
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return exitInterrupt
	case known && c.code != exitConnection:
		return c.code
	case errors.Is(errorType(err), connector.TypeRefused):
		return exitRefused
	case known:
		return c.code
	}
	return exitUsage // of cobra, about flags and commands
}

// codeOf is the exit code of an error of the connector.
func codeOf(err error) int {
	t := errorType(err)
	for _, k := range []struct {
		t    connector.ErrorType
		code int
	}{
		{connector.TypeRefused, exitRefused},
		{connector.TypeConnectivity, exitConnection},
		{connector.TypeSubscribe, exitSubscribe},
		{connector.TypePublish, exitPublish},
		{connector.TypeConfig, exitUsage},
		{connector.TypeTimeout, exitTimeout},
	} {
		if t.Is(k.t) {
			return k.code
		}
	}
	return exitRuntime
}

// errorType returns the type that the connector's documentation lists.
func errorType(err error) connector.ErrorType {
	var c *codedError
	t := connector.AsError(err).Type
	if t != connector.TypeRuntime || !errors.As(err, &c) {
		return t
	}
	switch c.code {
	case exitUsage, exitFindings:
		return connector.TypeConfig
	case exitConnection:
		return connector.TypeConnectivity
	case exitSubscribe:
		return connector.TypeSubscribe
	case exitPublish:
		return connector.TypePublish
	case exitTimeout:
		return connector.TypeTimeout
	}
	return t
}

// An errorLine is an error for programs.
type errorLine struct {
	Error string              `json:"error"`
	Code  int                 `json:"code"` // of exit
	Type  connector.ErrorType `json:"type"`
	Hint  string              `json:"hint,omitempty"`
}

// report writes an error and what to try to standard error.
func (p *program) report(code int, err error) {
	text, hint := p.text(err), p.hint(code, err)
	if p.json {
		json.NewEncoder(p.stderr).Encode(errorLine{text, code, errorType(err), hint})
		return
	}
	fmt.Fprintln(p.stderr, "mqtt311:", text)
	if hint != "" {
		fmt.Fprintln(p.stderr, "        ", hint)
	}
}

// text returns the error in the user's language, as far as it knows it.
func (p *program) text(err error) string {
	var c *codedError
	if p.lang == "zh" && errors.As(err, &c) && c.zh != "" {
		return c.zh
	}
	// What could not be connected is told by its cause.
	return strings.Replace(strings.TrimPrefix(err.Error(), "connector: "), "client: connect: ", "", 1)
}

// hint says what to try, in the user's language; nothing if there is nothing to say.
func (p *program) hint(code int, err error) string {
	var knows interface {
		Hint() string
		HintZH() string
	}
	if errors.As(err, &knows) && knows.Hint() != "" {
		return p.say(knows.Hint(), knows.HintZH())
	}
	if errors.Is(err, wal.ErrCorrupt) {
		return p.say("mqtt311 store verify names the damage, mqtt311 store salvage saves what can be read.", "可用 mqtt311 store verify 查看损坏之处，用 mqtt311 store salvage 抢救可读的内容。")
	}
	if code == exitUsage {
		return p.say("See "+p.command+" --help.", "用法见 "+p.command+" --help。")
	}
	var e *connector.Error
	if t := errorType(err); strings.HasPrefix(string(t), "MQTT:") {
		if !errors.As(err, &e) {
			e = &connector.Error{Type: t}
		}
		return e.Explain(p.lang)
	}
	return ""
}
