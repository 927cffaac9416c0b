//go:build unix

package connector

import (
	"io/fs"
	"os/exec"
	"syscall"
)

// ownGroup puts a command into its own process group, which is killed when its context is done.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// endGroup kills processes that a command has left running.
func endGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

// permissions returns the permissions of other users.
func permissions(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() & 0o077 }

// writable reports whether the current user may write to a path, as far as is known.
func writable(path string) bool {
	const write = 2
	err := syscall.Access(path, write)
	return err != syscall.EACCES && err != syscall.EROFS && err != syscall.EPERM
}
