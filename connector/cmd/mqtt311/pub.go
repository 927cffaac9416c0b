package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

type pubOptions struct {
	connection
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
}

func (p *program) pub() *cobra.Command {
	o := new(pubOptions)
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC (-m MESSAGE | -f FILE | -l | -s | -n | --stdin-json | --stdin-null)",
		Short: p.say("Publish messages", "发布消息"),
		Long: p.say(`Publish messages. It ends when the promise of the QoS is kept for each: written (0),
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
  mqtt311 sub -t 'plant/#' --json -h old.example.com | mqtt311 pub --stdin-json -h new.example.com`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.messageIsGiven = cmd.Flags().Changed("message")
			return o.run(cmd.Context(), p)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.topic, "topic", "t", "", p.say("`topic` to publish to", "发布主题 `topic`"))
	f.StringVarP(&o.message, "message", "m", "", p.say("`payload`", "消息内容 `payload`"))
	f.StringVarP(&o.file, "file", "f", "", p.say("payload from this `file`", "以文件 `file` 的内容为消息内容"))
	f.BoolVarP(&o.null, "null-message", "n", false, p.say("empty payload", "空消息内容"))
	f.BoolVarP(&o.lines, "stdin-line", "l", false, p.say("a message per line of standard input", "标准输入的每行为一条消息"))
	f.BoolVar(&o.nul, "stdin-null", false, p.say("messages on standard input end with a zero byte each", "标准输入中的消息以零字节分隔"))
	f.BoolVar(&o.jsonLines, "stdin-json", false, p.say("a message per line of standard input, as JSON", "标准输入的每行为一条 JSON 消息"))
	f.BoolVarP(&o.stdin, "stdin-file", "s", false, p.say("payload is all of standard input", "以全部标准输入为消息内容"))
	f.BoolVarP(&o.retain, "retain", "r", false, p.say("the server keeps the message for later subscribers", "由服务端保存消息，供之后的订阅者接收"))
	f.IntVar(&o.repeat, "repeat", 1, p.say("publish so many times", "重复发布的次数"))
	f.Float64Var(&o.repeatDelay, "repeat-delay", 0, p.say("`seconds` between repetitions", "两次重复之间的秒数 `seconds`"))
	f.Float64Var(&o.rate, "rate", 0, p.say("at most so many messages of standard input per second (0: no limit)", "每秒最多发布的标准输入消息数（0 为不限）"))
	f.IntVarP(&o.wait, "timeout", "W", 0, p.say("give up after so many `seconds`, with exit code 7 (0: never)", "超过 `seconds` 秒则放弃，退出码为 7（0 为不限）"))
	o.flags(p, cmd)
	for _, flag := range []string{"topic", "message", "repeat", "repeat-delay", "rate", "timeout"} {
		complete(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}

func (o *pubOptions) run(ctx context.Context, p *program) error {
	cfg, err := o.prepare(p)
	if err != nil {
		return err
	}
	payload, err := o.payload(p)
	if err != nil {
		return err
	}
	ctx, cancel := patience(ctx, o.wait)
	defer cancel()
	cfg.NoReconnect = !o.many() // one message: the first failure is worth knowing
	c, err := connect(ctx, cfg)
	if err != nil {
		return outOfTime(ctx, err)
	}
	if o.many() {
		err = o.publishMany(ctx, p, c)
	} else {
		err = o.publishRepeatedly(ctx, c, payload)
	}
	closeCtx, cancel := p.closing(ctx)
	defer cancel()
	if cerr := c.Close(closeCtx); err == nil {
		err = coded(exitPublish, cerr)
	}
	return outOfTime(ctx, err)
}

// prepare checks the flags.
func (o *pubOptions) prepare(p *program) (cfg client.Config, err error) {
	if err := o.applyURL(&o.topic); err != nil {
		return cfg, err
	}
	if o.topic == "" && !o.jsonLines {
		return cfg, usage("--topic is missing", "缺少 --topic")
	}
	if o.topic != "" {
		if err := packets.ValidTopicName(o.topic); err != nil {
			return cfg, usage("--topic %q cannot be published to: %w", "不能向主题 %q 发布：%w", o.topic, err)
		}
	}
	given := 0
	for _, b := range []bool{o.messageIsGiven, o.file != "", o.null, o.lines, o.nul, o.jsonLines, o.stdin} {
		if b {
			given++
		}
	}
	if given != 1 {
		const all = "--message, --file, --null-message, --stdin-line, --stdin-null, --stdin-json, --stdin-file"
		return cfg, usage("give one of %s", "请给出其中一项：%s", all)
	}
	return o.config(p)
}

// patience bounds ctx by seconds, if there are any.
func patience(ctx context.Context, seconds int) (context.Context, context.CancelFunc) {
	if seconds <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(seconds)*time.Second, &patienceError{seconds})
}

type patienceError struct{ seconds int }

func (e *patienceError) Error() string {
	return fmt.Sprintf("no more than %d seconds were given", e.seconds)
}

func (e *patienceError) Is(target error) bool { return target == context.DeadlineExceeded }

// outOfTime makes err a time-out if patience has ended.
func outOfTime(ctx context.Context, err error) error {
	var p *patienceError
	if err == nil || !errors.As(context.Cause(ctx), &p) {
		return err
	}
	if errors.Is(err, client.ErrUnknown) {
		return fail(exitTimeout, "no answer within %d seconds: a message may have arrived", "%d 秒内没有应答：消息可能已送达", p.seconds)
	}
	return fail(exitTimeout, "no more than %d seconds were given", "已超过给定的 %d 秒", p.seconds)
}

func (o *pubOptions) payload(p *program) (b []byte, err error) {
	switch {
	case o.file != "":
		b, err = os.ReadFile(o.file)
	case o.stdin:
		b, err = io.ReadAll(p.stdin)
	default:
		b = []byte(o.message)
	}
	return b, coded(exitUsage, err)
}

func (o *pubOptions) of(payload []byte) client.Message {
	return client.Message{Topic: o.topic, Payload: payload, QoS: packets.QoS(o.qos), Retain: o.retain}
}

func (o *pubOptions) publishRepeatedly(ctx context.Context, c *client.Client, payload []byte) error {
	for i := range o.repeat {
		if i > 0 {
			if err := pause(ctx, time.Duration(o.repeatDelay*float64(time.Second))); err != nil {
				return err
			}
		}
		if err := c.Publish(ctx, o.of(payload)); err != nil {
			return notPublished(err)
		}
	}
	return nil
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

func notPublished(err error) error { return fail(exitPublish, "publish: %w", "发布失败：%w", err) }

// many reports whether messages come from standard input until it ends.
func (o *pubOptions) many() bool { return o.lines || o.nul || o.jsonLines }

// publishMany publishes what comes on standard input, as many messages at a time as the
// window allows. The first that fails ends it, whether more comes or not.
func (o *pubOptions) publishMany(ctx context.Context, p *program, c *client.Client) error {
	show := p.progress(!p.quiet && !o.debug)
	defer show.end()
	var sent, done uint64
	show.every(func() string { return p.published(show, sent, done) })

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	receipts, failed := make(chan *client.Receipt, 1024), make(chan error, 1)
	go func() {
		var first error
		for r := range receipts {
			err := r.Wait(ctx)
			if err == nil {
				show.lock(func() { done++ })
			} else if first == nil {
				first = notPublished(err)
				cancel(first)
			}
		}
		failed <- first
	}()
	err := o.publishPieces(ctx, p, c, func(r *client.Receipt) {
		show.lock(func() { sent++ })
		receipts <- r
	})
	close(receipts)
	if first := <-failed; first != nil {
		return first
	}
	return err
}

// publishPieces publishes until standard input ends; each receipt goes to note.
func (o *pubOptions) publishPieces(ctx context.Context, p *program, c *client.Client, note func(*client.Receipt)) error {
	in, n, start := p.pieces(ctx, o.nul), 0, time.Now()
	for piece := range in.all {
		if o.rate > 0 {
			if err := pause(ctx, time.Until(start.Add(time.Duration(float64(n)/o.rate*float64(time.Second))))); err != nil {
				return err
			}
		}
		n++
		m, err := o.messageOf(piece)
		if err != nil {
			return badLine(n, err)
		}
		r, err := c.PublishAsync(ctx, m)
		if err != nil {
			return notPublished(err)
		}
		note(r)
	}
	if err := in.err(); err != nil {
		return badInput(err)
	}
	return nil
}

func badInput(err error) error {
	return fail(exitRuntime, "standard input: %w", "标准输入：%w", err)
}

func badLine(n int, err error) error {
	return fail(exitPublish, "standard input: line %d: %w", "标准输入第 %d 行：%w", n, err)
}

// published is the line of progress of publishMany.
func (p *program) published(show *status, sent, done uint64) string {
	return fmt.Sprintf(p.say("%d published (%d/s), %d on their way", "已发布 %d（%d/秒），待完成 %d"), done, show.rate(done), sent-done)
}

// messageOf makes a message of a piece of standard input.
func (o *pubOptions) messageOf(piece []byte) (client.Message, error) {
	if !o.jsonLines {
		return o.of(piece), nil
	}
	l := line{Topic: o.topic, QoS: packets.QoS(o.qos), Retain: o.retain}
	d := json.NewDecoder(bytes.NewReader(piece))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return client.Message{}, fmt.Errorf("not a message in JSON: %w", err)
	}
	if l.Payload != nil && l.Base64 != nil {
		return client.Message{}, errors.New("both payload and payload_base64 are given")
	}
	if l.QoS > packets.ExactlyOnce {
		return client.Message{}, fmt.Errorf("qos is 0, 1 or 2, not %d", l.QoS)
	}
	if err := packets.ValidTopicName(l.Topic); err != nil {
		return client.Message{}, err
	}
	m := client.Message{Topic: l.Topic, Payload: l.Base64, QoS: l.QoS, Retain: l.Retain}
	if l.Payload != nil {
		m.Payload = []byte(*l.Payload)
	}
	return m, nil
}

// longestLine bounds a line of standard input.
const longestLine = 64 << 20

// pieces are the lines, or what zero bytes end, of standard input. They are read on a
// goroutine of their own, because nothing interrupts reading from a terminal.
type pieces struct {
	next   chan []byte
	failed error // when next is closed
	ctx    context.Context
}

func (p *program) pieces(ctx context.Context, nul bool) *pieces {
	in := bufio.NewScanner(p.stdin)
	in.Buffer(nil, longestLine)
	if nul {
		in.Split(splitNUL)
	}
	s := &pieces{next: make(chan []byte), ctx: ctx}
	go func() {
		defer close(s.next)
		for in.Scan() {
			select {
			case s.next <- bytes.Clone(in.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		s.failed = in.Err()
	}()
	return s
}

// all yields the pieces until the input or the context ends.
func (s *pieces) all(yield func([]byte) bool) {
	for {
		select {
		case b, ok := <-s.next:
			if !ok || !yield(b) {
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// err returns why all ended before the input did.
func (s *pieces) err() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return s.failed
}

func splitNUL(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
