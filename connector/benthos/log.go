package benthos

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// A logHandler writes to the log of Benthos.
type logHandler struct {
	to    *service.Logger
	muted *atomic.Bool
	group string // ending in a dot
}

// Enabled leaves the level to the engine.
func (h *logHandler) Enabled(context.Context, slog.Level) bool { return !h.muted.Load() }

// Handle writes a record at the nearest level of Benthos.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var attrs []any
	r.Attrs(func(a slog.Attr) bool {
		attrs = h.flat(attrs, h.group, a)
		return true
	})
	to := h.to
	if len(attrs) > 0 {
		to = to.With(attrs...)
	}
	switch {
	case r.Level >= slog.LevelError:
		to.Errorf("%s", r.Message)
	case r.Level >= slog.LevelWarn:
		to.Warnf("%s", r.Message)
	case r.Level >= slog.LevelInfo:
		to.Infof("%s", r.Message)
	default:
		to.Debugf("%s", r.Message)
	}
	return nil
}

// flat appends an attribute as key and text, and those of a group one by one.
func (h *logHandler) flat(to []any, group string, a slog.Attr) []any {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		return append(to, group+a.Key, v.String())
	}
	if a.Key != "" {
		group += a.Key + "."
	}
	for _, a := range v.Group() {
		to = h.flat(to, group, a)
	}
	return to
}

// WithAttrs returns a handler whose records have attributes.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var flat []any
	for _, a := range attrs {
		flat = h.flat(flat, h.group, a)
	}
	return &logHandler{to: h.to.With(flat...), muted: h.muted, group: h.group}
}

// WithGroup returns a handler whose attributes are in a group.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{to: h.to, muted: h.muted, group: h.group + name + "."}
}
