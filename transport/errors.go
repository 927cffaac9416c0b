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

// The steps, in order.
const (
	StepParse     Step = "parse"     // parsing the URL and checking the options
	StepResolve   Step = "resolve"   // resolving the host name
	StepTCP       Step = "tcp"       // opening the TCP connection or unix socket
	StepProxy     Step = "proxy"     // connecting through an HTTP or SOCKS5 proxy
	StepTLS       Step = "tls"       // the TLS handshake, including certificates
	StepWebSocket Step = "websocket" // the WebSocket opening handshake (RFC 6455)
)

// A DialError says at which step opening a Network Connection failed. It contains no user names,
// passwords or header values, nor paths or queries of URLs.
type DialError struct {
	Step Step
	Addr string // host:port, or the path of a unix socket; empty if the URL could not be parsed
	Err  error
}

func (e *DialError) Error() string {
	if e.Addr == "" {
		return "transport: " + string(e.Step) + ": " + e.Err.Error()
	}
	text := e.Err.Error()
	if op, ok := e.Err.(*net.OpError); ok && op.Op == "dial" && op.Addr != nil && op.Addr.String() == e.Addr {
		text = op.Err.Error() // the address is already in front
	}
	return "transport: " + string(e.Step) + ": " + e.Addr + ": " + text
}

// Unwrap returns the cause. It is or wraps context.DeadlineExceeded after a timeout and
// context.Canceled after a cancellation.
func (e *DialError) Unwrap() error { return e.Err }

// Timeout reports whether the step timed out.
func (e *DialError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary returns false. It exists because net.Error requires it.
func (e *DialError) Temporary() bool { return false }

// Hint returns advice for the user in English, or "" if there is none.
func (e *DialError) Hint() string {
	h, _ := ownHint(e)
	return h.EN
}

// HintZH is Hint in Chinese.
func (e *DialError) HintZH() string {
	h, _ := ownHint(e)
	return h.ZH
}

// Failed wraps err in a [*DialError] with the given step, for packages that add steps of their own.
// If err already wraps a DialError, that one is returned. If ctx is done, its cause becomes the
// cause of the error.
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

// because returns the cause of ctx if that is done, instead of the errors that this leads to, such
// as closed connections and timeouts of sockets.
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
