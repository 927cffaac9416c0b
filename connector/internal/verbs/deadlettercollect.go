package verbs

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/deadletters"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

// ownID returns the client id of a verb for a topic: at most 23 characters, which every server accepts
// [MQTT-3.1.3-5]. For the same topic it is always the same.
func ownID(verb, topic string) string {
	if topic == "" {
		return "mqtt311-" + verb + "-" + strings.ToLower(rand.Text()[:8])
	}
	return "mqtt311-dl-" + deadletters.Digest([]byte(topic))[:12]
}

// A collecting is a run of deadletter collect.
type collecting struct {
	command.Connection
	p             *command.Program
	cmd           *cobra.Command
	config, topic string
	id            string
	count         int
	idle          time.Duration
	yes, forget   bool
}

func deadLetterCollect(p *command.Program) *cobra.Command {
	x := &collecting{p: p}
	x.cmd = &cobra.Command{
		Use:   "collect FILE -t TOPIC",
		Short: p.Say("Gather a dead letter topic into a file", "将死信主题中的消息收集到文件"),
		Long: p.Say(`Gather what is published to a dead letter topic into a file, which the other commands read. A topic keeps nothing by itself: from the
first run on the server keeps what comes, under a client id of this command, until the next run. --forget ends that.

Each message is acknowledged when the file has it and is synced. What the connector publishes below TOPIC/meta tells of the message's first topic and
its error; without it only the payload is known. A process that ends between the two gets a message again, so that it may stand twice in the file.`,
			`将发布到死信主题的消息收集到文件，供其他命令使用。主题本身不保存消息：自首次运行起，服务端以本命令的客户端 ID 保存消息，直到下次运行；
--forget 结束保存。

消息写入文件并同步之后才确认。连接器发布到 TOPIC/meta 的内容说明消息原来的主题与错误；没有它则只有内容。若进程恰在写入与确认之间结束，
该消息会再次送达，因而可能在文件中出现两次。`),
		Example: `  mqtt311 deadletter collect dead.jsonl -t dead/orders -b 127.0.0.1:1883
  mqtt311 deadletter collect dead.jsonl -t dead/orders -c connector.yaml --yes
  mqtt311 deadletter collect dead.jsonl -t dead/orders -h localhost --forget`,
		Args: fileAndIDs(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args[0]) },
	}
	f := x.cmd.Flags()
	f.StringVarP(&x.topic, "topic", "t", "", p.Say("`topic` of the dead letters", "死信主题 `topic`"))
	f.StringVarP(&x.config, "config", "c", "", p.Say("use the server of this configuration, a `file`", "使用配置文件 `file` 中的服务端"))
	f.StringVarP(&x.id, "id", "i", "", p.Say("client id (one made of the topic)", "客户端 ID（默认由主题生成）"))
	f.IntVarP(&x.count, "count", "C", 0, p.Say("end after so many dead letters (0: never)", "收到此数量的死信后结束（0 为不限）"))
	f.DurationVar(&x.idle, "idle", 0, p.Say("end after this `time` without a message (0: never)", "此时长 `time` 内没有消息则结束（0 为不限）"))
	f.BoolVar(&x.forget, "forget", false, p.Say("end the session at the server, with what waits in it", "结束服务端的会话及其中等待的消息"))
	f.BoolVar(&x.yes, "yes", false, p.Say("do not ask", "不询问"))
	x.ServerFlags(p, x.cmd)
	for _, flag := range []string{"topic", "id", "count", "idle"} {
		command.Complete(x.cmd, flag, cobra.NoFileCompletions)
	}
	command.Complete(x.cmd, "config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
	})
	command.EndsInOrder(x.cmd)
	return x.cmd
}

func (x *collecting) run(ctx context.Context, path string) error {
	if x.topic == "" {
		return command.Usage("--topic is missing", "缺少 --topic")
	}
	if err := packets.ValidTopicName(x.topic); err != nil {
		return command.Usage("--topic %q: %w", "--topic %q：%w", x.topic, err)
	}
	if x.count < 0 || x.idle < 0 {
		return command.Usage("--count and --idle are not negative", "--count 与 --idle 不能为负")
	}
	given, _, err := serverOf(ctx, x.p, x.cmd, &x.Connection, x.config, "topic", "id", "count", "idle", "forget", "yes")
	if err != nil {
		return err
	}
	if x.id == "" {
		x.id = ownID("", x.topic)
	}
	en, zh := "from now on the server keeps what is published to "+x.topic+" for client id "+x.id+", also when this command has ended", "此后服务端会为客户端 ID "+x.id+" 保存主题 "+x.topic+" 的消息，本命令结束后也一样"
	if x.forget {
		en, zh = "this deletes what the server keeps for client id "+x.id, "服务端将清除为客户端 ID "+x.id+" 保存的消息"
	}
	if err := ask(ctx, x.p, x.yes, en, zh); err != nil {
		return err
	}
	cfg := client.Config{
		Dial: given.Dial, UserName: given.UserName, Password: given.Password, Credentials: given.Credentials, KeepAlive: given.KeepAlive,
		ConnectTimeout: given.ConnectTimeout, Logger: given.Logger, Trace: given.Trace,
		ClientID: x.id, CleanSession: x.forget, ManualAck: true, OnEvent: x.p.Outages(), MaxPacketSize: packets.MaxRemainingLength,
	}
	if x.forget {
		c, err := command.Connect(ctx, cfg)
		if err != nil {
			return err
		}
		out, cancel := x.p.Closing(ctx)
		defer cancel()
		err = command.Leave(out, c)
		x.p.Log().Info("the session at the server was removed", "client_id", x.id)
		return command.Coded(command.ExitConnection, err)
	}
	f, err := deadletters.Create(ctx, path)
	if err != nil {
		return command.Coded(command.ExitUsage, err)
	}
	defer f.Close()
	c, err := command.Connect(ctx, cfg)
	if err != nil {
		return err
	}
	n, err := x.collect(ctx, c, f)
	out, cancel := x.p.Closing(ctx)
	defer cancel()
	command.Leave(out, c)
	x.p.Log().Info("dead letters collected", "messages", n, "file", path)
	return err
}

// mostAtOnce is how many messages one sync makes durable, and mostBytesAtOnce about how many bytes.
const (
	mostAtOnce      = 256
	mostBytesAtOnce = 16 << 20
)

// collect collects messages until there is a reason to end, and returns the number of dead letters.
func (x *collecting) collect(ctx context.Context, c *client.Client, f *deadletters.File) (int, error) {
	granted, err := c.Subscribe(ctx, packets.Subscription{Filter: x.topic, QoS: 1}, packets.Subscription{Filter: x.topic + "/meta", QoS: 1})
	if err != nil {
		return 0, command.Fail(command.ExitSubscribe, "subscribe to %q: %w", "订阅 %q 失败：%w", x.topic, err)
	}
	for _, qos := range granted {
		if qos == packets.AtMostOnce {
			return 0, command.Fail(command.ExitSubscribe, "the server grants QoS 0 only: what comes while this command does not run would be lost", "服务端只授予 QoS 0：本命令未运行时到达的消息会丢失")
		}
	}
	inner, stop := context.WithCancel(ctx)
	came, ended := make(chan *client.Delivery), make(chan error, 1)
	go func() {
		for d, err := range c.Messages(inner) {
			if err != nil {
				ended <- err
				return
			}
			select {
			case came <- d:
			case <-inner.Done():
			}
		}
	}()
	defer func() { stop(); <-ended }()
	n := 0
	for {
		batch, err := x.batch(ctx, came, ended)
		if len(batch) == 0 {
			return n, err
		}
		before := f.Len()
		if err := f.Collect(ctx, collected(batch)); err != nil {
			return n, command.Coded(command.ExitRuntime, err)
		}
		for _, d := range batch {
			d.Ack() // after an error the server sends it again
		}
		for i := before; x.p.JSON && i < f.Len(); i++ {
			if err := gatheredJSON(x.p, f, f.At(i)); err != nil {
				return n, err
			}
		}
		if n += f.Len() - before; x.count > 0 && n >= x.count {
			return n, nil
		}
	}
}

// gatheredJSON prints a dead letter that was added to the file.
func gatheredJSON(p *command.Program, f *deadletters.File, e deadletters.Entry) error {
	r, err := f.Record(e)
	if err != nil {
		return err
	}
	return actJSON(p, letterAct{Letter: e.ID, Act: "collected", Topic: r.Topic, Size: &e.Size})
}

// batch waits for a message and returns it with those that are already waiting. At the end it returns none, and an
// error if the reason is a failure.
func (x *collecting) batch(ctx context.Context, came <-chan *client.Delivery, ended chan error) (batch []*client.Delivery, err error) {
	var idle <-chan time.Time
	if x.idle > 0 {
		t := time.NewTimer(x.idle)
		defer t.Stop()
		idle = t.C
	}
	select {
	case d := <-came:
		batch = append(batch, d)
	case <-idle:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-ended:
		ended <- err // put it back for the final wait
		if errors.Is(err, context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, command.Fail(command.ExitConnection, "the connection has ended: %w", "连接已断开：%w", err)
	}
	for size := 0; x.count == 0 && len(batch) < mostAtOnce && size < mostBytesAtOnce; {
		select {
		case d := <-came:
			batch, size = append(batch, d), size+len(d.Payload)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

func collected(batch []*client.Delivery) []deadletters.Collected {
	out := make([]deadletters.Collected, len(batch))
	for i, d := range batch {
		out[i] = deadletters.Collected{Topic: d.Topic, QoS: d.QoS, ID: d.PacketID, Dup: d.Dup, Payload: d.Payload}
	}
	return out
}
