//go:build !unix

package terminal

import "os"

// Resized never sends: this system does not signal a change of size.
func Resized() (resized <-chan os.Signal, stop func()) { return nil, func() {} }
