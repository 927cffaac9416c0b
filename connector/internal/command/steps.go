package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/spf13/cobra"
)

// mostOutput limits the result of a step for one message.
const mostOutput = 16 << 20

// grace is how long a process may take to end after it was asked to; tests shorten it.
var grace = 5 * time.Second

// mostProcesses limits --processes: each takes half a dozen files, of which many systems allow a thousand.
const mostProcesses = 128

// stepOptions say what is done with a message: one step, then a producer.
type stepOptions struct {
	exec, pipe, http, append string
	then                     string
	processes                int
	headers                  []string
	timeout                  time.Duration
}

func (o *stepOptions) flags(p *Program, cmd *cobra.Command) {
	o.stepFlags(p, cmd)
	cmd.Flags().StringVar(&o.then, "then", "", p.Say("`producer` that publishes what the step gave back, or the message without a step", "用 `producer` 发布步骤的结果；没有步骤时直接发布消息"))
	Complete(cmd, "then", producers)
}

func (o *stepOptions) stepFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.exec, "exec", "", p.Say("shell `command` to run for each message", "对每条消息运行的 shell 命令 `command`"))
	f.StringVar(&o.pipe, "pipe", "", p.Say("shell `command` that keeps running and gets the messages as JSON lines", "常驻的 shell 命令 `command`，以 JSON 行接收消息"))
	f.StringVar(&o.http, "http", "", p.Say("`URL` to POST each message to", "以 POST 方式接收每条消息的 `URL`"))
	f.StringVar(&o.append, "append", "", p.Say("`file` to append each message to, as a JSON line", "将每条消息以 JSON 行追加到文件 `file`"))
	f.IntVar(&o.processes, "processes", 1, p.Say("how many processes of --pipe run", "--pipe 的进程数"))
	f.StringArrayVarP(&o.headers, "header", "H", nil, p.Say("`header` of --http, as 'Name: value'; ${NAME} is taken from the environment", "--http 的请求头 `header`，如 'Name: value'；${NAME} 取自环境变量"))
	f.DurationVar(&o.timeout, "step-timeout", 0, p.Say("`time` for one run of the step (0: none; 30s for --http)", "步骤单次运行的时限 `time`（0 为不限；--http 为 30s）"))
	noFiles(cmd, "http", "processes", "header", "step-timeout")
}

// A step creates the flow of a consumer. Close stops its processes, after the flows have ended.
type step interface {
	flow(consumer string) flow.Flow
	close() error
}

// check refuses options that make no sense.
func (o *stepOptions) check() error {
	given := 0
	for _, s := range []string{o.exec, o.pipe, o.http, o.append} {
		if s != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return Usage("give one of --exec, --pipe, --http, --append", "--exec、--pipe、--http、--append 只能给出一项")
	case o.processes < 1:
		return Usage("--processes is 1 at the least", "--processes 至少为 1")
	case o.processes > mostProcesses:
		return Usage("--processes is %d at the most", "--processes 至多为 %d", mostProcesses)
	case o.timeout < 0:
		return Usage("--step-timeout is not negative", "--step-timeout 不能为负")
	case len(o.headers) > 0 && o.http == "":
		return Usage("--header needs --http", "--header 需要 --http")
	case o.processes != 1 && o.pipe == "":
		return Usage("--processes needs --pipe", "--processes 需要 --pipe")
	}
	return nil
}

// step returns the step that the flags select.
func (o *stepOptions) step(p *Program, errs io.Writer, log *slog.Logger) (step, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	switch {
	case o.exec != "":
		return &execStep{command: o.exec, out: p.sink(o.then == ""), over: make(chan struct{})}, nil
	case o.pipe != "":
		return newPipe(o.pipe, o.processes, errs, log), nil
	case o.http != "":
		return newHTTP(o.http, o.headers)
	case o.append != "":
		warnOfOthers(o.append, log)
		return openAppend(o.append)
	case o.then != "":
		return pass{}, nil
	}
	return &stdoutStep{out: p.sink(true)}, nil
}

// flow returns a flow of the step, with its time limit, and the producer after it.
func (o *stepOptions) flow(s step, c *connector.Connector, consumer string) flow.Flow {
	f := o.alone(s, consumer)
	if o.then != "" {
		f = flow.Chain(f, c.Producer(o.then))
	}
	return f
}

// alone returns a flow of the step, with its time limit.
func (o *stepOptions) alone(s step, consumer string) flow.Flow {
	limit := o.timeout
	if limit == 0 && o.http != "" {
		limit = 30 * time.Second
	}
	f := s.flow(consumer)
	if limit > 0 {
		f = within(limit, f)
	}
	return f
}

// within limits the time of a flow.
func within(limit time.Duration, f flow.Flow) flow.Flow {
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		out, err := f.Run(ctx, m)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("not done within %s: %w", limit, err)
		}
		return out, err
	})
}

// with returns a copy of a message with another payload.
func with(m *flow.Message, payload []byte, mimeType string) *flow.Message {
	c := m.Clone()
	c.Payload = flow.Entity{Blob: payload, MimeType: mimeType}
	return c
}

// A sink is standard output shared by many flows. Each text stays whole.
type sink struct {
	mu sync.Mutex
	w  io.Writer // nil: nothing is printed
}

func (p *Program) sink(on bool) *sink {
	if !on {
		return &sink{}
	}
	return &sink{w: &wholeWriter{w: p.Stdout}}
}

func (o *sink) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil {
		return len(b), nil
	}
	return o.w.Write(b)
}

// A pass does nothing: the producer gets the message unchanged.
type pass struct{}

func (pass) flow(string) flow.Flow {
	return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) { return m, nil })
}

func (pass) close() error { return nil }

// A messageLine is a consumed message as a JSON line, to which withPayload adds the payload.
type messageLine struct {
	ID        string         `json:"id,omitempty"` // only with --pipe
	Consumer  string         `json:"consumer"`
	Attribute map[string]any `json:"attribute"`
}

// lineOf returns a message as a line of JSON. id may be empty.
func lineOf(consumer, id string, m *flow.Message) ([]byte, error) {
	object, err := jsonText(messageLine{id, consumer, m.Attribute})
	if err != nil {
		return nil, err
	}
	return append(withPayload(object, m.Payload.Blob, false), '\n'), nil
}

// jsonText returns v as a line of JSON without escapes for HTML.
func jsonText(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// A stdoutStep writes each message to standard output, and succeeds once it is written.
type stdoutStep struct{ out *sink }

func (s *stdoutStep) flow(consumer string) flow.Flow {
	return flow.Func(func(_ context.Context, m *flow.Message) (*flow.Message, error) {
		text, err := lineOf(consumer, "", m)
		if err == nil {
			_, err = s.out.Write(text)
		}
		return nil, err
	})
}

func (s *stdoutStep) close() error { return nil }

// firstLine returns the part of a text that an error shows.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
