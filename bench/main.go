// Bench measures this project beside its peers and beside the limit: code that moves the same
// bytes and does nothing else. Every row of a table runs in turns with the others in one
// process, so that what the machine does meanwhile happens to all of them; only the
// ratios count.
//
//	go run . -quick            # under three minutes
//	go run . -quick -check     # exit 1 when a target is missed by more than 15 %
//	go run . -rows codec       # the tables whose name has it
//	go run . -out results      # JSON, Markdown and charts
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	quick := flag.Bool("quick", false, "few and short rounds")
	check := flag.Bool("check", false, "exit 1 when a target is missed by more than 15 %")
	rows := flag.String("rows", "", "only the tables whose name contains this")
	out := flag.String("out", "", "folder for results.json, results.md and the charts; if empty, a table on stdout")
	flag.Parse()
	if err := run(*quick, *check, *rows, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(quick, check bool, only, out string) error {
	m := method{Rounds: 15, Round: 100 * time.Millisecond}
	if quick {
		m = method{Rounds: 9, Round: 20 * time.Millisecond}
	}
	tables := selected(codecTables(), only)
	if len(tables) == 0 {
		return fmt.Errorf("no table's name contains %q", only)
	}
	results := results{Machine: machine(), Method: m}
	for i, t := range tables {
		progress(i, len(tables), t.Name)
		results.Tables = append(results.Tables, m.measure(t))
	}
	progress(len(tables), len(tables), "done")
	results.Targets = judge(results.Tables)
	if out == "" {
		results.markdown(os.Stdout)
	} else if err := results.write(out); err != nil {
		return err
	}
	if check {
		return missed(results.Targets)
	}
	return nil
}

func selected(all []table, only string) []table {
	var some []table
	for _, t := range all {
		if strings.Contains(t.Name, only) {
			some = append(some, t)
		}
	}
	return some
}

// progress shows on a terminal what is being measured.
func progress(done, of int, name string) {
	info, err := os.Stderr.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "\r\x1b[K%d of %d  %s", done, of, name)
	if done == of {
		fmt.Fprintln(os.Stderr)
	}
}
