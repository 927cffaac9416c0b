// Bench compares this project with its peers and with the limit: code that moves the same bytes and
// does nothing else. The rows of a table take turns, so that other activity on the machine affects
// all of them; only the ratios count.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const help = `Bench measures mqtt311 beside its peers and beside the limit.

  go run . -quick                      under three minutes; the report on stdout
  go run . -quick -check               exit 1 when a target is missed by more than 15 %; before that it is
                                       measured for thrice as long
  go run . -quick -rows "receive QoS"  the tables whose name contains this
  go run . -out results                the whole run: results.json, results.md and charts
  go run . -from results -summary      the short table of a run
  go run . -profile /tmp/profile       where the time goes in the clients' rows

`

// A flags holds the options given by the user.
type flags struct {
	quick, check, summary            bool
	rows, out, from, readme, profile string
	stream, chart                    string
	repeats                          int
}

func main() {
	if child() {
		return
	}
	var f flags
	flag.BoolVar(&f.quick, "quick", false, "few and short rounds")
	flag.BoolVar(&f.check, "check", false, "exit 1 when a target is missed by more than 15 %")
	flag.BoolVar(&f.summary, "summary", false, "print the short table instead of the report")
	flag.StringVar(&f.rows, "rows", "", "only the tables whose name contains `this`")
	flag.StringVar(&f.out, "out", "", "`folder` for results.json, results.md and charts")
	flag.StringVar(&f.from, "from", "", "report what is in this `folder` instead of measuring")
	flag.StringVar(&f.readme, "readme", "", "`document` whose short table is to be replaced")
	flag.StringVar(&f.profile, "profile", "", "`folder` for profiles of the clients' rows, instead of measuring")
	flag.StringVar(&f.stream, "stream", "", "draw -chart from the `output` of make bench-jetstream, instead of measuring")
	flag.StringVar(&f.chart, "chart", "../docs/scale.svg", "`file` that -stream draws")
	flag.IntVar(&f.repeats, "repeats", 0, "rounds of everything but the codec; if 0, 7, and 3 with -quick")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, help)
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := f.run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// method returns how much is measured.
func (f flags) method() method {
	m := method{Rounds: 15, Codec: 100 * time.Millisecond, Repeats: 7, Traffic: 500 * time.Millisecond, Idle: 500, Messages: 20_000}
	if f.quick {
		m = method{Rounds: 9, Codec: 20 * time.Millisecond, Repeats: 3, Traffic: 150 * time.Millisecond, Idle: 300, Messages: 20_000}
	}
	if f.repeats > 0 {
		m.Repeats = f.repeats
	}
	return m
}

func (f flags) run() error {
	if f.stream != "" {
		return drawStream(f.stream, f.chart)
	}
	m := f.method()
	if f.profile != "" {
		return profiles(m, f.profile, f.rows, os.Stdout)
	}
	if f.rows != "" && f.out+f.readme != "" {
		return errors.New("-out and -readme are for whole runs: leave out -rows")
	}
	r, err := f.results(m)
	if err != nil {
		return err
	}
	if f.out != "" {
		err = r.write(f.out)
	} else if f.summary {
		r.short(os.Stdout)
	} else {
		r.markdown(os.Stdout)
	}
	if f.readme != "" {
		err = errors.Join(err, r.insert(f.readme))
	}
	if f.check {
		err = errors.Join(err, failed(r.Tables), missed(r.Targets))
	}
	return err
}

// results measures, or reads earlier results.
func (f flags) results(m method) (*results, error) {
	if f.from != "" {
		r, err := read(f.from)
		if err == nil {
			r.Targets = judge(r.Tables) // the targets are those of today
		}
		return r, err
	}
	tables := selected(m.tables(), f.rows)
	if len(tables) == 0 {
		return nil, fmt.Errorf("no table's name contains %q", f.rows)
	}
	for _, word := range leftOut(f.rows) {
		fmt.Fprintln(os.Stderr, "bench: left out:", word)
	}
	p := &progress{}
	for _, t := range tables {
		p.of += m.rounds(t.Name) * len(t.Rows)
	}
	defer p.end()
	r := &results{Machine: machine(), Method: m}
	for _, t := range tables {
		p.show(t.Name)
		measured, err := m.measure(t, p.step)
		if err != nil {
			return nil, err
		}
		r.Tables = append(r.Tables, measured)
	}
	r.Targets = judge(r.Tables)
	if !f.check {
		return r, nil
	}
	return r, m.doubt(tables, r, p)
}

// doubt measures each table that misses a target for twice as many further rounds: a few rounds on
// a busy machine are no evidence. All rounds count.
func (m method) doubt(tables []table, r *results, p *progress) error {
	missed := func(i int) bool {
		return slices.ContainsFunc(r.Targets, func(t target) bool { return t.Table == tables[i].Name && !t.Met })
	}
	for i, t := range tables {
		if !missed(i) || m.rounds(t.Name) == 1 {
			continue
		}
		more := 2 * m.rounds(t.Name)
		p.of += more * len(t.Rows)
		p.show(t.Name + ", again")
		if err := m.goOn(t, &r.Tables[i], more, p.step); err != nil {
			return err
		}
	}
	r.Targets = judge(r.Tables)
	return nil
}

// tables returns all tables that can be measured.
func (m method) tables() []table {
	return slices.Concat(
		m.codecTables(), m.sessionTables(), m.trafficTables(), m.facadeTables(), m.coreTables(), m.serverTables(), m.connectorTables(), m.liveTables(), m.afarTables(), m.besideTables(),
		m.durableTables(), m.survivalTables(), m.idleTables(), programTables(),
	)
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
