// Package command holds the parts of the command mqtt311. It publishes and subscribes like
// mosquitto_pub and mosquitto_sub, checks a connector's configuration, tests its connection, and
// runs it; other packages add verbs.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Program is the command with its connections to the outside world, which a test can replace.
type Program struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Lang   string // of all texts: en or zh
	JSON   bool   // print JSON lines
	Quiet  bool   // print no errors

	// Streams runs the parts that need NATS servers. If nil, configurations that need them are
	// refused.
	Streams Streams

	verbs     []Verb
	own       bool                   // this process runs only the command
	line      atomic.Pointer[status] // the line of progress, if there is one
	hurry     <-chan struct{}        // closed by a second interrupt: end now
	orderly   atomic.Int64           // how long the command may take to end after an interrupt: a time.Duration
	hangup    <-chan struct{}        // SIGHUP, for tests; nil: of the process
	command   string                 // what the user called, for hints
	byOptions bool                   // a client was made from options and not from a configuration: for hints
}

// A Verb makes a further subcommand. It is called once the language is known.
type Verb func(*Program) *cobra.Command

// sameInterrupt is how soon after the first interrupt another one counts as the same: a terminal or
// timeout(1) may signal both the group and the process.
const sameInterrupt = 200 * time.Millisecond

// orderly is how long a command with an orderly end may take after an interrupt, including five seconds for the
// server. Tests shorten it.
var orderly = 10 * time.Second

// EndsInOrder gives a command ten seconds to end after an interrupt cancels its context. Other commands are ended
// at once.
func EndsInOrder(cmd *cobra.Command) {
	annotate(cmd, endsInOrder)
}

const (
	endsInOrder  = "ends in order"
	oneProcessor = "one processor" // threads would cost more than they bring: the command has a single connection
)

func annotate(cmd *cobra.Command, what string) {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[what] = "true"
}

// lastWord is how long the command may take to end after the second interrupt before it is forced
// to.
const lastWord = 500 * time.Millisecond

// Main runs the command, with further verbs, and exits.
func Main(verbs ...Verb) { new(Program).main(verbs) }

func (p *Program) main(verbs []Verb) {
	ctx, interrupt := context.WithCancel(context.Background())
	signals, hurry := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	p.Stdin, p.Stdout, p.Stderr = os.Stdin, os.Stdout, os.Stderr
	p.own, p.verbs, p.hurry = true, verbs, hurry
	go interrupts(signals, func() {
		interrupt()
		time.AfterFunc(time.Duration(p.orderly.Load()), func() { os.Exit(ExitInterrupt) })
	}, hurry)
	go func() { // exits even if the command hangs
		<-hurry
		time.Sleep(lastWord)
		time.AfterFunc(lastWord, func() { os.Exit(ExitInterrupt) })
		endChildren()
		os.Exit(ExitInterrupt)
	}()
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
func (p *Program) run(ctx context.Context, args []string) int {
	p.Lang, p.command = terminal.Language(args, os.Getenv), p.name()
	p.JSON = slices.Contains(args, "--json")
	out := &outputWriter{w: p.Stdout}
	if s := terminal.Open(p.Stdout, os.Getenv); s != nil {
		p.Stdout = s
	} else {
		p.Stdout = out
	}
	if s := terminal.Open(p.Stderr, os.Getenv); s != nil {
		p.Stderr = s
	}
	root := p.root()
	if len(args) > 0 && args[0] == cobra.ShellCompRequestCmd {
		plainTexts(root)
	}
	root.SetArgs(args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if failed := out.err(); failed != nil && cmd.Name() != "run" && cmd.Name() != "work" { // run and work report it as an error of a step
		if err == nil || exitCode(ctx, err) == ExitFindings || errors.Is(err, failed) {
			err = Fail(ExitRuntime, "standard output: %w", "标准输出：%w", failed)
		}
	}
	if err == nil {
		return ExitOK
	}
	p.command = cmd.CommandPath()
	code := exitCode(ctx, err)
	var says *codedError
	if (code != ExitInterrupt || errors.As(err, &says) && says.code == code) && !p.Quiet {
		p.report(code, err)
	}
	return code
}

// Root returns the command with further verbs, for tools that inspect its options and texts.
func Root(lang string, verbs ...Verb) *cobra.Command {
	return (&Program{Lang: lang, verbs: verbs}).root()
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   p.name(),
		Short: p.Say("Publish, subscribe and run connectors over MQTT 3.1.1", "通过 MQTT 3.1.1 发布、订阅消息，运行连接器"),
		Long: p.Say(`Publish, subscribe and run connectors over MQTT 3.1.1.

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
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          commandArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked, _ := cmd.Flags().GetBool("version"); asked {
				return p.printVersion()
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if slices.Contains(args, "") && cmd.Name() != cobra.ShellCompRequestCmd && cmd.Name() != cobra.ShellCompNoDescRequestCmd {
				return Usage("an argument is empty: give a value or leave it out", "有参数为空：请给出取值或省略") // for example from an unset variable
			}
			if err := p.emptyValues(cmd); err != nil {
				return err
			}
			if p.own && cmd.Annotations[oneProcessor] != "" && os.Getenv("GOMAXPROCS") == "" {
				runtime.GOMAXPROCS(1)
			}
			switch {
			case cmd.Annotations[endsInOrder] != "":
				p.orderly.Store(int64(orderly))
			case cmd.Name() == "run" || cmd.Name() == "work": // --drain-timeout limits these
				p.orderly.Store(math.MaxInt64)
			}
			return p.checkLanguage(cmd)
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}, // we have our own, in both languages
	}
	f := root.PersistentFlags()
	f.StringVar(&p.Lang, "lang", p.Lang, p.Say("`language` of messages: en or zh", "界面语言 `language`：en 或 zh"))
	f.BoolVar(&p.JSON, "json", p.JSON, p.Say("write JSON lines, errors too", "以 JSON 行输出，包括错误"))
	f.Bool("help", false, p.Say("show this help", "显示帮助")) // -h is the host, as in mosquitto_pub
	root.Flags().Bool("version", false, p.Say("print the version", "输出版本"))
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(p.flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { p.help(p.Stdout, cmd) })
	root.AddCommand(p.pub(), p.sub(), p.check(), p.test(), p.runCommand(), p.ui(), p.schema(), p.store(), p.profiles(), p.completion(), p.man(), p.version())
	if p.Streams != nil {
		root.AddCommand(p.workCommand())
	}
	for _, verb := range p.verbs {
		root.AddCommand(verb(p))
	}
	p.callByName(root)
	root.SetHelpCommand(p.helpCommand(root))
	Complete(root, "lang", Values("en", "zh"))
	return root
}

// mayBeEmpty are the options for which an empty value has a meaning.
var mayBeEmpty = []string{"message", "will-payload", "username", "pw", "id", "format", "search", "lang"}

// emptyValues refuses empty values of other options, as from an unset variable: --exec "$STEP" would acknowledge
// everything and do nothing.
func (p *Program) emptyValues(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" && !slices.Contains(mayBeEmpty, f.Name) {
			err = Usage("--%s is empty: give a value or leave it out", "--%s 为空：请给出取值或省略该选项", f.Name)
		}
	})
	return err
}

// callByName replaces the name of the command in its examples by the name that the user called.
func (p *Program) callByName(cmd *cobra.Command) {
	cmd.Example = strings.ReplaceAll(cmd.Example, "mqtt311 ", p.name()+" ")
	for _, c := range cmd.Commands() {
		p.callByName(c)
	}
}

func (p *Program) checkLanguage(cmd *cobra.Command) error {
	if cmd.Name() == cobra.ShellCompRequestCmd {
		return nil // the line is still being typed
	}
	if wrong := p.Lang; wrong != "en" && wrong != "zh" {
		p.Lang = terminal.Language(nil, os.Getenv) // the language of the message below
		return Usage("--lang %q is neither en nor zh", "--lang %q 既不是 en 也不是 zh", wrong)
	}
	return nil
}

func (p *Program) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   p.Say("Show the help of a command", "显示命令的帮助"),
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

// JSONLine writes v to standard output as a line of JSON.
func (p *Program) JSONLine(v any) error {
	return json.NewEncoder(p.Stdout).Encode(v)
}
