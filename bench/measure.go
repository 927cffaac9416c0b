package main

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The contestants: the owners of rows.
const (
	ours     = "mqtt311"
	paho     = "paho"
	facade   = "paho's API on mqtt311"
	atwat    = "at-wat"
	mochi    = "mochi"
	limit    = "limit"
	limit1   = "limit-b1"   // one packet per read or write
	limit100 = "limit-b100" // up to a hundred
)

// A table is one piece of work, done by several contestants.
type table struct {
	Name string
	Rows []row
}

// A row does the work for one round.
type row struct {
	Who   string
	Round func() (values, error)
}

// A method says how often and how long to measure.
type method struct {
	Rounds   int           // of codecs
	Codec    time.Duration // duration of a round
	Repeats  int           // rounds of everything that has its own processes
	Traffic  time.Duration // duration of a round
	Idle     int           // number of connections
	Messages int           // number of messages while connections are cut
	Profile  string        `json:",omitempty"` // of the job
}

// A measured is a table with its results.
type measured struct {
	Name   string
	Rows   []figures
	Failed []string `json:",omitempty"` // rounds that failed once, and why
}

// Figures are the results of all rounds of a row.
type figures struct {
	Who    string
	Rounds map[string][]float64 // by quantity
}

// measure runs the rows in turns.
func (m method) measure(t table, step func()) (measured, error) {
	out := measured{Name: t.Name}
	for _, r := range t.Rows {
		out.Rows = append(out.Rows, figures{r.Who, make(map[string][]float64)})
	}
	return out, m.goOn(t, &out, m.rounds(t.Name), step)
}

// goOn adds rounds to a table.
func (m method) goOn(t table, out *measured, rounds int, step func()) error {
	for range rounds {
		for i, r := range t.Rows {
			v, err := r.Round()
			if err != nil {
				// Hours of others are not thrown away for one hang, and it is not hidden.
				out.Failed = append(out.Failed, fmt.Sprintf("%s: %v", r.Who, err))
				if v, err = r.Round(); err != nil {
					return fmt.Errorf("%s: %s, twice: %w", t.Name, r.Who, err)
				}
			}
			for quantity, x := range v {
				out.Rows[i].Rounds[quantity] = append(out.Rows[i].Rounds[quantity], significant(x))
			}
			step()
		}
	}
	return nil
}

func (m method) rounds(table string) int {
	if strings.HasPrefix(table, "codec: ") {
		return m.Rounds
	}
	if strings.HasPrefix(table, "program: ") {
		return 1 // it does not vary
	}
	return m.Repeats
}

// significant rounds to four digits: more would be noise, and make the file long.
func significant(x float64) float64 {
	x, _ = strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	return x
}

// inProcess returns a row whose work needs no process of its own.
func (m method) inProcess(who string, do func(n int)) row {
	n := 0
	return row{who, func() (values, error) {
		if n == 0 {
			n = calibrate(do, m.Codec)
		}
		defer debug.SetGCPercent(debug.SetGCPercent(400))
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := processor()
		do(n)
		took := processor() - start
		runtime.ReadMemStats(&after)
		return values{cpuTime: float64(took) / float64(n), mallocs: float64(after.Mallocs-before.Mallocs) / float64(n)}, nil
	}}
}

// calibrate determines how many operations take a round.
func calibrate(do func(n int), round time.Duration) int {
	for n := 1; ; n *= 2 {
		start := time.Now()
		do(n)
		if took := time.Since(start); took > round/4 {
			return max(1, int(float64(n)*float64(round)/float64(took)))
		}
	}
}

// A spread is a median with the minimum and the maximum.
type spread struct{ Median, Least, Most float64 }

func spreadOf(samples []float64) spread {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	if n == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return spread{(s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]}
}

// rounds returns the number of rounds.
func (m *measured) rounds() int {
	n := 0
	for _, f := range m.Rows {
		for _, samples := range f.Rounds {
			n = max(n, len(samples))
		}
	}
	return n
}

// of returns the figures of who, and whether they exist.
func (m *measured) of(who string) (figures, bool) {
	i := slices.IndexFunc(m.Rows, func(f figures) bool { return f.Who == who })
	if i < 0 {
		return figures{}, false
	}
	return m.Rows[i], true
}

// get returns a quantity of who; NaN if it does not exist.
func (m *measured) get(who, quantity string) spread {
	f, _ := m.of(who)
	return spreadOf(f.Rounds[quantity])
}

// ratio returns ours over theirs: see quotient.
func (m *measured) ratio(who, quantity string) spread { return m.quotient(ours, who, quantity) }

// quotient returns the ratio of a quantity of one to that of other, round by round: other activity
// on the machine affects both.
func (m *measured) quotient(one, other, quantity string) spread {
	a, _ := m.of(one)
	b, _ := m.of(other)
	var ratios []float64
	for i, x := range a.Rounds[quantity] {
		if i < len(b.Rounds[quantity]) && b.Rounds[quantity][i] != 0 { // nothing is no part of nothing
			ratios = append(ratios, x/b.Rounds[quantity][i])
		}
	}
	return spreadOf(ratios)
}
