package flow

import "errors"

// Permanent wraps an error that running the flow again cannot resolve, such as an unreadable
// payload: the message is treated as if its retries were used up. If the failure policy is Hold,
// the flow is run again nevertheless. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *permanentError) Unwrap() error { return e.err }

// IsPermanent reports whether err was wrapped by Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}
