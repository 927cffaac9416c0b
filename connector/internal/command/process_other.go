//go:build !unix

package command

import "os/exec"

func shell(command string) *exec.Cmd { return exec.Command("cmd", "/C", command) }

func terminate(cmd *exec.Cmd) { cmd.Process.Kill() }
func kill(cmd *exec.Cmd)      { cmd.Process.Kill() }

// leftBehind returns false: this system has no process groups.
func leftBehind(*exec.Cmd) bool { return false }
