package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A Flow processes a message and returns the next one; nil passes the message on as it
// is. It failed if it returns an error, or a message whose Error is set. The payload
// belongs to the flow.
type Flow interface {
	Run(ctx context.Context, m *Message) (*Message, error)
}

// Func is a function as a Flow.
type Func func(ctx context.Context, m *Message) (*Message, error)

// Run calls the function.
func (f Func) Run(ctx context.Context, m *Message) (*Message, error) { return f(ctx, m) }

// Middleware wraps a flow.
type Middleware func(Flow) Flow

// Chain runs flows one after the other, each with the message of the one before.
func Chain(flows ...Flow) Flow {
	return checked(Func(func(ctx context.Context, m *Message) (*Message, error) {
		for _, f := range flows {
			next, err := Run(ctx, f, m)
			if err != nil {
				return next, err
			}
			m = next
		}
		return m, nil
	}), flows...)
}

// ErrGoexit is the failure of a flow that ended its goroutine.
var ErrGoexit = errors.New("connector: the flow ended its goroutine")

// Run runs a flow as those of this package run their parts: a panic is an error, and so is a
// message that comes out with an Error of its own. The Error that the message came with is being
// handled, by a Catch, and is none. The message that it returns is never nil. A Goexit ends the
// caller.
func Run(ctx context.Context, f Flow, m *Message) (out *Message, err error) {
	handled := m.Error
	defer func() {
		if v := recover(); v != nil {
			out, err = m, &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	out, err = f.Run(ctx, m)
	err = Readable(err)
	if out == nil {
		out = m
	}
	if err == nil && out.Error != nil && out.Error != handled {
		err = out.Error
	}
	return out, err
}

// Readable returns err, or the panic that comes of reading it. A nil pointer is a failure as an
// error, and whoever asks it for its text or its cause would die of it.
func Readable(err error) (out error) {
	defer func() {
		if v := recover(); v != nil {
			out = &PanicError{Value: fmt.Sprintf("its error, a %T, cannot be read: %v", err, v), Stack: debug.Stack()}
		}
	}()
	if err != nil {
		_ = AsError(err).Error()
	}
	return err
}

// A PanicError is a panic of a flow. Its text has no stack, because logs may be shown to
// people who should not see one.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("connector: the flow panicked: %v", e.Value) }

// A Catch handles errors of some types in [Try].
type Catch struct {
	// Types are the types that are caught, with all that are narrower; TypeAny catches
	// everything, "MQTT:*" every type that begins so. If empty, TypeAny.
	Types []ErrorType

	// Retries is how often the body is run again before Flow is, 0 to 5.
	Retries int

	// Interval is the pause before a retry, 1 to 300 seconds. If zero, 60 seconds.
	Interval time.Duration

	// Flow runs with the message, whose Error is set; its result is the result of Try.
	// If nil, the error is swallowed.
	Flow Flow
}

// The numbers of the platform.
const (
	mostCatchRetries = 5
	mostRetries      = 100
	leastInterval    = time.Second
	mostInterval     = 300 * time.Second
)

func intervalOutOfRange(d time.Duration) bool {
	return d != 0 && (d < leastInterval || d > mostInterval)
}

// Try runs body, each time on a copy of the message as it came; the first catch that fits an
// error handles it. An error that none fits is the error of Try. Numbers out of range make a
// flow that Consume refuses.
func Try(body Flow, catches ...Catch) Flow {
	parts := []Flow{body}
	for _, c := range catches {
		if c.Retries < 0 || c.Retries > mostCatchRetries {
			return outOfRange("Retries of a Catch", c.Retries, 0, mostCatchRetries)
		}
		if intervalOutOfRange(c.Interval) {
			return outOfRange("Interval of a Catch", c.Interval, leastInterval, mostInterval)
		}
		parts = append(parts, c.Flow)
	}
	return checked(Func(func(ctx context.Context, m *Message) (*Message, error) {
		retries := make([]int, len(catches))
		for {
			out, err := Run(ctx, body, m.fresh())
			if err == nil {
				return out, nil
			}
			e := AsError(err)
			i := slices.IndexFunc(catches, func(c Catch) bool { return e.Matches(c.Types...) })
			if i < 0 {
				return out, err
			}
			c := &catches[i]
			if retries[i] < c.Retries {
				retries[i]++
				if end := sleep(ctx, cmp.Or(c.Interval, time.Minute)); end != nil {
					return out, fmt.Errorf("connector: %w, before a retry after: %w", end, err)
				}
				continue
			}
			if c.Flow == nil {
				return m, nil
			}
			out, err = Run(ctx, c.Flow, m.WithError(shown(ctx, e)))
			if err == nil && out.Error != nil {
				out = out.Clone() // caught: what m came with counts again
				out.Error = m.Error
			}
			return out, err
		}
	}), parts...)
}

// Matches reports whether the error is of one of the types, with all that are narrower; "MQTT:*" is
// every type that begins so. None means all.
func (e *Error) Matches(types ...ErrorType) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(t ErrorType) bool {
		return e.Type.Is(t) || string(t) == e.Code && e.Code != CodeRuntime || inNamespace(e.Type, t)
	})
}

// inNamespace reports whether pattern is like "MQTT:*" and t, or a type above it, is of MQTT.
func inNamespace(t, pattern ErrorType) bool {
	prefix, ok := strings.CutSuffix(string(pattern), "*")
	for ; ok && t != "" && t != TypeRuntime; t = t.Parent() {
		if strings.HasPrefix(string(t), prefix) {
			return true
		}
	}
	return ok && strings.HasPrefix(string(t), prefix)
}

// UntilSuccessful runs a flow again until it succeeds, at most retries times more, 1 to 100,
// with pauses between, 1 to 300 seconds. If retries is zero, 3. If every is zero, 60
// seconds. Numbers out of range make a flow that Consume refuses.
func UntilSuccessful(f Flow, retries int, every time.Duration) Flow {
	if retries == 0 {
		retries = 3
	}
	if retries < 0 || retries > mostRetries {
		return outOfRange("retries of UntilSuccessful", retries, 1, mostRetries)
	}
	if intervalOutOfRange(every) {
		return outOfRange("the interval of UntilSuccessful", every, leastInterval, mostInterval)
	}
	return checked(Func(func(ctx context.Context, m *Message) (*Message, error) {
		for n := 0; ; n++ {
			out, err := Run(ctx, f, m.fresh())
			if err == nil {
				return out, nil
			}
			if n == retries {
				e := NewError(TypeRetryExhausted, fmt.Errorf("connector: %d retries used up: %w", retries, err))
				return out, e
			}
			if end := sleep(ctx, cmp.Or(every, time.Minute)); end != nil {
				return out, fmt.Errorf("connector: %w, before a retry after: %w", end, err)
			}
		}
	}), f)
}

// RaiseError fails with a code and a description of the flow's own. If code is empty,
// CodeRuntime.
func RaiseError(code, description string) Flow {
	code = cmp.Or(code, CodeRuntime)
	return Func(func(_ context.Context, m *Message) (*Message, error) {
		return m, &Error{Code: code, Description: description, Type: ErrorType(code)}
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
