// Package loglimit limits logs, whatever a peer does: the number of lines of each kind, and the length of each value.
package loglimit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	most     = 100              // records with the same message in a period
	period   = 10 * time.Second // from the first of them
	mostLong = 1 << 10          // maximum bytes of a value, as encoded in JSON
	mostText = 1 << 10          // messages that are counted separately
)

// leftOut is the key under which a record reports how many before it were left out.
const leftOut = "left_out"

// New returns a handler that passes to h at most 100 records with the same message in ten seconds.
// The next record reports, as left_out, how many were dropped in between. Texts and errors are cut
// to a KiB. A handler that New returned, or that was derived from one, is returned unchanged.
func New(h slog.Handler) slog.Handler {
	if h, ok := h.(*handler); ok {
		return h
	}
	return &handler{h, &counts{of: make(map[string]*count)}}
}

type handler struct {
	slog.Handler
	counts *counts
}

// counts is shared by a handler and all those derived from it.
type counts struct {
	mu sync.Mutex
	of map[string]*count // by message
}

type count struct {
	begun   time.Time
	passed  int
	dropped uint64
}

// pass reports whether a record may pass, and how many were dropped since the last one that did.
func (c *counts) pass(message string, now time.Time) (dropped uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.of[message]
	if n == nil {
		if len(c.of) == mostText {
			clear(c.of)
		}
		n = &count{begun: now}
		c.of[message] = n
	}
	if d := now.Sub(n.begun); d >= period || d < 0 {
		n.begun, n.passed = now, 0
	}
	if n.passed == most {
		n.dropped++
		return 0, false
	}
	n.passed++
	dropped, n.dropped = n.dropped, 0
	return dropped, true
}

// Handle implements [slog.Handler].
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	dropped, ok := h.counts.pass(r.Message, r.Time)
	if !ok {
		return nil
	}
	long := false
	r.Attrs(func(a slog.Attr) bool {
		_, long = cut(a.Value)
		return !long
	})
	if !long && dropped == 0 {
		return h.Handler.Handle(ctx, r)
	}
	short := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		a.Value, _ = cut(a.Value)
		short.AddAttrs(a)
		return true
	})
	if dropped > 0 {
		short.AddAttrs(slog.Uint64(leftOut, dropped))
	}
	return h.Handler.Handle(ctx, short)
}

// cut shortens a text or an error that is too long, and reports whether it did.
func cut(v slog.Value) (slog.Value, bool) {
	s := ""
	switch v.Kind() {
	case slog.KindString:
		s = v.String()
	case slog.KindAny:
		err, ok := v.Any().(error)
		if !ok {
			return v, false
		}
		s = err.Error()
	default:
		return v, false
	}
	size := 0
	for i, r := range s {
		if size += written(r); size > mostLong {
			return slog.StringValue(fmt.Sprintf("%s... (%d bytes)", s[:i], len(s))), true
		}
	}
	return v, false
}

// written returns the maximum number of bytes that a character takes in JSON.
func written(r rune) int {
	if r < ' ' || r == utf8.RuneError || r == 0x2028 || r == 0x2029 || r == '<' || r == '>' || r == '&' {
		return len(`\u0000`)
	}
	if r == '"' || r == '\\' {
		return 2
	}
	return utf8.RuneLen(r)
}

// WithAttrs implements [slog.Handler].
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs), h.counts}
}

// WithGroup implements [slog.Handler].
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.counts}
}
