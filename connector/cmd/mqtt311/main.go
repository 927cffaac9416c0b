// Mqtt311 is the command of the connector: it publishes and subscribes like
// mosquitto_pub and mosquitto_sub, checks a connector's configuration, tries its
// connection, and runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// A program is what the command needs of the world, so that a test can be the world.
type program struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	hurry   <-chan struct{} // closed by a second interrupt: end now
	lang    string
	json    bool
	quiet   bool
	command string // what the user called, for hints
}

// sameInterrupt is how soon after the first a further interrupt is the same one: a terminal or
// timeout(1) may signal the group and the process.
const sameInterrupt = 200 * time.Millisecond

func main() {
	ctx, interrupt := context.WithCancel(context.Background())
	signals, hurry := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go interrupts(signals, interrupt, hurry)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, hurry: hurry}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// interrupts calls interrupt at the first signal and closes hurry at the second.
func interrupts(signals <-chan os.Signal, interrupt func(), hurry chan<- struct{}) {
	<-signals
	interrupt()
	for first := time.Now(); time.Since(first) < sameInterrupt; {
		<-signals
	}
	close(hurry)
}

// run runs the command and returns its exit code.
func (p *program) run(ctx context.Context, args []string) int {
	p.lang, p.command = language(args, os.Getenv), "mqtt311"
	p.json = slices.Contains(args, "--json")
	root := p.root()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	p.command = cmd.CommandPath()
	code := exitCode(ctx, err)
	var says *codedError
	if (code != exitInterrupt || errors.As(err, &says) && says.code == code) && !p.quiet {
		p.report(code, err)
	}
	return code
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "mqtt311",
		Short: p.say("Publish, subscribe and run connectors over MQTT 3.1.1", "通过 MQTT 3.1.1 发布、订阅消息，运行连接器"),
		Long: p.say(`Publish, subscribe and run connectors over MQTT 3.1.1.

Exit codes: 0 done, 1 it failed while running, 2 wrong usage or configuration,
3 no connection, 4 refused by the server, 5 not subscribed, 6 not published,
7 out of time, 8 findings, 130 interrupted.`, `通过 MQTT 3.1.1 发布、订阅消息，运行连接器。

退出码：0 完成，1 运行中失败，2 用法或配置有误，3 无法连接，4 被服务端拒绝，
5 订阅失败，6 发布失败，7 超时，8 检查发现问题，130 被中断。`),
		Example: `  mqtt311 sub -t 'plant/#' -v -b 127.0.0.1:1883
  mqtt311 pub -t plant/door -m open -q 1 -b 127.0.0.1:1883
  mqtt311 check -c connector.yaml
  mqtt311 test -c connector.yaml
  mqtt311 run -c connector.yaml --exec './store'`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              commandArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return p.checkLanguage(cmd) },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}, // ours speaks both languages
	}
	f := root.PersistentFlags()
	f.StringVar(&p.lang, "lang", p.lang, p.say("`language` of messages: en or zh", "消息语言 `language`：en 或 zh"))
	f.BoolVar(&p.json, "json", p.json, p.say("write JSON lines, errors too", "以 JSON 行输出，错误亦然"))
	f.Bool("help", false, p.say("show this help", "显示帮助")) // -h is the host, as in mosquitto_pub
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(p.flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { p.help(p.stdout, cmd) })
	root.AddCommand(p.pub(), p.sub(), p.check(), p.test(), p.runCommand(), p.schema(), p.store(), p.completion(), p.version())
	root.SetHelpCommand(p.helpCommand(root))
	complete(root, "lang", values("en", "zh"))
	return root
}

func (p *program) checkLanguage(cmd *cobra.Command) error {
	if cmd.Name() == cobra.ShellCompRequestCmd {
		return nil // it is not complete yet
	}
	if p.lang != "en" && p.lang != "zh" {
		return usage("--lang %q is neither en nor zh", "--lang %q 既不是 en 也不是 zh", p.lang)
	}
	return nil
}

func (p *program) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   p.say("Show the help of a command", "显示命令的帮助"),
		Example: "  mqtt311 help run",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil {
				err = commandArgs(root, rest)
			}
			if err != nil {
				return err
			}
			return cmd.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range root.Commands() {
				if c.IsAvailableCommand() && len(args) == 0 && strings.HasPrefix(c.Name(), begun) {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func (p *program) jsonLine(v any) error {
	return json.NewEncoder(p.stdout).Encode(v)
}
