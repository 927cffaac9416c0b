package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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
		Short: "Subscribe and print messages",
		Long: `Subscribe and print messages. A message is acknowledged after it was printed.

Formats for -F: %t topic, %p payload, %x payload in hexadecimal, %l payload's length,
%q QoS, %r retain, %m packet identifier, %I time, %j JSON, %% a percent sign, \n, \t.`,
		Example: `  mqtt311 sub -t 'plant/#' -v -b 127.0.0.1:1883
  mqtt311 sub -t plant/door -C 1 -W 10
  mqtt311 sub -t 'plant/+/alarm' -q 2 -i night-shift -c --json
  mqtt311 sub -t '#' -F '%I %t %l'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), p) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.topics, "topic", "t", nil, "topic filter; may be given more than once")
	f.StringArrayVarP(&o.unsubscribe, "unsubscribe", "U", nil, "unsubscribe from this filter of a kept session")
	f.StringArrayVarP(&o.filterOut, "filter-out", "T", nil, "print nothing that matches this filter")
	f.IntVarP(&o.count, "count", "C", 0, "end after so many messages")
	f.IntVarP(&o.wait, "timeout", "W", 0, "end after so many seconds")
	f.BoolVarP(&o.exitAfterSuback, "exit-after-suback", "E", false, "end when subscribed")
	f.StringVarP(&o.format, "format", "F", "", "how to print a message")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print the topic before the payload")
	f.BoolVarP(&o.noEOL, "no-eol", "N", false, "print no end of line after a message")
	f.BoolVarP(&o.noRetained, "no-retained", "R", false, "print no retained messages")
	f.BoolVar(&o.retainedOnly, "retained-only", false, "print only retained messages and end when others come")
	f.BoolVar(&o.removeRetained, "remove-retained", false, "delete the retained messages that come")
	f.Float64Var(&o.randomFilter, "random-filter", 100, "print this percentage of the messages, at random")
	o.flags(cmd)
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
		return usage("--topic is missing")
	}
	for _, f := range append(append(append([]string(nil), o.topics...), o.filterOut...), o.unsubscribe...) {
		if err := packets.ValidTopicFilter(f); err != nil {
			return coded(exitUsage, err)
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
	if o.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(o.wait)*time.Second,
			fmt.Errorf("no more than %d seconds were given", o.wait))
		defer cancel()
	}
	c, err := connect(ctx, cfg)
	if err != nil {
		return err
	}
	err = o.serve(ctx, c, print)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if cerr := c.Close(closeCtx); err == nil {
		err = coded(exitRuntime, cerr)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return coded(exitTimeout, context.Cause(ctx))
	}
	return err
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
		return coded(exitSubscribe, fmt.Errorf("subscribe: %w", serr))
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
				return coded(exitPublish, err)
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
