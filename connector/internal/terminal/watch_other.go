//go:build !unix

package terminal

import "os"

// Resized sends nothing: nobody tells of another size.
func Resized() (resized <-chan os.Signal, stop func()) { return nil, func() {} }
