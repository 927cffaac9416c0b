//go:build !unix

package command

import "os"

// deaf is always false: on this system only the next write finds out.
func deaf(*os.File) bool { return false }
