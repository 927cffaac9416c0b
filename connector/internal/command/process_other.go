//go:build !unix

package command

import "os/exec"

func shell(command string) *exec.Cmd { return exec.Command("cmd", "/C", command) }

func terminate(cmd *exec.Cmd) { cmd.Process.Kill() }
func kill(cmd *exec.Cmd)      { cmd.Process.Kill() }

// leftBehind is false: there are no process groups here.
func leftBehind(*exec.Cmd) bool { return false }
