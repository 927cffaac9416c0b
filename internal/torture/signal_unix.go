//go:build unix

package torture

import "syscall"

// stop stops the process, like a machine that hangs, or lets it continue.
func (p *process) stop(on bool) error {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	return p.cmd.Process.Signal(signal)
}
