// Quickstart shows the connector at work, from one command:
//
//	go run ./connector/quickstart
//
// It starts a broker inside the process, on a free loopback port. A Producer sends the
// thousand readings of readings.jsonl, at QoS 0, 1 and 2; a Consumer runs a flow on each
// and acknowledges after the flow succeeded. At the end a table tells what became of
// them. The exit code is 0 only if nothing was lost and, at QoS 2, nothing duplicated.
//
// With -broker host:port a real broker is used instead. What it prints is in English or Chinese, as the locale or
// --lang says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/connector/internal/terminal"
	"github.com/mqtt311/mqtt311/internal/broker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// command runs the quickstart as the arguments say, and returns the exit code.
func command(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	say := language(terminal.Language(args, env))
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	address := flags.String("broker", "", say.text("use the MQTT server at `host:port` instead of starting one", "使用 `host:port` 处的 MQTT 服务端，不自行启动"))
	patience := flags.Duration("timeout", time.Minute, say.text("give up after this time", "超过此时长则放弃"))
	flags.StringVar((*string)(&say), "lang", string(say), say.text("`language` of messages: en or zh", "界面语言 `language`：en 或 zh"))
	flags.Usage = func() {
		fmt.Fprintf(stderr, "%s\n  go run ./connector/quickstart\n  go run ./connector/quickstart -broker 127.0.0.1:1883\n\n%s\n", say.text(
			"Sends readings through an MQTT 3.1.1 broker and counts what arrives.\n\nExamples:",
			"经 MQTT 3.1.1 服务端收发一批读数，并统计结果。\n\n示例："), say.text("Options:", "选项："))
		flags.VisitAll(func(f *flag.Flag) {
			value, text := flag.UnquoteUsage(f)
			if f.DefValue != "" {
				text += say.text(" (default "+f.DefValue+")", "（默认 "+f.DefValue+"）")
			}
			fmt.Fprintf(stderr, "  -%s %s\n    \t%s\n", f.Name, value, text)
		})
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case say != "en" && say != "zh":
		fmt.Fprintf(stderr, "quickstart: --lang %q is neither en nor zh\n", say)
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	ok, err := quickstart(ctx, *address, say, stdout)
	if err != nil {
		fmt.Fprintln(stderr, say.text("quickstart: "+err.Error(), "quickstart："+chinese.Of(err.Error())))
	}
	if err != nil || !ok {
		return 1
	}
	return 0
}

// A language is "en" or "zh".
type language string

func (l language) text(en, zh string) string {
	if l == "zh" {
		return zh
	}
	return en
}

func quickstart(ctx context.Context, address string, say language, w io.Writer) (ok bool, err error) {
	if address == "" {
		b, err := broker.Start()
		if err != nil {
			return false, err
		}
		defer b.Close()
		address = b.Addr
		fmt.Fprintf(w, say.text("broker   started in this process at %s\n", "服务端  已在本进程内启动：%s\n"), address)
	}
	rs, err := loadReadings()
	if err != nil {
		return false, err
	}
	fmt.Fprintf(w, say.text("readings %d, each at QoS 0, 1 and 2\n", "读数    %d 条，以 QoS 0、1、2 各发送一次\n"), len(rs))
	r := newRun(rs, say)
	if err := r.do(ctx, address); err != nil {
		return false, err
	}
	r.table(w)
	return r.ok(), nil
}
