//go:build unix

package program

import "syscall"

func (p *Program) pause(on bool) {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	if err := p.process.Process.Signal(signal); err != nil {
		p.T.Fatal(err)
	}
}
