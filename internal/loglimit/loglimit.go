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
	most     = 100              // records of one message within a period
	period   = 10 * time.Second // from the first of them
	mostLong = 1 << 10          // bytes of a value, as JSON writes it
	mostText = 1 << 10          // messages that are counted apart
)

// leftOut is the key of how many records of a message were left out before one.
const leftOut = "left_out"

// New returns a handler that passes on to h at most 100 records with the same message within ten
// seconds. The next one says as left_out how many there were between. Texts and errors are cut at
// a KiB. A handler that New returned, or that was made of one, is returned as it is.
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

// counts are those of a handler and of all that were made of it.
type counts struct {
	mu sync.Mutex
	of map[string]*count // by message
}

type count struct {
	begun   time.Time
	passed  int
	dropped uint64
}

// pass reports whether a record may pass, and how many did not since one did.
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

// cut returns a text or an error that is not too long, and whether it was.
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

// written returns how many bytes a character takes in JSON, at most.
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
