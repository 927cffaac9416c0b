//go:build !unix

package command

import "os"

// deaf always returns false: on this system only the next write shows it.
func deaf(*os.File) bool { return false }
