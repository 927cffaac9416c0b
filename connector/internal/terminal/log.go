package terminal

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A LogHandler writes records as text for people: time, level, message and attributes, one line per record. On a Screen
// they are escaped and coloured.
type LogHandler struct {
	opts   LogOptions
	mu     *sync.Mutex // makes each line one write
	prefix string      // of attributes: the groups around them
	attrs  []slog.Attr
}

// LogOptions say how records look.
type LogOptions struct {
	W      io.Writer
	Screen *Screen // the terminal that W leads to, for its colours; nil: none
	Level  slog.Leveler

	// Key translates the name of an attribute or a level. If nil, names are unchanged.
	Key func(string) string
}

// NewLogHandler returns a handler.
func NewLogHandler(o LogOptions) *LogHandler {
	if o.Key == nil {
		o.Key = func(s string) string { return s }
	}
	return &LogHandler{opts: o, mu: new(sync.Mutex)}
}

// Enabled implements [slog.Handler].
func (h *LogHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.opts.Level.Level() }

// WithAttrs implements [slog.Handler].
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], h.named(attrs)...)
	return &with
}

// WithGroup implements [slog.Handler].
func (h *LogHandler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.prefix += name + "."
	}
	return &with
}

func (h *LogHandler) named(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		a.Key = h.prefix + a.Key
		out = append(out, a)
	}
	return out
}

var levelStyles = map[slog.Level]Style{slog.LevelDebug: Dim, slog.LevelInfo: Green, slog.LevelWarn: Yellow, slog.LevelError: Red}

// Handle implements [slog.Handler].
func (h *LogHandler) Handle(_ context.Context, r slog.Record) error {
	t := TextThrough(h.opts.W, h.opts.Screen)
	t.Add(Dim, r.Time.Format(time.TimeOnly)).Add(Plain, " ")
	level := r.Level.String()
	level = h.opts.Key(level)
	t.Add(levelStyles[r.Level], level).Add(Plain, strings.Repeat(" ", max(1, 6-Columns(level))))
	t.Add(Plain, EscapeLine(r.Message))
	for _, a := range h.attrs {
		h.add(t, a)
	}
	r.Attrs(func(a slog.Attr) bool {
		h.add(t, h.named([]slog.Attr{a})[0])
		return true
	})
	t.Add(Plain, "\n")
	h.mu.Lock()
	defer h.mu.Unlock()
	return t.Print()
}

func (h *LogHandler) add(t *Text, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		for _, inner := range v.Group() {
			inner.Key = a.Key + "." + inner.Key
			h.add(t, inner)
		}
		return
	}
	var text string
	switch {
	case v.Kind() == slog.KindDuration:
		text = v.Duration().Round(time.Millisecond).String()
	default:
		text = v.String()
	}
	if text == "" {
		text = `""`
	}
	t.Add(Plain, "  ").Add(Dim, h.opts.Key(a.Key)+"=").Add(Plain, EscapeLine(text))
}
