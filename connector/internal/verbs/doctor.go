package verbs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/doctor"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

// An examining is a run of doctor.
type examining struct {
	command.Connection
	p    *command.Program
	cmd  *cobra.Command
	file string
	yes  bool
	o    doctor.Options
}

// Doctor returns the verb doctor.
func Doctor(p *command.Program) *cobra.Command {
	x := &examining{p: p}
	x.cmd = &cobra.Command{
		Use:   "doctor",
		Short: p.Say("Find out what a server really does, and whether a configuration fits it", "检测服务端的实际行为，并判断配置是否适合"),
		Long: p.Say(`Find out what a server really does, by trying: QoS 1 and 2, kept sessions, redelivery, windows, order, retained
messages, wills, shared subscriptions, the largest packet, unusual topics, and how it refuses; each with the consequence
for the settings of a connector. What could not be tried is not known, and its reason is printed. With -c FILE the servers are those of the configuration, connections included, and the settings
that do not fit them are listed; they end with exit code 8.

Everything happens under client ids and below a topic of its own, doctor- and random letters; one message goes to $SYS. Sessions
and retained messages are removed at the end, and after an interrupt. It sends a few thousand small messages, and packets up to
--max-packet. It asks before it starts; where there is no terminal, --yes is needed.

Exit codes: 3 no connection, 5 no message reaches a subscriber, so that little could be tried, 8 settings that do not fit.`,
			`通过实际测试了解服务端的行为：QoS 1 与 2、保留的会话、重新投递、在途窗口、顺序、保留消息、遗嘱、共享订阅、最大报文、
特殊主题以及拒绝的方式，并给出对连接器设置的影响；无法测试的项目标为未知，并说明原因。用 -c FILE 时测试配置中的各个服务端（包括 connections），并列出不适合该服务端的设置，此时退出码为 8。

所有操作都使用独立的客户端 ID 和主题（doctor- 加随机字符），另有一条消息发往 $SYS。结束或被中断时会清除会话与保留消息。
共发送约数千条小消息，以及不超过 --max-packet 的报文。开始前会询问；没有终端时需要 --yes。

退出码：3 无法连接，5 订阅者收不到消息（大部分项目无法测试），8 有不适合的设置。`),
		Example: `  mqtt311 doctor -b 127.0.0.1:1883
  mqtt311 doctor -c connector.yaml --yes
  mqtt311 doctor -b 127.0.0.1:1883 --yes --json --forbidden secret/topic
  mqtt311 doctor -h localhost -u me --pw-prompt --prefix me/`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	f := x.cmd.Flags()
	f.StringVarP(&x.file, "config", "c", "", p.Say("judge this configuration, a `file`, by its server", "按其服务端判断配置文件 `file`"))
	f.BoolVar(&x.yes, "yes", false, p.Say("do not ask", "不询问"))
	f.IntVar(&x.o.MaxPacket, "max-packet", 1<<20, p.Say("largest packet to try, in `bytes`", "测试的最大报文 `bytes` 字节"))
	f.DurationVar(&x.o.Patience, "patience", 2*time.Second, p.Say("silence of the server that counts as no answer, a `time`", "服务端静默多久 `time` 视为没有应答"))
	f.DurationVar(&x.o.Resend, "resend", 10*time.Second, p.Say("how long to wait for a message to be sent again, a `time`", "等待重发的时长 `time`"))
	f.StringVar(&x.o.Forbidden, "forbidden", "", p.Say("a `topic` that this user may not publish to: shows how the server refuses", "当前用户无权发布的主题 `topic`，用于查看服务端如何拒绝"))
	f.StringVar(&x.o.Prefix, "prefix", "", p.Say("begin all topics with this `text`, for a user that may use no others", "所有主题均以 `text` 开头，用于只能使用部分主题的用户"))
	x.ServerFlags(p, x.cmd)
	command.Complete(x.cmd, "config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
	})
	for _, flag := range []string{"max-packet", "patience", "resend", "forbidden", "prefix"} {
		command.Complete(x.cmd, flag, cobra.NoFileCompletions)
	}
	command.EndsInOrder(x.cmd)
	return x.cmd
}

// leastPacket and mostPacket are the limits of --max-packet.
const (
	leastPacket = 2 << 10
	mostPacket  = 256 << 20
)

func (x *examining) run(ctx context.Context) error {
	switch {
	case x.o.MaxPacket < leastPacket || x.o.MaxPacket > mostPacket:
		return command.Usage("--max-packet is %d: it must be from %d to %d", "--max-packet 为 %d：须为 %d 到 %d", x.o.MaxPacket, leastPacket, mostPacket)
	case x.o.Patience < 100*time.Millisecond || x.o.Resend < 100*time.Millisecond:
		return command.Usage("--patience and --resend are 100 ms at the least", "--patience 和 --resend 至少为 100 ms")
	}
	if x.o.Patience > time.Hour || x.o.Resend > 24*time.Hour {
		return command.Usage("--patience is an hour and --resend a day at the most", "--patience 至多 1 小时，--resend 至多 24 小时")
	}
	if x.o.Prefix != "" {
		if err := packets.ValidTopicName(x.o.Prefix + "doctor"); err != nil {
			return command.Usage("--prefix %q: %w", "--prefix %q：%w", x.o.Prefix, err)
		}
	}
	if x.o.Forbidden != "" {
		if err := packets.ValidTopicName(x.o.Forbidden); err != nil {
			return command.Usage("--forbidden %q: %w", "--forbidden %q：%w", x.o.Forbidden, err)
		}
	}
	cfg, judged, err := serverOf(ctx, x.p, x.cmd, &x.Connection, x.file, "yes", "max-packet", "patience", "resend", "forbidden", "prefix")
	if err != nil {
		return err
	}
	names := []string{""}
	if judged != nil {
		names = append(names, slices.Sorted(maps.Keys(judged.Connections))...)
	}
	err = ask(ctx, x.p, x.yes, "doctor opens several dozen connections and publishes a few thousand small messages below a topic of its own",
		"doctor 会建立数十个连接，并在独立的主题下发布数千条小消息")
	if err != nil {
		return err
	}
	x.o.Closing = x.p.Closing
	var failed error
	misfits, unknown := 0, 0
	for _, name := range names {
		if x.o.Client = cfg; name != "" {
			if x.o.Client, err = judged.ConnectionConfig(name); err != nil {
				return command.Coded(command.ExitUsage, err)
			}
		}
		r, err := x.examine(ctx, name)
		if ctx.Err() != nil || err != nil && judged == nil {
			return err
		}
		if err != nil { // go on with the other connections
			failed = err
			if len(names) > 1 {
				text := x.p.Text(err)
				x.p.Warn(x.where(name)+": "+text, x.where(name)+"："+text)
			}
			continue
		}
		for _, row := range r.Rows {
			if row.Failed {
				unknown++
			}
		}
		if err := deaf(r); err != nil {
			failed = err
		}
		if judged != nil {
			misfits += x.judge(r, judged, name)
		}
	}
	switch {
	case misfits > 0:
		return command.Fail(command.ExitFindings, "settings in %s that do not fit the server: %d", "%s 中不适合服务端的设置：%d 处", x.file, misfits)
	case failed == nil && judged != nil && !x.p.JSON && unknown > 0:
		fmt.Fprintf(x.p.Stdout, x.p.Say("%s: fits the server as far as it could be tried; unknown results: %d\n", "%s：就已知结果而言适合服务端；另有 %d 项未知\n"), x.file, unknown)
	case failed == nil && judged != nil && !x.p.JSON:
		fmt.Fprintln(x.p.Stdout, x.file+x.p.Say(": fits the server", "：适合服务端"))
	}
	return failed
}

// examine tests the server of a connection and prints the report.
func (x *examining) examine(ctx context.Context, connection string) (*doctor.Report, error) {
	r, err := doctor.Run(ctx, x.o)
	if r == nil {
		return nil, command.Fail(command.ExitConnection, "connect: %w", "连接失败：%w", err)
	}
	if len(r.Left) > 0 {
		list := lint.Show(strings.Join(r.Left, ", "))
		x.p.Warn("could not be removed from the server: "+list, "未能从服务端清除："+list)
	}
	if err == nil {
		x.print(r, connection)
	}
	return r, err
}

// A deafError means that a server delivers no message, so that little could be tested.
type deafError struct{ error }

func (e *deafError) Unwrap() error { return e.error }

func (e *deafError) Hint() string {
	return "Check the rights of the user. If they allow topics with a certain beginning, name it with --prefix."
}

func (e *deafError) HintZH() string {
	return "请检查用户权限。若只允许使用以特定内容开头的主题，请用 --prefix 指定。"
}

// deaf returns a deafError if no published message arrived.
func deaf(r *doctor.Report) error {
	if r.Rows[0].Failed || r.Facts.Delivers() {
		return nil
	}
	return &deafError{command.Fail(command.ExitSubscribe, "no message reaches a subscriber, so most of what the server does is not known",
		"订阅者收不到任何消息，因此服务端的大部分行为未知")}
}

// where returns the path of a connection in the configuration.
func (x *examining) where(connection string) string {
	if connection == "" {
		return "connector"
	}
	return lint.Show("connections." + connection)
}

// The JSON output of doctor.
type (
	rowLine struct {
		Connection string `json:"connection,omitempty"`
		Probe      string `json:"probe"`
		Asked      string `json:"asked"`
		Answer     string `json:"answer"`
		Means      string `json:"means,omitempty"`
		Failed     bool   `json:"failed,omitempty"`
	}
	factsLine struct {
		Connection string       `json:"connection,omitempty"`
		Facts      doctor.Facts `json:"facts"`
		Unknown    []string     `json:"unknown,omitempty"` // failed probes, whose facts mean nothing
		Left       []string     `json:"left,omitempty"`
	}
	misfitLine struct {
		Path   string `json:"path"`
		Misfit string `json:"misfit"`
	}
)

func (x *examining) print(r *doctor.Report, connection string) {
	lang := x.p.Lang
	if x.p.JSON {
		var unknown []string
		for _, row := range r.Rows {
			if row.Failed {
				unknown = append(unknown, row.Probe)
			}
			x.p.JSONLine(rowLine{connection, row.Probe, row.Asked.In(lang), row.Answer.In(lang), row.Means.In(lang), row.Failed})
		}
		x.p.JSONLine(factsLine{connection, r.Facts, unknown, r.Left})
		return
	}
	if connection != "" {
		fmt.Fprintf(x.p.Stdout, "\n%s:\n", x.where(connection))
	}
	var rows [][]string
	for _, row := range r.Rows {
		rows = append(rows, []string{row.Asked.In(lang), terminal.EscapeLine(row.Answer.In(lang))})
		if means := row.Means.In(lang); means != "" {
			rows = append(rows, []string{"", "→ " + terminal.EscapeLine(means)})
		}
	}
	fmt.Fprint(x.p.Stdout, columns(rows))
}

// judge prints the settings that do not fit the server of a connection, and returns how many there
// are.
func (x *examining) judge(r *doctor.Report, cfg *connector.Config, connection string) int {
	misfits := r.Judge(cfg, connection)
	for _, m := range misfits {
		if x.p.JSON {
			x.p.JSONLine(misfitLine{m.Path, m.In(x.p.Lang)})
			continue
		}
		fmt.Fprintf(x.p.Stdout, "%s: %s: %s\n", x.file, lint.Show(m.Path), m.In(x.p.Lang))
	}
	return len(misfits)
}
