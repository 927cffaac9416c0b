package command

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// linger is how long the output of a command is read on after its exit, if something that it has left behind keeps
// the output open.
const linger = 200 * time.Millisecond

// A child is a command with pipes of its own: its exit is noticed at once, even if other processes keep them open.
type child struct {
	cmd     *exec.Cmd
	in      *os.File // its standard input
	out     *os.File // its standard output
	exited  chan struct{}
	err     error // how it exited; nil for exit code 0
	errs    *os.File
	copying sync.WaitGroup // of its standard error
}

// children are the commands that run, or have left something behind: an end that waits for nothing ends them, too.
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

// close closes the output of a command that has exited and was cut.
func (c *child) close() {
	c.copying.Wait()
	c.out.Close()
	c.errs.Close()
}

// cut makes reading its output end after d: see linger. The output of a command that has left nothing behind ends
// before.
func (c *child) cut(d time.Duration) {
	at := time.Now().Add(d)
	c.out.SetReadDeadline(at)
	c.errs.SetReadDeadline(at)
}

// clear ends what the command has left behind in its process group: SIGTERM, and SIGKILL after grace, or when over is
// closed.
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

// forget is called when nothing of a command is left.
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
