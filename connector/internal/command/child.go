package command

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// linger is for how long the output of a command is still read after its exit, if a process that it left behind
// keeps the output open.
const linger = 200 * time.Millisecond

// A child is a command whose exit is noticed at once, even if other processes keep its pipes open.
type child struct {
	cmd     *exec.Cmd
	in      *os.File // its standard input
	out     *os.File // its standard output
	exited  chan struct{}
	err     error // of its exit; nil for exit code 0
	errs    *os.File
	copying sync.WaitGroup // of its standard error to errs
}

// children are the commands that run, or have left processes behind, for endChildren.
var children struct {
	sync.Mutex
	running map[*child]struct{}
}

// startChild starts a command whose standard error goes to errs.
func startChild(cmd *exec.Cmd, errs io.Writer) (*child, error) {
	c := &child{cmd: cmd, exited: make(chan struct{})}
	var theirs [3]*os.File
	var err [3]error
	theirs[0], c.in, err[0] = os.Pipe()
	c.out, theirs[1], err[1] = os.Pipe()
	c.errs, theirs[2], err[2] = os.Pipe()
	failed := errors.Join(err[:]...)
	if failed == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
		children.Lock()
		if failed = cmd.Start(); failed == nil {
			if children.running == nil {
				children.running = make(map[*child]struct{})
			}
			children.running[c] = struct{}{}
		}
		children.Unlock()
	}
	for _, f := range theirs {
		f.Close()
	}
	if failed != nil {
		c.in.Close()
		c.close()
		return nil, failed
	}
	c.copying.Go(func() { io.Copy(errs, c.errs) })
	go func() {
		c.err = cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// close closes the output of a command that has exited, after cut.
func (c *child) close() {
	c.copying.Wait()
	c.out.Close()
	c.errs.Close()
}

// cut ends the reading of the output after d, see linger. If the command has left no process behind, the output
// ends earlier.
func (c *child) cut(d time.Duration) {
	at := time.Now().Add(d)
	c.out.SetReadDeadline(at)
	c.errs.SetReadDeadline(at)
}

// clear ends the processes that the command has left in its process group: with SIGTERM, and with SIGKILL after
// grace or when over is closed.
func (c *child) clear(over <-chan struct{}) {
	defer c.forget()
	if !leftBehind(c.cmd) {
		return
	}
	terminate(c.cmd)
	patience, look := time.After(grace), time.NewTicker(10*time.Millisecond)
	defer look.Stop()
	for leftBehind(c.cmd) {
		select {
		case <-look.C:
			continue
		case <-patience:
		case <-over:
		}
		kill(c.cmd)
		return
	}
}

// forget is called when no process of a command is left.
func (c *child) forget() {
	children.Lock()
	defer children.Unlock()
	delete(children.running, c)
}

// endChildren kills all commands and the processes that they left behind.
func endChildren() {
	children.Lock()
	defer children.Unlock()
	for c := range children.running {
		kill(c.cmd)
	}
}
