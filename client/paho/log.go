package paho

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// A Logger writes log lines. They never contain payloads or passwords.
type Logger interface {
	Println(v ...interface{})
	Printf(format string, v ...interface{})
}

// NOOPLogger discards everything.
type NOOPLogger struct{}

// Println implements Logger.
func (NOOPLogger) Println(v ...interface{}) {}

// Printf implements Logger.
func (NOOPLogger) Printf(format string, v ...interface{}) {}

// The loggers of all clients. Set them before the first NewClient. DEBUG also logs every packet,
// which costs time.
var (
	ERROR    Logger = NOOPLogger{}
	CRITICAL Logger = NOOPLogger{}
	WARN     Logger = NOOPLogger{}
	DEBUG    Logger = NOOPLogger{}
)

type component string

// The component names at the start of log lines.
const (
	NET component = "[net]     "
	PNG component = "[pinger]  "
	CLI component = "[client]  "
	DEC component = "[decode]  "
	MES component = "[message] "
	STR component = "[store]   "
	MID component = "[msgids]  "
	TST component = "[test]    "
	STA component = "[state]   "
	ERR component = "[error]   "
	ROU component = "[router]  "
)

func silent(l Logger) bool {
	_, noop := l.(NOOPLogger)
	return l == nil || noop
}

func logf(l Logger, about component, format string, args ...any) {
	if !silent(l) {
		l.Println(about, fmt.Sprintf(format, args...))
	}
}

// A bridge passes log records of package client to the loggers.
type bridge struct {
	about component
	attrs []slog.Attr
}

func loggerFor(about component) *slog.Logger { return slog.New(bridge{about: about}) }

// at returns the logger for a level.
func at(level slog.Level) Logger {
	switch {
	case level >= slog.LevelError:
		return ERROR
	case level >= slog.LevelWarn:
		return WARN
	}
	return DEBUG
}

func (b bridge) Enabled(_ context.Context, level slog.Level) bool { return !silent(at(level)) }

func (b bridge) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range b.attrs {
		add(a)
	}
	r.Attrs(add)
	at(r.Level).Println(b.about, line.String())
	return nil
}

func (b bridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	b.attrs = append(b.attrs[:len(b.attrs):len(b.attrs)], attrs...)
	return b
}

func (b bridge) WithGroup(string) slog.Handler { return b }
