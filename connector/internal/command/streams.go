package command

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/spf13/cobra"
)

// Streams runs the parts of a configuration that need NATS servers. The command mqtt311-nats has it, mqtt311
// does not.
type Streams interface {
	// Gateway moves the messages of the consumer named in cfg.NATS into the stream.
	Gateway(cfg *connector.Config, c *connector.Connector, log *slog.Logger) Part

	// Worker runs a flow for each message of the stream. patience is how long running flows may continue after an
	// interrupt.
	Worker(cfg *connector.Config, c *connector.Connector, f flow.Flow, patience time.Duration, log *slog.Logger) Part

	// Division runs a connector for each partition that this process has leased.
	Division(cfg *connector.Config, o DivisionOptions) Part
}

// A Part runs beside a connector, or runs several.
type Part interface {
	// Open connects, before the connector is started. After an error with ExitConnection, which may be temporary,
	// it may be called again.
	Open(ctx context.Context) error

	// Run works until ctx ends; it is called after the connector was started. Unfinished messages may continue until Close.
	Run(ctx context.Context) error

	// Close ends the part, after the connector was stopped.
	Close()

	// Collect adds the metrics of the part.
	Collect(e *Exposition)

	// Reasons calls add for each reason why the part is not ready, with a code, and a format in both
	// languages.
	Reasons(add func(code, en, zh string, args ...any))
}

// DivisionOptions are what a Division needs from the command.
type DivisionOptions struct {
	Into     bool // the consumer named in cfg.NATS sends to the stream
	Patience time.Duration
	Logger   *slog.Logger

	// Flow returns the flow of a consumer that does not send to the stream.
	Flow func(c *connector.Connector, consumer string) flow.Flow

	// Joined and Left are called with the connector of a partition: Joined before it is started, Left after this
	// process has given it up.
	Joined func(partition int, c *connector.Connector)
	Left   func(partition int, c *connector.Connector)
}

// MainNATS runs the command mqtt311-nats, with further verbs, and exits.
func MainNATS(s Streams, verbs ...Verb) { (&Program{Streams: s}).main(verbs) }

// name returns the name by which the user called the command.
func (p *Program) name() string {
	if p.Streams != nil {
		return "mqtt311-nats"
	}
	return "mqtt311"
}

// checkStreams refuses a configuration with a stream or leases if the command would run without them.
func (o *runOptions) checkStreams(p *Program, cfg *connector.Config) error {
	streamed := cfg.NATS != nil && cfg.NATS.Stream != ""
	switch {
	case p.Streams == nil && (cfg.NATS != nil || cfg.Lease() != nil):
		return Usage("%s has a stream of NATS or partitions by lease, which mqtt311 cannot run; mqtt311-nats can: take it from the release, or build it with go build -C connector/jetstream ./cmd/mqtt311-nats",
			"%s 中有 NATS 流或租约分区，mqtt311 不支持，请使用 mqtt311-nats：发布文件中有，也可以自行构建：go build -C connector/jetstream ./cmd/mqtt311-nats", o.file)
	case (o.into || o.works) && !streamed:
		return Usage("%s names no stream: nats.stream is missing", "%s 中没有流：缺少 nats.stream", o.file)
	case streamed && !o.into && !o.works:
		return Usage("%s has the stream %s: run --into moves messages into it, and work takes them out of it", "%s 中有流 %s：消息入流用 run --into，出流用 work", o.file, cfg.NATS.Stream)
	case o.into && len(cfg.Consumers) == 1 && (o.exec != "" || o.pipe != "" || o.http != "" || o.append != "" || o.then != ""):
		return Usage("with --into nothing is left for a step: give it to work", "使用 --into 时没有消息可供步骤处理：请将步骤交给 work")
	case cfg.Lease() != nil && !o.works && (o.producer != "" || o.badLines != ""):
		return Usage("partitions by lease have no single connection for standard input: leave --producer and --bad-lines out", "租约分区没有唯一的连接可供标准输入使用：请去掉 --producer 和 --bad-lines")
	case cfg.Lease() != nil && !o.works && o.watch:
		return Usage("a configuration with leases is applied by a restart: leave --watch out", "带租约的配置在重启后生效：请去掉 --watch")
	}
	return nil
}

// workCommand returns the command for the receiving end of a stream.
func (p *Program) workCommand() *cobra.Command {
	o := &runOptions{works: true}
	cmd := &cobra.Command{
		Use:   "work [-c] FILE",
		Short: p.Say("Run the flow of a consumer for what comes out of a stream", "对从流中取出的消息运行 Consumer 的流"),
		Long: p.Say(`Take messages out of the stream of a configuration, where run --into has put
them, until interrupted. Any number of processes share the work: each has as
many partitions of the stream as the others, by lease, and those of a process
that dies pass on after lease_ttl.

The step is one of those of run. Retries, pauses and dead letters are those of
the consumer. A message is acknowledged to the stream when the step succeeded
or the failure policy has disposed of it. With order_by: topic, or order:
strict, messages with one key run in the order of the stream.

A worker connects to the MQTT server for producers and dead letters, with
-work- and letters of its own behind each client id, and keeps no session: what
it has not done is in the stream. After an interrupt the messages that are
being processed end first, within --drain-timeout.`,
			`从配置的流中取出 run --into 放入的消息并处理，直到被中断。可运行任意多个进程：
各进程通过租约均分流的分区；进程异常退出后，其分区在 lease_ttl 之后转给其他进程。

步骤与 run 相同；重试、间隔与死信由 Consumer 的配置决定。步骤成功，或失败策略
处理完毕后，才向流确认消息。使用 order_by: topic 或 order: strict 时，键相同的
消息按流中的顺序处理。

work 为 Producer 和死信连接 MQTT 服务端，各客户端 ID 后加 -work- 与随机字母，
且不保留会话：未完成的消息都在流中。中断后，正在处理的消息会在 --drain-timeout
内先处理完。`),
		Example: `  mqtt311 work -c connector.yaml --exec 'jq .celsius >> readings.txt'
  mqtt311 work -c connector.yaml --http https://example.com/in
  mqtt311 work -c connector.yaml --then up   # store and forward`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.stallIsGiven = cmd.Flags().Changed("stall-after")
			return o.run(cmd.Context(), p)
		},
	}
	cmd.Flags().SortFlags = false
	p.configFlag(cmd, &o.file)
	o.stepOptions.flags(p, cmd)
	o.serviceFlags(p, cmd)
	return cmd
}

// forWork turns a configuration into that of a worker: with only the consumer of the stream, and sessions that end
// with the process.
func forWork(cfg *connector.Config) error {
	name := cfg.NATSConsumer()
	consumer := cfg.Consumers[name]
	consumer.ShareGroup, consumer.Partition, consumer.Ledger = "", nil, false
	if consumer.OrderBy == 0 && cfg.NATS.Strict {
		consumer.OrderBy = connector.OrderTopic
	}
	cfg.Consumers = map[string]connector.ConsumerParams{name: consumer}
	for _, name := range slices.Sorted(maps.Keys(cfg.Producers)) {
		if cfg.Producers[name].DoneWhen == connector.DoneWhenStored {
			return Usage("producer %s has done_when: stored, and a worker keeps no session store: the stream keeps the message until it is confirmed", "Producer %s 的 done_when 为 stored，而 work 没有会话存储：消息在确认之前一直保留在流中", name)
		}
	}
	ours := "-work-" + randomEnd()
	passing := func(g *connector.General, a *connector.Advanced, x *connector.Extension) {
		clean := true
		g.ClientID += ours
		a.CleanSession, a.WillEnabled, a.WillTopic, a.WillPayload, a.WillQoS, a.WillRetained = &clean, false, "", "", 0, false
		x.SessionStore, x.Unmatched = nil, ""
	}
	passing(&cfg.General, &cfg.Advanced, &cfg.Extension)
	for name, n := range cfg.Connections {
		passing(&n.General, &n.Advanced, &n.Extension)
		cfg.Connections[name] = n
	}
	return nil
}

// forGateway lets the consumer of a stream process messages without waiting for earlier ones: the gateway keeps
// them in order.
func forGateway(cfg *connector.Config) {
	name := cfg.NATSConsumer()
	consumer := cfg.Consumers[name]
	consumer.OrderBy = connector.OrderNone
	cfg.Consumers[name] = consumer
}

// part returns the part that runs beside the connector, and its consumer, or nil.
func (o *runOptions) part(p *Program, cfg *connector.Config, c *connector.Connector, s step, log *slog.Logger) (Part, string) {
	name := cfg.NATSConsumer()
	switch {
	case o.works:
		return p.Streams.Worker(cfg, c, o.flowOf(name, s, c, log), o.drain, log), name
	case o.into:
		return p.Streams.Gateway(cfg, c, log), name
	}
	return nil, ""
}

// longestOpenPause is the longest pause between attempts to connect to NATS servers.
const longestOpenPause = 5 * time.Second

// openPart opens a part, retrying like the connector.
func openPart(ctx context.Context, part Part, cfg *connector.Config, log *slog.Logger) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, longestOpenPause) {
		err := part.Open(ctx)
		var coded *codedError
		if err == nil || ctx.Err() != nil || !cfg.Advanced.ConnectRetry || errors.As(err, &coded) && coded.code != ExitConnection {
			return err
		}
		log.Warn("the servers of the stream are not there yet", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// runPart runs a part until stop is called. If the part fails, its error is sent on failed.
func runPart(ctx context.Context, part Part) (failed <-chan error, stop func()) {
	if part == nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	result, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		if err := part.Run(ctx); err != nil && ctx.Err() == nil {
			result <- err
		}
	}()
	return result, func() {
		cancel()
		<-over
	}
}

// shares are the connectors of the partitions that a process has leased.
type shares struct {
	mu   sync.Mutex
	held map[int]*connector.Connector
}

func (s *shares) joined(i int, c *connector.Connector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[i] = c
}

// left forgets a connector, unless another one has already taken its place.
func (s *shares) left(i int, c *connector.Connector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[i] == c {
		delete(s.held, i)
	}
}

func (s *shares) members() []member {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []member
	for _, i := range slices.Sorted(maps.Keys(s.held)) {
		all = append(all, member{strconv.Itoa(i), s.held[i]})
	}
	return all
}

// divide runs the partitions that this process has leased.
func (o *runOptions) divide(ctx context.Context, p *Program, cfg *connector.Config, s step, log *slog.Logger) error {
	held := &shares{held: make(map[int]*connector.Connector)}
	part := p.Streams.Division(cfg, DivisionOptions{
		Into: o.into, Patience: o.drain, Logger: log, Joined: held.joined, Left: held.left,
		Flow: func(c *connector.Connector, consumer string) flow.Flow { return o.flowOf(consumer, s, c, log) },
	})
	defer part.Close()
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	defer o.refuseReloads(p, interrupt, log)()
	w := &watch{members: held.members, part: part, say: p.Say, restarts: restartsOf(s), divided: true}
	if o.listen != "" {
		stop, err := w.serve(o.listen, log)
		if err != nil {
			return Usage("--listen: %w", "--listen：%w", err)
		}
		defer stop()
	}
	err := openPart(ctx, part, cfg, log)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		context.AfterFunc(ctx, func() { w.stopping.Store(true) })
		err = part.Run(ctx)
	}
	if ctx.Err() != nil {
		err = nil
	}
	log.Info("stopped")
	return err
}

// refuseReloads logs at SIGHUP that a restart is needed, until stop is called.
func (o *runOptions) refuseReloads(p *Program, interrupt func(), log *slog.Logger) (stop func()) {
	hangups, uncatch := p.hangup, func() {}
	if hangups == nil {
		hangups, uncatch = notifyHangups(interrupt)
	}
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-hangups:
				log.Error(p.Say("a configuration with a stream or leases is applied by a restart", "带有流或租约的配置在重启后生效"))
			case <-over:
				return
			}
		}
	}()
	return func() {
		close(over)
		uncatch()
	}
}

// restartsOf returns a function that counts the restarts of a step's processes.
func restartsOf(s step) func() uint64 {
	if s, ok := s.(*pipeStep); ok {
		return s.restarts.Load
	}
	return func() uint64 { return 0 }
}

// sameStream reports whether two configurations have the same nats section and the same leases.
func sameStream(a, b *connector.Config) bool {
	return reflect.DeepEqual(a.NATS, b.NATS) && reflect.DeepEqual(a.Lease(), b.Lease()) && a.NATSConsumer() == b.NATSConsumer()
}
