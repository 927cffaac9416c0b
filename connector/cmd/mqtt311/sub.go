package main

import (
	"context"
	"errors"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

type subOptions struct {
	connection
	topics, unsubscribe, filterOut []string
	count                          int
	wait                           int
	exitAfterSuback                bool
	format                         string
	verbose, noEOL                 bool
	noRetained, retainedOnly       bool
	removeRetained                 bool
	randomFilter                   float64
}

func (p *program) sub() *cobra.Command {
	o := new(subOptions)
	cmd := &cobra.Command{
		Use:   "sub -t FILTER...",
		Short: p.say("Subscribe and print messages", "订阅并输出消息"),
		Long: p.say(`Subscribe and print messages. A message is acknowledged after it was printed.

Formats for -F: %t topic, %p payload, %x and %X payload in hexadecimal, %l payload's
length, %q QoS, %r retain, %m packet identifier, %I time, %U seconds since 1970, %j JSON,
%J JSON with the payload as JSON if it is some, %% a percent sign, \n, \t, \0.`,
			`订阅并输出消息。消息输出后才确认。

-F 的格式：%t 主题，%p 内容，%x 和 %X 十六进制内容，%l 内容长度，%q QoS，%r 是否为保存的消息，
%m 消息 ID，%I 时间，%U 1970 年以来的秒数，%j JSON，%J JSON（内容为 JSON 时原样嵌入），
%% 百分号，\n，\t，\0。`),
		Example: `  mqtt311 sub -t 'plant/#' -v -b 127.0.0.1:1883
  mqtt311 sub -t plant/door -C 1 -W 10
  mqtt311 sub -t 'plant/+/alarm' -q 2 -i night-shift -c --json
  mqtt311 sub -t '#' -F '%I %t %l'
  mqtt311 sub -t 'plant/#' --retained-only --remove-retained -W 5   # deletes what is retained`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), p) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.topics, "topic", "t", nil, p.say("topic `filter`; may be given more than once", "订阅主题 `filter`，可多次给出"))
	f.StringArrayVarP(&o.unsubscribe, "unsubscribe", "U", nil, p.say("unsubscribe from this `filter` of a kept session", "从保留的会话中退订主题 `filter`"))
	f.StringArrayVarP(&o.filterOut, "filter-out", "T", nil, p.say("print nothing that matches this `filter`", "不输出匹配 `filter` 的消息"))
	f.IntVarP(&o.count, "count", "C", 0, p.say("end after so many messages (0: never)", "输出此数量的消息后结束（0 为不限）"))
	f.IntVarP(&o.wait, "timeout", "W", 0, p.say("end after so many `seconds`, with exit code 7 (0: never)", "`seconds` 秒后结束，退出码为 7（0 为不限）"))
	f.BoolVarP(&o.exitAfterSuback, "exit-after-suback", "E", false, p.say("end when subscribed", "订阅成功后结束"))
	f.StringVarP(&o.format, "format", "F", "", p.say("`format` of a message", "消息的输出格式 `format`"))
	f.BoolVarP(&o.verbose, "verbose", "v", false, p.say("print the topic before the payload", "在内容前输出主题"))
	f.BoolVarP(&o.noEOL, "no-eol", "N", false, p.say("print no end of line after a message", "消息后不换行"))
	f.BoolVarP(&o.noRetained, "no-retained", "R", false, p.say("print no retained messages", "不输出服务端保存的消息"))
	f.BoolVar(&o.retainedOnly, "retained-only", false, p.say("print only retained messages and end when others come", "只输出服务端保存的消息，收到其他消息时结束"))
	f.BoolVar(&o.removeRetained, "remove-retained", false, p.say("delete the retained messages that come", "删除收到的服务端保存的消息"))
	f.Float64Var(&o.randomFilter, "random-filter", 100, p.say("print this `percentage` of the messages, at random", "随机输出此百分比 `percentage` 的消息"))
	o.flags(p, cmd)
	for _, flag := range []string{"topic", "unsubscribe", "filter-out", "count", "timeout", "format", "random-filter"} {
		complete(cmd, flag, cobra.NoFileCompletions)
	}
	return cmd
}

// errEnough ends sub well.
var errEnough = errors.New("enough messages")

func (o *subOptions) run(ctx context.Context, p *program) error {
	var topic string
	if err := o.applyURL(&topic); err != nil {
		return err
	}
	if topic != "" {
		o.topics = append(o.topics, topic)
	}
	if len(o.topics) == 0 {
		return usage("--topic is missing", "缺少 --topic")
	}
	for _, f := range append(append(append([]string(nil), o.topics...), o.filterOut...), o.unsubscribe...) {
		if err := packets.ValidTopicFilter(f); err != nil {
			return usage("%q is no topic filter: %w", "%q 不是合法的订阅主题：%w", f, err)
		}
	}
	print, err := o.printer(p)
	if err != nil {
		return err
	}
	cfg, err := o.config(p)
	if err != nil {
		return err
	}
	ctx, cancel := patience(ctx, o.wait)
	defer cancel()
	c, err := connect(ctx, cfg)
	if err != nil {
		return outOfTime(ctx, err)
	}
	err = o.serve(ctx, c, print)
	closeCtx, cancel := p.closing(ctx)
	defer cancel()
	if cerr := c.Close(closeCtx); err == nil {
		err = coded(exitRuntime, cerr)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return outOfTime(ctx, err)
}

// serve subscribes and prints until there is a reason to end. Messages may come before
// the subscription is granted, and are printed.
func (o *subOptions) serve(ctx context.Context, c *client.Client, print func(*client.Delivery) error) error {
	subscribed := make(chan error, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := o.subscribe(ctx, c)
		if err != nil {
			cancel(err)
		} else if o.exitAfterSuback {
			cancel(errEnough)
		}
		subscribed <- err
	}()
	err := o.print(ctx, c, print)
	cancel(errEnough)
	if serr := <-subscribed; serr != nil && !errors.Is(err, errEnough) {
		return fail(exitSubscribe, "%w", "订阅失败：%w", serr)
	}
	return err
}

func (o *subOptions) subscribe(ctx context.Context, c *client.Client) error {
	if len(o.unsubscribe) > 0 {
		if err := c.Unsubscribe(ctx, o.unsubscribe...); err != nil {
			return err
		}
	}
	var subs []packets.Subscription
	for _, t := range o.topics {
		subs = append(subs, packets.Subscription{Filter: t, QoS: packets.QoS(o.qos)})
	}
	_, err := c.Subscribe(ctx, subs...)
	return err
}

func (o *subOptions) print(ctx context.Context, c *client.Client, print func(*client.Delivery) error) error {
	n := 0
	for d, err := range c.Messages(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				return coded(exitConnection, unwrapClosed(err))
			}
			return err
		}
		if o.retainedOnly && !d.Retain {
			return errEnough
		}
		if o.removeRetained && d.Retain {
			if err := c.Publish(ctx, client.Message{Topic: d.Topic, QoS: 1, Retain: true}); err != nil {
				return notPublished(err)
			}
		}
		if !o.shows(d) {
			continue
		}
		if err := print(d); err != nil {
			return coded(exitRuntime, err)
		}
		if n++; n == o.count {
			d.Ack()
			return errEnough
		}
	}
	return nil
}
