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

// A Flow processes a message and returns the resulting one, or nil to return the message unchanged.
// It has failed if it returns an error or a message whose Error is set. It may modify the payload.
type Flow interface {
	Run(ctx context.Context, m *Message) (*Message, error)
}

// Func is a function that implements Flow.
type Func func(ctx context.Context, m *Message) (*Message, error)

// Run calls f.
func (f Func) Run(ctx context.Context, m *Message) (*Message, error) { return f(ctx, m) }

// Middleware wraps a flow.
type Middleware func(Flow) Flow

// Chain returns a Flow that runs flows in order, each with the result of the one before.
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

// ErrGoexit: a flow ended its goroutine with runtime.Goexit.
var ErrGoexit = errors.New("connector: the flow ended its goroutine")

// Run runs f as the steps of this package run their parts. A panic is returned as an error, as is
// the Error of the resulting message, unless it is the Error that m had before, which a Catch is
// handling. The returned message is never nil. If f calls runtime.Goexit, the goroutine of the
// caller ends.
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

// Readable returns err, or a [*PanicError] if its methods panic, as those of a nil pointer in an
// error may.
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

// A PanicError is a panic of a flow. Its text does not contain the stack, because users may see it
// in logs.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("connector: the flow panicked: %v", e.Value) }

// A Catch handles errors of some types in [Try].
type Catch struct {
	// Types are the types that are caught, including their subtypes. TypeAny catches everything,
	// and "MQTT:*" all types with the prefix "MQTT:". If empty, TypeAny.
	Types []ErrorType

	// Retries is how often the body is run again before Flow is run, 0 to 5.
	Retries int

	// Interval is the pause before a retry, 1 to 300 seconds. If zero, 60 seconds.
	Interval time.Duration

	// Flow runs with the message, whose Error is set; its result is the result of Try. If nil, the
	// error is ignored.
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

// Try returns a Flow that runs body, each time on a copy of the original message. The first catch
// that matches an error handles it; if none does, Try fails with the error. If a number is out of
// range, [Check] returns an error, and Consume refuses the flow.
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

// Matches reports whether the error is of one of the types or a subtype. "MQTT:*" stands for all
// types with the prefix "MQTT:". Without types it returns true.
func (e *Error) Matches(types ...ErrorType) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(t ErrorType) bool {
		return e.Type.Is(t) || string(t) == e.Code && e.Code != CodeRuntime || inNamespace(e.Type, t)
	})
}

// inNamespace reports whether pattern has the form "MQTT:*" and t or an ancestor is in that
// namespace.
func inNamespace(t, pattern ErrorType) bool {
	prefix, ok := strings.CutSuffix(string(pattern), "*")
	for ; ok && t != "" && t != TypeRuntime; t = t.Parent() {
		if strings.HasPrefix(string(t), prefix) {
			return true
		}
	}
	return ok && strings.HasPrefix(string(t), prefix)
}

// UntilSuccessful returns a Flow that runs f until it succeeds, with at most retries retries, 1 to
// 100, after pauses of every, 1 to 300 seconds. If retries is zero, it is 3. If every is zero, it
// is 60 seconds. If a number is out of range, [Check] returns an error, and Consume refuses the
// flow.
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

// RaiseError returns a Flow that fails with the given code and description. If code is empty, it is
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
