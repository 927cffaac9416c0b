//go:build !unix || solaris || aix

package lines

import "os"

// Lock does nothing: these systems have no such locks.
func Lock(*os.File) (unlock func(), err error) { return func() {}, nil }

// SyncFolder does nothing: these systems do it by themselves, or cannot do it.
func SyncFolder(string) error { return nil }
