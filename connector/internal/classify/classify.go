// Package classify lets package connector register how it classifies errors of the layers below, which package
// connector/flow does not import.
package classify

import (
	"context"
	"errors"
)

// Type returns the narrowest error type of an error. It is set before main starts. In a program
// without package connector it only knows the errors of the standard library.
var Type = func(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "CORE:TIMEOUT"
	case errors.Is(err, context.Canceled):
		return "CORE:CANCELLED"
	}
	return "CORE:RUNTIME"
}

// Reason returns the return code of a CONNACK or SUBACK that refused something; otherwise 0. It is
// set in the same way as Type.
var Reason = func(error) byte { return 0 }
