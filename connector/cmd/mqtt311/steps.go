package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector"
)

// flow returns the flow of a consumer.
func (o *runOptions) flow(p *program, consumer string) connector.Flow {
	if o.exec != "" {
		return o.execStep(p, consumer)
	}
	return p.stdoutStep(consumer)
}

// execStep runs a command for each message; exit code 0 is success.
func (o *runOptions) execStep(p *program, consumer string) connector.Flow {
	return connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		cmd := exec.CommandContext(ctx, "sh", "-c", o.exec)
		cmd.Stdin = bytes.NewReader(m.Payload.Blob)
		cmd.Stdout = p.stdout
		var said bytes.Buffer
		cmd.Stderr = &said
		cmd.Env = append(os.Environ(),
			"MQTT_CONSUMER="+consumer,
			"MQTT_TOPIC="+m.Topic(),
			fmt.Sprint("MQTT_QOS=", m.Attribute[connector.AttributeQoS]),
			fmt.Sprint("MQTT_MESSAGE_ID=", m.Attribute[connector.AttributeMessageID]),
		)
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("command: %w: %s", err, firstLine(said.String()))
		}
		return nil, nil
	})
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// A stdoutLine is a consumed message on standard output.
type stdoutLine struct {
	Consumer  string         `json:"consumer"`
	Attribute map[string]any `json:"attribute"`
	Payload   *string        `json:"payload,omitempty"`
	Base64    []byte         `json:"payload_base64,omitempty"`
}

var stdoutLock sync.Mutex

func (p *program) stdoutStep(consumer string) connector.Flow {
	return connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
		l := stdoutLine{Consumer: consumer, Attribute: m.Attribute}
		if utf8.Valid(m.Payload.Blob) {
			s := string(m.Payload.Blob)
			l.Payload = &s
		} else {
			l.Base64 = m.Payload.Blob
		}
		stdoutLock.Lock()
		defer stdoutLock.Unlock()
		return nil, p.jsonLine(l)
	})
}

// A stdinLine is a message for a producer.
type stdinLine struct {
	Producer  string         `json:"producer"`
	Payload   string         `json:"payload"`
	Base64    []byte         `json:"payload_base64"`
	Attribute map[string]any `json:"attribute"`
	Variable  map[string]any `json:"variable"`
}

// feed gives lines of standard input to producers until it ends.
func (o *runOptions) feed(ctx context.Context, p *program, c *connector.Connector) error {
	in := bufio.NewScanner(p.stdin)
	in.Buffer(nil, longestLine)
	for n := 1; in.Scan(); n++ {
		if err := o.feedLine(ctx, c, in.Bytes()); err != nil {
			return coded(exitPublish, fmt.Errorf("standard input: line %d: %w", n, err))
		}
	}
	if err := in.Err(); err != nil {
		return coded(exitRuntime, fmt.Errorf("standard input: %w", err))
	}
	return nil
}

func (o *runOptions) feedLine(ctx context.Context, c *connector.Connector, text []byte) error {
	if o.producer != "" {
		m := &connector.Message{Payload: connector.Entity{Blob: bytes.Clone(text)}}
		_, err := c.Producer(o.producer).Run(ctx, m)
		return err
	}
	var l stdinLine
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return fmt.Errorf("not a message (%w); with --producer each line is a payload", err)
	}
	prod := c.Producer(l.Producer)
	if prod == nil {
		return fmt.Errorf("there is no producer %q", l.Producer)
	}
	m := &connector.Message{Payload: connector.Entity{Blob: l.Base64}, Attribute: l.Attribute, Variable: l.Variable}
	if l.Base64 == nil {
		m.Payload.Blob = []byte(l.Payload)
	}
	_, err := prod.Run(ctx, m)
	return err
}
