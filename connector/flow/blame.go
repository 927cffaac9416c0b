package flow

import (
	"context"
	"errors"
)

// Uncharged wraps an error that the message did not cause, for example because a service that the
// flow needs is unavailable. The run does not count against the retries of the failure policy; the
// flow runs again until it succeeds or fails with another error. Uncharged(nil) is nil.
func Uncharged(err error) error {
	if err == nil {
		return nil
	}
	return &uncharged{err: err}
}

// Suspect wraps the error of a run that failed because something died that was processing several
// messages, any of which may be the cause. The error is Uncharged, and in later runs of the message
// [Suspected] returns true, so that the flow can process it alone. A consumer runs its flow for one
// suspect at a time, concurrently with other messages. Suspect(nil) is nil.
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

// IsUncharged reports whether err was wrapped by Uncharged or Suspect.
func IsUncharged(err error) bool {
	var u *uncharged
	return errors.As(err, &u)
}

// IsSuspect reports whether err was wrapped by Suspect.
func IsSuspect(err error) bool {
	var u *uncharged
	return errors.As(err, &u) && u.suspect
}

// Suspected reports whether an earlier run of the message failed with [Suspect], or the message is a dead letter that
// is being replayed.
func Suspected(ctx context.Context) bool {
	r, ok := runnerOf(ctx)
	return ok && r.Suspected()
}
