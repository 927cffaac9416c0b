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

// failed wraps err in an [*Error] with the address of the proxy. If ctx is done, its cause replaces
// err.
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

// interrupt makes conn fail when ctx is done. The returned function stops that, and reports whether
// ctx was not done.
func interrupt(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}
