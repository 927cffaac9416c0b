//go:build unix

package command

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyHangups sends on hangups at every SIGHUP until stop is called. If the process has lost its terminal, it
// calls interrupt instead, unless the process was started to outlive the terminal.
func notifyHangups(interrupt func()) (hangups <-chan struct{}, stop func()) {
	signals, out, over := make(chan os.Signal, 1), make(chan struct{}, 1), make(chan struct{})
	attached := !signal.Ignored(syscall.SIGHUP) && hasTerminal()
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-signals:
			case <-over:
				return
			}
			if attached && !hasTerminal() {
				interrupt()
				continue
			}
			select {
			case out <- struct{}{}:
			default: // a reload is already pending
			}
		}
	}()
	return out, func() { close(over) } // SIGHUP stays caught: the process is about to exit on its own
}

// hasTerminal reports whether the process has a controlling terminal.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
