package client

import (
	"errors"
	"strings"

	"github.com/mqtt311/mqtt311/session"
)

// How a request can end other than well; see package session for each.
var (
	ErrNotSent      = session.ErrNotSent
	ErrUnknown      = session.ErrUnknown
	ErrNotConnected = session.ErrNotConnected
	ErrQueueFull    = session.ErrQueueFull
	ErrDowngraded   = session.ErrDowngraded
	ErrPoison       = session.ErrPoison
	ErrStale        = session.ErrStale
	ErrSuperseded   = session.ErrSuperseded
	ErrPingTimeout  = session.ErrPingTimeout
)

var (
	// ErrClosed: the client was closed, or has failed for good. An operation that
	// ends with it is also an ErrNotSent or an ErrUnknown.
	ErrClosed = errors.New("client: closed")

	// ErrConnectTimeout: an attempt took longer than Config.ConnectTimeout.
	ErrConnectTimeout = errors.New("client: no CONNACK within the connect timeout")

	// ErrStarted: Connect was called twice, or Handle after Connect.
	ErrStarted = errors.New("client: already started")

	// ErrConnectionLost: the Network Connection ended and NoReconnect is set.
	ErrConnectionLost = errors.New("client: connection lost")
)

// A RefusedError is a CONNACK with a code other than zero, section 3.2.2.3.
type RefusedError = session.RefusedError

// A FilterError is a Topic Filter that the Server did not grant.
type FilterError = session.FilterError

// SafeToRetry tells whether err says that nothing of the request reached the
// network, so that repeating it cannot do it twice.
func SafeToRetry(err error) bool { return errors.Is(err, ErrNotSent) }

// A SubscribeError joins what the Server refused of one Subscribe.
type SubscribeError struct {
	Results []session.FilterResult // one per filter asked for, in their order
}

func (e *SubscribeError) Error() string {
	var refused []string
	for _, r := range e.Results {
		if r.Err != nil {
			refused = append(refused, strings.TrimPrefix(r.Err.Error(), "session: "))
		}
	}
	return "client: subscribe: " + strings.Join(refused, "; ")
}

// Unwrap returns the errors of the filters that failed.
func (e *SubscribeError) Unwrap() []error {
	var errs []error
	for _, r := range e.Results {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return errs
}

// An outcome is an error that says whether it happened and why it ended.
type outcome struct {
	text  string
	kind  error // ErrNotSent or ErrUnknown
	cause error
}

func (e *outcome) Error() string {
	return "client: " + e.text + ": " + strings.TrimPrefix(e.kind.Error(), "session: ") + ": " + e.cause.Error()
}

func (e *outcome) Unwrap() []error { return []error{e.kind, e.cause} }
