//go:build unix

package mosquitto

import "syscall"

func (b *Broker) pause(on bool) {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	if err := b.process.Process.Signal(signal); err != nil {
		b.t.Fatal(err)
	}
}
