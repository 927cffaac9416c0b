//go:build !unix

package command

import "os"

// deaf is false: here the next write tells.
func deaf(*os.File) bool { return false }
