// Quickstart shows the connector at work, from one command:
//
//	go run ./connector/quickstart
//
// It starts a broker inside the process, on a free loopback port. A Producer sends the
// thousand readings of readings.jsonl, at QoS 0, 1 and 2; a Consumer runs a flow on each
// and acknowledges after the flow succeeded. At the end a table tells what became of
// them. The exit code is 0 only if nothing was lost and, at QoS 2, nothing duplicated.
//
// With -broker host:port a real broker is used instead.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/mqtt311/mqtt311/internal/broker"
)

func main() {
	address := flag.String("broker", "", "use the MQTT server at `host:port` instead of starting one")
	patience := flag.Duration("timeout", time.Minute, "give up after this time")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Sends readings through an MQTT 3.1.1 broker and counts what arrives.\n\nExamples:\n"+
			"  go run ./connector/quickstart\n  go run ./connector/quickstart -broker 127.0.0.1:1883\n\nOptions:\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	ok, err := quickstart(ctx, *address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func quickstart(ctx context.Context, address string) (ok bool, err error) {
	if address == "" {
		b, err := broker.Start()
		if err != nil {
			return false, err
		}
		defer b.Close()
		address = b.Addr
		fmt.Printf("broker   started in this process at %s\n", address)
	}
	rs, err := loadReadings()
	if err != nil {
		return false, err
	}
	fmt.Printf("readings %d, each at QoS 0, 1 and 2\n", len(rs))
	r := newRun(rs)
	if err := r.do(ctx, address); err != nil {
		return false, err
	}
	r.table(os.Stdout)
	return r.ok(), nil
}
