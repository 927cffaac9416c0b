package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/spf13/cobra"
)

// longestLine bounds a line of standard input in pub -l.
const longestLine = 64 << 20

type pubOptions struct {
	connection
	topic         string
	message, file string
	null, stdin   bool
	lines, retain bool
	repeat        int
	repeatDelay   float64
}

func (p *program) pub() *cobra.Command {
	o := new(pubOptions)
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC (-m MESSAGE | -f FILE | -l | -s | -n)",
		Short: "Publish messages",
		Long: `Publish messages. It ends when the promise of the QoS is kept for each: written (0),
acknowledged (1), completed (2).`,
		Example: `  mqtt311 pub -t plant/door -m open -q 1 -b 127.0.0.1:1883
  journalctl -f | mqtt311 pub -t logs -l
  mqtt311 pub -t firmware -f image.bin -r -q 2 --cafile ca.pem -h mq.example.com
  mqtt311 pub -t plant/door -n -r        # deletes the retained message`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), p, cmd.Flags().Changed("message"))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.topic, "topic", "t", "", "topic to publish to")
	f.StringVarP(&o.message, "message", "m", "", "payload")
	f.StringVarP(&o.file, "file", "f", "", "payload from this file")
	f.BoolVarP(&o.null, "null-message", "n", false, "empty payload")
	f.BoolVarP(&o.lines, "stdin-line", "l", false, "a message per line of standard input")
	f.BoolVarP(&o.stdin, "stdin-file", "s", false, "payload is all of standard input")
	f.BoolVarP(&o.retain, "retain", "r", false, "the server keeps the message for later subscribers")
	f.IntVar(&o.repeat, "repeat", 1, "publish so many times")
	f.Float64Var(&o.repeatDelay, "repeat-delay", 0, "seconds between repetitions")
	o.flags(cmd)
	return cmd
}

func (o *pubOptions) run(ctx context.Context, p *program, hasMessage bool) error {
	if err := o.applyURL(&o.topic); err != nil {
		return err
	}
	if o.topic == "" {
		return usage("--topic is missing")
	}
	if err := packets.ValidTopicName(o.topic); err != nil {
		return coded(exitUsage, err)
	}
	given := 0
	for _, b := range []bool{hasMessage, o.file != "", o.null, o.lines, o.stdin} {
		if b {
			given++
		}
	}
	if given != 1 {
		return usage("give one of --message, --file, --null-message, --stdin-line, --stdin-file")
	}
	cfg, err := o.config(p)
	if err != nil {
		return err
	}
	payload, err := o.payload(p)
	if err != nil {
		return err
	}
	cfg.NoReconnect = !o.lines // one message: the first failure is worth knowing
	c, err := connect(ctx, cfg)
	if err != nil {
		return err
	}
	if o.lines {
		err = o.publishLines(ctx, p, c)
	} else {
		err = o.publishRepeatedly(ctx, c, payload)
	}
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, coded(exitPublish, c.Close(closeCtx)))
}

func (o *pubOptions) payload(p *program) (b []byte, err error) {
	switch {
	case o.file != "":
		b, err = os.ReadFile(o.file)
	case o.stdin:
		b, err = io.ReadAll(p.stdin)
	default:
		b = []byte(o.message)
	}
	return b, coded(exitUsage, err)
}

func (o *pubOptions) of(payload []byte) client.Message {
	return client.Message{Topic: o.topic, Payload: payload, QoS: packets.QoS(o.qos), Retain: o.retain}
}

func (o *pubOptions) publishRepeatedly(ctx context.Context, c *client.Client, payload []byte) error {
	for i := range o.repeat {
		if i > 0 && o.repeatDelay > 0 {
			select {
			case <-time.After(time.Duration(o.repeatDelay * float64(time.Second))):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := c.Publish(ctx, o.of(payload)); err != nil {
			return coded(exitPublish, fmt.Errorf("publish: %w", err))
		}
	}
	return nil
}

// publishLines publishes a message per line, as many at a time as the window allows.
func (o *pubOptions) publishLines(ctx context.Context, p *program, c *client.Client) error {
	in := bufio.NewScanner(p.stdin)
	in.Buffer(nil, longestLine)
	var open []*client.Receipt
	for in.Scan() {
		r, err := c.PublishAsync(ctx, o.of(append([]byte(nil), in.Bytes()...)))
		if err != nil {
			return coded(exitPublish, fmt.Errorf("publish: %w", err))
		}
		open = append(open, r)
		if open, err = settled(open); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return coded(exitRuntime, fmt.Errorf("standard input: %w", err))
	}
	for _, r := range open {
		if err := r.Wait(ctx); err != nil {
			return coded(exitPublish, fmt.Errorf("publish: %w", err))
		}
	}
	return nil
}

// settled drops receipts that are done from the front.
func settled(open []*client.Receipt) ([]*client.Receipt, error) {
	for len(open) > 0 {
		select {
		case <-open[0].Done():
		default:
			return open, nil
		}
		if err := open[0].Err(); err != nil {
			return open, coded(exitPublish, fmt.Errorf("publish: %w", err))
		}
		open = open[1:]
	}
	return open, nil
}
