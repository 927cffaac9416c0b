// Mqtt311 is the command of the connector: it publishes and subscribes like
// mosquitto_pub and mosquitto_sub, checks a connector's configuration, and runs one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK         = 0
	exitRuntime    = 1
	exitUsage      = 2
	exitConnection = 3
	exitRefused    = 4
	exitSubscribe  = 5
	exitPublish    = 6
	exitTimeout    = 7
	exitFindings   = 8
	exitInterrupt  = 130
)

// A codedError is an error with the exit code it stands for.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func coded(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code, err}
}

func usage(format string, args ...any) error {
	return coded(exitUsage, fmt.Errorf(format, args...))
}

// A program is what the command needs of the world, so that a test can be the world.
type program struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	lang   string
	json   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(ctx, err)
	if code == exitInterrupt {
		return code
	}
	fmt.Fprintln(p.stderr, "mqtt311:", err)
	if hint := p.hint(err); hint != "" {
		fmt.Fprintln(p.stderr, "        ", hint)
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	var c *codedError
	var refused *client.RefusedError
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return exitInterrupt
	case errors.As(err, &refused):
		return exitRefused
	case errors.As(err, &c):
		return c.code
	}
	return exitUsage // cobra's own errors are about flags and commands
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "mqtt311",
		Short: "Publish, subscribe and run connectors over MQTT 3.1.1",
		Long: `Publish, subscribe and run connectors over MQTT 3.1.1.

Exit codes: 0 done, 1 it failed while running, 2 wrong usage or configuration,
3 no connection, 4 refused by the server, 5 not subscribed, 6 not published,
7 out of time, 8 findings, 130 interrupted.`,
		Example: `  mqtt311 sub -t 'plant/#' -v -b 127.0.0.1:1883
  mqtt311 pub -t plant/door -m open -q 1 -b 127.0.0.1:1883
  mqtt311 check -c connector.yaml
  mqtt311 run -c connector.yaml --exec './store'`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	lang := "en"
	if strings.HasPrefix(strings.ToLower(os.Getenv("LANG")), "zh") {
		lang = "zh"
	}
	root.PersistentFlags().StringVar(&p.lang, "lang", lang, "language of messages: en or zh")
	root.PersistentFlags().BoolVar(&p.json, "json", false, "write JSON lines")
	root.PersistentFlags().Bool("help", false, "show this help") // -h is the host, as in mosquitto_pub
	root.AddCommand(p.pub(), p.sub(), p.runCommand(), p.check(), p.version())
	return root
}

// printFindings writes findings and tells how many are mistakes.
func (p *program) printFindings(w io.Writer, file string, findings []connector.Finding) (mistakes int) {
	for _, f := range findings {
		if f.IsError() {
			mistakes++
		}
		if p.json {
			json.NewEncoder(w).Encode(f)
			continue
		}
		fmt.Fprintf(w, "%s:%s\n", file, f.Text(p.lang))
	}
	return mistakes
}
