package flow

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
)

// A Case is a branch of [Choice].
type Case struct {
	When func(*Message) bool
	Flow Flow
}

// Choice returns a Flow that runs the flow of the first case that applies, or otherwise if none
// does. If otherwise is nil, the message is then returned unchanged.
func Choice(cases []Case, otherwise Flow) Flow {
	flows := []Flow{otherwise}
	for _, c := range cases {
		flows = append(flows, c.Flow)
	}
	return checked(Func(func(ctx context.Context, m *Message) (*Message, error) {
		for _, c := range cases {
			if c.When(m) {
				return Run(ctx, c.Flow, m)
			}
		}
		if otherwise == nil {
			return m, nil
		}
		return Run(ctx, otherwise, m)
	}), flows...)
}

// Parallel returns a Flow that runs flows concurrently, each on a copy of the message, and waits
// for all. If one fails, the context of the others is canceled; the error is that of the first
// failed flow in the order of the arguments. The resulting message has the original payload and
// attributes, and the variables that the flows have set; later arguments take precedence.
func Parallel(flows ...Flow) Flow {
	return checked(Func(func(ctx context.Context, m *Message) (*Message, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		outs, errs := make([]*Message, len(flows)), make([]error, len(flows))
		var failed error // the first in time: the others may only have been cancelled
		var once sync.Once
		var all sync.WaitGroup
		for i, f := range flows {
			copied := m.fresh()
			all.Go(func() {
				errs[i] = ErrGoexit
				defer func() { // also after a Goexit
					if errs[i] != nil {
						once.Do(func() { failed = errs[i] })
						cancel(errs[i])
					}
				}()
				outs[i], errs[i] = Run(ctx, f, copied)
			})
		}
		all.Wait()
		if failed != nil {
			return m, failed
		}
		out := m.Clone()
		if out.Variable == nil {
			out.Variable = make(map[string]any)
		}
		for _, o := range outs {
			maps.Copy(out.Variable, o.Variable)
		}
		return out, nil
	}), flows...)
}

// SetPayload returns a Flow that replaces the payload by the text of a [Template]. The MIME type
// and encoding stay.
func SetPayload(text string) Flow {
	return set(text, func(m *Message, value string) { m.Payload.Blob = []byte(value) })
}

// SetVariable returns a Flow that sets a variable to the text of a [Template].
func SetVariable(name, text string) Flow {
	return set(text, func(m *Message, value string) { m.Variable = with(m.Variable, name, value) })
}

// SetAttribute returns a Flow that sets an attribute to the text of a [Template].
func SetAttribute(name, text string) Flow {
	return set(text, func(m *Message, value string) { m.Attribute = with(m.Attribute, name, value) })
}

// Log returns a Flow that logs the text of a [Template] at Info, with the key of the message.
func Log(log *slog.Logger, text string) Flow {
	t, err := ParseTemplate(text)
	if err != nil {
		return &invalidFlow{NewError(TypeExpression, err)}
	}
	return Func(func(ctx context.Context, m *Message) (*Message, error) {
		value, err := t.Text(m)
		if err != nil {
			return m, NewError(TypeExpression, err)
		}
		log.InfoContext(ctx, value, "key", IdempotencyKey(ctx))
		return m, nil
	})
}

func set(text string, apply func(*Message, string)) Flow {
	t, err := ParseTemplate(text)
	if err != nil {
		return &invalidFlow{NewError(TypeExpression, err)}
	}
	return Func(func(_ context.Context, m *Message) (*Message, error) {
		value, err := t.Text(m)
		if err != nil {
			return m, NewError(TypeExpression, err)
		}
		out := m.Clone()
		apply(out, value)
		return out, nil
	})
}

func with(values map[string]any, name, value string) map[string]any {
	if values == nil {
		values = make(map[string]any)
	}
	values[name] = value
	return values
}

// An invalidFlow is returned by a constructor with invalid arguments. Consume refuses it; running
// it only fails.
type invalidFlow struct{ err *Error }

func (f *invalidFlow) Run(_ context.Context, m *Message) (*Message, error) {
	return m, Permanent(f.err)
}

// Check returns an error if f was made by functions of this package with invalid arguments, so that
// it can never run.
func Check(f Flow) error {
	if invalid, ok := f.(*invalidFlow); ok {
		return invalid.err
	}
	return nil
}

// checked returns f, or the first of its parts that is invalid.
func checked(f Flow, parts ...Flow) Flow {
	for _, part := range parts {
		if invalid, ok := part.(*invalidFlow); ok {
			return invalid
		}
	}
	return f
}

func outOfRange(what string, is any, least, most any) Flow {
	return &invalidFlow{NewError(TypeConfig, fmt.Errorf("%s is %v, and has to be from %v to %v", what, is, least, most))}
}
