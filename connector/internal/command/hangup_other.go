//go:build !unix

package command

// notifyHangups never sends: this system has no SIGHUP.
func notifyHangups(func()) (hangups <-chan struct{}, stop func()) { return nil, func() {} }
