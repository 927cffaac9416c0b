// Bench measures this project beside its peers and beside the limit: code that moves the same
// bytes and does nothing else. The rows of a table run in turns, so that what the machine does
// meanwhile happens to all of them; only the ratios count.
//
//	go run . -quick            # under three minutes
//	go run . -quick -check     # exit 1 when a target is missed by more than 15 %
//	go run . -rows codec       # the tables whose name has it
//	go run . -out results      # JSON, Markdown and charts
//	go run . -profile /tmp/p   # where the time goes in the clients' rows
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	if child() {
		return
	}
	quick := flag.Bool("quick", false, "few and short rounds")
	check := flag.Bool("check", false, "exit 1 when a target is missed by more than 15 %")
	rows := flag.String("rows", "", "only the tables whose name contains this")
	repeats := flag.Int("repeats", 0, "rounds of what has processes of its own; if zero, 9, or 3 with -quick")
	out := flag.String("out", "", "folder for results.json, results.md and the charts; if empty, a table on stdout")
	profile := flag.String("profile", "", "folder for processor and allocation profiles of the clients' work, instead of measuring")
	flag.Parse()
	m := method{Rounds: 15, Codec: 100 * time.Millisecond, Repeats: 9, Traffic: 500 * time.Millisecond}
	if *quick {
		m = method{Rounds: 9, Codec: 20 * time.Millisecond, Repeats: 3, Traffic: 150 * time.Millisecond}
	}
	if *repeats > 0 {
		m.Repeats = *repeats
	}
	if *profile != "" {
		if err := profiles(m, *profile, *rows, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(m, *check, *rows, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(m method, check bool, only, out string) error {
	tables := selected(m.tables(), only)
	if len(tables) == 0 {
		return fmt.Errorf("no table's name contains %q", only)
	}
	p := &progress{}
	for _, t := range tables {
		p.of += m.rounds(t) * len(t.Rows)
	}
	results := results{Machine: machine(), Method: m}
	for _, t := range tables {
		p.show(t.Name)
		measured, err := m.measure(t, p.step)
		if err != nil {
			return err
		}
		results.Tables = append(results.Tables, measured)
	}
	p.end()
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

// tables are all that can be measured.
func (m method) tables() []table {
	return append(m.codecTables(), m.trafficTables()...)
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

// A progress shows on a terminal what is being measured, and how much is left.
type progress struct {
	n, of int
	name  string
}

func (p *progress) show(name string) { p.name = name; p.line() }
func (p *progress) step()            { p.n++; p.line() }

func (p *progress) line() {
	if terminal() {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%d of %d rounds  %s", p.n, p.of, p.name)
	}
}

func (p *progress) end() {
	if terminal() {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}

func terminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
