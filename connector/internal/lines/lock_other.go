//go:build !unix || solaris || aix

package lines

import "os"

// Lock does nothing: these systems know no such locks.
func Lock(*os.File) (unlock func(), err error) { return func() {}, nil }

// SyncFolder does nothing: these systems do it by themselves, or cannot.
func SyncFolder(string) error { return nil }
