package proxy

import (
	"context"
	"errors"
	"net"
	"time"
)

// An Error says why connecting through a proxy failed. It contains neither user name nor password.
type Error struct {
	Addr string // host:port of the proxy
	Err  error

	code string
}

func (e *Error) Error() string { return "proxy " + e.Addr + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// DialStep returns the step of the transport.DialError that wraps this error.
func (e *Error) DialStep() string { return "proxy" }

// HintCode returns the code of the transport.Hint for this error, or "" if that of its cause
// applies.
func (e *Error) HintCode() string { return e.code }

// failed makes err an [*Error] with the proxy's address. The end of the
// context takes the place of its consequences.
func (s *server) failed(ctx context.Context, err error) error {
	e := &Error{Addr: s.addr, Err: err}
	var known *Error
	if errors.As(err, &known) {
		e.Err, e.code = known.Err, known.code
	}
	if ctx.Err() != nil {
		e.Err = ctx.Err()
	}
	return e
}

// interrupt makes conn fail when the context ends. The function it returns
// ends that, and reports whether the context had not ended.
func interrupt(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}
