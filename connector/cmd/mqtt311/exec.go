package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
)

// exitDataErr is EX_DATAERR of sysexits.h: the message will never be taken.
const exitDataErr = 65

// execStep runs a command for each message; exit code 0 is success.
type execStep struct {
	command string
	out     *sink
	running sync.RWMutex // read-locked by each command
}

// close waits for commands of flows that were given up: each is killed after grace.
func (s *execStep) close() error {
	s.running.Lock()
	defer s.running.Unlock()
	return nil
}

func (s *execStep) flow(consumer string) connector.Flow {
	return connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		s.running.RLock()
		defer s.running.RUnlock()
		cmd := shell(s.command)
		cmd.Stdin = bytes.NewReader(m.Payload.Blob)
		cmd.Env = append(os.Environ(),
			"MQTT_CONSUMER="+consumer,
			"MQTT_TOPIC="+m.Topic(),
			fmt.Sprint("MQTT_QOS=", m.Attribute[connector.AttributeQoS]),
			fmt.Sprint("MQTT_MESSAGE_ID=", m.Attribute[connector.AttributeMessageID]),
		)
		said, err := runToEnd(ctx, cmd)
		if err != nil {
			return nil, err
		}
		if _, err := s.out.Write(said); err != nil {
			return nil, fmt.Errorf("standard output: %w", err)
		}
		return with(m, said, ""), nil
	})
}

// runToEnd runs a command and returns its standard output. When ctx ends, the command and
// what it started are asked to end, and made to after grace.
func runToEnd(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	said, complained := &limited{most: mostOutput, told: make(chan struct{})}, &limited{most: 4096, cut: true}
	cmd.Stdout, cmd.Stderr = said, complained
	cmd.WaitDelay = grace // for what the command leaves behind with its output open
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		case <-said.told:
		}
		terminate(cmd)
		select {
		case <-ended:
		case <-time.After(grace):
		}
		kill(cmd) // what is left of the group
	}()
	err := cmd.Wait()
	close(ended)
	<-watched
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("command: %w", context.Cause(ctx))
	case said.full:
		return nil, fmt.Errorf("command: more than %d bytes of output", mostOutput)
	case errors.As(err, &exit) && exit.ExitCode() == exitDataErr:
		return nil, connector.Permanent(complaint(err, complained))
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

// limited is a buffer with a limit: what is beyond it fails, or is left out. It does not
// embed the buffer, whose ReadFrom knows no limit.
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
