package connector

import "context"

// A delivery is what the context of a flow's run knows.
type delivery struct {
	key     string
	attempt int
}

type deliveryKey struct{}

func (d *delivery) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, deliveryKey{}, d)
}

// IdempotencyKey names the message that a Consumer runs a flow for, in the context of that
// flow; otherwise it is empty. It is the same for every run: after failures, after a
// reconnect that kept the session and, with ConsumerParams.Ledger, after a crash. No other
// message has it, not even one of the same content. It is for systems that do nothing a
// second time under the same key.
func IdempotencyKey(ctx context.Context) string {
	if d, ok := ctx.Value(deliveryKey{}).(*delivery); ok {
		return d.key
	}
	return ""
}

// Attempt is the number of the run that a context belongs to, from 1; 0 if it is not of a
// Consumer's flow.
func Attempt(ctx context.Context) int {
	if d, ok := ctx.Value(deliveryKey{}).(*delivery); ok {
		return d.attempt
	}
	return 0
}
