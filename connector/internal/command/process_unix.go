//go:build unix

package command

import (
	"os/exec"
	"syscall"
)

// shell returns a command in a separate process group: an interrupt of the terminal does not reach
// it, and the processes that it started can be ended with it.
func shell(command string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// terminate asks a command and its group to end; kill kills them.
func terminate(cmd *exec.Cmd) { signalGroup(cmd, syscall.SIGTERM) }
func kill(cmd *exec.Cmd)      { signalGroup(cmd, syscall.SIGKILL) }

func signalGroup(cmd *exec.Cmd, s syscall.Signal) {
	syscall.Kill(-cmd.Process.Pid, s)
	cmd.Process.Signal(s) // it may have left its group
}

// leftBehind reports whether a process runs in the group of a command that has exited.
func leftBehind(cmd *exec.Cmd) bool { return syscall.Kill(-cmd.Process.Pid, 0) != syscall.ESRCH }
