package verbs

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"strings"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

// A requesting is a run of request.
type requesting struct {
	command.Connection
	p   *command.Program
	cmd *cobra.Command

	topic, response   string
	message, file     string
	stdin, null, fill bool
	qos               int
	count, wait       int
	format            string
	verbose           bool
}

// Request returns the verb request.
func Request(p *command.Program) *cobra.Command {
	x := &requesting{p: p}
	x.cmd = &cobra.Command{
		Use:   "request -t TOPIC -e RESPONSE-TOPIC",
		Short: p.Say("Publish a request and wait for the response", "发布请求并等待应答"),
		Long: p.Say(`Publish a request to one topic and print the response that arrives on another. The request is sent once the server
has confirmed the subscription, so that no response is missed. A retained message on the response topic does not count.

{id} in both topics stands for an id of this request, random letters and digits, by which the other side tells requests apart.
With --fill {id} and {response-topic} are replaced in the payload, too.

Exit codes: 5 not subscribed, 6 not published, 7 no response in time.`,
			`向一个主题发布请求，并输出另一主题上收到的应答。服务端确认订阅之后才发出请求，因此不会错过应答。
应答主题上已有的保留消息不算应答。

两个主题中的 {id} 代表本次请求的标识（随机字母与数字），对方可据此区分请求。加 --fill 时，内容中的 {id} 与
{response-topic} 也会被替换。

退出码：5 订阅失败，6 发布失败，7 未在限时内收到应答。`),
		Example: `  mqtt311 request -t plant/ask/{id} -e plant/answer/{id} -m status -h localhost
  mqtt311 request -t clock -e 'clock/{id}' -m '{"to":"{response-topic}"}' --fill
  mqtt311 request -t all/ping -e '+/pong' -n -C 20 -W 3 --json   # who is there?`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	f := x.cmd.Flags()
	f.StringVarP(&x.topic, "topic", "t", "", p.Say("`topic` of the request", "请求的主题 `topic`"))
	f.StringVarP(&x.response, "response-topic", "e", "", p.Say("`topic` of the response; wildcards are allowed", "应答的主题 `topic`，可含通配符"))
	f.StringVarP(&x.message, "message", "m", "", p.Say("the `payload`", "内容 `payload`"))
	f.StringVarP(&x.file, "file", "f", "", p.Say("read the payload from `file`", "内容取自文件 `file`"))
	f.BoolVarP(&x.stdin, "stdin-file", "s", false, p.Say("the payload is standard input", "内容取自标准输入"))
	f.BoolVarP(&x.null, "null-message", "n", false, p.Say("the payload is empty", "内容为空"))
	f.BoolVar(&x.fill, "fill", false, p.Say("replace {id} and {response-topic} in the payload", "替换内容中的 {id} 与 {response-topic}"))
	f.IntVarP(&x.count, "count", "C", 1, p.Say("exit after this many responses", "收到此数量的应答后结束"))
	f.IntVarP(&x.wait, "timeout", "W", 10, p.Say("wait at most this many `seconds` for the responses", "等待应答的秒数 `seconds`"))
	f.StringVarP(&x.format, "format", "F", "", p.Say("`format` of a response, as of sub", "应答的输出格式 `format`，同 sub"))
	f.BoolVarP(&x.verbose, "verbose", "v", false, p.Say("print the topic before the payload", "在内容前输出主题"))
	x.Flags(p, x.cmd)
	for _, flag := range []string{"topic", "response-topic", "message", "count", "timeout", "format"} {
		command.Complete(x.cmd, flag, cobra.NoFileCompletions)
	}
	command.EndsInOrder(x.cmd)
	return x.cmd
}

// mostSeconds is more than anybody will wait.
const mostSeconds = 100 * 366 * 24 * 3600

func (x *requesting) run(ctx context.Context) error {
	if err := x.check(); err != nil {
		return err
	}
	within, cancel := command.Patience(ctx, x.wait)
	defer cancel()
	payload, err := x.payload(within)
	if err != nil {
		return command.Ended(within, err, "the request was not sent", "请求未发出")
	}
	id := strings.ToLower(rand.Text()[:16])
	topic, response := strings.ReplaceAll(x.topic, "{id}", id), strings.ReplaceAll(x.response, "{id}", id)
	if x.fill {
		payload = strings.NewReplacer("{id}", id, "{response-topic}", response).Replace(payload)
	}
	if err := packets.ValidTopicName(topic); err != nil {
		return command.Usage("--topic %q: %w", "--topic %q：%w", topic, err)
	}
	if err := packets.ValidTopicFilter(response); err != nil {
		return command.Usage("--response-topic %q: %w", "--response-topic %q：%w", response, err)
	}
	print, err := x.p.Printer(x.format, x.verbose)
	if err != nil {
		return err
	}
	cfg, err := x.Config(ctx, x.p)
	if err != nil {
		return err
	}
	cfg.OnEvent = x.p.Outages()
	c, err := command.Connect(within, cfg)
	if err != nil {
		return command.Ended(within, err, "not connected, the request was not sent", "未能连接，请求未发出")
	}
	err = x.converse(within, c, response, client.Message{Topic: topic, Payload: []byte(payload), QoS: packets.QoS(x.qos)}, print)
	out, done := x.p.Closing(within)
	defer done()
	command.Leave(out, c)
	return err
}

// check refuses options that make no sense.
func (x *requesting) check() error {
	given := x.cmd.Flags().Changed
	ways := 0
	for _, way := range []string{"message", "file", "stdin-file", "null-message"} {
		if given(way) {
			ways++
		}
	}
	x.qos, _ = x.cmd.Flags().GetInt("qos")
	switch {
	case x.topic == "":
		return command.Usage("--topic is missing", "缺少 --topic")
	case x.response == "":
		return command.Usage("--response-topic is missing: the other side has to answer to a topic", "缺少 --response-topic：对方需要应答到某个主题")
	case ways == 0:
		return command.Usage("the payload is missing: --message, --file, --stdin-file or --null-message", "缺少内容：--message、--file、--stdin-file 或 --null-message")
	case ways > 1:
		return command.Usage("the payload is given in %d ways: --message, --file, --stdin-file and --null-message exclude each other", "内容以 %d 种方式给出：--message、--file、--stdin-file 和 --null-message 只能取一", ways)
	case x.count < 1 || x.count > math.MaxInt32:
		return command.Usage("--count is %d: it must be 1 at the least", "--count 为 %d：至少为 1", x.count)
	case x.wait < 1 || x.wait > mostSeconds:
		return command.Usage("--timeout is %d: it must be from 1 to %d", "--timeout 为 %d：须为 1 到 %d", x.wait, mostSeconds)
	}
	return nil
}

func (x *requesting) payload(ctx context.Context) (string, error) {
	switch {
	case x.file != "":
		b, err := command.ReadPayloadFile(ctx, x.file)
		return string(b), err
	case x.stdin:
		b, err := command.ReadPayload(ctx, x.p.Stdin)
		if err == nil && len(b) == 0 { // probably the command before the pipe failed
			return "", command.Usage("standard input is empty: --null-message sends an empty payload", "标准输入为空：发送空消息请用 --null-message")
		}
		return string(b), err
	}
	return x.message, nil
}

// converse subscribes, publishes, and prints the responses.
func (x *requesting) converse(ctx context.Context, c *client.Client, response string, request client.Message, print func(*client.Delivery) error) error {
	if _, err := c.Subscribe(ctx, packets.Subscription{Filter: response, QoS: request.QoS}); err != nil {
		err = command.Fail(command.ExitSubscribe, "subscribe to %q: %w", "订阅 %q 失败：%w", response, err)
		return command.Ended(ctx, err, "the server has not granted the subscription, the request was not sent", "服务端未授予订阅，请求未发出")
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	published := make(chan error, 1)
	go func() {
		err := c.Publish(waiting, request)
		if err != nil {
			stop(command.NotPublished(request.Topic, err))
		}
		published <- err
	}()
	left := x.count
	for d, err := range c.Messages(waiting) {
		if err != nil {
			break
		}
		if !d.Retain { // a retained message is older than the request
			if err := print(d); err != nil {
				return command.Coded(command.ExitRuntime, err)
			}
			left--
		}
		d.Ack()
		if left == 0 {
			return nil
		}
	}
	switch {
	case waiting.Err() == nil:
		return command.Fail(command.ExitConnection, "the connection ended before the response came", "应答到达之前连接已断开")
	case ctx.Err() == nil:
		return context.Cause(waiting) // why it was not published
	}
	err := <-published
	switch {
	case errors.Is(err, client.ErrNotSent):
		return command.Ended(ctx, ctx.Err(), "the request was not sent", "请求未发出")
	case err != nil:
		return command.Ended(ctx, ctx.Err(), "no response, and the server did not answer: the request may have arrived", "没有收到应答，服务端也未确认：请求可能已送达")
	}
	return command.Ended(ctx, ctx.Err(), "no response", "没有收到应答")
}
