package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// exitDataErr is EX_DATAERR of sysexits.h: the message will never be accepted.
const exitDataErr = 65

// execStep runs a command for each message; exit code 0 is success.
type execStep struct {
	command string
	out     *sink
	running sync.RWMutex  // read-locked by each command, and while a process left behind runs
	over    chan struct{} // closed when no process may be left behind any longer
}

// close ends the processes that commands have left behind, and waits for the commands of abandoned flows, which are
// killed after grace.
func (s *execStep) close() error {
	close(s.over)
	s.running.Lock()
	defer s.running.Unlock()
	return nil
}

func (s *execStep) flow(consumer string) flow.Flow {
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		cmd := shell(s.command)
		cmd.Env = append(os.Environ(),
			"MQTT_CONSUMER="+consumer,
			"MQTT_TOPIC="+m.Topic(),
			fmt.Sprint("MQTT_QOS=", m.Attribute[flow.AttributeQoS]),
			fmt.Sprint("MQTT_MESSAGE_ID=", m.Attribute[flow.AttributeMessageID]),
		)
		s.running.RLock()
		said, err := runToEnd(ctx, cmd, m.Payload.Blob, func(c *child) {
			defer s.running.RUnlock()
			if c != nil {
				c.clear(s.over)
			}
		})
		if err != nil {
			return nil, err
		}
		if _, err := s.out.Write(said); err != nil {
			return nil, fmt.Errorf("standard output: %w", err)
		}
		return with(m, said, ""), nil
	})
}

// runToEnd runs a command with text as its standard input, and returns its standard output. When ctx ends, the
// command and its processes are terminated, and killed after grace. Processes left behind after its exit are ended
// in the same way, but not waited for: the result is the exit code. clear is called with the command when it has
// exited, or with nil if it could not be started.
func runToEnd(ctx context.Context, cmd *exec.Cmd, text []byte, clear func(*child)) ([]byte, error) {
	said, complained := &limited{most: mostOutput, told: make(chan struct{})}, &limited{most: 4096, cut: true}
	c, err := startChild(cmd, complained)
	if err != nil {
		clear(nil)
		err = fmt.Errorf("command: %w", err)
		if errors.Is(err, syscall.E2BIG) { // the topic is too long for the environment
			return nil, err
		}
		return nil, flow.Uncharged(err) // out of processes or memory, or the command is missing
	}
	var piping sync.WaitGroup
	ended := make(chan struct{}) // closed at the end of the output
	piping.Go(func() {
		defer close(ended)
		io.Copy(said, c.out)
	})
	piping.Go(func() {
		defer c.in.Close()
		c.in.Write(text) // fails when the command stops reading
	})
	stopped := false
	select {
	case <-c.exited:
	case <-ctx.Done():
		stopped = true
	case <-said.told:
		stopped = true
	}
	if stopped {
		terminate(cmd)
		select {
		case <-c.exited:
		case <-time.After(grace):
		}
		kill(cmd) // the rest of its process group
		<-c.exited
	}
	select {
	case <-ended:
	case <-time.After(linger):
	}
	go clear(c)
	c.cut(linger)
	c.in.Close()
	piping.Wait()
	c.close()
	var exit *exec.ExitError
	switch err := c.err; {
	case said.full:
		return nil, fmt.Errorf("command: more than %d bytes of output", mostOutput)
	case stopped:
		return nil, fmt.Errorf("command: %w", context.Cause(ctx))
	case errors.As(err, &exit) && exit.ExitCode() == exitDataErr:
		return nil, flow.Permanent(complaint(err, complained))
	case err != nil:
		return nil, complaint(err, complained)
	}
	return said.text.Bytes(), nil
}

func complaint(err error, complained *limited) error {
	if line := firstLine(complained.text.String()); line != "" {
		return fmt.Errorf("command: %w: %s", err, line)
	}
	return fmt.Errorf("command: %w", err)
}

// limited is a buffer with a limit: bytes beyond it cause an error, or are dropped. It does not embed
// bytes.Buffer, whose ReadFrom has no limit.
type limited struct {
	text bytes.Buffer
	most int
	cut  bool
	full bool
	told chan struct{} // closed when it is full
}

var errTooMuch = errors.New("too much output")

func (l *limited) Write(b []byte) (int, error) {
	room := l.most - l.text.Len()
	if len(b) <= room {
		return l.text.Write(b)
	}
	if l.cut {
		l.text.Write(b[:room])
		return len(b), nil
	}
	if !l.full {
		l.full = true
		close(l.told)
	}
	return 0, errTooMuch
}
