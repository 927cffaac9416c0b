package flow

import "errors"

// Permanent wraps an error of a flow that will not go away by running it again, such as a
// payload that cannot be read: the retries of the consumer's failure policy count as used
// up. If the policy is to hold, the message is run again all the same. Nil stays nil.
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

// IsPermanent reports whether an error is one of Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}
