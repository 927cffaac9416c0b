//go:build unix

package torture

import "syscall"

// stop stops the process as a machine that hangs does, or lets it go on.
func (p *process) stop(on bool) error {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	return p.cmd.Process.Signal(signal)
}
