package flow

import "context"

// A Runner runs a flow for a message; a consumer of package connector is one. Functions of this
// package reach it through the context of the run.
type Runner interface {
	// Key returns the key of the message: see [IdempotencyKey].
	Key() string

	// Attempt returns the number of the run, from 1, not counting those that were Uncharged.
	Attempt() int

	// Suspected reports whether an earlier run failed with [Suspect].
	Suspected() bool

	// Shown returns the error in the format for messages of the flow.
	Shown(*Error) *Error

	// Defer implements the function [Defer].
	Defer() (settle func(error))
}

type runnerKey struct{}

// A Context is the context of a run of a flow.
type Context struct {
	context.Context
	Runner Runner
}

// Value implements context.Context.
func (c *Context) Value(key any) any {
	if _, ok := key.(runnerKey); ok {
		return c.Runner
	}
	return c.Context.Value(key)
}

func runnerOf(ctx context.Context) (Runner, bool) {
	r, ok := ctx.Value(runnerKey{}).(Runner)
	return r, ok
}

// shown returns an error in the form that the messages of a flow carry.
func shown(ctx context.Context, e *Error) *Error {
	if r, ok := runnerOf(ctx); ok {
		return r.Shown(e)
	}
	return e
}

// IdempotencyKey returns a key that identifies the message for which a consumer runs a flow. ctx
// must be the context of that run; otherwise the key is empty. It is the same for every run for the
// message: after failures, after a reconnect in the same session and, with ConsumerParams.Ledger,
// after a crash. No other message has the same key, even if its content is the same. The key is
// meant for systems that ignore repeated requests with the same key.
func IdempotencyKey(ctx context.Context) string {
	if r, ok := runnerOf(ctx); ok {
		return r.Key()
	}
	return ""
}

// Attempt returns the number of the run that ctx belongs to, from 1, or 0 if ctx is not the context
// of a consumer's flow. Runs that were Uncharged do not count.
func Attempt(ctx context.Context) int {
	if r, ok := runnerOf(ctx); ok {
		return r.Attempt()
	}
	return 0
}

// Retained reports whether the message for which a consumer runs a flow is a retained one (section
// 3.3.1.3). It returns false if ctx is not the context of a consumer's flow.
func Retained(ctx context.Context) bool {
	r, _ := runnerOf(ctx)
	known, ok := r.(interface{ Retained() bool })
	return ok && known.Retained()
}

// Defer makes a run of a consumer's flow last until settle is called, instead of ending when Run
// returns nil. It is for work that goes on elsewhere and must be finished before the message is
// acknowledged. The argument of settle is nil for success; only the first call counts. Meanwhile
// the run counts for ConsumerParams.Concurrency. If the context is done first, by flow_timeout or
// because the connector stops, the run fails; if settle is never called, only flow_timeout ends the
// run.
//
// If ctx is not the context of a consumer's flow, settle does nothing.
func Defer(ctx context.Context) (settle func(error)) {
	if r, ok := runnerOf(ctx); ok {
		return r.Defer()
	}
	return func(error) {}
}
