package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// A Step is a part of opening a Network Connection.
type Step string

// The steps, in their order.
const (
	StepParse     Step = "parse"     // the URL and the options
	StepResolve   Step = "resolve"   // the host name into addresses
	StepTCP       Step = "tcp"       // the connection, of unix sockets too
	StepProxy     Step = "proxy"     // through an HTTP or SOCKS5 proxy
	StepTLS       Step = "tls"       // the handshake and its certificates
	StepWebSocket Step = "websocket" // the opening handshake of RFC 6455
)

// A DialError says at which step opening a Network Connection failed. Neither
// it nor its text holds user names, passwords, header values, paths or queries
// of URLs.
type DialError struct {
	Step Step
	Addr string // host:port or the path of a socket; empty where the URL could not be read
	Err  error
}

func (e *DialError) Error() string {
	if e.Addr == "" {
		return "transport: " + string(e.Step) + ": " + e.Err.Error()
	}
	text := e.Err.Error()
	if op, ok := e.Err.(*net.OpError); ok && op.Op == "dial" && op.Addr != nil && op.Addr.String() == e.Addr {
		text = op.Err.Error() // the address stands before it
	}
	return "transport: " + string(e.Step) + ": " + e.Addr + ": " + text
}

// Unwrap returns the cause. It is context.DeadlineExceeded or context.Canceled,
// or wraps them, when the time was over or the caller gave up.
func (e *DialError) Unwrap() error { return e.Err }

// Timeout reports whether the step ran out of time.
func (e *DialError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary is false. It is there because net.Error asks for it.
func (e *DialError) Temporary() bool { return false }

// Hint returns in English what a person may do about the error, or "".
func (e *DialError) Hint() string {
	h, _ := ownHint(e)
	return h.EN
}

// HintZH returns the Hint in Chinese, or "".
func (e *DialError) HintZH() string {
	h, _ := ownHint(e)
	return h.ZH
}

// Failed returns err as a [*DialError] of the given step, for packages that add
// steps of their own. If err is one already, its step stands. If ctx has ended,
// its cause becomes the error's.
func Failed(ctx context.Context, step Step, addr string, err error) *DialError {
	var known *DialError
	if errors.As(err, &known) {
		return known
	}
	var stepper interface{ DialStep() string } // as the errors of transport/proxy
	var dns *net.DNSError
	switch {
	case errors.As(err, &stepper):
		step = Step(stepper.DialStep())
	case step == StepTCP && errors.As(err, &dns):
		step = StepResolve
	}
	return &DialError{Step: step, Addr: addr, Err: because(ctx, err)}
}

// because turns the many ways in which an ended context shows itself, such as
// closed connections and time-outs of sockets, into the context's own error.
func because(ctx context.Context, err error) error {
	_, limited := ctx.Deadline()
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("given up: %w", context.Cause(ctx))
	case ctx.Err() != nil, limited && errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	return err
}
