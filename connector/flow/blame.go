package flow

import (
	"context"
	"errors"
)

// Uncharged wraps an error that is not the fault of the message: what the flow needs is not there, or
// is busy with somebody else's trouble. The run does not count against the retries of the failure
// policy, and the message is run again until it succeeds or fails by itself. Nil stays nil.
func Uncharged(err error) error {
	if err == nil {
		return nil
	}
	return &uncharged{err: err}
}

// Suspect wraps the error of a run that ended because something died that had several messages in
// hand, of which this is one. It is Uncharged, and in the runs that follow Suspected is true: run alone,
// the message shows whether it was the cause. A consumer runs its flow for one suspect at a time, and for
// other messages beside it. Nil stays nil.
func Suspect(err error) error {
	if err == nil {
		return nil
	}
	return &uncharged{err: err, suspect: true}
}

type uncharged struct {
	err     error
	suspect bool
}

func (e *uncharged) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *uncharged) Unwrap() error { return e.err }

// IsUncharged reports whether an error is one of Uncharged or Suspect.
func IsUncharged(err error) bool {
	var u *uncharged
	return errors.As(err, &u)
}

// IsSuspect reports whether an error is one of Suspect.
func IsSuspect(err error) bool {
	var u *uncharged
	return errors.As(err, &u) && u.suspect
}

// Suspected reports whether an earlier run of the message ended with Suspect, or the message is a dead letter that is
// replayed.
func Suspected(ctx context.Context) bool {
	r, ok := runnerOf(ctx)
	return ok && r.Suspected()
}
