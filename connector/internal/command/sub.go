package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
	"github.com/spf13/cobra"
)

type subOptions struct {
	Connection
	topics, unsubscribe, filterOut []string
	count                          int
	wait                           int
	exitAfterSuback                bool
	format                         string
	verbose, noEOL, pretty, raw    bool
	noRetained, retainedOnly       bool
	removeRetained                 bool
	randomFilter                   float64

	maxPacket int
	remover   *remover // if removeRetained
	refused   []string // refused filters that were reported
}

func (p *Program) sub() *cobra.Command {
	o := new(subOptions)
	cmd := &cobra.Command{
		Use:   "sub -t FILTER...",
		Short: p.Say("Subscribe and print messages", "订阅并输出消息"),
		Long: p.Say(`Subscribe and print messages. A message is acknowledged after it was printed.

Formats for -F: %t topic, %p payload, %x and %X payload in hexadecimal, %l payload's
length, %q QoS, %r retain, %m packet identifier, %I time, %U seconds since 1970, %j JSON,
%J JSON with the payload as JSON if it is some, %% a percent sign, \\ \0 \a \e \n \r \t \v.`,
			`订阅并输出消息。消息输出后才确认。

-F 的格式：%t 主题，%p 内容，%x 和 %X 十六进制内容，%l 内容长度，%q QoS，%r 是否为保存的消息，
%m 消息 ID，%I 时间，%U 1970 年以来的秒数，%j JSON，%J JSON（内容为 JSON 时原样嵌入），
%% 百分号，\\ \0 \a \e \n \r \t \v。`),
		Example: `  mqtt311 sub -t 'plant/#' -v -b 127.0.0.1:1883
  mqtt311 sub -t plant/door -C 1 -W 10
  mqtt311 sub -t 'plant/+/alarm' -q 2 -i night-shift -c --json
  mqtt311 sub -t '#' -F '%I %t %l'
  mqtt311 sub -t 'plant/#' --retained-only --remove-retained   # deletes them`,
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), p) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.topics, "topic", "t", nil, p.Say("topic `filter`; may be given more than once", "订阅主题 `filter`，可多次给出"))
	f.StringArrayVarP(&o.unsubscribe, "unsubscribe", "U", nil, p.Say("unsubscribe from this `filter` of a kept session", "从保留的会话中退订主题 `filter`"))
	f.StringArrayVarP(&o.filterOut, "filter-out", "T", nil, p.Say("print nothing that matches this `filter`", "不输出匹配 `filter` 的消息"))
	f.IntVarP(&o.count, "count", "C", 0, p.Say("end after so many messages (0: never)", "输出此数量的消息后结束（0 为不限）"))
	f.IntVarP(&o.wait, "timeout", "W", 0, p.Say("end after so many `seconds`, with exit code 7 (0: never)", "`seconds` 秒后结束，退出码为 7（0 为不限）"))
	f.BoolVarP(&o.exitAfterSuback, "exit-after-suback", "E", false, p.Say("end when subscribed", "订阅成功后结束"))
	f.StringVarP(&o.format, "format", "F", "", p.Say("`format` of a message", "消息的输出格式 `format`"))
	f.BoolVarP(&o.verbose, "verbose", "v", false, p.Say("print the topic before the payload", "在内容前输出主题"))
	f.BoolVar(&o.pretty, "pretty", false, p.Say("indent the JSON of --json, %j and %J", "缩进 --json、%j 和 %J 的 JSON"))
	f.BoolVar(&o.raw, "raw", false, p.Say("write control characters to a terminal as they are", "向终端原样输出控制字符"))
	f.BoolVarP(&o.noEOL, "no-eol", "N", false, p.Say("print no end of line after a message", "消息后不换行"))
	f.BoolVarP(&o.noRetained, "no-retained", "R", false, p.Say("print no retained messages", "不输出服务端保存的消息"))
	f.BoolVar(&o.retainedOnly, "retained-only", false, p.Say("print only retained messages and end when others come", "只输出服务端保存的消息，收到其他消息时结束"))
	f.BoolVar(&o.removeRetained, "remove-retained", false, p.Say("delete the retained messages that are printed; with --retained-only end when none is left", "删除已输出的保存消息；与 --retained-only 同用时，全部删除后结束"))
	f.Float64Var(&o.randomFilter, "random-filter", 100, p.Say("print this `percentage` of the messages, at random", "随机输出此百分比 `percentage` 的消息"))
	f.IntVar(&o.maxPacket, "max-packet-size", mostPacket, p.Say("discard messages in packets above so many `bytes`, and say so", "丢弃报文超过 `bytes` 字节的消息并给出提示"))
	o.Flags(p, cmd)
	noFiles(cmd, "topic", "unsubscribe", "filter-out", "count", "timeout", "format", "random-filter", "max-packet-size")
	EndsInOrder(cmd)
	annotate(cmd, oneProcessor)
	return cmd
}

// mostPacket is the largest MQTT packet, section 2.2.3.
const mostPacket = packets.MaxRemainingLength + 5

// leastPacket has room for the SUBACK of a SUBSCRIBE.
const leastPacket = 64

// The limits for messages that wait for standard output.
var mostWaiting, mostWaitingBytes = 1 << 20, 64 << 20

// errEnough ends sub successfully.
var errEnough = errors.New("enough messages")

func (o *subOptions) run(ctx context.Context, p *Program) error {
	server, err := o.server()
	if err != nil {
		return err
	}
	if server.topic != "" {
		o.topics = append(o.topics, server.topic)
	}
	if err := errors.Join(o.exclusive("no-retained", "retained-only", "remove-retained"), o.exclusive("exit-after-suback", "remove-retained")); err != nil {
		return first(err)
	}
	if err := o.within(
		bound{"count", float64(o.count), 0, math.MaxInt},
		bound{"timeout", float64(o.wait), 0, mostSeconds},
		bound{"random-filter", o.randomFilter, 0.1, 100},
		bound{"max-packet-size", float64(o.maxPacket), leastPacket, mostPacket},
	); err != nil {
		return err
	}
	if len(o.topics) == 0 {
		return Usage("--topic is missing", "缺少 --topic")
	}
	for _, f := range append(append(append([]string(nil), o.topics...), o.filterOut...), o.unsubscribe...) {
		if err := packets.ValidTopicFilter(f); err != nil {
			return Usage("%q is no topic filter: %w", "%q 不是合法的订阅主题：%w", f, err)
		}
	}
	out, err := o.printer(p)
	if err != nil {
		return err
	}
	cfg, err := o.config(ctx, p, server)
	if err != nil {
		return err
	}
	// Standard output may stall, for example behind a pager: QoS 0 can only wait here.
	cfg.InboxMessages, cfg.InboxBytes = mostWaiting, mostWaitingBytes
	cfg.MaxPacketSize = o.maxPacket
	cfg.Dial = inFloods(time.Millisecond, cfg.Dial)
	cfg.SkipOversize = o.given("max-packet-size")
	outages := p.outages()
	cfg.OnEvent = func(e client.Event) {
		outages(e)
		o.tellSkipped(p, e)
	}
	ctx, cancel := Patience(ctx, o.wait)
	defer cancel()
	c, err := Connect(ctx, cfg)
	if err != nil {
		return OutOfTime(ctx, err, "not connected", "未能连接")
	}
	if o.removeRetained {
		o.remover = newRemover(c, func(ctx context.Context) error { return o.subscribe(ctx, p, c) })
	}
	told := o.tellDropped(p, c)
	printed := 0
	err = o.serve(ctx, p, c, func(d *client.Delivery) error {
		printed++
		return out.print(d)
	})
	if ferr := out.flush(); ferr != nil && (err == nil || errors.Is(err, errEnough)) {
		err = Coded(ExitRuntime, ferr)
	}
	told()
	closeCtx, cancel := p.Closing(ctx)
	defer cancel()
	if o.removeRetained {
		o.remover.wait(closeCtx)
		if n, _, _ := o.remover.unanswered(); n > 0 {
			p.Warn(fmt.Sprintf("the server has not confirmed that it deleted %d retained messages", n), fmt.Sprintf("有 %d 条保存的消息的删除未得到服务端确认", n))
		}
	}
	if cerr := Leave(closeCtx, c); err == nil {
		err = Coded(ExitRuntime, cerr)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	if _, people := p.Stderr.(*terminal.Screen); people && ctx.Err() != nil {
		p.note(fmt.Sprintf("%s messages", grouped(uint64(printed))), fmt.Sprintf("共 %s 条消息", grouped(uint64(printed))))
	}
	var coded *codedError
	if errors.As(err, &coded) && coded.code == ExitSubscribe {
		return OutOfTime(ctx, err, "the server has not granted the subscription", "服务端未授予订阅")
	}
	return OutOfTime(ctx, err, "", "")
}

// tellSkipped reports a message above --max-packet-size.
func (o *subOptions) tellSkipped(p *Program, e client.Event) {
	var bad *client.IncomingError
	if e.Kind != client.MessageSkipped || !errors.As(e.Err, &bad) {
		return
	}
	p.Warn(fmt.Sprintf("a message on %q is larger than --max-packet-size, %d bytes: acknowledged and discarded", bad.Topic, o.maxPacket),
		fmt.Sprintf("主题 %q 上的消息超过 --max-packet-size（%d 字节）：已确认并丢弃", bad.Topic, o.maxPacket))
}

// tellDropped reports QoS 0 messages that arrived faster than they could be printed, until stop is called.
func (o *subOptions) tellDropped(p *Program, c *client.Client) (stop func()) {
	var told uint64
	tell := func() {
		if n := c.Stats().Dropped; n > told {
			p.Warn(fmt.Sprintf("%d messages of QoS 0 were lost: they came faster than standard output takes them; with -q 1 they wait at the server", n-told),
				fmt.Sprintf("丢失 %d 条 QoS 0 消息：到达速度超过标准输出的处理速度；使用 -q 1 可让消息在服务端等待", n-told))
			told = n
		}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				tell()
			case <-done:
				tell()
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// serve subscribes and prints until there is a reason to end. It also prints messages that arrive
// before the subscription is granted.
func (o *subOptions) serve(ctx context.Context, p *Program, c *client.Client, print func(*client.Delivery) error) error {
	subscribed := make(chan error, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := o.subscribe(ctx, p, c)
		if err != nil {
			err = Fail(ExitSubscribe, "%w", "订阅失败：%w", err)
		} else if o.removeRetained {
			err = o.remover.run(ctx)
		}
		if err != nil {
			cancel(err)
		} else if o.exitAfterSuback || o.removeRetained && o.retainedOnly {
			cancel(errEnough)
		}
		subscribed <- err
	}()
	err := o.print(ctx, c, print)
	cancel(errEnough)
	if serr := <-subscribed; serr != nil && !errors.Is(serr, errEnough) && !errors.Is(err, errEnough) {
		return serr
	}
	return err
}

func (o *subOptions) subscribe(ctx context.Context, p *Program, c *client.Client) error {
	if len(o.unsubscribe) > 0 {
		if err := c.Unsubscribe(ctx, o.unsubscribe...); err != nil {
			return err
		}
	}
	var subs []packets.Subscription
	asked := make(map[string]bool)
	for _, t := range o.topics {
		if !asked[t] { // a repeated filter would replace the first one
			subs = append(subs, packets.Subscription{Filter: t, QoS: packets.QoS(o.qos)})
		}
		asked[t] = true
	}
	_, err := c.Subscribe(ctx, subs...)
	return o.mostlyGranted(p, err)
}

// mostlyGranted reports filters that the server refused; it returns an error only if none was granted.
func (o *subOptions) mostlyGranted(p *Program, err error) error {
	var refused *client.SubscribeError
	if !errors.As(err, &refused) || !slices.ContainsFunc(refused.Results, func(r session.FilterResult) bool { return r.Err == nil }) {
		return err
	}
	for _, r := range refused.Results {
		if r.Err != nil && !slices.Contains(o.refused, r.Filter) { // warn only once: --remove-retained subscribes repeatedly
			o.refused = append(o.refused, r.Filter)
			p.Warn(fmt.Sprintf("the server refused the topic filter %q: no messages come for it", r.Filter), fmt.Sprintf("服务端拒绝了订阅主题 %q：不会收到其消息", r.Filter))
		}
	}
	return nil
}

func (o *subOptions) print(ctx context.Context, c *client.Client, print func(*client.Delivery) error) error {
	n := 0
	r := o.remover
	for d, err := range c.Messages(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				return Coded(ExitConnection, unwrapClosed(err))
			}
			return err
		}
		if r != nil && r.echo(d) {
			continue
		}
		if o.retainedOnly && !d.Retain && r != nil {
			continue // with a remover, the loop ends when nothing is left to delete
		}
		if o.retainedOnly && !d.Retain {
			return errEnough
		}
		removes, isNew := r != nil && d.Retain, true
		if removes {
			var over bool
			if over, isNew = r.settled(d); over {
				continue
			}
		}
		if isNew && !o.shows(d) {
			if removes {
				r.leaveOut(d.Topic)
			}
			continue
		}
		if isNew {
			if err := print(d); err != nil {
				return Coded(ExitRuntime, err)
			}
			n++
		}
		if removes { // removes only messages that were printed
			if err := r.remove(ctx, d.Topic); err != nil {
				return err
			}
		}
		if isNew && n == o.count {
			d.Ack()
			if r != nil {
				if err := r.wait(ctx); err != nil {
					return err
				}
			}
			return errEnough
		}
	}
	return nil
}
