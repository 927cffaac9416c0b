//go:build !unix

package command

// notifyHangups sends nothing: there is no SIGHUP.
func notifyHangups(func()) (hangups <-chan struct{}, stop func()) { return nil, func() {} }
