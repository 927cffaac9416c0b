package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/spf13/cobra"
)

type runOptions struct {
	stepOptions
	file         string
	producer     string
	listen       string
	stallAfter   time.Duration
	stallIsGiven bool
	drain        time.Duration
	logLevel     string
	verbose      bool
}

func (p *program) runCommand() *cobra.Command {
	o := new(runOptions)
	cmd := &cobra.Command{
		Use:   "run [-c] FILE",
		Short: p.say("Run a connector: its consumers and its producers", "运行连接器：其 Consumer 与 Producer"),
		Long: p.say(`Run a connector until it is interrupted, or until standard input ends if it has no
consumers. After an interrupt the messages that are being processed end first, within
--drain-timeout; a second interrupt ends at once.

What a consumer does with a message is one step, and the message is acknowledged when it
succeeded, as the configuration says:

  (none)    a JSON line on standard output
  --exec    a command for each message: the payload is its standard input, MQTT_TOPIC,
            MQTT_QOS, MQTT_MESSAGE_ID and MQTT_CONSUMER are in its environment. Exit code 0
            is success, 65 says that this message will never succeed
  --pipe    a command that keeps running: it reads
            {"id": "1", "consumer": "in", "attribute": {...}, "payload": "21"}
            and answers {"id": "1", "ok": true, "payload": "result"} or
            {"id": "1", "ok": false, "error": "why", "permanent": true}, in any order
  --http    a POST with the payload, MQTT-Topic (percent-encoded), MQTT-QoS,
            MQTT-Message-Id and MQTT-Consumer. 2xx is success; 4xx says that this message
            will never succeed, but for 401, 403, 404, 407, 408, 425 and 429
  --append  a JSON line in a file, synced

--then publishes what the step gave back with a producer of the configuration.

Producers are fed from standard input: JSON lines as {"producer": "commands",
"payload": "on", "attribute": {}, "variable": {"line": 7}}; payload_base64 holds bytes.
With --producer each line is a payload for that one. A terminal is read with --producer or
without consumers only.`,
			`运行连接器，直到被中断；没有 Consumer 时，直到标准输入结束。中断后，正在处理的消息会在
--drain-timeout 内先处理完；再次中断则立即结束。

Consumer 对每条消息执行一个步骤，成功后按配置确认消息：

  （缺省）  在标准输出写一行 JSON
  --exec    对每条消息运行一个命令：标准输入为消息内容，环境变量有 MQTT_TOPIC、MQTT_QOS、
            MQTT_MESSAGE_ID 和 MQTT_CONSUMER。退出码 0 为成功，65 表示该消息永远无法成功
  --pipe    常驻命令，读取
            {"id": "1", "consumer": "in", "attribute": {...}, "payload": "21"}
            并以任意顺序应答 {"id": "1", "ok": true, "payload": "result"} 或
            {"id": "1", "ok": false, "error": "why", "permanent": true}
  --http    POST 消息内容，请求头有 MQTT-Topic（百分号编码）、MQTT-QoS、MQTT-Message-Id 和
            MQTT-Consumer。2xx 为成功；4xx 表示该消息永远无法成功，但 401、403、404、407、
            408、425、429 除外
  --append  在文件中追加一行 JSON，并落盘

--then 用配置中的 Producer 发布步骤的结果。

Producer 的输入来自标准输入，每行一个 JSON：{"producer": "commands", "payload": "on",
"attribute": {}, "variable": {"line": 7}}；payload_base64 用于二进制内容。给出 --producer 时，
每行即为该 Producer 的消息内容。仅在给出 --producer 或没有 Consumer 时才读取终端输入。`),
		Example: `  mqtt311 run -c connector.yaml
  mqtt311 run -c connector.yaml --exec 'jq .celsius >> readings.txt'
  mqtt311 run -c connector.yaml --pipe 'python3 store.py' --step-timeout 30s
  mqtt311 run -c connector.yaml --http https://example.com/in -H 'Authorization: Bearer ${TOKEN}'
  mqtt311 run -c connector.yaml --append readings.jsonl --listen 127.0.0.1:9300
  mqtt311 run -c connector.yaml --exec 'jq .celsius' --then celsius
  generate | mqtt311 run -c connector.yaml --producer commands`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.stallIsGiven = cmd.Flags().Changed("stall-after")
			return o.run(cmd.Context(), p)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	p.configFlag(cmd, &o.file)
	o.stepOptions.flags(p, cmd)
	f.StringVar(&o.producer, "producer", "", p.say("feed lines of standard input to this `producer`", "将标准输入的每行交给此 `producer`"))
	f.StringVar(&o.listen, "listen", "", p.say("serve /metrics, /livez and /readyz on this `address`", "在此地址 `address` 提供 /metrics、/livez 和 /readyz"))
	f.DurationVar(&o.stallAfter, "stall-after", 0, p.say("the connector is stalled when a message waits for its acknowledgement so long, 0: never (stall_timeout of the configuration, or 5m)", "消息未确认超过此时间即视为停滞，0 为不判断（缺省为配置的 stall_timeout 或 5m）"))
	f.DurationVar(&o.drain, "drain-timeout", 25*time.Second, p.say("how long flows may take to end after an interrupt", "中断后等待处理中的消息结束的时间"))
	f.StringVar(&o.logLevel, "log-level", "", p.say("log as JSON lines on standard error from this `level`: debug, info, warn, error (info; warn on a terminal)", "以 JSON 行向标准错误输出此级别 `level` 以上的日志：debug、info、warn、error（缺省 info；终端上为 warn）"))
	f.BoolVarP(&o.verbose, "verbose", "v", false, p.say("the same as --log-level debug", "等同于 --log-level debug"))
	complete(cmd, "producer", producers)
	complete(cmd, "log-level", logLevels())
	for _, flag := range []string{"listen", "stall-after", "drain-timeout"} {
		complete(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}

func (o *runOptions) run(ctx context.Context, p *program) error {
	cfg, findings, err := p.load(o.file)
	if err != nil {
		return err
	}
	for flag, name := range map[string]string{"--producer": o.producer, "--then": o.then} {
		if _, ok := cfg.Producers[name]; name != "" && !ok {
			return usage("%s: there is no producer %q in %s", "%s：%[3]s 中没有 Producer %[2]q", flag, name, o.file)
		}
	}
	if o.stallIsGiven {
		cfg.Extension.StallTimeout = &o.stallAfter
	}
	show := p.progress(!p.quiet)
	defer show.end()
	log, err := o.logger(p, show)
	if err != nil {
		return err
	}
	log = log.With("connector", strings.TrimSuffix(filepath.Base(o.file), filepath.Ext(o.file)), "client_id", cfg.General.ClientID)
	if show.on {
		p.printFindings(p.stderr, o.file, findings)
	} else { // a log is read by programs
		for _, f := range findings {
			log.Warn(p.say(f.Message, f.MessageZH), "code", f.Code, "path", f.Path, "line", f.Line, "column", f.Column, "fix", p.say(f.Fix, f.FixZH))
		}
	}
	s, err := o.step(p, show, log)
	if err != nil {
		return err
	}
	err = o.runConnector(ctx, p, cfg, s, show, log)
	if cerr := s.close(); err == nil && cerr != nil {
		err = coded(exitRuntime, cerr)
	}
	return err
}

// logger makes the log as JSON lines, beside the line of progress.
func (o *runOptions) logger(p *program, show *status) (*slog.Logger, error) {
	level := slog.LevelInfo
	switch {
	case o.logLevel != "":
		if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
			return nil, usage("--log-level %q is none of debug, info, warn, error", "--log-level %q 不是 debug、info、warn、error 之一", o.logLevel)
		}
	case o.verbose:
		level = slog.LevelDebug
	case show.on:
		level = slog.LevelWarn
	}
	return slog.New(slog.NewJSONHandler(show, &slog.HandlerOptions{Level: level, ReplaceAttr: readable})), nil
}

// readable writes durations as people do, and not as a number of nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
	}
	return a
}

func (o *runOptions) runConnector(ctx context.Context, p *program, cfg *connector.Config, s step, show *status, log *slog.Logger) error {
	c, err := connector.New(*cfg, connector.Options{Logger: log})
	if err != nil {
		return coded(exitUsage, err)
	}
	for name := range cfg.Consumers {
		if err := c.Consume(name, logged(log.With("consumer", name), o.stepOptions.flow(s, c, name))); err != nil {
			return coded(exitUsage, err)
		}
	}
	w := &watch{c: c, say: p.say}
	if o.listen != "" {
		stop, err := w.serve(o.listen, log)
		if err != nil {
			return usage("--listen: %w", "--listen：%w", err)
		}
		defer stop()
	}
	if err := c.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // an interrupt is how it is meant to end
		}
		return coded(codeOf(err), err)
	}
	show.every(func() string { return p.health(show, c.Health()) })
	err = o.serve(ctx, p, c, cfg)
	w.stopping.Store(true)
	if serr := o.stop(ctx, p, c, log); err == nil {
		err = serr
	}
	return err
}

// logged tells at debug level what became of each run of a flow.
func logged(log *slog.Logger, f connector.Flow) connector.Flow {
	return connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		start := time.Now()
		out, err := f.Run(ctx, m)
		if err == nil {
			log.Debug("flow succeeded", "topic", m.Topic(), "id", m.Attribute[connector.AttributeMessageID], "took", time.Since(start))
		}
		return out, err
	})
}

// stop lets running flows end, as long as there is patience.
func (o *runOptions) stop(ctx context.Context, p *program, c *connector.Connector, log *slog.Logger) error {
	stopCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	over, watched := make(chan struct{}), make(chan struct{})
	left := 0 // when patience ended
	go func() {
		defer close(watched)
		patience := time.NewTimer(o.drain)
		defer patience.Stop()
		var why error
		select {
		case <-over:
			return
		case <-p.hurry:
			why = context.Canceled
		case <-patience.C:
			why = context.DeadlineExceeded
		}
		left = c.Health().Unacked
		cancel(why)
	}()
	err := c.Stop(stopCtx)
	close(over)
	<-watched
	log.Info("stopped", "left", left)
	switch why := context.Cause(stopCtx); {
	case errors.Is(why, context.DeadlineExceeded) && left > 0:
		return fail(exitTimeout, "messages that were not done after %s: %d; the server keeps what it may", "%s 后仍未完成的消息：%d 条；服务端会保留其可保留的部分", o.drain, left)
	case errors.Is(why, context.Canceled) && left == 0:
		return fail(exitInterrupt, "interrupted again before the connector had stopped", "连接器停止之前再次被中断")
	case errors.Is(why, context.Canceled):
		return fail(exitInterrupt, "interrupted before messages were done: %d", "在消息处理完之前被中断：%d 条", left)
	}
	return coded(exitRuntime, err)
}

// serve feeds the producers until there is a reason to end.
func (o *runOptions) serve(ctx context.Context, p *program, c *connector.Connector, cfg *connector.Config) error {
	fed := make(chan error, 1)
	if o.feeds(p, cfg) {
		go func() { fed <- o.feed(ctx, p, c) }()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Done():
			return coded(codeOf(c.Err()), c.Err())
		case err := <-fed:
			if err != nil || len(cfg.Consumers) == 0 {
				return err
			}
			fed = nil
		}
	}
}

// feeds reports whether standard input is for producers.
func (o *runOptions) feeds(p *program, cfg *connector.Config) bool {
	switch {
	case len(cfg.Producers) == 0:
		return false
	case o.producer != "" || len(cfg.Consumers) == 0:
		return true
	}
	return o.then == "" && !terminal(p.stdin)
}

// A stdinLine is a message for a producer.
type stdinLine struct {
	Producer  string         `json:"producer"`
	Attribute map[string]any `json:"attribute"`
	Variable  map[string]any `json:"variable"`
	content
}

// feed gives lines of standard input to producers until it ends.
func (o *runOptions) feed(ctx context.Context, p *program, c *connector.Connector) error {
	in, n := p.pieces(ctx, false), 0
	for piece := range in.all {
		n++
		if err := o.feedLine(ctx, c, piece); err != nil {
			return badLine(n, err)
		}
	}
	if err := in.err(); err != nil && ctx.Err() == nil {
		return badInput(err)
	}
	return nil
}

func (o *runOptions) feedLine(ctx context.Context, c *connector.Connector, text []byte) error {
	if o.producer != "" {
		m := &connector.Message{Payload: connector.Entity{Blob: text}}
		_, err := c.Producer(o.producer).Run(ctx, m)
		return err
	}
	var l stdinLine
	if err := decodeLine(text, &l); err != nil {
		return fmt.Errorf("not a message (%w); with --producer each line is a payload", err)
	}
	prod := c.Producer(l.Producer)
	if prod == nil {
		return fmt.Errorf("there is no producer %q", l.Producer)
	}
	payload, mimeType, given, err := l.bytes()
	switch {
	case err != nil:
		return err
	case !given && !prod.HasPayload():
		return errors.New(`the line has no payload, and neither has the producer: "payload": "" is an empty one`)
	}
	m := &connector.Message{Payload: connector.Entity{Blob: payload, MimeType: mimeType}, Attribute: l.Attribute, Variable: l.Variable}
	_, err = prod.Run(ctx, m)
	return err
}
