package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

type pubOptions struct {
	Connection
	topic          string
	message, file  string
	null, stdin    bool
	lines, nul     bool
	jsonLines      bool
	retain         bool
	repeat         int
	repeatDelay    float64
	rate           float64
	wait           int
	messageIsGiven bool
	badLines       string
	warned         bool
}

func (p *Program) pub() *cobra.Command {
	o := new(pubOptions)
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC (-m MESSAGE | -f FILE | -l | -s | -n | --stdin-json | --stdin-null)",
		Short: p.Say("Publish messages", "发布消息"),
		Long: p.Say(`Publish messages. It ends when the promise of the QoS is kept for each: written (0),
acknowledged (1), completed (2).

A line of --stdin-json is {"topic": "a/b", "payload": "text", "qos": 1, "retain": false};
payload_base64 holds bytes, and -t, -q and -r stand for what is missing. It is what
mqtt311 sub --json prints.`,
			`发布消息。每条消息的 QoS 承诺兑现后才结束：已写出（0）、已确认（1）、已完成（2）。

--stdin-json 的每行形如 {"topic": "a/b", "payload": "text", "qos": 1, "retain": false}；
payload_base64 用于二进制内容，缺少的项取 -t、-q、-r 的值。mqtt311 sub --json 的输出即为此格式。`),
		Example: `  mqtt311 pub -t plant/door -m open -q 1 -b 127.0.0.1:1883
  journalctl -f | mqtt311 pub -t logs -l
  mqtt311 pub -t firmware -f image.bin -r -q 2 --cafile ca.pem -h mq.example.com
  mqtt311 pub -t plant/door -n -r        # deletes the retained message
  mqtt311 sub -t '#' --json -h old.example.com | mqtt311 pub --stdin-json -h new`,
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.messageIsGiven = cmd.Flags().Changed("message")
			return o.run(cmd.Context(), p)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.topic, "topic", "t", "", p.Say("`topic` to publish to", "发布主题 `topic`"))
	f.StringVarP(&o.message, "message", "m", "", p.Say("`payload`", "消息内容 `payload`"))
	f.StringVarP(&o.file, "file", "f", "", p.Say("payload from this `file`", "以文件 `file` 的内容为消息内容"))
	f.BoolVarP(&o.null, "null-message", "n", false, p.Say("empty payload", "空消息内容"))
	f.BoolVarP(&o.lines, "stdin-line", "l", false, p.Say("a message per line of standard input", "标准输入的每行为一条消息"))
	f.BoolVar(&o.nul, "stdin-null", false, p.Say("messages on standard input end with a zero byte each", "标准输入中的消息以零字节分隔"))
	f.BoolVar(&o.jsonLines, "stdin-json", false, p.Say("a message per line of standard input, as JSON", "标准输入的每行为一条 JSON 消息"))
	f.BoolVarP(&o.stdin, "stdin-file", "s", false, p.Say("payload is all of standard input", "以全部标准输入为消息内容"))
	f.BoolVarP(&o.retain, "retain", "r", false, p.Say("the server keeps the message for later subscribers", "由服务端保存消息，供之后的订阅者接收"))
	f.IntVar(&o.repeat, "repeat", 1, p.Say("publish so many times", "重复发布的次数"))
	f.Float64Var(&o.repeatDelay, "repeat-delay", 0, p.Say("`seconds` between repetitions", "两次重复之间的秒数 `seconds`"))
	f.Float64Var(&o.rate, "rate", 0, p.Say("at most so many messages of standard input per second (0: no limit)", "每秒最多发布的标准输入消息数（0 为不限）"))
	f.IntVarP(&o.wait, "timeout", "W", 0, p.Say("give up after so many `seconds`, with exit code 7 (0: never)", "超过 `seconds` 秒则放弃，退出码为 7（0 为不限）"))
	f.StringVar(&o.badLines, "bad-lines", "stop", p.Say("`what` to do with a line that is no message: stop or skip", "遇到无效行时的处理 `what`：stop 停止，skip 跳过"))
	Complete(cmd, "bad-lines", Values("stop", "skip"))
	o.Flags(p, cmd)
	noFiles(cmd, "topic", "message", "repeat", "repeat-delay", "rate", "timeout")
	EndsInOrder(cmd)
	annotate(cmd, oneProcessor)
	return cmd
}

func (o *pubOptions) run(ctx context.Context, p *Program) error {
	cfg, err := o.prepare(ctx, p)
	if err != nil {
		return err
	}
	ctx, cancel := Patience(ctx, o.wait)
	defer cancel()
	payload, err := o.payload(ctx, p)
	if err != nil {
		return Ended(ctx, err, "nothing was published", "未发布任何消息")
	}
	if o.many() {
		cfg.Dial = inFloods(100*time.Microsecond, cfg.Dial) // acknowledgements arrive in floods
		cfg.MaxInflight = cmp.Or(cfg.MaxInflight, feedInflight)
	}
	cfg.QueueQoS0 = o.many()    // with many messages, wait while the server is away
	cfg.NoReconnect = !o.many() // with one message, report the first failure
	if o.many() {
		cfg.OnEvent = p.outages()
	}
	c, err := Connect(ctx, cfg)
	if err != nil {
		return Ended(ctx, err, "not connected, nothing was published", "未能连接，未发布任何消息")
	}
	n, published := new(tally), 0
	if o.many() {
		err = o.publishMany(ctx, p, c, n)
	} else {
		published, err = o.publishOne(ctx, p, c, payload)
	}
	closeCtx, cancel := p.Closing(ctx)
	defer cancel()
	if cerr := Leave(closeCtx, c); err == nil {
		err = Coded(ExitPublish, cerr)
	}
	if o.many() {
		n.tell(p, ctx.Err() != nil || err != nil)
	}
	switch {
	case o.many() && errors.Is(context.Cause(ctx), context.Canceled): // the summary says it all
		return err
	case o.repeat > 1:
		en, zh := fmt.Sprintf("%d of %d messages were published", published, o.repeat), fmt.Sprintf("%[2]d 条消息中已发布 %[1]d 条", published, o.repeat)
		if errors.Is(err, client.ErrUnknown) {
			en, zh = en+", and one more may have arrived", zh+"，另有 1 条可能已送达"
		}
		return Ended(ctx, err, en, zh)
	case errors.Is(err, client.ErrUnknown):
		return Ended(ctx, err, "the server did not answer, and the message may have arrived", "服务端没有应答，消息可能已送达")
	case errors.Is(err, client.ErrNotSent):
		return Ended(ctx, err, "the message was not sent", "消息未发出")
	}
	return Ended(ctx, err, "", "")
}

// prepare checks the flags.
func (o *pubOptions) prepare(ctx context.Context, p *Program) (cfg client.Config, err error) {
	server, err := o.server()
	if err != nil {
		return cfg, err
	}
	if server.topic != "" && o.topic != "" && server.topic != o.topic {
		return cfg, Usage("--url and --topic name different topics: leave one out", "--url 与 --topic 的主题不同：请去掉其中之一")
	} else if server.topic != "" {
		o.topic = server.topic
	}
	if o.topic == "" && !o.jsonLines {
		return cfg, Usage("--topic is missing", "缺少 --topic")
	}
	if o.topic != "" {
		if err := packets.ValidTopicName(o.topic); err != nil {
			return cfg, Usage("--topic %q cannot be published to: %w", "不能向主题 %q 发布：%w", o.topic, err)
		}
	}
	if err := o.checkNumbers(); err != nil {
		return cfg, err
	}
	given := 0
	for _, b := range []bool{o.messageIsGiven, o.file != "", o.null, o.lines, o.nul, o.jsonLines, o.stdin} {
		if b {
			given++
		}
	}
	if given != 1 {
		const all = "--message, --file, --null-message, --stdin-line, --stdin-null, --stdin-json, --stdin-file"
		return cfg, Usage("give one of %s", "请给出其中一项：%s", all)
	}
	return o.config(ctx, p, server)
}

// checkNumbers refuses values and combinations that make no sense.
func (o *pubOptions) checkNumbers() error {
	if err := o.within(
		bound{"repeat", float64(o.repeat), 1, math.MaxInt32},
		bound{"repeat-delay", o.repeatDelay, 0, mostSeconds},
		bound{"rate", o.rate, 0, 1e9},
		bound{"timeout", float64(o.wait), 0, mostSeconds},
	); err != nil {
		return err
	}
	if option := o.givenOf("repeat", "repeat-delay"); option != "" && o.many() {
		return Usage("--%s is for a single message, not for those of standard input", "--%s 仅用于单条消息，不用于标准输入中的多条消息", option)
	}
	if o.given("rate") && !o.many() {
		return Usage("--rate is for messages of standard input: --repeat-delay slows --repeat down", "--rate 仅用于标准输入中的消息；--repeat 请用 --repeat-delay 限速")
	}
	if o.badLines != "stop" && o.badLines != "skip" {
		return Usage("--bad-lines %q is neither stop nor skip", "--bad-lines %q 既不是 stop 也不是 skip", o.badLines)
	}
	if o.given("bad-lines") && !o.many() {
		return Usage("--bad-lines is for messages of standard input", "--bad-lines 仅用于标准输入中的消息")
	}
	return nil
}

// warnDeletes warns, once, that an empty payload deletes a retained message, which may be unintended. n is the
// number of the line, or 0.
func (o *pubOptions) warnDeletes(p *Program, m client.Message, n int) {
	if !m.Retain || len(m.Payload) > 0 || o.null || o.jsonLines || o.warned {
		return
	}
	o.warned = true
	en, zh := "the payload is empty", "消息内容为空"
	if n > 0 {
		en, zh = fmt.Sprintf("line %d is empty", n), fmt.Sprintf("第 %d 行为空", n)
	}
	p.Warn(en+": with --retain that deletes the retained message; --null-message says so on purpose", zh+"：与 --retain 同用会删除服务端保存的消息；如确需删除请用 --null-message")
}

// Patience limits ctx to a number of seconds, if that is positive: see OutOfTime.
func Patience(ctx context.Context, seconds int) (context.Context, context.CancelFunc) {
	if seconds <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(seconds)*time.Second, &patienceError{seconds})
}

type patienceError struct{ seconds int }

func (e *patienceError) Error() string {
	return fmt.Sprintf("timed out after %d s", e.seconds)
}

func (e *patienceError) Is(target error) bool { return target == context.DeadlineExceeded }

// OutOfTime turns err into a timeout if the Patience of ctx has ended. en and zh say in both languages what was
// reached; they may be empty.
func OutOfTime(ctx context.Context, err error, en, zh string) error {
	var p *patienceError
	if err == nil || !errors.As(context.Cause(ctx), &p) {
		return err
	}
	if en != "" {
		en, zh = ": "+en, "："+zh
	}
	return Fail(ExitTimeout, "timed out after %[1]d s%[2]s", "%[1]d 秒后超时%[3]s", p.seconds, en, zh)
}

// Ended is OutOfTime for commands with effects elsewhere: after an interrupt, too, it tells the user what was
// reached.
func Ended(ctx context.Context, err error, en, zh string) error {
	if err != nil && en != "" && errors.Is(context.Cause(ctx), context.Canceled) {
		return Fail(ExitInterrupt, "interrupted: %[1]s", "已中断：%[2]s", en, zh)
	}
	return OutOfTime(ctx, err, en, zh)
}

func (o *pubOptions) payload(ctx context.Context, p *Program) (b []byte, err error) {
	switch {
	case o.file != "":
		return ReadPayloadFile(ctx, o.file)
	case o.stdin:
		b, err = ReadPayload(ctx, p.Stdin)
		if err == nil && len(b) == 0 {
			// Probably the command before the pipe failed; with --retain, an empty payload deletes.
			return nil, Usage("standard input is empty: --null-message publishes an empty payload", "标准输入为空：发布空消息请用 --null-message")
		}
	default:
		b = []byte(o.message)
	}
	return b, Coded(ExitUsage, err)
}

// ReadPayload reads a single payload, and no more than fits into any packet. It does not wait for the rest when ctx
// ends.
func ReadPayload(ctx context.Context, r io.Reader) ([]byte, error) {
	return patiently(ctx, func() ([]byte, error) { return readPayload(r) })
}

// ReadPayloadFile is like ReadPayload, for a file.
func ReadPayloadFile(ctx context.Context, path string) ([]byte, error) {
	return patiently(ctx, func() ([]byte, error) {
		f, err := os.Open(path) // of a pipe it waits for a writer
		if err != nil {
			return nil, Coded(ExitUsage, err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > packets.MaxRemainingLength {
			return nil, tooLong()
		}
		return readPayload(f)
	})
}

// patiently calls read, and abandons it when ctx ends.
func patiently(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := read()
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		return r.b, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func readPayload(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, packets.MaxRemainingLength+1))
	if err == nil && len(b) > packets.MaxRemainingLength {
		return nil, tooLong()
	}
	return b, Coded(ExitUsage, err)
}

func tooLong() error {
	return Usage("the payload is larger than any packet of MQTT, which has %d bytes at the most", "内容超过 MQTT 报文的上限 %d 字节", packets.MaxRemainingLength)
}

func (o *pubOptions) of(payload []byte) client.Message {
	return client.Message{Topic: o.topic, Payload: payload, QoS: packets.QoS(o.qos), Retain: o.retain}
}

// worthShowing is the size from which publishing a payload takes long enough to show progress.
const worthShowing = 1 << 20

// publishOne publishes one payload, as often as configured, and returns how often it did.
func (o *pubOptions) publishOne(ctx context.Context, p *Program, c *client.Client, payload []byte) (published int, err error) {
	show := p.progress(!p.Quiet && !o.debug && (len(payload) > worthShowing || o.repeat > 1))
	defer show.end()
	before, whole := c.Stats().BytesSent, uint64(len(payload))*uint64(o.repeat)
	show.every(func() string {
		n := c.Stats().BytesSent - before
		return fmt.Sprintf(p.Say("%d%% of %s (%s/s)", "已发送 %d%%，共 %s（%s/秒）"), percent(n, whole), size(whole), size(show.rate(n)))
	})
	return o.publishRepeatedly(ctx, p, c, payload)
}

func (o *pubOptions) publishRepeatedly(ctx context.Context, p *Program, c *client.Client, payload []byte) (published int, err error) {
	for i := range o.repeat {
		if i > 0 {
			if err := pause(ctx, time.Duration(o.repeatDelay*float64(time.Second))); err != nil {
				return i, err
			}
		}
		m := o.of(payload)
		if i == 0 {
			o.warnDeletes(p, m, 0)
		}
		if err := c.Publish(ctx, m); err != nil {
			return i, NotPublished(m.Topic, err)
		}
	}
	return o.repeat, nil
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// NotPublished returns the command's error about a message that was not published, or may not have been.
func NotPublished(topic string, err error) error {
	text := plainly(err)
	if rest, ok := strings.CutPrefix(text, "publish: "); ok { // the error of a receipt has no topic
		text = fmt.Sprintf("publish %q: %s", topic, rest)
	}
	if !strings.HasPrefix(text, "publish ") {
		text = "publish: " + text
	}
	return &codedError{code: ExitPublish, err: &toldError{text, err}, zh: chinese.Of(text)}
}

// many reports whether messages are read from standard input until it ends.
func (o *pubOptions) many() bool { return o.lines || o.nul || o.jsonLines }

// publishMany publishes messages from standard input, as many at a time as the window allows. The
// first failure ends it, even if no further line comes.
func (o *pubOptions) publishMany(ctx context.Context, p *Program, c *client.Client, n *tally) error {
	n.total = regularSize(p.Stdin)
	show := p.progress(!p.Quiet && !o.debug)
	defer show.end()
	show.every(func() string { return n.progress(p, show) })

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	receipts, failed := make(chan sent, 1024), make(chan error, 1)
	go func() {
		var first error
		for s := range receipts {
			err := s.r.Wait(ctx)
			show.lock(func() { n.add(s, err) })
			lost := s.qos == packets.AtMostOnce && errors.Is(err, client.ErrUnknown) && ctx.Err() == nil // does not stop the feed
			if err != nil && first == nil && !lost {
				first = NotPublished(s.topic, err)
				cancel(first)
			}
		}
		failed <- first
	}()
	err := o.publishPieces(ctx, p, c, n, func(s sent) {
		show.lock(func() { n.begun++ })
		receipts <- s
	})
	close(receipts)
	if first := <-failed; first != nil {
		return first
	}
	if n.lost > 0 && err == nil {
		return Fail(ExitPublish, "the connection was lost: %d messages of QoS 0 may not have arrived; -q 1 sends them again", "连接曾中断：%d 条 QoS 0 消息可能未送达；使用 -q 1 可重新发送", n.lost)
	}
	return err
}

// A sent is a message in flight.
type sent struct {
	r     *client.Receipt
	qos   packets.QoS
	topic string
}

// publishPieces publishes until standard input ends, and passes each receipt to note.
func (o *pubOptions) publishPieces(ctx context.Context, p *Program, c *client.Client, count *tally, note func(sent)) error {
	in, n, start := p.pieces(ctx, o.nul), 0, time.Now()
	for piece, err := range in.all {
		if o.rate > 0 {
			if err := pause(ctx, time.Until(start.Add(time.Duration(float64(n)/o.rate*float64(time.Second))))); err != nil {
				return err
			}
		}
		n++
		count.bytes.Add(int64(len(piece)) + 1)
		var m client.Message
		if err == nil {
			m, err = o.messageOf(piece)
		}
		if err != nil && o.badLines == "skip" {
			err = badLine(n, err)
			count.skipped++
			p.Warn(err.Error()+": skipped", p.text(err)+"：已跳过")
			continue
		} else if err != nil {
			return badLine(n, err)
		}
		o.warnDeletes(p, m, n)
		r, err := c.PublishAsync(ctx, m)
		if err != nil {
			return NotPublished(m.Topic, err)
		}
		note(sent{r, m.QoS, m.Topic})
	}
	if err := in.err(); err != nil {
		return badInput(err)
	}
	return nil
}

func badInput(err error) error {
	return Fail(ExitRuntime, "standard input: %w", "标准输入：%w", err)
}

func badLine(n int, err error) error {
	return Fail(ExitPublish, "standard input: line %d: %w", "标准输入第 %d 行：%w", n, err)
}

// feedInflight is how many lines may be unanswered. It is so large that one write and one read serve many
// messages.
const feedInflight = 2000
