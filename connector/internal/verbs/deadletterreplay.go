package verbs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/deadletters"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

// A replaying is a run of deadletter replay.
type replaying struct {
	command.Connection
	p     *command.Program
	cmd   *cobra.Command
	which choice
	step  command.Step

	config, topic string
	qos           int
	yes           bool
	log           *slog.Logger
}

func deadLetterReplay(p *command.Program) *cobra.Command {
	x := &replaying{p: p}
	x.cmd = &cobra.Command{
		Use:   "replay FILE (ID... | --all) (--exec COMMAND | --pipe COMMAND | --http URL | --append FILE | -t TOPIC)",
		Short: p.Say("Give dead letters to a step again, or publish them", "将死信重新交给步骤处理，或重新发布"),
		Long: p.Say(`Give dead letters to a step, as run does with what its consumers receive, or publish them; one after the other, in the order
of the file. In -t {topic} stands for the topic that the message came on.

That it was replayed is appended to the file when the step has succeeded, or when the promise of the QoS is kept. What fails stays, and the others
go on; exit code 1 says that some failed. Without a connection nothing goes on. Each is replayed at least once: twice if the process ends between
the success and that line. It asks before it starts; where there is no terminal, --yes is needed.

A step runs in this process. To give dead letters to the flow of a connector that runs, within its order and its limits, start it with mqtt311 run --ui
and replay them on its page: Dead letters, Through the flow.`,
			`将死信交给步骤处理（与 run 处理所收消息相同），或重新发布；按文件中的顺序逐条进行。-t 中的 {topic} 代表消息原来的主题。

步骤成功或 QoS 承诺兑现之后，才在文件中追加已重放的记录。失败的死信保留，其余继续；有失败时退出码为 1。没有连接时停止。
每条至少重放一次：若进程恰在成功之后、写入记录之前结束，则会重放两次。开始前会询问；没有终端时需要 --yes。

步骤在本进程中运行。若要交给运行中的连接器的流程（遵守其顺序与限额），请用 mqtt311 run --ui 启动连接器，
并在其页面的“死信”中选择“交给流程重放”。`),
		Example: `  mqtt311 deadletter replay dead.jsonl 3f2a --exec ./store
  mqtt311 deadletter replay dead.jsonl --all --http http://127.0.0.1/in --yes
  mqtt311 deadletter replay dead.jsonl --all -t '{topic}' -c connector.yaml`,
		Args: fileAndIDs(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args[0], args[1:]) },
	}
	f := x.cmd.Flags()
	x.which.flags(p, x.cmd)
	f.BoolVar(&x.yes, "yes", false, p.Say("do not ask", "不询问"))
	x.step.Flags(p, x.cmd)
	f.StringVarP(&x.topic, "topic", "t", "", p.Say("publish to this `topic`; {topic} is that of the message", "发布到主题 `topic`；{topic} 代表消息原来的主题"))
	f.IntVarP(&x.qos, "qos", "q", 1, p.Say("quality of service to publish with: 1 or 2", "发布的 QoS：1 或 2"))
	f.StringVarP(&x.config, "config", "c", "", p.Say("publish to the server of this configuration, a `file`", "发布到配置文件 `file` 中的服务端"))
	x.ServerFlags(p, x.cmd)
	command.Complete(x.cmd, "topic", cobra.NoFileCompletions)
	command.Complete(x.cmd, "qos", command.Values("1", "2"))
	command.Complete(x.cmd, "config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
	})
	command.EndsInOrder(x.cmd)
	return x.cmd
}

func (x *replaying) run(ctx context.Context, path string, ids []string) error {
	step := x.step.Name()
	switch {
	case step == "" && x.topic == "":
		return command.Usage("say where to: --exec, --pipe, --http, --append or --topic; the flow of a connector that runs is reached by the page of mqtt311 run --ui",
			"请指定目标：--exec、--pipe、--http、--append 或 --topic；运行中的连接器的流程通过 mqtt311 run --ui 的页面重放")
	case step != "" && x.topic != "":
		return command.Usage("give one of --%s and --topic", "--%s 与 --topic 只能给出一项", step)
	case step != "" && x.config != "":
		return command.Usage("--config needs --topic", "--config 需要 --topic")
	case x.qos != 1 && x.qos != 2:
		return command.Usage("--qos is %d: it must be 1 or 2, so that the server says that it has the message", "--qos 为 %d：须为 1 或 2，以便服务端确认收到消息", x.qos)
	}
	if x.topic != "" {
		if err := packets.ValidTopicName(strings.ReplaceAll(x.topic, "{topic}", "t")); err != nil {
			return command.Usage("--topic %q: %w", "--topic %q：%w", x.topic, err)
		}
	}
	if err := x.step.Check(); err != nil {
		return err
	}
	f, err := openLetters(ctx, x.p, path)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.IsReadOnly() { // it would be replayed again, every time
		return command.Fail(command.ExitRuntime, "nothing was replayed, because it could not be recorded: %w: %s", "未重放任何死信，因为无法写入记录：%w：%s", deadletters.ErrReadOnly, path)
	}
	chosen, err := x.which.of(ctx, f, ids)
	if err != nil || len(chosen) == 0 {
		return err
	}
	to := step
	if step == "" {
		to = "topic " + x.topic
	}
	var replay func(context.Context, *deadletters.Record, []byte) error
	var done func() error
	if step == "" {
		replay, done, err = x.publisher(ctx, len(chosen), to)
	} else {
		replay, done, err = x.runner(ctx, len(chosen), to)
	}
	if err != nil {
		return err
	}
	x.log = x.p.Log()
	err = x.each(ctx, f, chosen, to, replay)
	if derr := done(); err == nil {
		err = command.Coded(command.ExitRuntime, derr)
	}
	return err
}

func (x *replaying) ask(ctx context.Context, n int, to string) error {
	return ask(ctx, x.p, x.yes, fmt.Sprintf("this replays dead letters to %s: %d", to, n), fmt.Sprintf("将重放到 %s 的死信：%d 条", to, n))
}

// runner returns a function that passes a message to the step.
func (x *replaying) runner(ctx context.Context, n int, to string) (func(context.Context, *deadletters.Record, []byte) error, func() error, error) {
	if err := x.ask(ctx, n, to); err != nil {
		return nil, nil, err
	}
	if err := x.step.Open(x.p); err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, r *deadletters.Record, payload []byte) error {
		return x.step.Run(ctx, r.Consumer, flow.NewMessage(r.Topic, payload, r.QoS, r.MessageID))
	}, x.step.Close, nil
}

// publisher returns a function that publishes a message.
func (x *replaying) publisher(ctx context.Context, n int, to string) (func(context.Context, *deadletters.Record, []byte) error, func() error, error) {
	cfg, _, err := serverOf(ctx, x.p, x.cmd, &x.Connection, x.config, "all", "search", "yes", "topic", "qos")
	if err != nil {
		return nil, nil, err
	}
	if err := x.ask(ctx, n, to); err != nil {
		return nil, nil, err
	}
	way := client.Config{
		Dial: cfg.Dial, UserName: cfg.UserName, Password: cfg.Password, Credentials: cfg.Credentials, KeepAlive: cfg.KeepAlive,
		ConnectTimeout: cfg.ConnectTimeout, Logger: cfg.Logger, Trace: cfg.Trace, CleanSession: true, ClientID: ownID("replay", ""), NoReconnect: true,
	}
	c, err := command.Connect(ctx, way)
	if err != nil {
		return nil, nil, err
	}
	publish := func(ctx context.Context, r *deadletters.Record, payload []byte) error {
		topic := strings.ReplaceAll(x.topic, "{topic}", r.Topic)
		if err := packets.ValidTopicName(topic); err != nil {
			return err
		}
		err := c.Publish(ctx, client.Message{Topic: topic, QoS: packets.QoS(x.qos), Payload: payload})
		if err != nil && c.Err() != nil {
			return &overError{err}
		}
		return err
	}
	return publish, func() error {
		out, cancel := x.p.Closing(ctx)
		defer cancel()
		command.Leave(out, c)
		return nil
	}, nil
}

// An overError means that the connection has ended.
type overError struct{ error }

func (e *overError) Unwrap() error { return e.error }

// mostReplayed limits the payload of a replayed message: no MQTT packet holds more.
const mostReplayed = packets.MaxRemainingLength

// each replays those of the chosen dead letters that still wait when their turn comes.
func (x *replaying) each(ctx context.Context, f *deadletters.File, chosen []deadletters.Entry, to string, replay func(context.Context, *deadletters.Record, []byte) error) error {
	failed := 0
	for _, e := range chosen {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f.Refresh(ctx); err != nil {
			return err
		}
		if now, err := f.Find(e.ID.String()); err == nil && now.State != e.State {
			continue // another process has changed it
		}
		r, payload, err := readLetter(f, e)
		if err == nil {
			err = replay(ctx, r, payload)
		}
		if ctx.Err() != nil && err != nil {
			return ctx.Err()
		}
		if err != nil {
			failed++
			x.log.Error("dead letter not replayed; it stays", "letter", e.ID.String(), "error", err)
			if jerr := actJSON(x.p, letterAct{Letter: e.ID, Act: "failed", To: to, Error: err.Error()}); jerr != nil {
				return jerr
			}
			if over, ok := err.(*overError); ok {
				return command.Fail(command.ExitPublish, "the connection has ended: %w", "连接已断开：%w", over.error)
			}
			continue
		}
		if err := f.Mark(context.WithoutCancel(ctx), e.ID, deadletters.Replayed, to); err != nil {
			return command.Fail(command.ExitRuntime, "%[1]s was replayed to %[2]s, and that could not be written: %[3]w", "%[1]s 已重放到 %[2]s，但未能写入记录：%[3]w", e.ID, to, err)
		}
		x.log.Info("dead letter replayed", "letter", e.ID.String(), "topic", r.Topic, "to", to)
		if err := actJSON(x.p, letterAct{Letter: e.ID, Act: "replayed", To: to}); err != nil {
			return err
		}
	}
	if failed > 0 {
		return command.Fail(command.ExitRuntime, "dead letters that were not replayed: %d of %d; they stay", "未能重放的死信：%d 条，共 %d 条；均予以保留", failed, len(chosen))
	}
	return nil
}

func readLetter(f *deadletters.File, e deadletters.Entry) (*deadletters.Record, []byte, error) {
	if e.Size > mostReplayed {
		return nil, nil, fmt.Errorf("its payload is larger than any packet of MQTT: %d bytes", e.Size)
	}
	r, err := f.Record(e)
	if err != nil {
		return nil, nil, err
	}
	payload, err := io.ReadAll(f.Payload(e))
	if err != nil {
		return nil, nil, fmt.Errorf("the payload cannot be read: %w", err)
	}
	return r, payload, nil
}
