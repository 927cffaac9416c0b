package command

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/connector/ui"
	"github.com/spf13/cobra"
)

type runOptions struct {
	stepOptions
	file         string
	producer     string
	badLines     string // empty: not given
	listen       string
	stallAfter   time.Duration
	stallIsGiven bool
	drain        time.Duration
	logLevel     string
	verbose      bool
	watch        bool
	into         bool // the consumer of nats sends to the stream
	works        bool // the messages come from the stream
	ui           bool
	page         page

	loaded    stamp        // of the file, from before it was read
	consumers atomic.Int64 // number of consumers in the configuration
	started   atomic.Bool  // the connector has been connected
}

func (p *Program) runCommand() *cobra.Command {
	o := new(runOptions)
	cmd := &cobra.Command{
		Use:   "run [-c] FILE",
		Short: p.Say("Run a connector: its consumers and its producers", "运行连接器：其 Consumer 与 Producer"),
		Long: p.Say(`Run a connector until it is interrupted, or until standard input ends if it has no
consumers. After an interrupt the messages that are being processed end first, within
--drain-timeout; a second interrupt ends at once.

What a consumer does with a message is one step, and the message is acknowledged when it
succeeded, as the configuration says:

  (none)    a JSON line on standard output
  --exec    a command for each message: the payload is its standard input;
            MQTT_TOPIC, MQTT_QOS, MQTT_MESSAGE_ID and MQTT_CONSUMER are in its
            environment. Exit code 0 is success, 65 says that this message will
            never succeed
  --pipe    a command that keeps running: it reads
            {"id": "1", "consumer": "in", "attribute": {...}, "payload": "21"}
            and answers {"id": "1", "ok": true, "payload": "result"} or
            {"id": "1", "ok": false, "error": "why", "permanent": true}, in any
            order
  --http    a POST with the payload, MQTT-Topic (percent-encoded), MQTT-QoS,
            MQTT-Message-Id and MQTT-Consumer. 2xx is success; 4xx says that
            this message will never succeed, but for 401, 403, 404, 407, 408,
            425 and 429
  --append  a JSON line in a file, synced

--then publishes what the step gave back with a producer of the configuration. To the topics of the
consumer itself it does not: that loop would be endless.

SIGHUP reads the configuration again and applies what can be changed without a restart; what
needs one is named. A configuration with mistakes is not applied. --watch does so whenever the
file has changed.

Producers are fed from standard input: JSON lines as {"producer": "commands",
"payload": "on", "attribute": {}, "variable": {"line": 7}}; payload_base64 holds bytes.
With --producer each line is a payload for that one. A terminal is read with --producer or
without consumers only. While the server is away lines wait. A line that cannot be published
ends run without consumers, and is skipped with consumers; --bad-lines decides otherwise.`,
			`运行连接器，直到被中断；没有 Consumer 时，直到标准输入结束。中断后，正在处理的消息会在
--drain-timeout 内先处理完；再次中断则立即结束。

Consumer 对每条消息执行一个步骤，成功后按配置确认消息：

  （默认）  在标准输出写一行 JSON
  --exec    对每条消息运行一个命令：标准输入为消息内容，环境变量有 MQTT_TOPIC、
            MQTT_QOS、MQTT_MESSAGE_ID 和 MQTT_CONSUMER。退出码 0 为成功，
            65 表示该消息永远无法成功
  --pipe    常驻命令，读取
            {"id": "1", "consumer": "in", "attribute": {...}, "payload": "21"}
            并以任意顺序应答 {"id": "1", "ok": true, "payload": "result"} 或
            {"id": "1", "ok": false, "error": "why", "permanent": true}
  --http    POST 消息内容，请求头有 MQTT-Topic（百分号编码）、MQTT-QoS、
            MQTT-Message-Id 和 MQTT-Consumer。2xx 为成功；4xx 表示该消息永远
            无法成功，但 401、403、404、407、408、425、429 除外
  --append  在文件中追加一行 JSON，并落盘

--then 用配置中的 Producer 发布步骤的结果。若其主题会被该 Consumer 再次收到（死循环），则拒绝运行。

收到 SIGHUP 时重新读取配置，无需重启即可更改的设置立即生效，需重启的设置会列出；配置有错误时
继续使用原配置。--watch 在配置文件更改后自动执行同样的操作。

Producer 的输入来自标准输入，每行一个 JSON：{"producer": "commands", "payload": "on",
"attribute": {}, "variable": {"line": 7}}；payload_base64 用于二进制内容。给出 --producer 时，
每行即为该 Producer 的消息内容。仅在给出 --producer 或没有 Consumer 时才读取终端输入。服务端
不可用期间，各行排队等待。遇到无法发布的行时，没有 Consumer 则结束运行，有 Consumer 则跳过该行；
可用 --bad-lines 指定。`),
		Example: `  mqtt311 run -c connector.yaml
  mqtt311 run -c connector.yaml --exec 'jq .celsius >> readings.txt'
  mqtt311 run -c connector.yaml --pipe 'python3 store.py' --step-timeout 30s
  mqtt311 run -c connector.yaml --http https://example.com/in -H 'X-Key: ${KEY}'
  mqtt311 run -c connector.yaml --append readings.jsonl --listen 127.0.0.1:9300
  mqtt311 run -c connector.yaml --exec 'jq .celsius' --then celsius
  generate | mqtt311 run -c connector.yaml --producer commands`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.stallIsGiven = cmd.Flags().Changed("stall-after")
			if o.drain < 0 {
				return Usage("--drain-timeout is not negative", "--drain-timeout 不能为负")
			}
			return o.run(cmd.Context(), p)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	p.configFlag(cmd, &o.file)
	o.stepOptions.flags(p, cmd)
	f.StringVar(&o.producer, "producer", "", p.Say("feed lines of standard input to this `producer`", "将标准输入的每行交给此 `producer`"))
	if p.Streams != nil {
		cmd.Example += "\n  mqtt311 run -c connector.yaml --into   # into the stream of nats"
		f.BoolVar(&o.into, "into", false, p.Say("move what the consumer of nats receives into the stream, where work takes it", "将 nats 所指 Consumer 收到的消息放入流，由 work 处理"))
	}
	f.StringVar(&o.badLines, "bad-lines", "", p.Say("`what` to do with a line of standard input that cannot be published: stop or skip (stop; skip with consumers)", "标准输入中的某行无法发布时的处理 `what`：stop 停止，skip 跳过（默认 stop；有 Consumer 时为 skip）"))
	o.serviceFlags(p, cmd)
	Complete(cmd, "producer", producers)
	Complete(cmd, "bad-lines", Values("stop", "skip"))
	f.BoolVar(&o.watch, "watch", false, p.Say("apply the configuration again when its file has changed and then was left alone for a second", "配置文件更改且静置一秒后，重新应用配置"))
	f.BoolVar(&o.ui, "ui", false, p.Say("serve the page of the connector, as mqtt311 ui does, and print its address", "提供连接器页面（同 mqtt311 ui），并输出其地址"))
	o.page.flags(p, cmd, "ui-")
	return cmd
}

// serviceFlags adds the flags of a command that runs until it is interrupted.
func (o *runOptions) serviceFlags(p *Program, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", p.Say("serve /metrics, /livez and /readyz on this `address`", "在此地址 `address` 提供 /metrics、/livez 和 /readyz"))
	f.DurationVar(&o.stallAfter, "stall-after", 0, p.Say("the connector is stalled when a message waits for its acknowledgement so long, 0: never (stall_timeout of the configuration, or 5m)", "消息未确认超过此时间即视为停滞，0 为不判断（默认为配置的 stall_timeout 或 5m）"))
	f.DurationVar(&o.drain, "drain-timeout", 25*time.Second, p.Say("how long flows may take to end after an interrupt", "中断后等待处理中的消息结束的时间"))
	f.StringVar(&o.logLevel, "log-level", "", p.Say("log on standard error from this `level`: debug, info, warn, error (info; warn on a terminal); JSON lines, text on a terminal", "向标准错误输出此级别 `level` 以上的日志：debug、info、warn、error（默认 info；终端上为 warn）；终端上为文本，否则为 JSON 行"))
	f.BoolVarP(&o.verbose, "verbose", "v", false, p.Say("the same as --log-level debug", "等同于 --log-level debug"))
	Complete(cmd, "log-level", logLevels())
	noFiles(cmd, "listen", "stall-after", "drain-timeout")
}

func (o *runOptions) run(ctx context.Context, p *Program) error {
	o.loaded = stampOf(o.file)
	cfg, findings, err := p.load(o.file)
	if err != nil {
		return err
	}
	if err := o.checkStreams(p, cfg); err != nil {
		return err
	}
	if err := o.adopt(cfg, func(found []connector.Finding) { p.printFindings(p.Stderr, o.file, found) }); err != nil {
		return err
	}
	switch {
	case o.badLines != "" && o.badLines != "stop" && o.badLines != "skip":
		return Usage("--bad-lines %q is neither stop nor skip", "--bad-lines %q 既不是 stop 也不是 skip", o.badLines)
	case o.ui && o.watch:
		return Usage("--ui and --watch: with both, what the page saves would be applied without being looked at; the page has a button for that", "--ui 与 --watch 不能同时使用：页面保存的内容会未经检查即被应用；页面上有“应用”按钮")
	case o.badLines != "" && !o.feeds(p, cfg):
		return Usage("--bad-lines needs producers that standard input feeds", "--bad-lines 需要由标准输入提供消息的 Producer")
	}
	if o.works {
		if err := forWork(cfg); err != nil {
			return err
		}
	}
	show := p.progress(!p.Quiet)
	defer show.end()
	log, err := o.logger(p, show)
	if err != nil {
		return err
	}
	if show.screen != nil {
		log = slog.New(sieve{log.Handler(), func(message string) bool { return o.toldElsewhere(ctx, cfg, message) }})
	}
	if show.screen == nil { // log lines for programs say which connector this is
		log = log.With("connector", strings.TrimSuffix(filepath.Base(o.file), filepath.Ext(o.file)), "client_id", cfg.General.ClientID)
	}
	p.tell(show, log, o.file, findings)
	s, err := o.step(p, show, log)
	if err != nil {
		return err
	}
	over := make(chan struct{})
	defer close(over)
	go reapOrphans(over)
	if cfg.Lease() != nil {
		err = o.divide(ctx, p, cfg, s, log)
	} else {
		err = o.runConnector(ctx, p, cfg, s, show, log)
	}
	if cerr := s.close(); err == nil && cerr != nil {
		err = Coded(ExitRuntime, cerr)
	}
	return err
}

// toldElsewhere reports whether a user does not need this log record: failed attempts to connect are reported once,
// and the final error has the rest.
func (o *runOptions) toldElsewhere(ctx context.Context, cfg *connector.Config, message string) bool {
	switch message {
	case "connect failed":
		return true
	case "the connector has trouble":
		return ctx.Err() != nil || !o.started.Load() && !cfg.Advanced.ConnectRetry
	}
	return false
}

// adopt checks a configuration against the flags, reports its findings, and applies the flags to it.
func (o *runOptions) adopt(cfg *connector.Config, tell func([]connector.Finding)) error {
	for flag, name := range map[string]string{"--producer": o.producer, "--then": o.then} {
		if _, ok := cfg.Producers[name]; name != "" && !ok {
			return Usage("%s: there is no producer %q in %s", "%s：%[3]s 中没有 Producer %[2]q", flag, name, o.file)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Consumers)) {
		if o.then == "" {
			break
		}
		if found := cfg.CheckThen(name, o.then); len(found) > 0 {
			tell(found)
			return Usage("--then %s: an endless loop", "--then %s：形成死循环", o.then)
		}
	}
	if o.into {
		forGateway(cfg)
	}
	if o.stallIsGiven {
		cfg.Extension.StallTimeout = &o.stallAfter
	}
	return nil
}

// logger returns the log, which does not disturb the line of progress.
func (o *runOptions) logger(p *Program, show *status) (*slog.Logger, error) {
	level := slog.LevelInfo
	switch {
	case o.logLevel != "":
		if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
			return nil, Usage("--log-level %q is none of debug, info, warn, error", "--log-level %q 不是 debug、info、warn、error 之一", o.logLevel)
		}
	case o.verbose:
		level = slog.LevelDebug
	case show.on:
		level = slog.LevelWarn
	}
	return p.logTo(show, show.screen, level), nil
}

func (o *runOptions) runConnector(ctx context.Context, p *Program, cfg *connector.Config, s step, show *status, log *slog.Logger) error {
	c, err := connector.New(*cfg, connector.Options{Logger: log})
	if err != nil {
		return Coded(ExitUsage, err)
	}
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	part, streamed := o.part(p, cfg, c, s, log)
	r := &reloader{o: o, p: p, c: c, cfg: cfg, step: s, show: show, log: log, known: make(map[string]bool), interrupt: interrupt}
	for name := range cfg.Consumers {
		r.known[name] = true
		if part != nil && name == streamed {
			continue
		}
		if err := c.Consume(name, o.flowOf(name, s, c, log)); err != nil {
			return Coded(ExitUsage, err)
		}
	}
	w := &watch{members: func() []member { return []member{{c: c}} }, part: part, say: p.Say, restarts: restartsOf(s)}
	o.consumers.Store(int64(len(cfg.Consumers)))
	defer r.catch()()
	if o.listen != "" {
		stop, err := w.serve(o.listen, log)
		if err != nil {
			return Usage("--listen: %w", "--listen：%w", err)
		}
		defer stop()
	}
	if part != nil {
		defer part.Close()
		if err := openPart(ctx, part, cfg, log); err != nil || ctx.Err() != nil {
			c.Stop(context.WithoutCancel(ctx)) // closes stores that are already open
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	if o.ui {
		s, err := o.page.start(ui.Options{File: o.file, Running: c, Apply: r.applyPage, Logger: log}, "ui-")
		if err != nil {
			return err
		}
		defer closePage(ctx, s)
		p.tellPage(show, s.URL())
	}
	f := o.feeder(ctx, p, c, cfg, log)
	left := 0
	running, err := o.start(ctx, c, f)
	if running {
		o.started.Store(true)
		show.every(func() string { return p.health(show, c.Health()) })
		stopReloading := r.start(ctx)
		failed, stopPart := runPart(ctx, part)
		err = o.serve(ctx, c, f, failed, log)
		stopReloading()
		w.stopping.Store(true)
		stopPart()
		f.cease()
		var serr error
		if left, serr = o.stop(ctx, p, c, f, log); err == nil {
			err = serr
		}
		f.await()
	}
	err = f.with(err, ctx.Err() != nil)
	if running || f != nil {
		p.tellEnd(c, left, log)
	}
	return err
}

// tellEnd reports how many messages are left at the end, and what happens to them.
func (p *Program) tellEnd(c *connector.Connector, left int, log *slog.Logger) {
	if stored := c.Health().Stored; stored > 0 {
		log.Warn("stopped", "left", left, "left_in_store", stored, "then", p.Say("the next run of this configuration publishes them", "下次以此配置运行时发布"))
		return
	}
	log.Info("stopped", "left", left)
}

// flowOf returns the flow of a consumer.
func (o *runOptions) flowOf(consumer string, s step, c *connector.Connector, log *slog.Logger) flow.Flow {
	return logged(log.With("consumer", consumer), o.stepOptions.flow(s, c, consumer))
}

// logged logs the outcome of each run of a flow at debug level.
func logged(log *slog.Logger, f flow.Flow) flow.Flow {
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		start := time.Now()
		out, err := f.Run(ctx, m)
		if err == nil {
			log.Debug("flow succeeded", "topic", m.Topic(), "id", m.Attribute[flow.AttributeMessageID], "took", time.Since(start))
		}
		return out, err
	})
}

// stop lets running flows end within the drain timeout. It returns how many messages were unfinished then.
func (o *runOptions) stop(ctx context.Context, p *Program, c *connector.Connector, f *feeder, log *slog.Logger) (int, error) {
	stopCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	over, watched := make(chan struct{}), make(chan struct{})
	left := 0 // unacknowledged messages when the time was over
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
	switch why := context.Cause(stopCtx); {
	case errors.Is(why, context.DeadlineExceeded) && left > 0:
		return left, Fail(ExitTimeout, "messages that were not done after %s: %d; the server keeps what it may", "%s 后仍未完成的消息：%d 条；服务端会保留其可保留的部分", o.drain, left)
	case errors.Is(why, context.DeadlineExceeded) && f != nil: // the feed reports lines in flight
		if err != nil {
			log.Warn(p.text(err))
		}
		return 0, nil
	case errors.Is(why, context.Canceled) && left == 0:
		return left, Fail(ExitInterrupt, "interrupted again before the connector had stopped", "连接器停止之前再次被中断")
	case errors.Is(why, context.Canceled):
		return left, Fail(ExitInterrupt, "interrupted before messages were done: %d", "在消息处理完之前被中断：%d 条", left)
	}
	return left, Coded(ExitRuntime, err)
}

// serve waits for a reason to end. f may be nil.
func (o *runOptions) serve(ctx context.Context, c *connector.Connector, f *feeder, partFailed <-chan error, log *slog.Logger) error {
	var failed <-chan error
	var over <-chan struct{}
	if f != nil {
		failed, over = f.failed, f.over
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Done():
			return Coded(codeOf(c.Err()), c.Err())
		case err := <-failed:
			return err
		case err := <-partFailed:
			return err
		case <-over:
			over = nil
			select {
			case err := <-failed:
				return err
			default:
			}
			if o.consumers.Load() == 0 {
				return nil
			}
			if err := f.outcome(false); err != nil {
				log.Error(f.p.text(err))
			}
		}
	}
}

// feeds reports whether standard input is for producers.
func (o *runOptions) feeds(p *Program, cfg *connector.Config) bool {
	switch {
	case o.works || len(cfg.Producers) == 0:
		return false
	case o.producer != "" || len(cfg.Consumers) == 0:
		return true
	}
	return o.then == "" && !terminal.Is(p.Stdin)
}
