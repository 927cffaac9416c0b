//go:build unix

package program

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func (p *Program) pause(on bool) {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	if err := p.process.Process.Signal(signal); err != nil {
		p.T.Fatal(err)
	}
	for try := 0; on && try < 500 && !stands(p.process.Process.Pid); try++ {
		time.Sleep(10 * time.Millisecond)
	}
}

// stands reports whether all threads have stopped: one that waits for the disk stops later. If the
// system does not say, they are assumed to have stopped.
func stands(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range threads {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		// The state follows the name, which is in parentheses.
		if _, state, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" ")); ok && state[0] != 'T' {
			return false
		}
	}
	return true
}
