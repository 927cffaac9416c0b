package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

type runOptions struct {
	file     string
	exec     string
	producer string
	drain    time.Duration
	verbose  bool
}

func (p *program) runCommand() *cobra.Command {
	o := new(runOptions)
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run a connector: its consumers and its producers",
		Long: `Run a connector until it is interrupted, or until standard input ends if it has no
consumers.

A consumer's flow is the command of --exec, once for each message: the payload is its
standard input, MQTT_TOPIC, MQTT_QOS, MQTT_MESSAGE_ID and MQTT_CONSUMER are in its
environment, and exit code 0 is success. Without --exec each message is a JSON line on
standard output, and success is that it was written.

Producers are fed from standard input: JSON lines as {"producer": "commands",
"payload": "on", "attribute": {}, "variable": {"line": 7}}; payload_base64 holds bytes.
With --producer each line is a payload for that one.`,
		Example: `  mqtt311 run -c connector.yaml
  mqtt311 run -c connector.yaml --exec 'jq .celsius >> readings.txt'
  generate | mqtt311 run -c connector.yaml --producer commands`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), p) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "config", "c", "", "YAML or JSON `file`")
	f.StringVar(&o.exec, "exec", "", "shell `command` to run for each message")
	f.StringVar(&o.producer, "producer", "", "feed lines of standard input to this producer")
	f.DurationVar(&o.drain, "drain-timeout", 25*time.Second, "how long flows may take to end after an interrupt")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log what happens, as JSON lines on standard error")
	return cmd
}

func (o *runOptions) run(ctx context.Context, p *program) error {
	if o.file == "" {
		return usage("--config is missing")
	}
	cfg, findings, err := config.Load(o.file)
	var known *connector.ConfigError
	if err != nil && !errors.As(err, &known) {
		return coded(exitUsage, err)
	}
	mistakes := p.printFindings(p.stderr, o.file, findings)
	if err != nil {
		return usage("%d mistakes in %s", mistakes, o.file)
	}
	if _, ok := cfg.Producers[o.producer]; o.producer != "" && !ok {
		return usage("--producer: there is no producer %q in %s", o.producer, o.file)
	}
	opts := connector.Options{}
	if o.verbose {
		opts.Logger = slog.New(slog.NewJSONHandler(p.stderr, nil))
	}
	c, err := connector.New(*cfg, opts)
	if err != nil {
		return coded(exitUsage, err)
	}
	for name := range cfg.Consumers {
		if err := c.Consume(name, o.flow(p, name)); err != nil {
			return coded(exitUsage, err)
		}
	}
	if err := c.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // an interrupt is how it is meant to end
		}
		return coded(startCode(err), err)
	}
	err = o.serve(ctx, p, c, cfg)
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.drain)
	defer cancel()
	return errors.Join(err, coded(exitRuntime, c.Stop(stopCtx)))
}

// startCode is the exit code of a connector that did not start.
func startCode(err error) int {
	var e *connector.Error
	if errors.As(err, &e) {
		switch {
		case e.Type.Is(connector.TypeRefused):
			return exitRefused
		case e.Type.Is(connector.TypeSubscribe):
			return exitSubscribe
		case e.Type.Is(connector.TypeConfig):
			return exitUsage
		}
	}
	return exitConnection
}

// serve feeds the producers and shows progress until there is a reason to end.
func (o *runOptions) serve(ctx context.Context, p *program, c *connector.Connector, cfg *connector.Config) error {
	fed := make(chan error, 1)
	if len(cfg.Producers) > 0 {
		go func() { fed <- o.feed(ctx, p, c) }()
	}
	show := o.progress(p)
	defer show.end()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Done():
			return coded(exitConnection, c.Err())
		case err := <-fed:
			if err != nil || len(cfg.Consumers) == 0 {
				return err
			}
			fed = nil
		case <-tick.C:
			show.health(c.Health())
		}
	}
}

// A status is a line on a terminal that tells how the connector does.
type status struct {
	on   bool
	p    *program
	last uint64
}

func (o *runOptions) progress(p *program) *status {
	f, ok := p.stderr.(*os.File)
	return &status{on: ok && term.IsTerminal(int(f.Fd())) && !o.verbose, p: p}
}

func (s *status) health(h connector.Health) {
	if !s.on {
		return
	}
	rate := (h.Received - s.last) * 2
	s.last = h.Received
	fmt.Fprintf(s.p.stderr, "\r\x1b[K%s  %d received (%d/s)  %d running  %d unacknowledged, oldest %s  %d retries  %d dead letters",
		h.State, h.Received, rate, h.Running, h.Unacked, h.OldestUnacked.Round(time.Second), h.Retries, h.DeadLettered)
}

func (s *status) end() {
	if s.on {
		fmt.Fprint(s.p.stderr, "\r\x1b[K")
	}
}
