package flow

import "context"

// A Runner is what runs a flow for a message: a consumer of package connector. It is asked by way
// of the context of the run.
type Runner interface {
	// Key names the message: see IdempotencyKey.
	Key() string

	// Attempt is the number of the run, from 1, without those that were Uncharged.
	Attempt() int

	// Suspected reports whether an earlier run ended with Suspect.
	Suspected() bool

	// Shown returns an error in the form that the messages of the flow carry.
	Shown(*Error) *Error

	// Defer makes the run last until settle is called: see Defer.
	Defer() (settle func(error))
}

type runnerKey struct{}

// A Context is a context of a run. Its Runner answers what this package asks a context.
type Context struct {
	context.Context
	Runner Runner
}

// Value returns what the context has under a key.
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

// IdempotencyKey names the message that a Consumer runs a flow for, in the context of that
// flow; otherwise it is empty. It is the same for every run: after failures, after a
// reconnect that kept the session and, with ConsumerParams.Ledger, after a crash. No other
// message has it, not even one of the same content. It is for systems that do nothing a
// second time under the same key.
func IdempotencyKey(ctx context.Context) string {
	if r, ok := runnerOf(ctx); ok {
		return r.Key()
	}
	return ""
}

// Attempt is the number of the run that a context belongs to, from 1; 0 if it is not of a
// Consumer's flow. Runs that were Uncharged do not count.
func Attempt(ctx context.Context) int {
	if r, ok := runnerOf(ctx); ok {
		return r.Attempt()
	}
	return 0
}

// Retained reports whether the message that a Consumer runs a flow for came because the Server had kept
// it, section 3.3.1.3; false if the context is not of a Consumer's flow.
func Retained(ctx context.Context) bool {
	r, _ := runnerOf(ctx)
	known, ok := r.(interface{ Retained() bool })
	return ok && known.Retained()
}

// Defer makes the run of a Consumer's flow last until settle is called, and not end when Run
// returns nil: for work that goes on elsewhere and is to be done before the message is
// acknowledged. Settle takes nil for success; only its first call counts. The run keeps its place
// of ConsumerParams.Concurrency. When the context ends first, by flow_timeout or because the
// connector stops, the run has failed: a handle that is lost is found out by flow_timeout only.
//
// In another context settle does nothing.
func Defer(ctx context.Context) (settle func(error)) {
	if r, ok := runnerOf(ctx); ok {
		return r.Defer()
	}
	return func(error) {}
}
